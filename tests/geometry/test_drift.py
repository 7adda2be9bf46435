"""Drift against cases worked out by hand, and against sums of fractions."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.geometry.drift import LARGEST, gram_moved, principal_angles, probe_moved

Single = NDArray[np.float32]
V2 = np.array([[2, 1], [1, 5]], np.float32)
MOVED = np.array([[2, 1], [1, 6]], np.float32)


def vector(*numbers: float) -> Single:
    return np.array(numbers, np.float32)


def test_the_references_vector() -> None:
    """reference.md, section 14, V12."""
    whole = gram_moved(V2, MOVED)
    assert whole.drift == np.float32(0.1796053)
    assert whole.distance == pytest.approx(0.1543034, abs=1e-7)
    tall = probe_moved(vector(0, 1), V2, MOVED)
    assert (tall.drift, tall.distance) == (float(np.float32(0.2)), float(np.float32(1 / 6)))
    flat = probe_moved(vector(1, 0), V2, MOVED)
    assert (flat.drift, flat.distance) == (0.0, 0.0)


def fractions(matrix: Single) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in matrix]


def root32(q: Fraction) -> float:
    """RN₃₂(√q) by a hundred digits."""
    with localcontext() as context:
        context.prec = 100
        root = (Decimal(q.numerator) / Decimal(q.denominator)).sqrt()
        near = np.float32(float(root))
        around = [np.nextafter(near, np.float32(-1)), near, np.nextafter(near, np.float32(np.inf))]
        return float(min(around, key=lambda x: abs(Decimal(float(x)) - root)))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-7, 1e-20])
def test_norms_are_exact_sums_rounded_once(scale: float) -> None:
    rng = np.random.default_rng(int(-math.log10(scale)))
    for d in (1, 3, 17):
        half = rng.normal(size=(d, d)) * np.exp(8 * rng.normal(size=(d, 1)))
        before = (half @ half.T).astype(np.float32)
        after = (before * (1 + scale * rng.normal(size=(d, d)))).astype(np.float32)
        x, y = fractions(before), fractions(after)
        apart = sum(
            (b - a) ** 2 for r, s in zip(x, y, strict=True) for a, b in zip(r, s, strict=True)
        )
        squares = sum(a * a for row in x for a in row)
        greater = max(squares, sum(a * a for row in y for a in row))
        found = gram_moved(before, after)
        assert found.drift == root32(Fraction(apart) / squares)
        assert found.distance == root32(Fraction(apart) / greater)


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-12])
def test_directions_are_exact_sums_rounded_once(size: float) -> None:
    """However short a probe is: the ratio has no unit."""
    rng = np.random.default_rng(3)
    half = rng.normal(size=(9, 9))
    before = (half @ half.T).astype(np.float32)
    after = (before + 1e-6 * np.eye(9)).astype(np.float32)
    w = (size * rng.normal(size=9)).astype(np.float32)

    def form(matrix: Single) -> Fraction:
        weights = [Fraction(float(x)) for x in w]
        return sum(
            (a * p * b for a, row in zip(weights, fractions(matrix), strict=True)
             for p, b in zip(row, weights, strict=True)),
            Fraction(0),
        )  # fmt: skip

    ratio = abs(form(after) - form(before)) / form(before)
    assert probe_moved(w, before, after).drift == float(np.float32(float(ratio)))


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_root_beside_the_middle_of_two_float32_is_rounded_to_its_side(off: int) -> None:
    """The drift is 1 + 2⁻²⁴, the middle; or the root of a little more or less than its square."""
    unit = 2.0**-24  # (1 + u)² = 1 + 2u + u², each of them a square or two
    before = np.zeros((3, 3), np.float32)
    before[0, 0] = 1
    after = before.copy()
    after[0, 0] = 2
    after[0, 1] = after[1, 0] = 2.0**-12  # two squares of 2⁻²⁴
    after[1, 1] = unit
    after[2, 2] = 2.0**-70 if off > 0 else 0
    if off < 0:
        after[1, 1] = np.nextafter(np.float32(unit), np.float32(0))
    expected = 1 + 2.0**-23 if off > 0 else 1.0
    assert gram_moved(before, after).drift == expected


def test_from_nothing() -> None:
    zero = np.zeros((2, 2), np.float32)
    assert gram_moved(zero, zero).drift == gram_moved(zero, zero).distance == 0.0
    assert gram_moved(zero, V2).drift == LARGEST
    assert gram_moved(zero, V2).distance == 1.0
    assert gram_moved(V2, zero).drift == 1.0
    w = vector(1, 1)
    assert probe_moved(w, zero, zero).drift == 0.0
    assert (probe_moved(w, zero, V2).drift, probe_moved(w, zero, V2).distance) == (LARGEST, 1.0)
    assert probe_moved(vector(0, 0), V2, MOVED).drift == 0.0


def test_beyond_float32() -> None:
    tiny, huge = np.full((1, 1), 1e-38, np.float32), np.full((1, 1), 1e38, np.float32)
    assert gram_moved(tiny, huge).drift == LARGEST
    assert probe_moved(vector(1), tiny, huge).drift == LARGEST
    assert gram_moved(huge, tiny).drift == 1.0


def test_of_a_matrix_that_is_taken_in_several_parts() -> None:
    """Rows beyond the first megabytes count, too."""
    d = 1100
    before = np.eye(d, dtype=np.float32)
    after = before.copy()
    after[-1, -1] = 3
    assert gram_moved(before, after).drift == root32(Fraction(4, d))


# --- angles -----------------------------------------------------------------------------------


def test_angles_of_planes() -> None:
    for turn in (1e-9, 1e-3, 0.5, 1.0, math.pi / 2):
        a = np.array([[1.0, 0], [0, 1], [0, 0], [0, 0]])
        b = np.array([[1.0, 0], [0, math.cos(turn)], [0, math.sin(turn)], [0, 0]])
        small, large = principal_angles(a, b @ np.array([[1.0, 2], [3, 5]]))
        assert small == pytest.approx(0, abs=1e-6)
        assert large == pytest.approx(math.degrees(turn), rel=1e-7)
