"""Numbers and JSON text in their one spelling; exact sums, rounded once to float32.

Written from docs/formats.md and docs/mathematics.md the slow and plain way.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from operator import mul


def f32(x: float) -> float:
    """The float32 nearest to `x`; infinite where it is beyond."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.inf


def bits32(bits: int) -> float:
    """The float32 with these bits."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def next32(x: float, by: int = 1) -> float:
    """The float32 `by` units away from zero from a positive or negative `x`."""
    return bits32(struct.unpack("<I", struct.pack("<f", x))[0] + by)


def rounded(exact: Fraction) -> float:
    """The float32 nearest to a real number, ties to even: of the three candidates, the nearest."""
    near = f32(float(exact))
    if near == 0:
        return 0.0
    candidates = [next32(near, -1), near, next32(near, 1)]
    return min(candidates, key=lambda x: (abs(Fraction(x) - exact), _odd(x)))


def _odd(x: float) -> int:
    return int.from_bytes(struct.pack("<f", x), "little") & 1


def sigmoid(x: Fraction) -> float:
    """The float32 nearest to 1/(1 + e^-x), by 80 decimal digits."""
    with localcontext() as context:
        context.prec = 80
        power = (-(Decimal(x.numerator) / Decimal(x.denominator))).exp()
        return rounded(Fraction(1 / (1 + power)))


def spelled(x: float) -> str:
    """The shortest decimal that reads back to the float32 `x` through a double; -0.0 as 0.0."""
    if x == 0:
        return "0.0"
    exact = abs(Decimal(x))
    for digits in range(1, 18):
        unit = Decimal(1).scaleb(exact.adjusted() - digits + 1)
        floor = exact // unit * unit
        fits = [d for d in (floor, floor + unit) if d and f32(float(d)) == abs(x)]
        if fits:
            return ("-" if x < 0 else "") + _layout(min(fits, key=lambda d: abs(d - exact)))
    raise ValueError(x)


def _layout(number: Decimal) -> str:
    """A positive decimal: plain from 10^-6 up and below 10^13, else with an exponent."""
    _, digit_tuple, power = number.normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    assert isinstance(power, int)
    if Decimal("1e-6") <= number < Decimal("1e13"):
        text = format(number.normalize(), "f")
        return text if "." in text else f"{text}.0"
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{digits[0]}{rest}e{len(digits) + power - 1}"


Json = str | bool | int | float | None | Sequence["Json"] | Mapping[str, "Json"]


def text(value: Json, indent: str = "") -> str:
    """JSON with two spaces of indent, members in the order given, floats as `spelled`."""
    deeper = indent + "  "
    if isinstance(value, Mapping):
        items = [
            f"{json.dumps(k, ensure_ascii=False)}: {text(v, deeper)}" for k, v in value.items()
        ]
        opening, closing = "{", "}"
    elif isinstance(value, list | tuple):
        items = [text(item, deeper) for item in value]
        opening, closing = "[", "]"
    elif isinstance(value, float):
        return spelled(value)
    else:
        return json.dumps(value, ensure_ascii=False)
    if not items:
        return opening + closing
    body = f",\n{deeper}".join(items)
    return f"{opening}\n{deeper}{body}\n{indent}{closing}"


def gram(rows: Sequence[Sequence[float]], added: float = 0.0) -> list[list[float]]:
    """Φ = UᵀU, each entry the exact sum rounded once, and `added` on its diagonal."""
    d = len(rows[0])
    columns = [[Fraction(row[i]) for row in rows] for i in range(d)]
    phi = [
        [rounded(sum(map(mul, left, right), Fraction())) for right in columns] for left in columns
    ]
    for i in range(d):
        phi[i][i] = rounded(Fraction(phi[i][i]) + Fraction(added))
    return phi


def reading(
    weights: Sequence[float],
    phi: Sequence[Sequence[float]],
    states: Sequence[Sequence[float]],
    bias: float,
) -> float:
    """wᵀΦh + b over the reals, h the mean of the states, rounded once."""
    d = len(weights)
    mean = [sum((Fraction(h[j]) for h in states), Fraction()) / len(states) for j in range(d)]
    total = Fraction(bias)
    for i in range(d):
        for j in range(d):
            total += Fraction(weights[i]) * Fraction(phi[i][j]) * mean[j]
    return rounded(total)
