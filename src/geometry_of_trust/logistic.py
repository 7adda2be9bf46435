"""The two convex problems of training, solved to the limit of float64.

The only room that uses scikit-learn. Formulas: docs/mathematics.md, sections 5 and 6.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from geometry_of_trust.errors import DidNotConverge
from geometry_of_trust.exact import round32

Array = NDArray[np.float64]
Labels = NDArray[Any]

GRADIENT_TOLERANCE = 1e-12
"""Of the gradient at the optimum, relative to the sizes of the terms that cancel in it."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Minimiser of (1/n)Σ log-loss + (λ/2)‖v‖² over x ↦ v·(x − centre)/scale + b."""

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


def fit(X: Array, y: Labels, strength: float) -> Fit:
    """The fit to rows X, shape (n, r), with labels y, 0 or 1, both present; λ = strength > 0.

    Rows are centred, which moves b only, and divided by their median length: a language model
    has a few states a hundred times longer than the others, which a mean would follow.

    Raises:
        DidNotConverge: the solver stalled before the optimum.
    """
    n, r = X.shape
    centre = X.mean(axis=0)
    A = X - centre
    lengths = np.sqrt(np.square(A).sum(axis=1))
    scale = float(np.median(lengths)) or float(lengths.max()) or 1.0
    A /= scale
    model = LogisticRegression(
        C=1 / (n * strength), solver="newton-cholesky", tol=strength * 1e-3, max_iter=200
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged is measured below
        model.fit(A, y)
    start = np.append(model.coef_[0], model.intercept_[0])
    solution, gradient = _polished(np.column_stack([A, np.ones(n)]), y, strength, start)
    if not gradient <= GRADIENT_TOLERANCE:
        raise DidNotConverge(
            "logistic regression",
            expected=f"a gradient below {GRADIENT_TOLERANCE:g}",
            found=f"{gradient:.3g}",
            hint="Give a larger --l2.",
        )
    return Fit(
        solution[:r], float(solution[r]), centre, scale, strength, int(model.n_iter_[0]), gradient
    )


def residuals(logits: Array, y: Labels) -> Array:
    """Label minus σ(logit), without cancellation."""
    sign = np.where(y == 1, 1.0, -1.0)
    values: Array = sign * expit(-sign * logits)
    return values


def _polished(A: Array, y: Labels, strength: float, start: Array) -> tuple[Array, float]:
    """Newton steps from a solution to the limit of float64; the last column of A is the bias.

    Returns:
        The best point, and its gradient relative to the terms that cancel in it.
    """
    n = len(y)
    penalty = np.full(A.shape[1], strength)
    penalty[-1] = 0.0
    lengths = np.sqrt(np.square(A).sum(axis=1))
    point, best, best_gradient = start, start, math.inf
    for _ in range(30):
        r = residuals(A @ point, y)
        g = A.T @ r / n - penalty * point
        terms = np.abs(r) @ lengths / n + strength * float(np.linalg.norm(point[:-1]))
        gradient = float(np.linalg.norm(g) / terms)
        if best_gradient <= GRADIENT_TOLERANCE and not gradient < 0.5 * best_gradient:
            break  # no more to be had
        best, best_gradient = point, gradient
        curvature = np.abs(r) * (1 - np.abs(r)) / n
        hessian = (A.T * curvature) @ A
        hessian[np.diag_indices(len(g))] += penalty
        unit = 1 / np.sqrt(np.diagonal(hessian))  # the bias may be on another scale
        try:
            factor = cho_factor(hessian * unit * unit[:, np.newaxis])
        except LinAlgError:
            break
        point = best + unit * cho_solve(factor, unit * g)
    return best, best_gradient


def platt(scores: Array, labels: Labels) -> tuple[float, float]:
    """(a, c) that minimise the cross-entropy of σ(a·score + c) with smoothed targets, a ≥ 0.

    Targets are (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2) (Platt; Lin, Lin and Weng 2007). Where the
    minimum over all a would be negative, the scores order the rows worse than chance; the
    constrained minimum is a = 0, a confidence that says the base rate and no more.

    Returns:
        Float32 values.

    Raises:
        DidNotConverge: the solver stalled.
    """
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
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
