"""Numbers that kernels are tried on, and how their results are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("normal", "any bits", "subnormal", "cancelling", "zeros", "not finite")


def numbers(
    rng: np.random.Generator, shape: tuple[int, ...], kind: str = "normal"
) -> NDArray[np.float32]:
    """Float32 of a kind; of every kind but the last, finite."""
    normal = rng.standard_normal(shape).astype(np.float32)
    if kind == "any bits":  # every exponent as likely; finite
        bits = rng.integers(0, 2**32, shape, np.uint32)
        return np.where(bits & 0x7F800000 == 0x7F800000, bits ^ 0x40000000, bits).view(np.float32)
    if kind == "subnormal":  # products underflow, sums of them, too
        return np.ldexp(normal, rng.integers(-140, -60, shape)).astype(np.float32)
    if kind == "cancelling":
        steps = rng.integers(0, 3, shape).astype(np.float32)
        return (np.sign(normal) * (1 + steps / 2**23)).astype(np.float32)
    if kind == "zeros":
        return np.where(rng.random(shape) < 0.7, np.copysign(np.float32(0), normal), normal)
    if kind == "not finite":
        special = rng.choice(np.array([np.inf, -np.inf, np.nan], np.float32), shape)
        return np.where(rng.random(shape) < 0.02, special, normal)
    return normal


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays of float32 are one in every bit; of a NaN, only where it stands."""
    nan = np.isnan(a)
    return bool(
        a.shape == b.shape
        and a.dtype == b.dtype == np.float32
        and (nan == np.isnan(b)).all()
        and (a.view(np.uint32) == b.view(np.uint32))[~nan].all()
    )


def aligned(size: int) -> NDArray[np.uint8]:
    """Scratch of so many bytes, aligned to 64."""
    memory = np.full(size + 64, 0xFF, np.uint8)  # NaN, should it be read before it is written
    start = -memory.ctypes.data % 64
    return memory[start : start + size]
