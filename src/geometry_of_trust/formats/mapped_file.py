"""A binary file seen through a memory map: fields in order, exact lengths, bounded memory."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadMagic,
    TrailingBytes,
    Truncated,
    Unreadable,
    UnsupportedVersion,
)
from geometry_of_trust.files import PathLike, opened, reason

VERSION = 1
KINDS = {b"GOTA": "activations", b"GOTU": "an unembedding", b"GOTG": "a geometry checkpoint"}


class MappedFile:
    """A file of one of the binary formats, mapped for reading, with a cursor for its header.

    Opening checks the magic and the version. Nothing is read but what is asked for. The map lives
    as long as an array made by `view`.

    Raises:
        Unreadable: the file cannot be opened or mapped.
        BadMagic: it does not begin with `magic`.
        UnsupportedVersion: its version is not 1.
        Truncated: it ends inside the magic or the version.
    """

    def __init__(self, path: PathLike, magic: bytes) -> None:
        self.where = os.fspath(path)
        self.cursor = 0
        with opened(path) as handle:
            try:
                self.size = os.fstat(handle.fileno()).st_size
                self._map = (
                    mmap.mmap(handle.fileno(), self.size, access=mmap.ACCESS_READ)
                    if self.size  # an empty file cannot be mapped
                    else None
                )
            except (OSError, ValueError) as error:
                found = reason(error) if isinstance(error, OSError) else str(error)
                raise Unreadable(path, expected="a file that can be mapped", found=found) from None
        self._check_magic(magic)
        version = self.number("<H", "version")
        if version != VERSION:
            raise UnsupportedVersion(self.where, expected=f"version {VERSION}", found=version)

    def _check_magic(self, magic: bytes) -> None:
        start = self._bytes(0, min(self.size, 64))
        found = start[: len(magic)]
        if found == magic:
            self.cursor = len(magic)
        elif magic.startswith(found):
            self.take(len(magic), "magic")  # too short: Truncated
        else:
            hint = f"This is the magic of {KINDS[found]}." if found in KINDS else ""
            if start.lstrip()[:1] in (b"[", b"{"):
                hint = (
                    "It looks like JSON. The reference's JSON form of this file is not read: "
                    "load it in Python and write it with geometry_of_trust.formats.binary."
                )
            raise BadMagic(self.where, expected=repr(magic), found=repr(found), hint=hint)

    def _bytes(self, start: int, stop: int) -> bytes:
        return b"" if self._map is None else self._map[start:stop]

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes of the header; Truncated if the file ends before."""
        end = self.cursor + count
        if end > self.size:
            raise Truncated(
                self.where,
                expected=f"at least {end} bytes, to the end of its {field}",
                found=f"{self.size} bytes",
            )
        data = self._bytes(self.cursor, end)
        self.cursor = end
        return data

    def number(self, code: str, field: str) -> int:
        """The next unsigned integer of the header; `code` as in `struct`."""
        (value,) = struct.unpack(code, self.take(struct.calcsize(code), field))
        return int(value)

    def expect_length(self, *lengths: int) -> int:
        """Which of `lengths` the file has; against the first when it has none of them.

        Raises:
            Truncated: the file is shorter than the first length.
            TrailingBytes: it is longer.
        """
        if self.size in lengths:
            return lengths.index(self.size)
        kind = Truncated if self.size < lengths[0] else TrailingBytes
        expected = " or ".join(str(length) for length in lengths)
        raise kind(self.where, expected=f"{expected} bytes", found=f"{self.size} bytes")

    def view(
        self, dtype: str, shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
    ) -> NDArray[Any]:
        """A read-only array over the map, possibly unaligned; no byte is read.

        The caller has checked the file's length, so that the array lies inside it.
        """
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset, strides=strides)

    def release(self, start: int, stop: int) -> None:
        """Give the pages of this range back, so that a pass over the file stays small in memory."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            start -= start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, start, min(stop, self.size) - start)
