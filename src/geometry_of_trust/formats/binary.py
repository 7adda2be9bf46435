"""The files of the flow (`.gotact`, `.gotue`, `.labels`): read and write them.

Byte by byte in docs/formats.md. The binary ones are read through a memory map: opening costs
neither time nor memory in proportion to the values, which are looked at when first used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    LayerIndexChanged,
    NonFinite,
    PositionOrder,
    UnknownPrecision,
)
from geometry_of_trust.files import PathLike, StagedFiles
from geometry_of_trust.formats.arrays import (
    FLOAT32,
    PRECISIONS,
    Activations,
    Layout,
    Unembedding,
    check_counts,
    check_layers,
    check_model_id,
)
from geometry_of_trust.formats.gotact import CHUNK_BYTES, ActivationsSink, Body
from geometry_of_trust.formats.labels import labels_stub, read_labels
from geometry_of_trust.formats.mapped_file import VERSION, MappedFile

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

# --- activations ------------------------------------------------------------------------------


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
    bodies = [Body(layout, file.cursor, layers, positions, d) for layout in get_args(Layout)]
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


def _checked_indices(file: MappedFile, body: Body) -> tuple[int, ...]:
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
