"""Figures of Φ and of a probe set, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.errors import DimensionMismatch
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import (
    effective_dimension,
    spectrum,
    unit_effective_dimension,
)

V2 = np.array([[1, 0], [0, 2], [1, 1]], np.float32)


def test_of_the_identity() -> None:
    shape = spectrum(Geometry("Euclidean", 0.0, 5, None))
    assert (shape.condition, shape.effective_rank, shape.mean_share) == (1.0, 5.0, None)


def test_of_a_diagonal() -> None:
    shape = spectrum(Geometry.from_gram(np.diag([4.0, 2.0, 1.0, 1.0])))
    assert shape.condition == 4.0
    assert shape.effective_rank == pytest.approx(2**1.75, rel=1e-3)  # entropy 1.75 bits


def test_rank_one_and_a_little() -> None:
    x = np.array([[3.0, 4.0]])
    shape = spectrum(Geometry.from_gram(x.T @ x + 1e-3 * np.eye(2)))
    assert shape.condition == pytest.approx(25_001, rel=1e-3)
    assert shape.effective_rank == pytest.approx(1.0, abs=1e-3)


def test_share_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    U = rng.normal(size=(500, 8)).astype(np.float32)
    centred, moved = U - U.mean(axis=0), U + np.float32(5)
    share = spectrum(Geometry.from_unembedding(centred), Unembedding(centred)).mean_share
    assert share == pytest.approx(0.0, abs=1e-9)
    share = spectrum(Geometry.from_unembedding(moved), Unembedding(moved)).mean_share
    covariance = np.cov(moved.T.astype(float), bias=True)
    expected = 1 - 500 * np.trace(covariance) / np.square(moved.astype(float)).sum()
    assert share == pytest.approx(expected, rel=1e-3)
    with pytest.raises(DimensionMismatch):
        spectrum(Geometry.from_gram(np.eye(3)), Unembedding(U))


def test_effective_dimension() -> None:
    geometry = Geometry.from_unembedding(V2)
    eye = np.eye(2, dtype=np.float32)
    assert effective_dimension(list(eye), geometry) == pytest.approx(1.5806452, rel=1e-3)  # V12
    assert effective_dimension([eye[0], eye[0]], geometry) == 1.0
    assert effective_dimension([eye[0]], geometry) == 1.0
    assert effective_dimension([0 * eye[0]], geometry) == 1.0
    # Length is no matter, even where the squares would vanish.
    tiny = [w * np.float32(1e-6) for w in eye]
    assert effective_dimension(tiny, geometry) == effective_dimension(list(eye), geometry)


def test_one_long_probe_hides_no_direction() -> None:
    """Case 22: lengths of 30 and 1, by different penalties, made two directions one."""
    identity = Geometry("Euclidean", 0.0, 2, None)
    eye = np.eye(2, dtype=np.float32)
    unequal = [30 * eye[0], eye[1]]
    assert effective_dimension(unequal, identity) == pytest.approx(1.002, abs=1e-3)
    assert unit_effective_dimension(unequal, identity) == 2.0
    assert unit_effective_dimension([eye[0], -9 * eye[0]], identity) == 1.0
    assert unit_effective_dimension([eye[0], 0 * eye[0]], identity) == 1.0
    # With cosine c under Φ it is 4 / (2 + 2c²); here ⟨e1, e2⟩ = 1, of lengths √2 and √5.
    assert unit_effective_dimension(unequal, Geometry.from_unembedding(V2)) == pytest.approx(
        2 / (1 + 1 / 10), rel=1e-3
    )


def test_figures_have_four_digits() -> None:
    shape = spectrum(Geometry.from_unembedding(V2))
    for value in (shape.condition, shape.effective_rank):
        assert value == float(np.float32(f"{value:.3e}"))
