"""Calls of kernels, made here and carried out by driver.c: many shapes, and numbers of every kind.

The same calls for everybody: the numbers come from a seed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as every
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.arithmetic.library import FUNCTIONS

Array = NDArray[np.generic]
Floats = NDArray[np.float32]

DRIVER = Path(__file__).with_name("driver.c")


@dataclass(frozen=True)
class Out:
    """A buffer that the function writes: what stands in it before."""

    before: Array

    @classmethod
    def floats(cls, *shape: int) -> Out:
        """Full of a number that no result is."""
        return cls(np.full(shape, 12345.678, np.float32))


@dataclass(frozen=True)
class Same:
    """The buffer of an earlier argument, by its place."""

    place: int


Argument = int | float | None | Array | Out | Same


@dataclass(frozen=True)
class Call:
    """A function and its arguments, in the order of kernels.h, but for the scratch memory."""

    function: str
    arguments: tuple[Argument, ...]


def write(calls: Iterator[Call], path: Path) -> None:
    """The file that driver.c reads."""
    with path.open("wb") as handle:
        for call in calls:
            handle.write(f"{call.function} {len(call.arguments)}\n".encode("ascii"))
            for argument in call.arguments:
                _write(argument, handle)


def _write(argument: Argument, handle: IO[bytes]) -> None:
    match argument:
        case None:
            handle.write(struct.pack("<cq", b"n", 0))
        case int():
            handle.write(struct.pack("<cq", b"i", argument))
        case float():
            handle.write(struct.pack("<cd", b"d", argument))
        case Same(place):
            handle.write(struct.pack("<cq", b"r", place))
        case Out(before):
            handle.write(struct.pack("<cq", b"o", before.nbytes) + before.tobytes())
        case _:
            handle.write(struct.pack("<cq", b"b", argument.nbytes) + argument.tobytes())


# --- numbers ----------------------------------------------------------------------------------


def ordinary(rng: np.random.Generator, *shape: int) -> Floats:
    """About 1, as states and weights are."""
    return rng.standard_normal(shape, np.float32)


def any_size(rng: np.random.Generator, *shape: int) -> Floats:
    """Of every exponent that float32 has, subnormal ones too."""
    bits = rng.integers(0, 1 << 32, shape, np.uint32)
    return np.where(bits & 0x7F800000 == 0x7F800000, bits & 0x807FFFFF, bits).view(np.float32)


def tiny(rng: np.random.Generator, *shape: int) -> Floats:
    """So small that products and sums are subnormal, or vanish."""
    return np.ldexp(ordinary(rng, *shape), rng.integers(-80, -60, shape)).astype(np.float32)


def sparse(rng: np.random.Generator, *shape: int) -> Floats:
    """Mostly zeros, of both signs."""
    zeros = np.copysign(np.float32(0), ordinary(rng, *shape))
    return np.where(rng.random(shape) < 0.8, zeros, ordinary(rng, *shape))


def cancelling(rng: np.random.Generator, *shape: int) -> Floats:
    """Large ones that nearly cancel: the last bits of a sum are all there is of it."""
    values = ordinary(rng, *shape)
    values[..., 1::2] = -values[..., : values.shape[-1] - values.shape[-1] % 2 : 2]
    return (values * np.float32(1e6) + ordinary(rng, *shape)).astype(np.float32)


KINDS = (ordinary, any_size, tiny, sparse, cancelling)


def each_bit_pattern(rng: np.random.Generator) -> Floats:
    """Some of all float32: 200 of each exponent and sign, and those where something changes."""
    high = np.repeat(np.arange(512, dtype=np.uint32) << 23, 200)
    bits = high | rng.integers(0, 1 << 23, high.shape, np.uint32)
    edges = np.array([0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000], np.uint32)
    near = rng.uniform(-120, 120, 40_000).astype(np.float32)
    return np.concatenate([bits.view(np.float32), edges.view(np.float32),
                           (edges | 0x80000000).view(np.float32), near])  # fmt: skip


# --- calls ------------------------------------------------------------------------------------


def products(rng: np.random.Generator, count: int) -> Iterator[Call]:
    """Every type of weight, rows apart, weights as they lie or transposed, some of the columns."""
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        m = int(rng.choice([1, 1, 2, 3, 5, 6, 7, 8, 9, 13, 14, 17, 24, 25, 40]))
        kk = int(rng.choice([0, 1, 2, 7, 8, 9, 31, 64, 255, 256, 257, 300, 513]))
        n = int(rng.choice([1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100, 130]))
        kk = 5000 if i % 50 == 0 else kk
        lda, ldy = kk + int(rng.integers(0, 4)), n + int(rng.integers(0, 4))
        transposed, kind_of_weight = bool(rng.integers(0, 2)), i // len(KINDS) % 4
        w = kind(rng, *(kk, n) if transposed else (n, kk))
        scale = None
        if kind_of_weight == 1:
            w = (w.view(np.uint32) >> 16).astype(np.uint16)
        elif kind_of_weight == 2:
            with np.errstate(over="ignore"):
                w = w.astype(np.float16)
        elif kind_of_weight == 3:
            w = rng.integers(-127, 128, w.shape, np.int8)
            scale = np.abs(ordinary(rng, n)) / np.float32(127)
        j0 = int(rng.integers(0, n)) if i % 3 == 0 else 0
        j1 = int(rng.integers(j0, n + 1)) if i % 3 == 0 else n
        strides = (1, n) if transposed else (kk, 1)
        bias = kind(rng, n) if i % 2 else None
        yield Call("product", (
            kind(rng, m, lda), lda, m, kk, w, kind_of_weight, *strides, scale, bias,
            Out.floats(m, ldy), ldy, j0, j1,
        ))  # fmt: skip


def _mask(
    rng: np.random.Generator, kind: int, texts: int, rows: int, keys: int
) -> tuple[Array | None, tuple[int, ...]]:
    if kind < 2:
        return None, (0, 0, 0, 0)
    mask: Array
    if kind == 2:
        mask = (rng.random((texts, 1, rows, keys)) < 0.7).astype(np.uint8)
        mask[0, 0, 0] = 0  # a query that attends to nothing
    else:
        mask = ordinary(rng, texts, 1, rows, keys)
        mask[rng.random(mask.shape) < 0.3] = -np.inf
        mask[0, 0, 0] = -np.inf
    return mask, (rows * keys, 0, keys, 1)


def attentions(rng: np.random.Generator, count: int) -> Iterator[Call]:
    """Masks of each kind, heads that share keys, texts whose heads or whose rows lie together."""
    for i in range(count):
        texts, group, shared = (int(rng.integers(1, 4)) for _ in range(3))
        heads, kind = shared * group, i % 4
        rows = int(rng.choice([1, 2, 5, 8, 17, 33]))
        keys = int(rng.choice([rows, rows + 3, 70, 300])) if kind != 1 else rows
        d, e = int(rng.choice([1, 8, 16, 20, 64])), int(rng.choice([1, 8, 20, 64]))
        size = (ordinary, ordinary, sparse, cancelling)[i // 4 % 4]

        def laid(head_count: int, length: int, width: int) -> tuple[int, int, int]:
            if i % 2:  # noqa: B023 - called in this round
                return head_count * length * width, length * width, width
            return head_count * length * width, width, head_count * width

        mask, mask_strides = _mask(rng, kind, texts, rows, keys)
        h0 = int(rng.integers(0, texts * heads)) if i % 3 == 0 else 0
        yield Call("attention", (
            size(rng, texts, heads, rows, d), size(rng, texts, shared, keys, d),
            ordinary(rng, texts, shared, keys, e), mask, Out.floats(texts, heads, rows, e),
            heads, group, rows, keys, d, e,
            *laid(heads, rows, d), *laid(shared, keys, d), *laid(shared, keys, e),
            *laid(heads, rows, e), *mask_strides, kind, float(1 / np.sqrt(np.float32(d))),
            h0, texts * heads,
        ))  # fmt: skip


def convolutions(rng: np.random.Generator, count: int) -> Iterator[Call]:
    """Of each channel alone, of groups and of all; strides and gaps."""
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        groups, ins, outs = (int(rng.choice([1, 2, 3, 8])) for _ in range(3))
        taps, stride, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 3)), 1 + i % 2
        length = dilation * (taps - 1) + 1 + int(rng.choice([0, 1, 7, 16, 30]))
        after = (length - dilation * (taps - 1) - 1) // stride + 1
        c0 = int(rng.integers(0, outs * groups)) if i % 3 == 0 else 0
        yield Call("convolution", (
            kind(rng, ins * groups, length), ins * groups, length,
            kind(rng, outs * groups, ins, taps), kind(rng, outs * groups) if i % 2 else None,
            outs * groups, groups, taps, stride, dilation, Out.floats(outs * groups, after),
            c0, outs * groups,
        ))  # fmt: skip


def rows(rng: np.random.Generator) -> Iterator[Call]:
    """Sums, softmax and norms of rows of many lengths."""
    for kind, n in every(KINDS, (1, 2, 7, 15, 16, 17, 31, 33, 48, 100, 576)):
        m, ld = int(rng.integers(1, 5)), n + int(rng.integers(0, 3))
        x, w, b = kind(rng, m, ld), ordinary(rng, n), ordinary(rng, n)
        packed = np.ascontiguousarray(x[:, :n])
        masked = np.where(rng.random(x.shape) < 0.3, np.float32(-np.inf), x)
        for name, mean in every(("sum", "sum_of_squares"), (0, 1)):
            yield Call(name, (x, ld, m, n, mean, Out.floats(m)))
        yield Call("softmax", (x, ld, m, n, Out.floats(m, n), n))
        yield Call("softmax", (Out(masked), ld, m, n, Same(0), ld))
        yield Call("layer_norm", (packed, m, n, w, b, 1e-5, Out.floats(m, n)))
        yield Call("layer_norm", (Out(packed), m, n, None, None, 1e-5, Same(0)))
        yield Call("rms_norm", (packed, m, n, w, 1e-6, Out.floats(m, n)))
        yield Call("rms_norm", (packed, m, n, None, 1e-6, Out.floats(m, n)))


def functions(rng: np.random.Generator) -> Iterator[Call]:
    """Each function of one number, over all exponents, and of few numbers: every remainder."""
    values = each_bit_pattern(rng)
    for name in FUNCTIONS:
        yield Call(name, (values, Out.floats(len(values)), len(values)))
        for n in range(20):
            yield Call(name, (Out(ordinary(rng, n)), Same(0), n))


def calls() -> Iterator[Call]:
    """All of them."""
    rng = np.random.default_rng(2026)
    yield from products(rng, 400)
    yield from attentions(rng, 120)
    yield from convolutions(rng, 120)
    yield from rows(rng)
    yield from functions(rng)
