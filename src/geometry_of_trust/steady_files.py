"""A large file that must read the same whenever it is read, without a copy of it."""

from __future__ import annotations

import io
import os
import secrets
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

from geometry_of_trust.errors import FileChanged, Unreadable

_SECRET = secrets.token_bytes(32)


class SteadyFile:
    """An open file whose every block is held against what it was when it was first read.

    Whoever writes to the file meanwhile, by whatever way, and whatever times it has then: what is
    read twice is the same twice, or refused. A file that was cut short is refused, too, and does
    not end the program, as a map would.

    Raises:
        OSError: the descriptor cannot be copied.
    """

    BLOCK: ClassVar[int] = 2**18
    """Bytes that are compared as one; less is never read."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._number = os.dup(descriptor)
        weakref.finalize(self, os.close, self._number)
        self._state = _state(self._number)
        self.size = self._state[0]
        self._seen: dict[int, int] = {}

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, both inside the file.

        Raises:
            FileChanged: some of them are others than they were before, or gone.
            Unreadable: the system cannot read them.
        """
        return b"".join(self._parts(start, stop))

    def read_into(self, buffer: memoryview, start: int) -> None:
        """Fill a buffer of bytes with those from `start` on, all inside the file.

        Raises:
            FileChanged, Unreadable: as `read`.
        """
        done = 0
        for part in self._parts(start, start + len(buffer)):
            buffer[done : done + len(part)] = part
            done += len(part)

    def _parts(self, start: int, stop: int) -> Iterator[bytes]:
        for number in range(start // self.BLOCK, -(-stop // self.BLOCK)):
            origin = number * self.BLOCK
            yield self._block(number)[max(start - origin, 0) : stop - origin]

    def _block(self, number: int) -> bytes:
        start = number * self.BLOCK
        size = min(self.BLOCK, self.size - start)
        try:
            data = os.pread(self._number, size, start)
        except OSError as error:
            found = error.strerror or str(error)
            raise Unreadable(self.path, expected="a readable file", found=found) from None
        # Python's hash of bytes is a keyed one (SipHash, PEP 456), five times as fast as SHA-256.
        # The secret keeps it so where the environment sets the key (PYTHONHASHSEED).
        fingerprint = hash(_SECRET + data)
        if len(data) != size or self._seen.setdefault(number, fingerprint) != fingerprint:
            raise self._changed()
        return data

    def check_unchanged(self) -> None:
        """Nobody has written to the file since it was opened, as far as its times tell.

        Raises:
            FileChanged: its size or its times are others; also if it was moved or removed.
        """
        if _state(self._number) != self._state:
            raise self._changed()

    def _changed(self) -> FileChanged:
        found = "one that changed"
        return FileChanged(self.path, expected="a file that nobody writes to", found=found)


class SteadyReader(io.RawIOBase):
    """A handle on a `SteadyFile`, at its beginning; each has a position of its own."""

    def __init__(self, file: SteadyFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file, as handles do."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as far as the file goes.

        Raises:
            FileChanged, Unreadable: as `SteadyFile.read`.
        """
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._file.size - self._at))
        self._file.read_into(view[:count], self._at)
        self._at += count
        return count


def _state(number: int) -> tuple[int, int, int]:
    """Size and times of an open file; the last one no program can set."""
    found = os.fstat(number)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
