"""The bytes of a `.gotact` file: where each word stands, reading, writing.

Byte by byte in docs/formats.md. What is large is mapped: opening costs neither time nor memory in
proportion to the values, which are looked at when first used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadHeader,
    LayerIndexChanged,
    PositionOrder,
    UnknownPrecision,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import (
    CHUNK_BYTES,
    FLOAT32,
    PRECISIONS,
    Activations,
    Layout,
    check_counts,
    check_layers,
    check_model_id,
)
from geometry_of_trust.formats.binary_file import VERSION, BinaryFile
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.outputs.staged_files import StagedFiles


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
        positions = max(1, CHUNK_BYTES // self.record)
        for l0 in range(0, self.layers, layers):
            for p0 in range(0, self.positions, positions):
                yield (
                    l0,
                    min(l0 + layers, self.layers),
                    p0,
                    min(p0 + positions, self.positions),
                )


# --- reading ----------------------------------------------------------------------------------


def read_activations(path: PathLike) -> Activations:
    """Open a `.gotact` file of either layout; every stored index is checked, no value is looked at.

    Values: shape (layers, P, d), float32, a view of the file's bytes.

    Raises:
        Unreadable, FileChanged, BadMagic, UnsupportedVersion: as `BinaryFile`.
        BadHeader: a field of the header is impossible, or the model id is not UTF-8.
        UnknownPrecision: a precision tag above 3.
        Truncated, TrailingBytes: the length is that of neither layout.
        LayerOrder, PositionOrder, LayerIndexChanged: the stored indices are not in order.
    """
    file = BinaryFile(path, b"GOTA")
    where = file.where
    length = file.number("<I", "model id")
    check_model_id(where, length)
    try:
        model_id = file.take(length, "model id").decode()
    except UnicodeDecodeError:
        raise BadHeader(where, expected="a model id in UTF-8", found="other bytes") from None
    tag = file.number("<B", "precision tag")
    if tag >= len(PRECISIONS):
        raise UnknownPrecision(where, expected=f"0 to {len(PRECISIONS) - 1}", found=tag)
    d, layers, positions = (
        file.number("<I", name) for name in ("hidden_dim", "num_layers", "num_positions")
    )
    check_counts(where, hidden_dim=d, num_layers=layers, num_positions=positions)
    bodies = [Body(layout, file.cursor, layers, positions, d) for layout in get_args(Layout)]
    body = bodies[file.expect_length(*(candidate.end for candidate in bodies))]
    return Activations(
        model_id=model_id,
        precision=PRECISIONS[tag],
        layers=_checked_indices(file, body),
        positions=range(positions),
        values=file.floats(
            (layers, positions, d),
            body.start + body.stride - positions * body.record + body.record - 4 * d,
            (body.stride, body.record, 4),
        ),
        layout=body.layout,
        source=where,
    )


def _checked_indices(file: BinaryFile, body: Body) -> tuple[int, ...]:
    """The layer indices, once every stored index is seen to be right; in bounded memory."""
    per_position = body.layout == "per-position"
    shape, strides = (body.layers, body.positions), (body.stride, body.record)
    layer_words = file.words(shape, body.start, strides)  # per layer, only the first column
    position_words = file.words(shape, body.start + 4, strides)
    layers = np.empty(body.layers, np.uint32)
    for l0, l1, p0, p1 in body.chunks():
        layers[l0:l1] = settled(layer_words[l0:l1, 0])
        if per_position:
            wrong = settled(layer_words[l0:l1, p0:p1]) != layers[l0:l1, np.newaxis]
            if wrong.any():
                k, p = np.argwhere(wrong)[0]
                raise LayerIndexChanged(
                    f"{file.where}, layer {layers[l0 + k]}, position {p0 + p}",
                    expected=f"layer index {layers[l0 + k]}",
                    found=settled(layer_words[l0 + k, p0 + p, np.newaxis])[0],
                )
        wrong = settled(position_words[l0:l1, p0:p1]) != np.arange(p0, p1)
        if wrong.any():
            k, p = np.argwhere(wrong)[0]
            raise PositionOrder(
                f"{file.where}, layer {layers[l0 + k]}",
                expected=f"position {p0 + p}",
                found=settled(position_words[l0 + k, p0 + p, np.newaxis])[0],
            )
    found = tuple(layers.tolist())
    check_layers(file.where, found)
    return found


# --- writing ----------------------------------------------------------------------------------


def write_activations(
    path: PathLike, activations: Activations, layout: Layout | None = None
) -> None:
    """Write a `.gotact` file, in the activations' own layout if none is given.

    Raises:
        Unwritable: the folder or the disk does not take it; nothing was left behind.
    """
    with StagedFiles() as staged:
        stage_activations(staged, path, activations, layout)


def stage_activations(
    staged: StagedFiles, path: PathLike, activations: Activations, layout: Layout | None = None
) -> None:
    """Write a `.gotact` file that appears together with the others of `staged`.

    Raises:
        BadOption: `path` is staged already.
        Unwritable: the file cannot be made. OSError: nor be written to, which `staged` translates.
    """
    values = activations.values
    sink = ActivationsSink(
        staged.open(path),
        model_id=activations.model_id,
        precision=activations.precision,
        layers=activations.layers,
        shape=values.shape[1:],
        layout=layout or activations.layout,
    )
    sink.write_header()
    for k in range(len(activations.layers)):
        sink.write_layer(k, values[k])


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
            self._handle.write(self._records(k, p0, settled(states[p0 : p0 + rows])).data)

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
