"""What a fit penalises, and coordinates in which that is the ordinary squared length.

Formulas: docs/mathematics.md, section 5. Why this penalty: docs/decisions/0021-penalty.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack, solve_triangular

from geometry_of_trust.errors import DidNotConverge, NonFinite, NotPositiveDefinite
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.logistic import LogisticFit, residuals

LENGTH_SHARE = 0.1
"""μ, what the length of w counts, in units of the median coordinate's σ_j²Φ_jj."""

LEAST_SHARE = 1e-10
"""μ at least, in units of the sum of all σ_j²Φ_jj, which bounds the condition of what is factored
by 10¹⁰: if more than half of the coordinates vary by their rounding only, the median is of that."""

ROUNDING_TOLERANCE = 0.1
"""How far (root mean square) rounding weights and bias may move logits, in their standard
deviations: a correlation of 0.995. What a vocabulary of a sixth of d hardly reads takes 0.01 to
0.05 as a rule, and its probe is good all the same."""


@dataclass(frozen=True, eq=False)
class Penalty:
    """Σ_j σ_j²(Φw)_j² + μ·wᵀΦw of a logit wᵀΦh + b, for the states that it is fitted to.

    Attributes:
        geometry: the inner product.
        spreads: σ_j, the median distance of coordinate j of the states from its median, shape (d,).
        length_weight: μ.
        lower: L, the lower Cholesky factor of Φ, shape (d, d).
    """

    geometry: Geometry
    spreads: Array
    length_weight: float
    lower: Array

    @classmethod
    def of(cls, H: Array, geometry: Geometry) -> Penalty:
        """For states H, shape (n, d), float64; labels have no part in it.

        Raises:
            NotPositiveDefinite: Φ has no Cholesky factor.
            NonFinite: squares of the spreads are beyond float64; not of float32 states.
        """
        with np.errstate(over="ignore"):
            lower, spreads = factor(geometry), _spreads(H)
            # The diagonal of Φ is LLᵀ's: the same for an inner product without a matrix.
            parts = np.square(spreads) * np.square(lower).sum(axis=1)
        varying = parts[spreads > 0]
        typical = float(np.median(varying)) if len(varying) else 1.0
        weight = max(LENGTH_SHARE * typical, LEAST_SHARE * float(parts.sum()))
        if not 0 < weight < math.inf:
            found = f"{spreads.max():.3g}"
            raise NonFinite("states", expected="spreads within float32", found=found)
        return cls(geometry, spreads, weight, lower)

    def coordinates(self, H: Array) -> Array:
        """Rows x, by which the fit is a common ridge: x = R⁻ᵀLᵀ(h − h̄), RᵀR = LᵀDL + μI.

        Args:
            H: states, shape (n, d), float64.

        Returns:
            Shape (n, min(n, d)), float64; rotated into the rows' span.
        """
        scaled = self.spreads[:, np.newaxis] * self.lower
        inner = scaled.T @ scaled
        del scaled  # d × d, as all that is held here
        inner[np.diag_indices_from(inner)] += self.length_weight
        # In place: as it is symmetric, its transpose is what LAPACK takes without a copy.
        upper, _ = lapack.dpotrf(inner.T, lower=0, clean=1, overwrite_a=1)
        Z = (H - H.mean(axis=0)) @ self.lower
        X: Array = np.ascontiguousarray(
            solve_triangular(upper, Z.T, trans="T", check_finite=False).T
        )
        n, d = X.shape
        if n >= d:
            return X
        # X = TᵀQᵀ with orthonormal Q: the optimum lies in the span of Q, where coordinates are Tᵀ.
        return np.ascontiguousarray(np.linalg.qr(X.T).R.T)

    def weights_and_bias(
        self, solution: LogisticFit, X: Array, H: Array, y: Labels
    ) -> tuple[NDArray[np.float32], float]:
        """Weights and bias, as float32, for states as they are.

        At the optimum DΦw + μw = Σ_i (y_i − p_i)(h_i − h̄)/(nλs²), which is solved in units of the
        spreads: there its matrix is at least μ times the identity, whatever the condition of Φ.

        Args:
            solution: fitted to X. X: coordinates of the states, shape (n, r).
            H: the states, shape (n, d). y: 0 or 1, shape (n,).

        Returns:
            w, shape (d,), float32, and b, a float32 value.

        Raises:
            NonFinite: one of them is beyond float32, or all weights are below it.
            DidNotConverge: rounded to float32, they read something else.
        """
        centre, expected = H.mean(axis=0), solution.logits(X)
        pull = (H - centre).T @ residuals(expected, y)
        w = self._solved(pull / (len(y) * solution.strength * solution.scale**2))
        with np.errstate(over="ignore"):
            weights = w.astype(np.float32) + np.float32(0)
        if not np.isfinite(weights).all():
            raise NonFinite("probe", expected="weights within float32", found="an overflow")
        # The mean logit is that of the fit, as its rows are centred; rounding w must not move it.
        reading = self.geometry.apply(weights.astype(np.float64))
        at_centre = float(reading @ centre)
        bias = round32(solution.b - at_centre)
        if not math.isfinite(bias):
            raise NonFinite("probe", expected="a bias within float32", found="an overflow")
        away = (H - centre) @ reading + (at_centre + bias) - expected
        error, spread = float(np.sqrt(np.square(away).mean())), float(expected.std())
        if error > ROUNDING_TOLERANCE * spread + 1e-6:
            if np.abs(weights).max() < np.finfo(np.float32).smallest_normal:
                raise NonFinite("probe", expected="weights within float32", found="an underflow")
            # What is added to a definite Φ is nothing, whatever --epsilon says.
            singular = self.geometry.inner_product == "CausalRegularised"
            raise DidNotConverge(
                "probe",
                expected=f"float32 weights that read as the fit does, to {ROUNDING_TOLERANCE:.0%}",
                found=f"{error:.2g} off where logits spread by {spread:.2g}, "
                f"at --l2 {solution.strength:.3g}",
                hint="Give a larger --epsilon, as Φ hardly reads what the labels follow; or --l2."
                if singular
                else "Give a larger --l2.",
            )
        return weights, bias

    def _solved(self, pull: Array) -> Array:
        """The w of DΦw + μw = pull."""
        w = np.zeros_like(pull)
        varying = self.spreads > 0  # a coordinate that is the same in all rows pulls nothing
        spreads = self.spreads[varying]
        scaled = self.lower[varying]
        scaled *= spreads[:, np.newaxis]
        matrix = scaled @ scaled.T
        del scaled
        matrix[np.diag_indices_from(matrix)] += self.length_weight
        factored = cho_factor(matrix.T, overwrite_a=True, check_finite=False)
        w[varying] = spreads * cho_solve(factored, pull[varying] / spreads, check_finite=False)
        return w


def factor(geometry: Geometry) -> Array:
    """The lower Cholesky factor L of Φ = LLᵀ, shape (d, d), float64.

    By scipy's LAPACK: that of numpy rounds otherwise, and could give a card other last digits.

    Raises:
        NotPositiveDefinite: there is none; Φ of a `Geometry` that was put together by hand.
    """
    if geometry.phi is None:
        return np.eye(geometry.hidden_dim)
    lower: Array
    lower, failed = lapack.dpotrf(geometry.phi.astype(np.float64), lower=1, clean=1)
    if failed:
        raise NotPositiveDefinite("Φ", expected="positive definite", found=f"pivot {failed}")
    return lower


def _spreads(H: Array) -> Array:
    """Median distances from the median, shape (d,); where that is 0, their root mean square.

    A median, because one row must not decide: states of first tokens are hundreds of times as long
    as others. And so a row that is held out has next to no part in its own coordinates.
    """
    away = np.abs(H - np.median(H, axis=0))
    spreads: Array = np.median(away, axis=0)
    return np.where(spreads > 0, spreads, np.sqrt(np.square(away).mean(axis=0)))
