"""The two convex problems: their minima are those of slower, independent minimisers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from geometry_of_trust.errors import DidNotConverge
from geometry_of_trust.probing import logistic
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.logistic import LogisticProblem, fit_logistic, platt_scaling


def rows(n: int = 200, d: int = 6) -> tuple[Array, Labels]:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), (np.arange(n) % 2).astype(np.int8)
    X[:, 0] += y
    return X, y


# --- logistic regression ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "strength"), [(200, 1.0), (200, 1e-4), (8, 1e-2)])
def test_the_optimum_is_that_of_a_general_minimiser(n: int, strength: float) -> None:
    """scipy's trust region, told neither gradient nor Hessian, from zero."""
    X, y = rows(n, 4)
    fit = fit_logistic(X, y, strength)
    A, sign = (X - fit.centre) / fit.scale, 2.0 * y - 1
    assert fit.scale == pytest.approx(np.median(np.linalg.norm(X - X.mean(axis=0), axis=1)))

    def objective(point: Array) -> float:
        margins = sign * (A @ point[:-1] + point[-1])
        return float(np.logaddexp(0, -margins).mean() + strength / 2 * point[:-1] @ point[:-1])

    found = minimize(objective, np.zeros(5), method="trust-constr", options={"gtol": 1e-10})
    ours = np.append(fit.v, fit.b)
    assert objective(ours) <= found.fun + 1e-12
    assert np.allclose(ours, found.x, rtol=1e-3, atol=1e-4)
    assert fit.gradient < 1e-12
    assert np.allclose(fit.logits(X), A @ fit.v + fit.b)


@pytest.mark.parametrize("strength", [1.0, 1e-3, 1e-6])
def test_the_optimum_is_scikit_learns(strength: float) -> None:
    X, y = rows()
    A = X - X.mean(axis=0)
    A /= np.median(np.linalg.norm(A, axis=1))
    peer = LogisticRegression(C=1 / (len(y) * strength), tol=1e-10, max_iter=10_000).fit(A, y)
    assert np.allclose(peer.coef_[0], fit_logistic(X, y, strength).v, rtol=1e-4, atol=1e-6)


def test_solver_goes_far_below_float32() -> None:
    X, y = rows()
    tighter = [fit_logistic(X - shift, y, 1e-3) for shift in (0.0, 1.0)]
    assert np.linalg.norm(tighter[0].v - tighter[1].v) < 1e-12 * np.linalg.norm(tighter[0].v)


def test_the_optimum_is_the_same_wherever_it_starts() -> None:
    X, y = rows()
    problem = LogisticProblem.of(X, y)
    alone = fit_logistic(X, y, 1e-3)
    for start in problem.rough((100.0, 1e-3, 1e-6)):
        fit = problem.exact(1e-3, start)
        assert np.allclose(fit.v, alone.v, rtol=1e-9, atol=1e-12)
        assert fit.gradient < 1e-12


def test_newton_steps_do_not_overshoot_where_one_row_is_far_out() -> None:
    """Rows of SmolLM2 (three principal directions), one of them the state of a first token.

    Whole steps went round: the far row has no curvature where it is right, and all of it where the
    next step puts it.
    """
    X = np.array([
        [0.96, -0.09, 0.06], [0.93, -0.08, -0.05], [0.90, -0.05, -0.01], [0.93, 0.04, -0.07],
        [0.94, -0.03, 0.03], [0.89, 0.02, 0.12], [0.91, -0.07, 0.10], [0.80, 0.08, 0.06],
        [0.90, -0.04, -0.10], [0.93, -0.21, 0.03], [0.96, -0.07, 0.12], [0.89, 0.03, 0.08],
        [0.93, 0.10, 0.00], [0.98, -0.12, 0.04], [0.96, -0.06, -0.10], [0.81, 0.08, 0.05],
        [0.91, 0.03, -0.16], [0.89, 0.09, -0.05], [0.90, 0.06, -0.10], [-54.59, 0.00, 0.00],
    ])  # fmt: skip
    y = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0], np.int8)
    assert all(fit_logistic(X, y, strength).gradient < 1e-12 for strength in (1e-6, 1e-7))


def test_rough_fits_are_near_the_optimum_and_say_that_they_are_rough() -> None:
    X, y = rows()
    (rough,) = LogisticProblem.of(X, y).rough((1e-2,))
    assert math.isnan(rough.gradient)
    assert np.allclose(rough.logits(X), fit_logistic(X, y, 1e-2).logits(X), atol=0.05)


def test_residuals_do_not_cancel() -> None:
    assert logistic.residuals(np.array([50.0, -50.0]), np.array([1, 0])) == pytest.approx(
        [math.exp(-50), -math.exp(-50)]
    )


def test_a_solver_that_stalls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "GRADIENT_TOLERANCE", 1e-40)
    X, y = rows(12)
    with pytest.raises(DidNotConverge):
        fit_logistic(X, y, 1e-3)
    with pytest.raises(DidNotConverge):
        platt_scaling(X[:, 0], y)


# --- Platt scaling ----------------------------------------------------------------------------


def test_platt_agrees_with_an_independent_optimiser() -> None:
    rng = np.random.default_rng(1)
    for n, gain, shift in ((40, 0.3, 1.0), (200, 20.0, -3.0), (9, 1.0, 0.0)):
        scores = rng.normal(size=n) * 5
        y = (rng.random(n) < 1 / (1 + np.exp(-(scores / 5 + shift)))).astype(np.int8)
        y[:2] = 0, 1
        scores += gain * y
        ones = int(y.sum())
        t = np.where(y == 1, (ones + 1) / (ones + 2), 1 / (n - ones + 2))

        def loss(point: Array, f: Array = scores, t: Array = t) -> float:
            q = point[0] * f + point[1]
            return float((np.logaddexp(0, q) - t * q).sum())

        a, c = platt_scaling(scores, y)
        best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9})
        assert a > 0
        assert loss(np.array([a, c])) <= best.fun + 1e-6
        assert (a, c) == pytest.approx(tuple(best.x), rel=1e-3, abs=1e-3)
        assert (a, c) == (float(np.float32(a)), float(np.float32(c)))


def test_platt_never_turns_a_probe_round() -> None:
    scores = np.array([3.0, 2.0, -1.0, -2.0, -4.0])
    y = np.array([0, 0, 1, 1, 1], np.int8)
    a, c = platt_scaling(scores, y)
    mean_target = (3 * 4 / 5 + 2 * 1 / 4) / 5
    assert a == 0.0
    assert c == pytest.approx(math.log(mean_target / (1 - mean_target)))
    assert platt_scaling(np.full(5, 2.0), y) == (a, c)
    assert platt_scaling(-scores, y)[0] > 0


def test_platt_of_separated_scores_is_finite() -> None:
    scores = np.concatenate([np.full(50, -1e3), np.full(50, 1e3)])
    y = np.repeat([0, 1], 50).astype(np.int8)
    a, c = platt_scaling(scores, y)
    # Two points: the optimum meets the smoothed targets exactly.
    assert a * 1e3 + c == pytest.approx(math.log(51))
    assert a * -1e3 + c == pytest.approx(-math.log(51))


def test_platt_scaling_of_many_is_not_that_of_one_far_out() -> None:
    """Control: where all rows are that far out, a is for these."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 2).astype(np.int8)
    scores = rng.normal(size=200) + 2 * y
    a, c = platt_scaling(scores, y)
    scores[1] = -500.0
    assert platt_scaling(scores, y) == pytest.approx((a, c), rel=0.25)
    assert platt_scaling(250 * scores, y)[0] < a / 200
