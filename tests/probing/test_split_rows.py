"""Rows that can be split, the same rows under another inner product, and those that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.errors import TooFewOfClass
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.penalty import Penalty
from geometry_of_trust.probing.split_rows import SplitRows

PLAIN = Geometry("Euclidean", 0.0, 3, None)
OTHER = Geometry.from_gram(np.array([[2, 1, 0], [1, 3, 0], [0, 0, 1]], np.float32))


def rows(n: int, seed: int = 0) -> tuple[Array, Labels]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.permutation(np.arange(n) % 3 == 0).astype(np.int8)


def test_rows_and_coordinates_are_of_the_canonical_order_and_the_inner_product() -> None:
    H, y = rows(30)
    for split in (SplitRows.of(H, y, OTHER), SplitRows.of(H, y, PLAIN).under(OTHER)):
        assert np.array_equal(split.H, H[split.order])
        assert split.geometry is OTHER
        assert np.array_equal(split.X, Penalty.of(split.H, OTHER).coordinates(split.H))


def test_other_states_keep_rows_and_folds() -> None:
    H, y = rows(30)
    split = SplitRows.of(H, y, OTHER, np.arange(30) // 2)
    moved = split.with_states(2 * split.H)
    assert np.allclose(moved.penalty.spreads, 2 * split.penalty.spreads)
    assert np.allclose(moved.X, split.X)  # which have no unit
    for name in ("order", "y", "groups", "fold"):
        assert getattr(moved, name) is getattr(split, name)
    assert (moved.fold_count, moved.group_count) == (5, 15)


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([1, 0, 0, 0], None),
        ([1, 1, 1, 0], None),
        ([1, 1, 0, 0, 0], [0, 0, 0, 1, 2]),  # all positives in one group
        ([1, 0, 1, 0], [0, 0, 0, 0]),
    ],
)
def test_too_few_of_a_class(labels: list[int], groups: list[int] | None) -> None:
    y = np.array(labels, np.int8)
    with pytest.raises(TooFewOfClass):
        SplitRows.of(rows(len(y))[0], y, PLAIN, None if groups is None else np.array(groups))
