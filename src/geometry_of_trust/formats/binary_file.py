"""What the binary formats share: magic, version, header fields in order, exact lengths, views."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadMagic, TrailingBytes, Truncated, UnsupportedVersion
from geometry_of_trust.files import FileBytes, PathLike

VERSION = 1
KINDS = {b"GOTA": "activations", b"GOTU": "an unembedding", b"GOTG": "a geometry checkpoint"}

_INSTEAD = {
    (b"GOTG", b"GOTU"): " got-cli checkpoint makes a .gotgeo of it.",
    (b"GOTU", b"GOTG"): " Give the .gotue that it was made from: its matrix is not in it.",
}
"""What to do where one kind is expected and another one found."""


class BinaryFile:
    """A file of one of the binary formats, with a cursor that goes through its header.

    Opening checks the magic and the version. Of a large file nothing is read but what is asked for:
    it is mapped, and the map lives as long as an array made by `floats` or `words`. Their values
    are had by `settled`.

    Attributes:
        file: its bytes, which are those that are digested, too.
        where: what errors call it: its path.
        cursor: offset in bytes of the next field of the header.

    Raises:
        Unreadable, FileChanged: as `FileBytes`.
        BadMagic: it does not begin with `magic`.
        UnsupportedVersion: its version is not 1.
        Truncated: it ends inside the magic or the version.
    """

    def __init__(self, path: PathLike, magic: bytes) -> None:
        self.file = FileBytes.of(path)
        self.where = self.file.path
        self.cursor = 0
        self._check_magic(magic)
        version = self.number("<H", "version")
        if version != VERSION:
            raise UnsupportedVersion(self.where, expected=f"version {VERSION}", found=version)

    def _check_magic(self, magic: bytes) -> None:
        start = self.file.read(0, 64)
        found = start[: len(magic)]
        if magic.startswith(found):
            self.take(len(magic), "magic")  # Truncated, if that is all there is
        else:
            hint = f"This is the magic of {KINDS[found]}." if found in KINDS else ""
            hint += _INSTEAD.get((magic, found), "")
            if start.lstrip()[:1] in (b"[", b"{"):
                hint = (
                    "It looks like JSON. The reference's JSON form of this file is not read: load "
                    "it in Python and write it with write_activations or write_unembedding."
                )
            raise BadMagic(self.where, expected=repr(magic), found=repr(found), hint=hint)

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes of the header.

        Raises:
            Truncated: the file ends before, in what the error calls `field`.
        """
        end = self.cursor + count
        if end > len(self.file):
            raise Truncated(
                self.where,
                expected=f"at least {end} bytes, to the end of its {field}",
                found=f"{len(self.file)} bytes",
            )
        data = self.file.read(self.cursor, end)
        self.cursor = end
        return data

    def number(self, code: str, field: str) -> int:
        """The next unsigned integer of the header; `code` as in `struct`.

        Raises:
            Truncated: as `take`.
        """
        (value,) = struct.unpack(code, self.take(struct.calcsize(code), field))
        return int(value)

    def expect_length(self, *lengths: int) -> int:
        """Which of `lengths`, in bytes, the file has; against the first when it has none of them.

        Raises:
            Truncated: the file is shorter than the first length.
            TrailingBytes: it is longer.
        """
        size = len(self.file)
        if size in lengths:
            return lengths.index(size)
        kind = Truncated if size < lengths[0] else TrailingBytes
        raise kind(
            self.where,
            expected=f"{' or '.join(map(str, lengths))} bytes",
            found=f"{size} bytes",
        )

    def floats(
        self, shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """A read-only little-endian float32 array over the bytes; none of them is read.

        It has this shape, may be unaligned, and begins at byte `offset`; `strides` are in bytes.
        The caller has checked the file's length, so that it lies inside.
        """
        return np.ndarray(shape, "<f4", buffer=self.file.data, offset=offset, strides=strides)

    def words(
        self, shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
    ) -> NDArray[np.uint32]:
        """As `floats`, of little-endian uint32."""
        return np.ndarray(shape, "<u4", buffer=self.file.data, offset=offset, strides=strides)
