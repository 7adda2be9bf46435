"""The two convex problems of training, solved to the limit of float64.

Formulas: docs/mathematics.md, sections 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit

from geometry_of_trust.errors import DidNotConverge
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Labels

GRADIENT_TOLERANCE = 1e-12
"""Of the gradient at the optimum, relative to the sizes of the terms that cancel in it."""

ROUGH_TOLERANCE = 1e-4
"""Greatest component of the gradient, in units of the mean loss, at the end of a rough fit."""

_NEAR = 1e-3
"""Relative gradient above which each Newton step has a Hessian of its own."""

REACH = 10
"""Scores count so many median distances (from their class's median) past both medians at most."""


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Minimiser of (1/n)Σ log-loss + (λ/2)‖v‖² over x ↦ v·(x − centre)/scale + b.

    Attributes:
        v: shape (r,). b: the bias. centre: shape (r,). scale: a length, as the rows have.
        strength: λ. iterations: of L-BFGS for a rough fit, else Hessians.
        gradient: its norm relative to the terms that cancel in it; NaN for a rough fit.
    """

    v: Array
    b: float
    centre: Array
    scale: float
    strength: float
    iterations: int
    gradient: float

    def logits(self, X: Array) -> Array:
        """The logits of the rows of X, shape (m, r), float64."""
        values: Array = (X - self.centre) @ (self.v / self.scale) + self.b
        return values


def fit_logistic(X: Array, y: Labels, strength: float) -> LogisticFit:
    """The fit for one λ, reached over rough ones to those that are 10, 100, … times as strong.

    The optimum is unique, and reached whatever the start.

    Args:
        X: rows, shape (n, r). y: 0 or 1, both present, shape (n,). strength: λ > 0.

    Raises:
        DidNotConverge: the solver stalled before an optimum.
    """
    problem = LogisticProblem.of(X, y)
    above = [strength * 10.0**k for k in range(20, 0, -1)]
    start = problem.rough([*(s for s in above if s <= 100), strength])[-1]
    return problem.exact(strength, start)


@dataclass(frozen=True, eq=False)
class LogisticProblem:
    """Rows to fit to, in the units of the fit.

    Rows are centred, which moves b only, and divided by their median length: a language model has
    a few states a hundred times longer than the others, which a mean would follow.

    Attributes:
        A: shape (n, r + 1); the last column, of ones, is the bias.
        y: 0 or 1, both present, shape (n,).
        centre, scale: what was subtracted, shape (r,), and divided by.
    """

    A: Array
    y: Labels
    centre: Array
    scale: float

    @classmethod
    def of(cls, X: Array, y: Labels) -> LogisticProblem:
        """For rows X, shape (n, r), with labels y, 0 or 1, shape (n,)."""
        centre = X.mean(axis=0)
        A = np.column_stack([X - centre, np.ones(len(X))])
        lengths = np.sqrt(np.square(A[:, :-1]).sum(axis=1))
        scale = float(np.median(lengths)) or float(lengths.max()) or 1.0
        A[:, :-1] /= scale
        return cls(A, y, centre, scale)

    def rough(self, strengths: Sequence[float]) -> list[LogisticFit]:
        """Fits good enough to tell penalties apart, by L-BFGS: a tenth of the time of exact ones.

        Each starts from the one before; `gradient` is NaN, as it is not known relative to terms.
        """
        sign = np.where(self.y == 1, 1.0, -1.0)
        point, fits = self._base(), []
        for strength in strengths:
            penalty = np.append(np.full(len(point) - 1, strength), 0.0)

            def objective(v: Array, penalty: Array = penalty) -> tuple[float, Array]:
                margin, pull = sign * (self.A @ v), penalty * v
                slope = pull - (sign * expit(-margin)) @ self.A / len(sign)
                return float(np.logaddexp(0.0, -margin).mean() + pull @ v / 2), slope

            found = minimize(
                objective,
                point,
                method="L-BFGS-B",
                jac=True,
                options={"gtol": ROUGH_TOLERANCE, "ftol": 0.0, "maxiter": 1000},
            )
            point = found.x
            fits.append(self._fit(point, strength, int(found.nit), math.nan))
        return fits

    def exact(self, strength: float, start: LogisticFit) -> LogisticFit:
        """The fit for one λ, from `start`.

        Raises:
            DidNotConverge: the solver stalled before an optimum.
        """
        point, gradient, iterations = _newton(self.A, self.y, strength, np.append(start.v, start.b))
        if not gradient <= GRADIENT_TOLERANCE:
            raise DidNotConverge(
                "logistic regression",
                expected=f"a gradient below {GRADIENT_TOLERANCE:g}",
                found=f"{gradient:.3g}",
                hint="Give a larger --l2.",
            )
        return self._fit(point, strength, iterations, gradient)

    def _base(self) -> Array:
        share = float((self.y == 1).mean())
        return np.append(np.zeros(self.A.shape[1] - 1), math.log(share / (1 - share)))

    def _fit(self, point: Array, strength: float, iterations: int, gradient: float) -> LogisticFit:
        v, b = point[:-1], float(point[-1])
        return LogisticFit(v, b, self.centre, self.scale, strength, iterations, gradient)


def residuals(logits: Array, y: Labels) -> Array:
    """Label minus σ(logit), without cancellation; logits and y, 0 or 1, of shape (n,)."""
    sign = np.where(y == 1, 1.0, -1.0)
    values: Array = sign * expit(-sign * logits)
    return values


def _newton(A: Array, y: Labels, strength: float, start: Array) -> tuple[Array, float, int]:
    """Newton steps to the limit of float64; the last column of A is the bias.

    A factored Hessian serves for as long as it brings the gradient down threefold: near the
    optimum a step with an old one costs a hundredth of a new one.

    Returns:
        The best point, its gradient relative to the terms that cancel in it, and the number of
        Hessians.
    """
    n = len(y)
    penalty = np.append(np.full(A.shape[1] - 1, strength), 0.0)
    lengths = np.sqrt(np.square(A).sum(axis=1))
    point, best, best_gradient, before, hessians = start, start, math.inf, math.inf, 0
    solver: _Solver | None = None
    for _ in range(300):
        r = residuals(A @ point, y)
        g = A.T @ r / n - penalty * point
        terms = np.abs(r) @ lengths / n + strength * float(np.linalg.norm(point[:-1]))
        gradient = float(np.linalg.norm(g) / terms)
        if best_gradient <= GRADIENT_TOLERANCE and not gradient < 0.5 * best_gradient:
            break  # no more to be had
        best, best_gradient = point, gradient
        if solver is None or gradient > min(_NEAR, before / 3):
            try:
                solver = _Solver(A, np.abs(r) * (1 - np.abs(r)) / n, penalty)
            except LinAlgError:
                break
            hessians += 1
        step = solver.step(g)
        size = solver.descent(y, point, step, float(g @ step))
        point, before = point + size * step, gradient
    return best, best_gradient, hessians


class _Solver:
    """A factored Hessian AᵀCA + diag(penalty)."""

    def __init__(self, A: Array, curvature: Array, penalty: Array) -> None:
        self._A, self._penalty = A, penalty
        half = A * np.sqrt(curvature)[:, np.newaxis]
        hessian = half.T @ half
        hessian[np.diag_indices(len(penalty))] += penalty
        self._unit = 1 / np.sqrt(np.diagonal(hessian))  # the bias may be on another scale
        hessian *= self._unit
        hessian *= self._unit[:, np.newaxis]
        self._factor = cho_factor(hessian, overwrite_a=True, check_finite=False)

    def step(self, g: Array) -> Array:
        """The Newton step where the gradient of what is maximised is g."""
        step: Array = self._unit * cho_solve(self._factor, self._unit * g, check_finite=False)
        return step

    def descent(self, y: Labels, point: Array, step: Array, slope: float) -> float:
        """How much of a step to go: the first of 1, ½, ¼, … that lowers the objective enough."""
        sign = np.where(y == 1, -1.0, 1.0)
        here, along = sign * (self._A @ point), sign * (self._A @ step)

        def value(size: float) -> float:
            moved = point + size * step
            loss = np.logaddexp(0.0, here + size * along).mean()
            return float(loss + self._penalty @ moved**2 / 2)

        start, size = value(0.0), 1.0
        while size > 1e-6 and value(size) > start - 1e-4 * size * slope + 1e-12 * abs(start):
            size /= 2
        return size


def platt_scaling(scores: Array, labels: Labels) -> tuple[float, float]:
    """(a, c) that minimise the cross-entropy of σ(a·score + c) with smoothed targets, a ≥ 0.

    Targets are (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2) (Platt; Lin, Lin and Weng 2007). Where the
    minimum over all a would be negative, the scores order the rows worse than chance; the
    constrained minimum is a = 0, a confidence that says the base rate and no more.

    Scores further out than `REACH` are moved there: a few rows hundreds of times as long as the
    others would make a, and with it the confidence in all others, as small as one of them needs.

    Args:
        scores: shape (n,), float64. labels: 0 or 1, both present, shape (n,).

    Returns:
        Float32 values.

    Raises:
        DidNotConverge: the solver stalled.
    """
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    middles = np.array([np.median(scores[labels == label]) for label in (0, 1)])
    reach = REACH * float(np.median(np.abs(scores - middles[labels])))
    if reach > 0:
        scores = np.clip(scores, middles.min() - reach, middles.max() + reach)
    mean, spread = float(scores.mean()), float(scores.std())
    base = float(targets.mean())
    flat = 0.0, round32(math.log(base / (1 - base)))
    if spread == 0:
        return flat
    A = np.column_stack([(scores - mean) / spread, np.ones(len(scores))])
    a, c = _platt_newton(A, targets, np.array([0.0, flat[1]]))
    if a <= 0:
        return flat
    return round32(a / spread), round32(c - a * mean / spread)


def _platt_newton(A: Array, targets: Array, start: Array) -> tuple[float, float]:
    def loss(point: Array) -> float:
        q = A @ point
        return float((np.logaddexp(0.0, q) - targets * q).sum())

    point, value = start, loss(start)
    for _ in range(100):
        p = expit(A @ point)
        g = A.T @ (targets - p)
        if np.linalg.norm(g) <= GRADIENT_TOLERANCE * len(A):
            return float(point[0]), float(point[1])
        step = np.linalg.solve((A.T * (p * (1 - p))) @ A, g)
        size = 1.0
        # Halved until it descends; at the bottom rounding hides descent, and the step is whole.
        while size > 1e-6 and loss(point + size * step) > value * (1 + 1e-12):
            size /= 2
        point = point + size * step
        value = loss(point)
    raise DidNotConverge("Platt scaling", expected="a minimum", found=f"gradient {g}")
