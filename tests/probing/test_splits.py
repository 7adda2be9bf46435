"""Folds: whole groups, both classes spread, and nothing hangs on order or names."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.splits import (
    assign_folds,
    both_classes_remain,
    canonical_order,
)

PLAIN = Geometry("Euclidean", 0.0, 3, None)


def rows(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.permutation(np.arange(n) % 3 == 0).astype(np.int8)


@pytest.mark.parametrize(("ones", "zeros", "expected"), [(2, 9, 2), (4, 4, 4), (50, 23, 5)])
def test_single_rows_are_stratified(ones: int, zeros: int, expected: int) -> None:
    y = np.array([1] * ones + [0] * zeros, np.int8)
    fold = assign_folds(y, np.arange(len(y)))
    assert set(fold) == set(range(expected))
    for label in (0, 1):
        sizes = np.bincount(fold[y == label], minlength=expected)
        assert sizes.max() - sizes.min() <= 1


def test_groups_stay_whole_and_classes_spread() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    y = (rng.random(len(groups)) < rng.random(60)[groups]).astype(np.int8)
    fold = assign_folds(y, groups)
    for group in range(60):
        assert len(set(fold[groups == group])) == 1
    for label in (0, 1):
        sizes = np.bincount(fold[y == label], minlength=5)
        assert sizes.max() - sizes.min() <= 0.1 * sizes.mean()


def test_neither_order_nor_names_matter() -> None:
    H, y = rows(60)
    H[3] = H[4]
    groups = np.arange(60) // 4
    names = np.random.default_rng(3).permutation(1000)[:15]
    order, numbers = canonical_order(H, y, groups)
    for seed in range(3):
        moved = np.random.default_rng(seed).permutation(60)
        again, others = canonical_order(H[moved], y[moved], names[groups][moved])
        assert np.array_equal(H[moved][again], H[order])
        assert np.array_equal(y[moved][again], y[order])
        assert np.array_equal(others, numbers)
        assert np.array_equal(
            assign_folds(y[moved][again], others), assign_folds(y[order], numbers)
        )


def test_groups_of_equal_content_are_told_apart_by_nothing() -> None:
    H, y = rows(8)
    H, y = np.concatenate([H, H]), np.concatenate([y, y])
    groups = np.repeat([0, 1], 8)
    order, numbers = canonical_order(H, y, groups)
    swapped, others = canonical_order(H, y, 1 - groups)
    assert np.array_equal(H[order], H[swapped])
    assert np.array_equal(numbers, others)
    assert np.bincount(numbers).tolist() == [8, 8]


def test_number_of_folds_is_that_of_groups_with_the_rarer_class() -> None:
    y = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0, 0], np.int8)
    groups = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    assert assign_folds(y, groups).max() + 1 == 3
    assert assign_folds(y, groups, most=2).max() + 1 == 2


def test_classes_remain_where_the_worst_folds_are_left_out() -> None:
    fold = np.array([0, 0, 1, 1, 2, 2])
    assert both_classes_remain(np.array([0, 1, 0, 1, 0, 1]), fold, 1)
    assert both_classes_remain(np.array([0, 1, 0, 1, 0, 1]), fold, 2)
    assert not both_classes_remain(np.array([0, 1, 0, 1, 0, 0]), fold, 2)
    assert not both_classes_remain(np.array([1, 1, 0, 0, 0, 0]), fold, 1)
