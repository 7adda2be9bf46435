"""Files opened once, and bounded reads."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import stat
from collections.abc import Iterator
from functools import cached_property
from typing import SupportsIndex, overload

from geometry_of_trust.errors import FileChanged, TooLarge, Unreadable
from geometry_of_trust.steady_files import SteadyFile, SteadyReader

PathLike = str | os.PathLike[str]
Handle = io.BufferedReader | io.BytesIO

MAX_DOCUMENT_BYTES = 16 * 2**20
"""Largest JSON, text or key file that is read into memory."""

COPIED_BYTES = 64 * 2**20
"""Largest file that `FileBytes` copies into memory; a larger one is mapped."""

_HASHED_AT_ONCE = 4 * SteadyFile.BLOCK
_NEVER_WAITING = os.O_CLOEXEC | os.O_NONBLOCK if os.name == "posix" else getattr(os, "O_BINARY", 0)


def reason(error: OSError | ValueError) -> str:
    """What the operating system said, without the path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[Handle]:
    """Open a regular file for reading; of a `FileBytes`, only look at what it has.

    Raises:
        Unreadable: the file is missing, is not a regular file, or cannot be opened.
    """
    if isinstance(path, FileBytes):
        with path.reader() as reader:
            yield reader
        return
    try:
        number = _opened(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Unreadable(path, expected="a readable file", found=reason(error)) from None
    with os.fdopen(number, "rb") as handle:
        yield handle


def _opened(path: PathLike) -> int:
    """The descriptor of a file; a pipe that takes its name meanwhile is not waited for."""
    if not os.path.isfile(path) and os.path.exists(path):
        raise Unreadable(path, expected="a regular file", found="something else")
    number = os.open(path, os.O_RDONLY | _NEVER_WAITING)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise Unreadable(path, expected="a regular file", found="something else")
    return number


def read_bounded(path: PathLike, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The whole of a small file, never more than `limit` bytes.

    Raises:
        Unreadable: the file cannot be read.
        TooLarge: it holds more than `limit` bytes.
    """
    with opened(path) as handle:
        try:
            data = handle.read(limit + 1)
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None
    if len(data) > limit:
        raise TooLarge(path, expected=f"at most {limit} bytes", found="more")
    return data


def sha256_file(path: PathLike) -> str:
    """SHA-256 of a file as 64 lower-case hex digits, in constant memory.

    Raises:
        Unreadable: the file cannot be read.
    """
    with opened(path) as handle:
        try:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None


class FileBytes(os.PathLike[str]):
    """The bytes of a file, taken once: those that are parsed are those that are digested.

    It stands wherever a path to read from does. What reads then takes these bytes and opens
    nothing, so that no other file can come in between under the same name.

    A file of up to `COPIED_BYTES` is copied, and what happens to it later does not matter. Of a
    larger one each part reads, whenever it is read and by whom, as it did the first time, or
    `FileChanged` is raised (`SteadyFile`): so what is computed with is what was digested.

    Attributes:
        path: what the file was called when it was opened.
        data: its bytes; a read-only map of them if it is large, for arrays to be views of. Nothing
            here reads a map: `read`, `reader` and `formats.mapped_arrays` do not, as it would end
            the program if the file were cut short.

    Raises:
        Unreadable: the file is missing, is not a regular file, or cannot be opened or mapped.
        FileChanged: it grew or shrank while it was copied.
    """

    data: bytes | FileMap

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self.steady: SteadyFile | None = None
        with opened(path) as handle:
            try:
                size = os.fstat(handle.fileno()).st_size
                if size <= COPIED_BYTES:
                    self.data = handle.read(size + 1)
                else:
                    self.steady = SteadyFile(self.path, handle.fileno())
                    self.data = FileMap(handle.fileno(), size, access=mmap.ACCESS_READ)
                    self.data.steady = self.steady
            except (OSError, ValueError) as error:
                found = reason(error)
                raise Unreadable(path, expected="a file that can be read", found=found) from None
        if len(self.data) != size:
            raise FileChanged(self, expected=f"{size} bytes, as when it was opened", found="others")

    @classmethod
    def of(cls, path: PathLike) -> FileBytes:
        """The bytes at `path`; itself, if that is such bytes already."""
        return path if isinstance(path, FileBytes) else cls(path)

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def __len__(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, fewer where the file ends before.

        Raises:
            FileChanged: it is large, and these are others than they were before.
        """
        if self.steady is None:
            return self.data[start:stop]
        return self.steady.read(start, min(stop, len(self)))

    @cached_property
    def sha256(self) -> str:
        """Of these bytes: 64 lower-case hex digits.

        Raises:
            FileChanged: the file is large, and changed since it was opened.
        """
        digest = hashlib.sha256()
        for start in range(0, len(self), _HASHED_AT_ONCE):
            digest.update(self.read(start, start + _HASHED_AT_ONCE))
        self.check_unchanged()
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Nobody has written to the file since it was opened, if it is large.

        Raises:
            FileChanged: its size or its times are others by now.
        """
        if self.steady is not None:
            self.steady.check_unchanged()

    def reader(self) -> Handle:
        """A handle on the same bytes, at their beginning, for what reads from handles only."""
        if self.steady is None:
            return io.BytesIO(self.data)
        return io.BufferedReader(SteadyReader(self.steady), 4 * SteadyFile.BLOCK)


class FileMap(mmap.mmap):
    """A map of a large file, which knows how to read it, and does so for a slice.

    Attributes:
        steady: reads the file.
    """

    steady: SteadyFile

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> int | bytes:
        """Of the bytes as they were first read; a slice without steps.

        Raises:
            FileChanged, Unreadable: as `SteadyFile.read`.
        """
        if isinstance(key, slice):
            start, stop, _ = key.indices(len(self))
            return self.steady.read(start, max(start, stop))
        at = range(len(self))[key]
        return self.steady.read(at, at + 1)[0]
