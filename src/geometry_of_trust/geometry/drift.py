"""How far one inner product has moved from another (reference.md 7.6 and 7.8).

Every figure but the angles is a quotient of sums over the reals, rounded once to float32: the same
bytes on every machine. Formulas: docs/mathematics.md, section 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.geometry.exact import exact_image, exact_sums, round32, row_slices

Array = NDArray[np.float64]
Single = NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)
"""The drift from nothing to something, and of what float32 does not reach."""


@dataclass(frozen=True)
class Moved:
    """How far something moved: from the reference, and in relation to the greater of the two.

    Attributes:
        drift: relative to what it was; a float32 value.
        distance: relative to the greater of what it was and what it is, from 0 to 2; a float32
            value (the alignment distance of reference.md 7.8).
    """

    drift: float
    distance: float


def gram_moved(reference: Single, current: Single) -> Moved:
    """‖Φ − Φref‖ / ‖Φref‖ and ‖Φ − Φref‖ / max(‖Φ‖, ‖Φref‖), Frobenius norms over the reals.

    Args:
        reference, current: Φref and Φ, shape (d, d), float32, finite.
    """
    before = after = both = Fraction(0)
    for part in row_slices(len(reference)):
        x, y = reference[part].astype(np.float64), current[part].astype(np.float64)
        before += sum(exact_sums(x * x), Fraction(0))
        after += sum(exact_sums(y * y), Fraction(0))
        both += sum(exact_sums(x * y), Fraction(0))
    apart, greater = before + after - 2 * both, max(before, after)
    drift = _root32(apart / before) if before else LARGEST * bool(apart)
    return Moved(drift, _root32(apart / greater) if greater else 0.0)


def probe_moved(weights: Single, reference: Single, current: Single) -> Moved:
    """|wᵀΦw − wᵀΦref·w| over |wᵀΦref·w|, and over the greater of |wᵀΦw| and |wᵀΦref·w|.

    Args:
        weights: w, shape (d,). reference, current: as of `gram_moved`.
    """
    w = weights.astype(np.float64)
    before, after = _quadratic_form(w, reference), _quadratic_form(w, current)
    apart, greater = abs(after - before), max(abs(before), abs(after))
    drift = _quotient32(apart / abs(before)) if before else LARGEST * bool(apart)
    return Moved(drift, _quotient32(apart / greater) if greater else 0.0)


def _quadratic_form(w: Array, phi: Single) -> Fraction:
    """wᵀΦw over the reals."""
    return sum(
        (Fraction(x) * y for x, y in zip(w.tolist(), exact_image(w, phi), strict=True)),
        Fraction(0),
    )


def _quotient32(q: Fraction) -> float:
    return min(round32(q), LARGEST)


def _root32(q: Fraction) -> float:
    """RN₃₂(√q), at most `LARGEST`."""
    shift = max(0, 65 - (q.numerator.bit_length() - q.denominator.bit_length()) // 2)
    scaled, rest = divmod(q.numerator << 2 * shift, q.denominator)
    root = math.isqrt(scaled)
    # At least 64 bits, and one more that says whether the root goes on: enough to round it once.
    inexact = rest != 0 or root * root != scaled
    return _quotient32(Fraction(2 * root + inexact, 2 << shift))


def principal_angles(a: Array, b: Array) -> tuple[float, ...]:
    """The angles between the spans of the columns of two matrices (Björck and Golub 1973).

    Args:
        a, b: shape (d, k), float64, of k independent columns each.

    Returns:
        k angles in degrees, the smallest first; their last digits differ between machines.
    """
    with threadpool_limits(1, user_api="blas"):
        first, second = np.linalg.qr(a).Q, np.linalg.qr(b).Q
        inner = first.T @ second
        cosines = np.linalg.svd(inner, compute_uv=False)
        sines = np.linalg.svd(second - first @ inner, compute_uv=False)[::-1]
    # The cosine of a small angle, and the sine of a large one, say little of it.
    angles = np.where(
        cosines**2 > 0.5, np.arcsin(np.minimum(sines, 1)), np.arccos(np.minimum(cosines, 1))
    )
    return tuple(np.degrees(angles).tolist())
