"""Rules 3, 6 and 8 in plain Python floats, which are float64: slow, and made of steps alone."""

from __future__ import annotations

import math

import numpy as np

from arithmetic.rounding_oracle import NAN, correctly_rounded

EPSILON = 1e-5


def to_float32(value: float) -> np.float32:
    """One rounding; every not-a-number is the same one."""
    with np.errstate(all="ignore"):
        return np.uint32(NAN).view(np.float32) if math.isnan(value) else np.float32(value)


def number(value: float) -> float:
    return float(to_float32(value))


def divided(a: float, b: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def root(value: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.float64(value)))


def lane_sum(values: list[float]) -> float:
    lanes = [0.0] * 16
    for i, value in enumerate(values):
        lanes[i % 16] += value
    for half in (8, 4, 2, 1):
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
    return lanes[0]


def function(name: str, value: float) -> float:
    word = correctly_rounded(name, int(to_float32(value).view(np.uint32)))
    return float(np.uint32(word).view(np.float32))


def softmax(row: list[float]) -> list[float]:
    if all(value == -math.inf for value in row):
        return [0.0] * len(row)
    greatest = max((value for value in row if not math.isnan(value)), default=math.nan)
    powers = [function("exp", number(value - greatest)) for value in row]
    total = lane_sum(powers)
    return [divided(power, total) for power in powers]


def layer_norm(row: list[float], weight: list[float], bias: list[float]) -> list[float]:
    mean = lane_sum(row) / len(row)
    variance = lane_sum([(x - mean) * (x - mean) for x in row]) / len(row)
    scale = divided(1, root(variance + EPSILON))
    return [(x - mean) * scale * w + b for x, w, b in zip(row, weight, bias, strict=True)]


def rms_norm(row: list[float], weight: list[float]) -> list[float]:
    scale = divided(1, root(lane_sum([x * x for x in row]) / len(row) + EPSILON))
    return [x * scale * w for x, w in zip(row, weight, strict=True)]


def stepwise(row: list[float], weight: list[float], one_more: bool) -> list[float]:
    variance = number(lane_sum([x * x for x in row]) / len(row))
    scale = function("rsqrt", number(variance + number(EPSILON)))
    weight = [number(1 + w) if one_more else w for w in weight]
    return [number(w * number(x * scale)) for x, w in zip(row, weight, strict=True)]
