"""Maps between spaces: what they find, that they are tested on other texts, and what is left."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.probing.alignment import Pairs, rotation

Array = NDArray[np.float64]
D = 8


def orthogonal(d: int, seed: int) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d))).Q


def test_a_rotation_is_found_and_is_one() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(40, D)) + 5
    Q = orthogonal(D, 1)
    found = rotation(old @ Q + 3, old)
    assert found.matrix @ found.matrix.T == pytest.approx(np.eye(D), abs=1e-12)
    fresh = rng.normal(size=(6, D))
    assert found(fresh @ Q + 3) == pytest.approx(fresh, abs=1e-6)


def test_where_pairs_say_nothing_states_stay_as_they_are() -> None:
    """Three pairs of eight dimensions: the two of their plane are turned, and no other."""
    rng = np.random.default_rng(2)
    old = np.zeros((3, D))
    old[:, :2] = rng.normal(size=(3, 2))
    turn = np.eye(D)
    turn[:2, :2] = [[0.6, 0.8], [-0.8, 0.6]]
    found = rotation(old @ turn, old)
    assert found.matrix == pytest.approx(turn.T, abs=1e-6)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_maps_are_fitted_to_other_rows_than_those_they_map(*, unlabelled: bool) -> None:
    """Of unrelated states a map fitted to the same rows would bring back a part."""
    rng = np.random.default_rng(3)
    old, new, other_old, other_new = rng.normal(size=(4, 30, 20))
    folds = np.arange(30) % 5
    others = Pairs(other_old, other_new, folds) if unlabelled else None
    _, ridged = Pairs(old, new, folds).mapped(np.eye(20)[:, :1], others)
    explained = [np.corrcoef(ridged[:, j], old[:, j])[0, 1] for j in range(20)]
    assert np.mean(explained) < 0.1  # below 0, where means of the other rows are all it has
    own = Pairs(old, new, folds)
    _, seen = own.mapped(np.eye(20)[:, :1], own)
    assert np.mean([np.corrcoef(seen[:, j], old[:, j])[0, 1] for j in range(20)]) > 0.25


def test_a_ridge_finds_a_linear_map_that_is_no_rotation() -> None:
    rng = np.random.default_rng(4)
    old = rng.normal(size=(200, D))
    new = old @ (orthogonal(D, 5) * np.geomspace(0.1, 10, D)) + 1
    turned, ridged = Pairs(old, new, np.arange(200) % 5).mapped(np.eye(D), None)
    assert ridged == pytest.approx(old, abs=1e-3)
    assert not np.allclose(turned, old, atol=0.5)
