"""The bytes of a `.gotact` file: where each word stands, and a file that is being written.

Byte by byte in docs/formats.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.formats.arrays import FLOAT32, PRECISIONS, Layout, check_counts
from geometry_of_trust.formats.mapped_file import VERSION

CHUNK_BYTES = 8 * 2**20
"""How much of a file is looked at, or prepared for writing, at a time."""


@dataclass(frozen=True)
class Body:
    """Where the words of a `.gotact` body are, in bytes, under one of the two layouts."""

    layout: Layout
    start: int
    layers: int
    positions: int
    d: int

    @property
    def record(self) -> int:
        """Of one row, with its indices."""
        return 4 * self.d + (4 if self.layout == "per-layer" else 8)

    @property
    def stride(self) -> int:
        """Of one layer."""
        return self.positions * self.record + (4 if self.layout == "per-layer" else 0)

    @property
    def end(self) -> int:
        """Of the whole file."""
        return self.start + self.layers * self.stride

    def chunks(self) -> Iterator[tuple[int, int, int, int]]:
        """Ranges of layers and of positions, each of about `CHUNK_BYTES` of the file."""
        layers = max(1, CHUNK_BYTES // self.stride)
        positions = self.positions if layers > 1 else max(1, CHUNK_BYTES // self.record)
        for l0 in range(0, self.layers, layers):
            for p0 in range(0, self.positions, positions):
                yield (
                    l0,
                    min(l0 + layers, self.layers),
                    p0,
                    min(p0 + positions, self.positions),
                )


class ActivationsSink:
    """A `.gotact` file that is being written, in order or row by row in any order.

    In order: `write_header`, then `write_layer` for each layer. In any order: `allocate`, then
    `put` until every row is there.

    Args:
        handle: where it goes; for `put` and `get` a real file.
        model_id, precision, layers, layout: as of `Activations`.
        shape: (positions, d).
    """

    def __init__(
        self,
        handle: BinaryIO,
        *,
        model_id: str,
        precision: str,
        layers: Sequence[int],
        shape: tuple[int, int],
        layout: Layout,
    ) -> None:
        self._handle = handle
        self._layers = tuple(layers)
        name, tag = model_id.encode(), PRECISIONS.index(precision)
        positions, d = shape
        check_counts("activations", num_layers=len(layers), num_positions=positions, hidden_dim=d)
        self._header = (
            b"GOTA"
            + struct.pack("<HI", VERSION, len(name))
            + name
            + struct.pack("<BIII", tag, d, len(layers), positions)
        )
        self._body = Body(layout, len(self._header), len(layers), positions, d)
        self._words = 1 if layout == "per-layer" else 2

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._body.end

    def write_header(self) -> None:
        """Write what comes before the first layer."""
        self._handle.write(self._header)

    def write_layer(self, k: int, states: NDArray[np.float32]) -> None:
        """Write the states of the k-th layer, shape (positions, d), a few MB at a time."""
        if self._words == 1:
            self._handle.write(struct.pack("<I", self._layers[k]))
        rows = max(1, CHUNK_BYTES // self._body.record)
        for p0 in range(0, len(states), rows):
            self._handle.write(self._records(k, p0, states[p0 : p0 + rows]).data)

    def _records(self, k: int, first: int, states: NDArray[np.float32]) -> NDArray[np.uint32]:
        records = np.empty((len(states), self._words + self._body.d), "<u4")
        records[:, 0] = self._layers[k]
        records[:, self._words - 1] = np.arange(first, first + len(states))
        records[:, self._words :] = states.view(np.uint32)  # bits: a NaN keeps its payload
        return records

    def allocate(self) -> None:
        """Reserve the whole file's space on the disk and write all but the rows.

        Raises:
            OSError: there is not enough.
        """
        number = self._handle.fileno()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(number, 0, self.size)
        else:
            os.truncate(number, self.size)
        self._write_at(0, self._header)
        if self._words == 1:
            for k, layer in enumerate(self._layers):
                self._write_at(self._offset(k, 0) - 4, struct.pack("<I", layer))

    def _write_at(self, offset: int, data: bytes) -> None:
        while data:  # the system may take less than it is given
            written = os.pwrite(self._handle.fileno(), data, offset)
            offset, data = offset + written, data[written:]

    def _offset(self, k: int, row: int) -> int:
        body = self._body
        first = body.start + k * body.stride + (4 if self._words == 1 else 0)
        return first + row * body.record

    def put(self, first: int, states: NDArray[np.float32]) -> None:
        """Write consecutive rows of all layers: states (layers, n, d), from row `first` on."""
        for k, rows in enumerate(states):
            self._write_at(self._offset(k, first), self._records(k, first, rows).tobytes())

    def get(self, first: int, count: int) -> NDArray[np.float32]:
        """Read consecutive rows back, as they are on the disk: (layers, count, d)."""
        states = np.empty((len(self._layers), count, self._body.d), FLOAT32)
        size = count * self._body.record
        for k in range(len(states)):
            data = os.pread(self._handle.fileno(), size, self._offset(k, first))
            records = np.frombuffer(data.ljust(size, b"\0"), "<u4").reshape(count, -1)
            states[k] = records[:, self._words :].view(FLOAT32)
        return states
