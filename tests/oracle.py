"""Slow arithmetic, most of it over the rationals, written apart from the code that it judges."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = Fraction(float(np.finfo(np.float32).max))


def nearest32(x: Fraction) -> np.float32:
    """The nearest float32 by comparing candidates; ties to the even mantissa; zero is +0."""
    if abs(x) >= LARGEST + Fraction(2) ** 103:
        return np.float32(np.inf if x > 0 else -np.inf)
    middle = np.float32(max(min(float(x), float(LARGEST)), -float(LARGEST)))
    with np.errstate(over="ignore"):
        around = [np.nextafter(middle, np.float32(side)) for side in (-np.inf, np.inf)]
    candidates = [c for c in (middle, *around) if np.isfinite(c)]
    best = min(candidates, key=lambda c: (abs(Fraction(float(c)) - x), int(c.view(np.uint32)) & 1))
    return np.float32(best + np.float32(0))


def same_bits(a: Any, b: Any) -> bool:
    """Whether two numbers or arrays are one and the same in float32, sign of zero included."""
    return np.array(a, np.float32).tobytes() == np.array(b, np.float32).tobytes()


def gram(U: NDArray[Any]) -> NDArray[np.float32]:
    """UᵀU, each entry exact and rounded once."""
    columns = [[Fraction(float(x)) for x in column] for column in U.T]
    return np.array(
        [[nearest32(sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))) for b in columns]
         for a in columns], np.float32,
    )  # fmt: skip


def reading(w: NDArray[Any], phi: NDArray[Any], rows: NDArray[Any], b: float) -> np.float32:
    """RN₃₂(wᵀΦh̄ + b)."""
    d = len(w)
    zero = Fraction(0)
    mean = [sum((Fraction(float(x)) for x in rows[:, j]), zero) / len(rows) for j in range(d)]
    total = Fraction(float(b))
    for i in range(d):
        for j in range(d):
            total += Fraction(float(w[i])) * Fraction(float(phi[i, j])) * mean[j]
    return nearest32(total)


def positive_definite(A: list[list[Fraction]]) -> bool:
    """Whether all pivots of exact elimination are positive."""
    S = [row[:] for row in A]
    n = len(S)
    for k in range(n):
        if S[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            factor = S[i][k] / S[k][k]
            for j in range(k, n):
                S[i][j] -= factor * S[k][j]
    return True


def expected_calibration_error(p: NDArray[Any], y: NDArray[Any]) -> float:
    """ECE = Σ_k (n_k/n)·|mean p − share of positives| over ten equal bins (reference.md 7.5).

    A bin is closed below and open above, the last one closed; empty bins count nothing.
    """
    gaps = [0.0] * 10
    for probability, label in zip(p.tolist(), y.tolist(), strict=True):
        bin_ = max(k for k in range(10) if probability >= k / 10)
        gaps[bin_] += probability - label
    return sum(map(abs, gaps)) / len(p)


def auroc(scores: NDArray[Any], y: NDArray[Any]) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; ties half."""
    gaps = scores[y == 1][:, np.newaxis] - scores[y == 0]
    return float(((gaps > 0) + (gaps == 0) / 2).mean())


def penalty(H: NDArray[Any], phi: NDArray[Any]) -> NDArray[Any]:
    """The matrix P of a fit's penalty fᵀPf on f = Φw, as docs/mathematics.md states it."""
    spreads = np.median(np.abs(H - np.median(H, axis=0)), axis=0)
    weight = 0.1 * np.median(spreads**2 * np.diag(phi))
    expected: NDArray[Any] = np.diag(spreads**2) + weight * np.linalg.inv(phi)
    return expected
