"""A large file that must read the same whenever it is read, without a copy of it."""

from __future__ import annotations

import io
import os
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from geometry_of_trust.errors import FileChanged, Unreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = bytes(12)


def _new_key() -> AESGCM:
    """A key for tags of blocks.

    A tag of AES-GCM is a polynomial hash of the block, at a secret point, under a mask. Nobody sees
    the tags, so that one nonce does for all: who does not know the key finds two blocks of one tag
    with a chance below 2^-110. It is as fast as memory is, and other threads run meanwhile.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - large files

    return AESGCM(AESGCM.generate_key(128))


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
        self._seen: dict[int, bytes] = {}
        self._key = _new_key()

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, both inside the file.

        Raises:
            FileChanged: some of them are others than they were before, or gone.
            Unreadable: the system cannot read them.
        """
        data = bytearray(stop - start)
        self.read_into(memoryview(data), start)
        return bytes(data)

    def read_into(self, buffer: memoryview, start: int) -> None:
        """Fill a buffer of bytes with those from `start` on, all inside the file.

        Raises:
            FileChanged, Unreadable: as `read`; the buffer may hold anything then.
        """
        stop = start + len(buffer)
        for number in range(start // self.BLOCK, -(-stop // self.BLOCK)):
            first = number * self.BLOCK
            last = min(first + self.BLOCK, self.size)
            low, high = max(first, start), min(last, stop)
            part = buffer[low - start : high - start]
            if len(part) == last - first:
                self._fill(part, number)
            else:
                whole = memoryview(bytearray(last - first))
                self._fill(whole, number)
                part[:] = whole[low - first : high - first]

    def _fill(self, block: memoryview, number: int) -> None:
        """Read a whole block to where it is wanted, and hold that against what it was."""
        try:
            count = os.preadv(self._number, [block], number * self.BLOCK)
        except OSError as error:
            found = error.strerror or str(error)
            raise Unreadable(self.path, expected="a readable file", found=found) from None
        tag = self._key.encrypt(_NONCE, b"", block)
        if count != len(block) or self._seen.setdefault(number, tag) != tag:
            raise self._changed()

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
