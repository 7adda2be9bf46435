"""From states to coordinates in which the inner product is the ordinary one, and back.

Formulas: docs/mathematics.md, section 5.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from geometry_of_trust.errors import NonFinite, NotPositiveDefinite
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.logistic import LogisticFit, residuals


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


def whitened(H: Array, geometry: Geometry) -> Array:
    """Rows x with ⟨x, x'⟩ = (h − h̄)ᵀΦ(h' − h̄): z = Lᵀ(h − h̄), rotated into the rows' span.

    Args:
        H: states, shape (n, d), float64.

    Returns:
        Shape (n, min(n, d)), float64.

    Raises:
        NotPositiveDefinite: Φ has no Cholesky factor.
    """
    Z: Array = (H - H.mean(axis=0)) @ factor(geometry)
    n, d = Z.shape
    if n >= d:
        return Z
    # Z = RᵀQᵀ with orthonormal Q: the optimum lies in the span of Q, where coordinates are Rᵀ.
    return np.ascontiguousarray(np.linalg.qr(Z.T).R.T)


def weights_and_bias(
    solution: LogisticFit, X: Array, H: Array, y: Labels, geometry: Geometry
) -> tuple[NDArray[np.float32], float]:
    """Weights and bias, as float32, for states as they are.

    At the optimum w = L^-ᵀv/s equals Σ_i (y_i − p_i)(h_i − h̄)/(nλs²), which needs no inverse and
    so loses no digits to the condition of Φ.

    Args:
        solution: fitted to X. X: coordinates of the states, shape (n, r).
        H: the states, shape (n, d). y: 0 or 1, shape (n,).

    Returns:
        w, shape (d,), float32, and b, a float32 value.

    Raises:
        NonFinite: one of them is beyond float32.
    """
    centre = H.mean(axis=0)
    A = H - centre
    r = residuals(solution.logits(X), y)
    w = A.T @ r / (len(y) * solution.strength * solution.scale**2)
    with np.errstate(over="ignore"):
        weights = w.astype(np.float32) + np.float32(0)
    if not np.isfinite(weights).all():
        raise NonFinite("probe", expected="weights within float32", found="an overflow")
    # The mean logit is that of the fit, as its rows are centred; rounding w must not move it.
    bias = round32(solution.b - float(geometry.apply(weights.astype(np.float64)) @ centre))
    if not math.isfinite(bias):
        raise NonFinite("probe", expected="a bias within float32", found="an overflow")
    return weights, bias
