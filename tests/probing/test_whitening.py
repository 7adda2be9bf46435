"""Coordinates in which the inner product is the ordinary one."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.errors import NotPositiveDefinite
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.whitening import factor, whitened


def geometry(d: int, rows: int = 50) -> Geometry:
    U = np.random.default_rng(0).normal(size=(rows, d)).astype(np.float32)
    return Geometry.from_unembedding(U, 1e-4)


@pytest.mark.parametrize(("d", "rows"), [(7, 50), (12, 5)])
def test_the_factor(d: int, rows: int) -> None:
    g = geometry(d, rows)
    assert g.phi is not None
    assert g.inner_product == ("Causal" if rows > d else "CausalRegularised")
    L = factor(g)
    assert np.array_equal(L, np.tril(L))
    np.testing.assert_allclose(L @ L.T, g.phi, rtol=1e-13, atol=1e-13)


def test_the_factor_of_the_identity() -> None:
    assert np.array_equal(factor(Geometry("Euclidean", 0.0, 3, None)), np.eye(3))


def test_no_factor() -> None:
    with pytest.raises(NotPositiveDefinite):
        factor(Geometry("Causal", 0.0, 2, np.array([[1, 2], [2, 1]], np.float32)))


@pytest.mark.parametrize("rows", [4, 7, 20])
def test_coordinates_keep_inner_products(rows: int) -> None:
    g, H = geometry(7), np.random.default_rng(1).normal(size=(rows, 7))
    X = whitened(H, g)
    assert X.shape == (rows, min(rows, 7))
    C = H - H.mean(axis=0)
    expected = [[float(g.inner(a, b)) for b in C] for a in C]
    np.testing.assert_allclose(X @ X.T, expected, rtol=1e-10, atol=1e-10)
