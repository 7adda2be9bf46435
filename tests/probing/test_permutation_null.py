"""Labels that mean nothing are as good as others as often as they should be, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.probing import permutation_null as room
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import L2_GRID
from geometry_of_trust.probing.judged_units import Units
from geometry_of_trust.probing.permutation_null import permutation_null, permuted_labels
from geometry_of_trust.probing.resampling import Sample

Rows = tuple[Array, Labels, Indices]
Maker = Callable[[np.random.Generator, float], Rows]


def apart(rng: np.random.Generator, gap: float) -> Rows:
    """Rows that are each a group of their own."""
    y = rng.permutation(np.arange(60) % 2).astype(np.int8)
    X = rng.normal(size=(60, 20)) + gap * np.eye(20)[0] * y[:, np.newaxis]
    return X - X.mean(axis=0), y, np.arange(60)


def clustered(rng: np.random.Generator, gap: float) -> Rows:
    """Groups of 1 to 11 rows that resemble each other and have one label."""
    marks, sizes = rng.permutation(np.arange(40) % 2), rng.integers(1, 12, 40)
    groups = np.repeat(np.arange(40), sizes)
    X = 2 * rng.normal(size=(40, 20))[groups] + rng.normal(size=(len(groups), 20))
    X[:, 0] += gap * marks[groups]
    return X - X.mean(axis=0), marks[groups].astype(np.int8), groups


@pytest.mark.parametrize(("rows", "gap"), [(apart, 3.0), (clustered, 9.0)])
def test_the_level_holds_and_what_is_there_is_found(rows: Maker, gap: float) -> None:
    null = [permutation_null(*rows(np.random.default_rng(s), 0.0), L2_GRID).p for s in range(100)]
    assert np.mean(np.array(null) <= 0.1) <= 0.2  # 3.3 standard errors
    assert 0.33 < np.mean(np.array(null) <= 0.5) < 0.67
    there = [permutation_null(*rows(np.random.default_rng(s), gap), L2_GRID) for s in range(5)]
    assert [one.as_good for one in there] == [0] * 5


@pytest.mark.parametrize("far", [1.0, 300.0])
def test_a_row_far_out_hides_nothing(far: float) -> None:
    X, y, groups = apart(np.random.default_rng(0), 3.0)
    X[:, 0] /= 10  # so that only a weak penalty finds it
    X[7] = far * np.eye(20)[1]
    assert permutation_null(X, y, groups, L2_GRID).p < 0.01


def test_the_p_values_of_rows_in_copies_need_the_groups() -> None:
    """Control: taken for rows of their own, clusters are recognised, and p is near 0."""
    X, y, groups = clustered(np.random.default_rng(3), 0.0)
    assert permutation_null(X, y, np.arange(len(y)), L2_GRID).p < 0.025
    assert permutation_null(X, y, groups, L2_GRID).p > 0.025


def test_scores_are_those_of_ridge_regression() -> None:
    X, y, _ = apart(np.random.default_rng(0), 1.0)
    inside = np.arange(60) < 12
    rest = X[~inside]
    scale = float(np.median(np.linalg.norm(rest - rest.mean(axis=0), axis=1)))
    columns = np.column_stack([y, y[::-1]]).astype(float)
    scores = room._Ridge.of(X, inside).scores(columns, (0.1, 1e-3))
    for i, strength in enumerate((0.1, 1e-3)):
        model = Ridge(alpha=48 * strength).fit(rest / scale, columns[~inside])
        assert np.allclose(scores[i], model.predict(X[inside] / scale))


def test_labels_move_by_group() -> None:
    groups = np.repeat(np.arange(9), [1, 3, 2, 2, 4, 4, 4, 5, 2])
    y = np.array([1, *[0] * 3, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, *[1] * 4, 1, 0, 1, 0, 1, 0, 1])
    columns = permuted_labels(y.astype(np.int8), groups, 300)
    assert np.array_equal(columns[:, 0], y)
    pure, equal, alone, pair = (0, 1, 2, 3, 6), (4, 5), (7,), (8,)
    for column in columns.T:
        blocks = [column[groups == g].astype(int).tolist() for g in range(9)]
        assert all(len(set(blocks[g])) == 1 for g in pure)
        assert sum(blocks[g][0] for g in pure) == 3
        assert sorted(blocks[g] for g in equal) == [[0, 1, 0, 1], [1, 0, 0, 0]]
        assert all(sum(blocks[g]) == (3 if g in alone else 1) for g in (*alone, *pair))
    assert len({column.tobytes() for column in columns.T}) > 200
    assert hashlib.sha256(columns.astype(np.uint8).tobytes()).hexdigest()[:16] == "057c397219d4a66a"


def test_too_few_orders_are_never_enough() -> None:
    """Four groups have six orders, two of which part them alike: one in three is the least."""
    X = np.array([[-1.0], [-0.9], [0.9], [1.0]])
    null = permutation_null(X, np.array([0, 0, 1, 1], np.int8), np.arange(4), L2_GRID)
    assert null.p > 0.1


def test_blocks_of_permutations_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, groups = apart(np.random.default_rng(2), 0.7)
    whole = permutation_null(X, y, groups, L2_GRID)
    assert 0 < whole.as_good < whole.permutations == 499
    monkeypatch.setattr(room, "_AT_ONCE", 11 * 60 * 7)
    assert permutation_null(X, y, groups, L2_GRID) == whole


def test_texts_move_as_a_whole() -> None:
    """Of 24 texts, in pairs; a label at one token of five, at random or as it says."""
    rng = np.random.default_rng(5)
    groups, owner = np.repeat(np.arange(12), 10), np.repeat(np.arange(24), 5)
    marks = rng.permutation(np.arange(24) % 2).astype(np.int8)
    texts = [slice(5 * i, 5 * i + 5) for i in rng.permutation(24).tolist()]
    X, y = rng.normal(size=(120, 4)), marks[owner]
    units = Units.texts(
        np.arange(120), Sample.of_one_scorer(y, groups), texts, Aggregate.parse("max")
    )
    assert permutation_null(X, y, groups, L2_GRID, units).p > 0.05
    X[::5, 0] += 6 * y[::5]
    assert permutation_null(X, y, groups, L2_GRID, units).p < 0.025
