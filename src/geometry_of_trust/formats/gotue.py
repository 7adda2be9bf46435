"""The bytes of a `.gotue` file: reading and writing.

Byte by byte in docs/formats.md. What is large is mapped: opening costs neither time nor memory in
proportion to the values, which are looked at when first used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadArray, NonFinite
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import CHUNK_BYTES, FLOAT32, Unembedding, check_counts
from geometry_of_trust.formats.binary_file import VERSION, BinaryFile
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.outputs.staged_files import StagedFiles


def read_unembedding(path: PathLike) -> Unembedding:
    """Open a `.gotue` file; no value is looked at.

    Values: shape (V, d), float32, a view of the file's bytes.

    Raises:
        Unreadable, FileChanged, BadMagic, UnsupportedVersion: as `BinaryFile`.
        BadHeader: V or d is zero.
        Truncated, TrailingBytes: the file is not exactly as long as its header says.
    """
    file = BinaryFile(path, b"GOTU")
    vocab_size, d = (file.number("<I", name) for name in ("vocab_size", "hidden_dim"))
    check_counts(file.where, vocab_size=vocab_size, hidden_dim=d)
    file.expect_length(file.cursor + 4 * vocab_size * d)
    return Unembedding(file.floats((vocab_size, d), file.cursor, (4 * d, 4)), file.where)


def write_unembedding(path: PathLike, array: NDArray[np.floating]) -> None:
    """Write a `.gotue` file from an array of shape (V, d) of any floating-point type.

    A C-contiguous float32 array is written as it is, without a copy; any other is rounded to
    float32 a few MB at a time.

    Raises:
        BadArray: not of two dimensions, or not of a floating-point type.
        BadHeader: V or d is zero or beyond 32 bits.
        NonFinite: a number that is finite in `array` and not in float32.
        Unwritable: the folder or the disk does not take it; nothing was left behind.
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


def _float32_blocks(array: NDArray[np.floating]) -> Iterator[NDArray[np.float32]]:
    rows = max(1, CHUNK_BYTES // max(4 * array.shape[1], 1))
    for start in range(0, len(array), rows):
        part = settled(array[start : start + rows])
        if part.dtype == FLOAT32 and part.flags.c_contiguous:
            yield part
            continue
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
        BadOption: `path` is staged already.
        Unwritable: the file cannot be made. OSError: nor be written to, which `staged` translates.
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
