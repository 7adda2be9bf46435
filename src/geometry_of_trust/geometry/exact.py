"""Sums of products over the reals, rounded once to float32: the same bytes on every machine.

Each function has a fast path in float64 with a proved bound on its error. Where the bound leaves
the rounding open, and only there, the number is computed again, in the end exactly. No result
depends on the order in which a BLAS adds. Proofs and constants: docs/mathematics.md, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]

UNIT = 2.0**-53
"""Unit roundoff u of float64."""

SLACK = 1 + 2.0**-20
"""Covers the roundings made in computing a bound itself."""


def gamma(n: float) -> float:
    """γ_n = nu / (1 − nu): relative error of a sum in which each term sees n roundings."""
    return n * UNIT / (1 - n * UNIT)


# --- rounding ---------------------------------------------------------------------------------


def to_odd(x: float, residual: float | Fraction) -> float:
    """The real x + residual, |residual| at most half a unit of x, rounded to odd in float64.

    Rounding that to float32 to nearest gives the correct rounding of the real number itself;
    rounding to nearest twice does not (Boldo and Melquiond 2008).
    """
    if residual == 0:
        return x
    if x == 0:
        return math.copysign(5e-324, residual)
    away = (residual > 0) == (x > 0)
    toward_zero = x if away else math.nextafter(x, 0.0)
    bits = np.float64(toward_zero).view(np.uint64) | np.uint64(1)
    return float(bits.view(np.float64))


def round32(x: float | Fraction, residual: float | Fraction = 0.0) -> float:
    """RN₃₂(x + residual): nearest float32, ties to even, never −0; infinite on overflow.

    Args:
        x: a float, or a `Fraction`, which is rounded as it is.
        residual: of a float, what is missing to the real number; only its sign counts where it is
            less than half a unit (see `to_odd`).
    """
    if isinstance(x, Fraction):
        try:
            nearest = float(x)
        except OverflowError:
            return math.inf if x > 0 else -math.inf
        x, residual = nearest, x - Fraction(nearest)
    with np.errstate(over="ignore"):
        return float(np.float32(to_odd(x, residual))) + 0.0


@overload
def bracket32(low: float, high: float) -> tuple[np.float32, np.float32]: ...
@overload
def bracket32(low: Array, high: Array) -> tuple[Single, Single]: ...
def bracket32(
    low: float | Array, high: float | Array
) -> tuple[np.float32 | Single, np.float32 | Single]:
    """RN₃₂ of the ends of an interval; where they agree, that is RN₃₂ of every real number in it.

    Each end first moves outwards by one unit of float64, for the rounding in computing it.

    Args:
        low, high: numbers, or arrays of one shape, float64.

    Returns:
        Both ends, float32, of that shape; infinite on overflow, never −0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        below = np.asarray(np.nextafter(low, -np.inf)).astype(np.float32)
        above = np.asarray(np.nextafter(high, np.inf)).astype(np.float32)
    return below + np.float32(0), above + np.float32(0)


# --- readings ---------------------------------------------------------------------------------


def reading(weights: Single | Array, phi: Single | None, states: Single | Array, b: float) -> float:
    """RN₃₂(wᵀΦh̄ + b) over the reals, h̄ the mean of the states.

    Args:
        weights: w, shape (d,). phi: Φ, shape (d, d), float32, symmetric, or None for the identity.
        states: shape (k, d), k ≥ 1. b: a number. All of them finite float32 values.

    Returns:
        A float32 value; infinite if it overflows.
    """
    w, rows = weights.astype(np.float64), states.astype(np.float64)
    k, d = rows.shape
    total = rows.sum(axis=0)
    size = np.abs(rows).sum(axis=0)
    image, image_size = _image(w, phi)
    value = float(image @ total) / k + b
    # No product passes through more than 2d + k additions and 3 further roundings.
    bound = gamma(2 * d + k + 8) * (float(image_size @ size) / k + abs(b)) * SLACK
    low, high = bracket32(value - bound, value + bound)
    if low == high:
        return float(low)
    exact = sum(map(_times, exact_image(w, phi), exact_sums(rows.T)), Fraction(0))
    return round32(exact / k + Fraction(b))


def readings(
    weights: Single | Array, phi: Single | None, states: Single | Array, b: float
) -> list[float]:
    """RN₃₂(wᵀΦh + b) over the reals for each state h: what `reading` gives for it alone.

    Args:
        weights, phi, b: as of `reading`. states: shape (n, d), finite float32 values.

    Returns:
        n float32 values; infinite where it overflows.
    """
    w = weights.astype(np.float64)
    image, image_size = _image(w, phi)
    in_full: list[Fraction] = []  # Φw, made once a reading is first left open
    read: list[float] = []
    for part in row_slices(len(w), len(states)):
        rows = states[part].astype(np.float64)
        value = rows @ image + b
        # As of `reading`, with k = 1.
        bound = gamma(2 * len(w) + 9) * (np.abs(rows) @ image_size + abs(b)) * SLACK
        low, high = bracket32(value - bound, value + bound)
        for i in np.flatnonzero(low != high).tolist():
            in_full = in_full or exact_image(w, phi)
            exact = sum(map(_times, in_full, map(Fraction, rows[i].tolist())), Fraction(b))
            low[i] = round32(exact)
        read += low.tolist()
    return read


def _image(w: Array, phi: Single | None) -> tuple[Array, Array]:
    """Φw and |Φ||w| in float64, each of shape (d,)."""
    if phi is None:
        return w, np.abs(w)
    image, image_size = np.empty(len(w)), np.empty(len(w))
    for part in row_slices(len(w)):
        block = phi[part].astype(np.float64)
        image[part] = block @ w
        image_size[part] = np.abs(block, out=block) @ np.abs(w)
    return image, image_size


def row_slices(d: int, rows: int | None = None) -> list[slice]:
    """Rows of a matrix of d columns, d of them or so many, some MB of float64 at a time."""
    step, count = max(1, 2**20 // d), d if rows is None else rows
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _times(x: Fraction, y: Fraction) -> Fraction:
    return x * y


def exact_image(w: Array, phi: Single | None) -> list[Fraction]:
    """Φw over the reals.

    Args:
        w: shape (d,). phi: shape (d, d), or None for the identity. Finite float32 values.
    """
    if phi is None:
        return [Fraction(x) for x in w.tolist()]
    image: list[Fraction] = []
    for part in row_slices(len(w)):
        image += exact_sums(phi[part].astype(np.float64) * w)
    return image


def exact_sums(terms: Array) -> list[Fraction]:
    """Sum of each row of `terms`, shape (n, m), over the reals: n of them."""
    sums = [Fraction(0)] * len(terms)
    for heads in head_sums(terms):
        sums = [s + Fraction(x) for s, x in zip(sums, heads.tolist(), strict=True)]
    return sums


def head_sums(terms: Array) -> Iterator[Array]:
    """Few numbers for each row of `terms` that add up, over the reals, to what the row does.

    Heads are extracted until nothing is left: those of one pass add up without any error.

    Args:
        terms: shape (n, m), finite, far from overflow.

    Yields:
        The first of these numbers for each row, shape (n,), then the second, and so on.
    """
    rest = terms.copy()
    while (largest := np.abs(rest).max(axis=1)).any():
        sigma = 2.0 ** (np.frexp(largest)[1] + (rest.shape[1] + 2).bit_length() + 1.0)
        heads = (rest + sigma[:, np.newaxis]) - sigma[:, np.newaxis]
        rest -= heads
        yield heads.sum(axis=1)


def sums32(terms: Array) -> Single:
    """RN₃₂ of the sum over the reals of each row of `terms`, shape (n, m), m few: shape (n,).

    Two-sums from the first to the last lose nothing; they are made until nothing changes any more.
    Then the last is the sum rounded to nearest, and the one before has the sign of what is missing.
    """
    parts = [np.zeros(len(terms)), *terms.T]
    changed = True
    while changed:
        changed = False
        for k in range(1, len(parts)):
            x, y = parts[k - 1], parts[k]
            total = x + y
            part = total - x
            missing = (x - (total - part)) + (y - part)
            changed = changed or not np.array_equal(total, y)
            parts[k - 1], parts[k] = missing, total
    nearest, missing = parts[-1], parts[-2]
    away = (missing > 0) == (nearest > 0)
    odd = np.where(away, nearest, np.nextafter(nearest, 0.0)).view(np.uint64) | np.uint64(1)
    rounded = np.where(missing == 0, nearest, odd.view(np.float64))  # to odd: see `to_odd`
    with np.errstate(over="ignore"):
        single: Single = rounded.astype(np.float32)
    return single + np.float32(0)


def sigmoid(a: float, raw: float, c: float) -> float:
    """RN₃₂(σ(a·raw + c)) over the reals, σ(x) = 1/(1 + e^−x).

    Args:
        a, raw, c: finite float32 values.

    Returns:
        A float32 value from 0 to 1.
    """
    x = a * raw + c  # the product is exact
    if abs(x) < 100:
        decay = math.exp(-abs(x))
        value = (1.0 if x >= 0 else decay) / (1 + decay)
        # A rounding of the sum moves x by u(|a·raw| + |c|); `exp` is taken to err by 8 units.
        bound = value * UNIT * (32 + 2 * (abs(a * raw) + abs(c)))
        low, high = bracket32(value - bound, value + bound)
        if low == high:
            return float(low)
    exact = Fraction(a) * Fraction(raw) + Fraction(c)
    if exact > 100:  # 1 − e^-100
        return 1.0
    if exact < -200:  # e^-200 is far below half of the least float32
        return 0.0
    if exact == 0:
        return 0.5
    return _sigmoid_decimal(exact)


def _sigmoid_decimal(x: Fraction) -> float:
    digits = 40
    while True:  # ends: σ of a rational other than 0 is transcendental, never between two floats
        with localcontext() as context:
            context.prec = digits + 10
            value = 1 / (1 + (Decimal(-x.numerator) / Decimal(x.denominator)).exp())
            bound = abs(value) * Decimal(10) ** -digits
            low, high = round32(Fraction(value - bound)), round32(Fraction(value + bound))
        if low == high:
            return low
        digits *= 2
