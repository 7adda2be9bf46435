"""Bytes of `.gotact` and `.gotue` files for tests, written the slow way from the specification."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.formats.arrays import Layout

V1 = bytes.fromhex(
    "474f54410100010000006d0002000000010000000200000003000000000000000000803f000000c001000000"
    "0000003f00000000"
)
V2 = bytes.fromhex("474f5455010003000000020000000000803f0000000000000000000000400000803f0000803f")
LAYOUTS: tuple[Layout, ...] = ("per-layer", "per-position")


def encode(
    values: NDArray[Any],
    layers: tuple[int, ...],
    layout: str = "per-layer",
    model_id: bytes = b"m",
    tag: int = 0,
) -> bytes:
    """The format once more, written the slow way from the specification."""
    out = b"GOTA" + struct.pack("<HI", 1, len(model_id)) + model_id
    out += struct.pack("<BIII", tag, values.shape[2], values.shape[0], values.shape[1])
    for layer, states in zip(layers, values, strict=True):
        out += struct.pack("<I", layer) if layout == "per-layer" else b""
        for position, state in enumerate(states):
            out += struct.pack("<I", layer) if layout == "per-position" else b""
            out += struct.pack("<I", position) + state.astype("<f4").tobytes()
    return out


def sample(layers: int = 2, positions: int = 3, d: int = 2) -> NDArray[np.float32]:
    count = layers * positions * d
    return (np.arange(count, dtype=np.float32) - 3.5).reshape(layers, positions, d)


PER_LAYER = encode(sample(), (4, 9))
PER_POSITION = encode(sample(), (4, 9), "per-position")
HEADER = len(V1) - 4 - 2 * 12  # of V1 and of the samples: their model id is one letter


def put(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


Read = Callable[[bytes], Any]
EXTREMES = [0, 1, 2, 4096, 4097, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit
