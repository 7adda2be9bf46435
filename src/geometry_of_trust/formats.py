"""The files of the flow (`.gotact`, `.gotue`, `.labels`): read and write them.

Byte by byte in docs/formats.md. The binary ones are read through a memory map: opening costs
neither time nor memory in proportion to the values, which are looked at when first used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.arrays import (
    FLOAT32,
    PRECISIONS,
    Activations,
    Layout,
    Unembedding,
    check_counts,
    check_layers,
    check_model_id,
)
from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    LayerIndexChanged,
    NonFinite,
    PositionOrder,
    UnknownPrecision,
)
from geometry_of_trust.files import PathLike, StagedFiles
from geometry_of_trust.labels import labels_stub, read_labels
from geometry_of_trust.mapped import VERSION, MappedFile

__all__ = [
    "PRECISIONS",
    "Activations",
    "ActivationsSink",
    "Layout",
    "Unembedding",
    "labels_stub",
    "read_activations",
    "read_labels",
    "read_unembedding",
    "stage_activations",
    "stage_unembedding",
    "unembedding_size",
    "write_activations",
    "write_unembedding",
]

CHUNK_BYTES = 8 * 2**20
"""How much of a file is looked at, or prepared for writing, at a time."""


# --- activations ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Body:
    """Where the words of a `.gotact` body are, in bytes, under one of the two layouts."""

    layout: Layout
    start: int
    layers: int
    positions: int
    d: int

    @property
    def record(self) -> int:
        return 4 * self.d + (4 if self.layout == "per-layer" else 8)

    @property
    def stride(self) -> int:
        return self.positions * self.record + (4 if self.layout == "per-layer" else 0)

    @property
    def end(self) -> int:
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


def read_activations(path: PathLike) -> Activations:
    """Open a `.gotact` file of either layout; every stored index is checked, no value is read.

    Raises:
        Unreadable, BadMagic, UnsupportedVersion: as `MappedFile`.
        BadHeader: a field of the header is impossible, or the model id is not UTF-8.
        UnknownPrecision: a precision tag above 3.
        Truncated, TrailingBytes: the length is that of neither layout.
        LayerOrder, PositionOrder, LayerIndexChanged: the stored indices are not in order.
    """
    file = MappedFile(path, b"GOTA")
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
    bodies = [_Body(layout, file.cursor, layers, positions, d) for layout in get_args(Layout)]
    body = bodies[file.expect_length(*(candidate.end for candidate in bodies))]
    return Activations(
        model_id=model_id,
        precision=PRECISIONS[tag],
        layers=_checked_indices(file, body),
        positions=range(positions),
        values=file.view(
            "<f4",
            (layers, positions, d),
            body.start + body.stride - positions * body.record + body.record - 4 * d,
            (body.stride, body.record, 4),
        ),
        layout=body.layout,
        source=where,
    )


def _checked_indices(file: MappedFile, body: _Body) -> tuple[int, ...]:
    """The layer indices, once every stored index is seen to be right; in bounded memory."""
    per_position = body.layout == "per-position"
    layer_words = file.view(
        "<u4",
        (body.layers, body.positions if per_position else 1),
        body.start,
        (body.stride, body.record),
    )
    position_words = file.view(
        "<u4", (body.layers, body.positions), body.start + 4, (body.stride, body.record)
    )
    layers = np.empty(body.layers, np.uint32)
    for l0, l1, p0, p1 in body.chunks():
        if p0 == 0:
            layers[l0:l1] = layer_words[l0:l1, 0]
        if per_position:
            wrong = layer_words[l0:l1, p0:p1] != layers[l0:l1, np.newaxis]
            if wrong.any():
                k, p = np.argwhere(wrong)[0]
                raise LayerIndexChanged(
                    f"{file.where}, layer {layers[l0 + k]}, position {p0 + p}",
                    expected=f"layer index {layers[l0 + k]}",
                    found=layer_words[l0 + k, p0 + p],
                )
        wrong = position_words[l0:l1, p0:p1] != np.arange(p0, p1, dtype=np.uint32)
        if wrong.any():
            k, p = np.argwhere(wrong)[0]
            raise PositionOrder(
                f"{file.where}, layer {layers[l0 + k]}",
                expected=f"position {p0 + p}",
                found=position_words[l0 + k, p0 + p],
            )
        first = body.start + l0 * body.stride + p0 * body.record
        file.release(first, body.start + (l1 - 1) * body.stride + p1 * body.record)
    found = tuple(layers.tolist())
    check_layers(file.where, found)
    return found


def write_activations(
    path: PathLike, activations: Activations, layout: Layout | None = None
) -> None:
    """Write a `.gotact` file, in the activations' own layout if none is given.

    Raises:
        Unwritable: nothing was left behind.
    """
    with StagedFiles() as staged:
        stage_activations(staged, path, activations, layout)


def stage_activations(
    staged: StagedFiles, path: PathLike, activations: Activations, layout: Layout | None = None
) -> None:
    """Write a `.gotact` file that appears together with the others of `staged`."""
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
        self._body = _Body(layout, len(self._header), len(layers), positions, d)
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


# --- unembedding ------------------------------------------------------------------------------


def read_unembedding(path: PathLike) -> Unembedding:
    """Open a `.gotue` file; no value is read.

    Raises:
        Unreadable, BadMagic, UnsupportedVersion: as `MappedFile`.
        BadHeader: V or d is zero.
        Truncated, TrailingBytes: the file is not exactly as long as its header says.
    """
    file = MappedFile(path, b"GOTU")
    vocab_size, d = (file.number("<I", name) for name in ("vocab_size", "hidden_dim"))
    check_counts(file.where, vocab_size=vocab_size, hidden_dim=d)
    file.expect_length(file.cursor + 4 * vocab_size * d)
    return Unembedding(file.view("<f4", (vocab_size, d), file.cursor, (4 * d, 4)), file.where)


def write_unembedding(path: PathLike, array: NDArray[Any]) -> None:
    """Write a `.gotue` file from an array of shape (V, d) of any floating-point type.

    A C-contiguous float32 array is written as it is, without a copy; any other is rounded to
    float32 a few MB at a time.

    Raises:
        BadArray: not of two dimensions, or not of a floating-point type.
        NonFinite: a number that is finite in `array` and not in float32.
        Unwritable: nothing was left behind.
    """
    if array.ndim != 2 or array.dtype.kind != "f":
        raise BadArray(
            "unembedding",
            expected="a floating-point array of 2 dimensions",
            found=f"{array.dtype} of {array.ndim} dimensions",
        )
    rows, d = array.shape
    with StagedFiles() as staged:
        stage_unembedding(staged, path, (rows, d), _float32_blocks(array))


def _float32_blocks(array: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    if array.dtype == FLOAT32 and array.flags.c_contiguous:
        yield array
        return
    rows = max(1, CHUNK_BYTES // max(4 * array.shape[1], 1))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        with np.errstate(over="ignore"):
            block = part.astype(FLOAT32, order="C")
        overflown = np.isinf(block) & np.isfinite(part)
        if overflown.any():
            r, j = np.argwhere(overflown)[0]
            raise NonFinite(
                f"unembedding, row {start + r}", expected="a float32 number", found=part[r, j]
            )
        yield block


def unembedding_size(shape: tuple[int, int]) -> int:
    """Bytes of a `.gotue` file of shape (V, d)."""
    vocab_size, d = shape
    return len(_unembedding_header(shape)) + 4 * vocab_size * d


def _unembedding_header(shape: tuple[int, int]) -> bytes:
    return b"GOTU" + struct.pack("<HII", VERSION, *shape)


def stage_unembedding(
    staged: StagedFiles,
    path: PathLike,
    shape: tuple[int, int],
    blocks: Iterable[NDArray[np.float32]],
) -> None:
    """Write a `.gotue` file of shape (V, d) from float32 blocks of its rows, in order.

    Raises:
        BadHeader: V or d is zero or beyond 32 bits.
        BadArray: a block is not float32 with d columns, or the rows do not add up to V.
    """
    vocab_size, d = shape
    check_counts("unembedding", vocab_size=vocab_size, hidden_dim=d)
    handle = staged.open(path)
    handle.write(_unembedding_header(shape))
    rows = 0
    for block in blocks:
        if block.dtype != FLOAT32 or block.ndim != 2 or block.shape[1] != d:
            raise BadArray(
                "unembedding",
                expected=f"float32 blocks of {d} columns",
                found=f"{block.dtype} of shape {block.shape}",
            )
        rows += len(block)
        if rows > vocab_size:
            break
        # Bytes, because memoryview cannot export an unaligned float32 array.
        handle.write(np.ascontiguousarray(block).view(np.uint8).data)
    if rows != vocab_size:
        raise BadArray("unembedding", expected=f"{vocab_size} rows", found=f"{rows} or more")
