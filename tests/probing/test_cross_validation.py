"""What is held out was not seen: by the fit, by the choice of λ, by the calibration."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import (
    L2_GRID,
    cross_validate,
    least,
    mean_losses,
    nested_scores,
)
from geometry_of_trust.probing.logistic import fit_logistic
from geometry_of_trust.probing.metrics import log_losses

GRID = L2_GRID[:5]


def rows(n: int = 60, d: int = 6) -> tuple[Array, Labels, Indices]:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), (np.arange(n) % 2).astype(np.int8)
    X[:, 0] += y
    return X, y, (np.arange(n) // 2) % 5


def test_no_fit_saw_what_it_scores() -> None:
    X, y, fold = rows()
    before = cross_validate(X, y, fold, GRID, nested=True)
    assert before.inner is not None
    for k in range(5):
        changed = np.where(fold == k, 1 - y, y).astype(np.int8)
        after = cross_validate(X, changed, fold, GRID, nested=True)
        assert after.inner is not None
        near = list(before.inner_candidates[k])
        assert list(after.inner_candidates[k]) == near
        assert np.array_equal(
            after.held_out[near][:, fold == k], before.held_out[near][:, fold == k]
        )
        assert not np.allclose(after.held_out[:, fold != k], before.held_out[:, fold != k])
        # Nothing inside of "all but k" knows of the labels of k.
        assert np.array_equal(after.inner[k][near], before.inner[k][near], equal_nan=True)
        assert np.isnan(after.inner[k][:, fold == k]).all()


def test_nested_scores_of_a_fold_do_not_know_its_labels() -> None:
    X, y, fold = rows()
    before = nested_scores(cross_validate(X, y, fold, GRID, nested=True), y, fold)
    for k in range(5):
        changed = np.where(fold == k, 1 - y, y).astype(np.int8)
        after = nested_scores(cross_validate(X, changed, fold, GRID, nested=True), changed, fold)
        assert np.array_equal(after.logits[fold == k], before.logits[fold == k])
        assert np.array_equal(after.log_odds[fold == k], before.log_odds[fold == k])
        assert not np.array_equal(after.log_odds[fold != k], before.log_odds[fold != k])


def test_inner_scores_are_those_of_a_cross_validation_without_the_fold() -> None:
    X, y, fold = rows()
    cross = cross_validate(X, y, fold, GRID, nested=True)
    assert cross.inner is not None
    rest = fold != 4
    alone = cross_validate(X[rest], y[rest], fold[rest], GRID)
    assert cross.inner_candidates[4] == alone.candidates
    near = list(alone.candidates)
    assert np.allclose(cross.inner[4][near][:, rest], alone.held_out[near], rtol=0, atol=1e-12)


def test_what_is_chosen_is_what_exact_fits_would_choose() -> None:
    X, y, fold = rows()
    cross = cross_validate(X, y, fold, L2_GRID)
    exact = np.empty_like(cross.held_out)
    for k in range(5):
        fits = [fit_logistic(X[fold != k], y[fold != k], strength) for strength in L2_GRID]
        exact[:, fold == k] = [fit.logits(X[fold == k]) for fit in fits]
    assert cross.best(y) == least(mean_losses(exact, y)) in cross.candidates
    near = list(cross.candidates)
    assert 0 < len(near) < len(L2_GRID)
    assert np.allclose(cross.held_out[near], exact[near], rtol=0, atol=1e-10)


def test_not_nested_where_two_folds_are_all_there_is() -> None:
    X, y, _ = rows(8)
    cross = cross_validate(X, y, (np.arange(8) // 2) % 2, GRID, nested=True)
    assert cross.inner is None
    assert np.isfinite(nested_scores(cross, y, (np.arange(8) // 2) % 2).log_odds).all()


def test_choice_takes_the_stronger_of_equals() -> None:
    assert least([0.7, 0.5, 0.5 * (1 - 1e-10), 0.6]) == 1
    assert least([0.7, 0.5, 0.5 * (1 - 1e-8), 0.6]) == 2
    assert mean_losses(np.zeros((2, 4)), np.array([0, 1, 0, 1])) == pytest.approx([np.log(2)] * 2)


def test_a_row_far_out_does_not_choose_the_strength() -> None:
    """Held out, its logit was so wrong that a probe which says nothing had the least loss."""
    X, y, fold = rows(120, 20)
    X[:, 0] = 0.1 * (X[:, 0] + 2 * y)
    X[7] = 300 * np.eye(20)[1]
    cross = cross_validate(X, y, fold, L2_GRID)
    right = [float(np.mean((row > 0) == (y == 1))) for row in cross.held_out]
    assert right[cross.best(y)] > 0.9
    unbounded = log_losses(cross.held_out, y).mean(axis=1)
    assert right[int(unbounded.argmin())] < 0.6  # control: without the bound


def test_the_number_of_workers_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, fold = rows(90, 20)
    results = []
    for workers in (1, 2, 7):
        monkeypatch.setattr("os.cpu_count", lambda workers=workers: workers)
        cross = cross_validate(X, y, fold, GRID, nested=True)
        assert cross.inner is not None
        results.append((cross.held_out.tobytes(), [part.tobytes() for part in cross.inner]))
    assert results[0] == results[1] == results[2]
