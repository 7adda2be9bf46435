"""What is held out was not seen: by the fit, by the choice of λ, by the calibration."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from geometry_of_trust.probing import logistic
from geometry_of_trust.probing.cross_validation import L2_GRID, chosen, crossfit, honest, losses
from geometry_of_trust.probing.logistic import path

Array = NDArray[np.float64]
GRID = L2_GRID[:5]


def study(n: int = 60, d: int = 6) -> tuple[Array, NDArray[np.int8], NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), (np.arange(n) % 2).astype(np.int8)
    X[:, 0] += y
    return X, y, (np.arange(n) // 2) % 5


def test_a_path_ends_where_each_fit_alone_ends() -> None:
    X, y, _ = study()
    for fit in path(X, y, L2_GRID):
        alone = logistic.fit(X, y, fit.strength)
        assert np.allclose(alone.v, fit.v, rtol=1e-9, atol=1e-12)
        assert fit.gradient < 1e-12


@pytest.mark.parametrize("strength", [1.0, 1e-3, 1e-6])
def test_the_optimum_is_scikit_learns(strength: float) -> None:
    X, y, _ = study(200)
    A = X - X.mean(axis=0)
    A /= np.median(np.linalg.norm(A, axis=1))
    peer = LogisticRegression(C=1 / (len(y) * strength), tol=1e-10, max_iter=10_000).fit(A, y)
    assert np.allclose(peer.coef_[0], logistic.fit(X, y, strength).v, rtol=1e-4, atol=1e-6)


def test_no_fit_saw_what_it_scores() -> None:
    X, y, fold = study()
    before = crossfit(X, y, fold, GRID, nested=True)
    assert before.inner is not None
    for k in range(5):
        changed = np.where(fold == k, 1 - y, y).astype(np.int8)
        after = crossfit(X, changed, fold, GRID, nested=True)
        assert after.inner is not None
        close = list(before.inner_close[k])
        assert list(after.inner_close[k]) == close
        assert np.array_equal(
            after.held_out[close][:, fold == k], before.held_out[close][:, fold == k]
        )
        assert not np.allclose(after.held_out[:, fold != k], before.held_out[:, fold != k])
        # Nothing inside of "all but k" knows of the labels of k.
        assert np.array_equal(after.inner[k][close], before.inner[k][close], equal_nan=True)
        assert np.isnan(after.inner[k][:, fold == k]).all()


def test_honest_scores_of_a_fold_do_not_know_its_labels() -> None:
    X, y, fold = study()
    before = honest(crossfit(X, y, fold, GRID, nested=True), y, fold)
    for k in range(5):
        changed = np.where(fold == k, 1 - y, y).astype(np.int8)
        after = honest(crossfit(X, changed, fold, GRID, nested=True), changed, fold)
        assert np.array_equal(after.logits[fold == k], before.logits[fold == k])
        assert np.array_equal(after.log_odds[fold == k], before.log_odds[fold == k])
        assert not np.array_equal(after.log_odds[fold != k], before.log_odds[fold != k])


def test_inner_scores_are_those_of_a_cross_validation_without_the_fold() -> None:
    X, y, fold = study()
    cross = crossfit(X, y, fold, GRID, nested=True)
    assert cross.inner is not None
    rest = fold != 4
    alone = crossfit(X[rest], y[rest], fold[rest], GRID)
    assert cross.inner_close[4] == alone.close
    close = list(alone.close)
    assert np.allclose(cross.inner[4][close][:, rest], alone.held_out[close], rtol=0, atol=1e-12)


def test_what_is_chosen_is_what_exact_fits_would_choose() -> None:
    X, y, fold = study()
    cross = crossfit(X, y, fold, L2_GRID)
    exact = np.empty_like(cross.held_out)
    for k in range(5):
        fits = path(X[fold != k], y[fold != k], L2_GRID)
        exact[:, fold == k] = [fit.logits(X[fold == k]) for fit in fits]
    assert cross.best(y) == chosen(losses(exact, y)) in cross.close
    close = list(cross.close)
    assert 0 < len(close) < len(L2_GRID)
    assert np.allclose(cross.held_out[close], exact[close], rtol=0, atol=1e-10)


def test_not_nested_where_two_folds_are_all_there_is() -> None:
    X, y, _ = study(8)
    cross = crossfit(X, y, (np.arange(8) // 2) % 2, GRID, nested=True)
    assert cross.inner is None
    assert np.isfinite(honest(cross, y, (np.arange(8) // 2) % 2).log_odds).all()


def test_choice_takes_the_stronger_of_equals() -> None:
    assert chosen([0.7, 0.5, 0.5 * (1 - 1e-10), 0.6]) == 1
    assert chosen([0.7, 0.5, 0.5 * (1 - 1e-8), 0.6]) == 2
    assert losses(np.zeros((2, 4)), np.array([0, 1, 0, 1])) == pytest.approx([np.log(2)] * 2)


def test_the_number_of_workers_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, fold = study(90, 20)
    results = []
    for workers in (1, 2, 7):
        monkeypatch.setattr("os.cpu_count", lambda workers=workers: workers)
        cross = crossfit(X, y, fold, GRID, nested=True)
        assert cross.inner is not None
        results.append((cross.held_out.tobytes(), [part.tobytes() for part in cross.inner]))
    assert results[0] == results[1] == results[2]
