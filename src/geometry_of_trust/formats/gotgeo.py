"""The bytes of a `.gotgeo` file, a geometry checkpoint: reading and writing.

Byte by byte in docs/formats.md. What the numbers mean, and whether the digest in the header is
theirs, is looked at in `geometry.checkpoints`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import CHUNK_BYTES, check_counts
from geometry_of_trust.formats.binary_file import VERSION, BinaryFile
from geometry_of_trust.outputs.staged_files import StagedFiles


@dataclass(frozen=True, eq=False)
class GotgeoFile:
    """What stands in a `.gotgeo` file; no value is looked at.

    Attributes:
        file: its bytes.
        digest: the geometry hash in its header, 64 hex digits.
        values: Φ, shape (d, d), float32, a view of the bytes.
    """

    file: FileBytes
    digest: str
    values: NDArray[np.float32]


def read_gotgeo(path: PathLike) -> GotgeoFile:
    """Open a `.gotgeo` file.

    Raises:
        Unreadable, FileChanged, BadMagic, UnsupportedVersion: as `BinaryFile`.
        BadHeader: d is zero.
        Truncated, TrailingBytes: the file is not exactly as long as its header says.
    """
    file = BinaryFile(path, b"GOTG")
    d = file.number("<I", "hidden_dim")
    check_counts(file.where, hidden_dim=d)
    digest = file.take(32, "geometry hash").hex()
    file.expect_length(file.cursor + 4 * d * d)
    return GotgeoFile(file.file, digest, file.floats((d, d), file.cursor, (4 * d, 4)))


def write_gotgeo(path: PathLike, digest: str, phi: NDArray[np.float32]) -> None:
    """Write a `.gotgeo` file of Φ, shape (d, d), float32, with this digest in its header.

    Raises:
        Unwritable: the folder or the disk does not take it; nothing was left behind.
        OutputExists, NotAFile, UnsafeFolder: as `StagedFiles.open`.
    """
    d = len(phi)
    rows = max(1, CHUNK_BYTES // (4 * d))
    with StagedFiles() as staged:
        handle = staged.open(path)
        handle.write(b"GOTG" + struct.pack("<HI", VERSION, d) + bytes.fromhex(digest))
        for start in range(0, d, rows):
            block = np.ascontiguousarray(phi[start : start + rows], "<f4")
            handle.write(block.view(np.uint8).data)
