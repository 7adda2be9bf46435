"""Rules 2, 7 and 9 in numpy: slow and plain, one operation of the rule an operation here."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle import nearest32

Floats = NDArray[np.float32]
BLOCK = 256


def fused(a: Any, b: Any, c: Any) -> Floats:
    """RN₃₂(a·b + c): the product is exact in float64, the sum rounded to odd there."""
    with np.errstate(all="ignore"):
        product = np.float64(a) * np.float64(b)
        total = np.asarray(product + np.float64(c))
        back = total - product
        error = (product - (total - back)) + (np.float64(c) - back)
        beside = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
        even = total.view(np.int64) & 1 == 0
        odd = np.where(np.isfinite(total) & (error != 0) & even, beside, total)
        return odd.astype(np.float32)


def fused_exactly(a: float, b: float, c: float) -> np.float32:
    """RN₃₂(a·b + c) of finite numbers over the rationals; the sign of a zero aside."""
    return nearest32(Fraction(a) * Fraction(b) + Fraction(c))


def product(a: Floats, w: Floats, bias: Floats | None = None) -> Floats:
    """Rule 2: rows of a with rows of w."""
    total = np.zeros((len(a), len(w)), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, a.shape[1], BLOCK):
            chain = np.zeros_like(total)
            for k in range(start, min(start + BLOCK, a.shape[1])):
                chain = fused(a[:, k, None], w[None, :, k], chain)
            total = chain if start == 0 else total + chain
        total = total + np.float32(0)
        return total if bias is None else total + bias


def attention(
    query: Floats,
    key: Floats,
    value: Floats,
    *,
    scale: np.float32,
    mask: Floats,
    softmax: Callable[[Floats], Floats],
) -> Floats:
    """Rule 7 of one head; mask is what to add."""
    with np.errstate(all="ignore"):
        scores = product(query, key) * scale + mask
    nothing = (scores == -np.inf).all(axis=1)
    scores[nothing] = 0
    weights = softmax(scores)
    weights[nothing] = 0
    return product(weights, np.ascontiguousarray(value.T))


def convolution(
    x: Floats, w: Floats, bias: Floats | None, *, groups: int, stride: int, dilation: int
) -> Floats:
    """Rule 9: one chain over taps, within each over the channels of the group."""
    outputs, inputs, taps = w.shape
    times = (x.shape[1] - dilation * (taps - 1) - 1) // stride + 1
    y = np.zeros((outputs, times), np.float32)
    with np.errstate(all="ignore"):
        for c in range(outputs):
            first = c // (outputs // groups) * inputs
            for p in range(taps):
                for channel in range(inputs):
                    at = p * dilation + stride * np.arange(times)
                    y[c] = fused(x[first + channel, at], w[c, channel, p], y[c])
        y = y + np.float32(0)
        return y if bias is None else y + bias[:, None]
