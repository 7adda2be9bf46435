"""Files opened once, bounded reads, staged writes: the only room that writes to disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from geometry_of_trust.errors import (
    BadOption,
    FileChanged,
    OutputExists,
    TooLarge,
    Unreadable,
    Unwritable,
)

PathLike = str | os.PathLike[str]
Handle = io.BufferedReader | io.BytesIO

MAX_DOCUMENT_BYTES = 16 * 2**20
"""Largest JSON, text or key file that is read into memory."""

COPIED_BYTES = 64 * 2**20
"""Largest file that `FileBytes` copies into memory; a larger one is mapped."""

_HASHED_AT_ONCE = 8 * 2**20


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
        if not os.path.isfile(path) and os.path.exists(path):
            raise Unreadable(path, expected="a regular file", found="something else")
        handle = open(path, "rb")  # noqa: SIM115 - closed below; errors of the body are not ours
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Unreadable(path, expected="a readable file", found=reason(error)) from None
    with handle:
        yield handle


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

    A file of up to `COPIED_BYTES` is copied, and what happens to it later does not matter. A larger
    one is mapped, and a program that writes into it changes what is read here. `check_unchanged`
    sees that by size and times, and takes a file that was moved or removed for changed, too. It
    does not see what a program writes through a map of its own that it wrote to before.

    Attributes:
        path: what the file was called when it was opened.
        data: its bytes; a read-only map of them if it is large.

    Raises:
        Unreadable: the file is missing, is not a regular file, or cannot be opened or mapped.
        FileChanged: it grew while it was copied.
    """

    data: bytes | mmap.mmap

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self._number: int | None = None
        with opened(path) as handle:
            try:
                self._state = _state(handle.fileno())
                size = self._state[0]
                if size <= COPIED_BYTES:
                    self.data = handle.read(size + 1)
                else:
                    self.data = mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_READ)
                    self._number = os.dup(handle.fileno())
                    weakref.finalize(self, os.close, self._number)
            except (OSError, ValueError) as error:
                found = reason(error)
                raise Unreadable(path, expected="a file that can be read", found=found) from None
        if len(self.data) > size:
            raise self._changed()

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

    @cached_property
    def sha256(self) -> str:
        """Of `data`: 64 lower-case hex digits.

        Raises:
            FileChanged: it is a map, of a file that changed since it was mapped.
        """
        digest = hashlib.sha256()
        with memoryview(self.data) as view:
            for start in range(0, len(view), _HASHED_AT_ONCE):
                self.check_unchanged()  # of a map that was cut short, no page may be touched
                stop = min(start + _HASHED_AT_ONCE, len(view))
                with view[start:stop] as part:
                    digest.update(part)
                self.release(start, stop)
        self.check_unchanged()
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """What was read from a map is what was in the file when it was opened.

        Raises:
            FileChanged: its size or its times are others by now.
        """
        if self._number is not None and _state(self._number) != self._state:
            raise self._changed()

    def _changed(self) -> FileChanged:
        return FileChanged(self, expected="a file that nobody writes to", found="one that changed")

    def release(self, start: int, stop: int) -> None:
        """Give the pages of this range of a map back, so that a pass over it needs few at once."""
        if isinstance(self.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            start -= start % mmap.PAGESIZE
            self.data.madvise(mmap.MADV_DONTNEED, start, min(stop, len(self)) - start)

    def reader(self) -> Handle:
        """A handle on the same bytes, at their beginning, for what reads from handles only."""
        if self._number is None:
            return io.BytesIO(self.data)
        handle = os.fdopen(os.dup(self._number), "rb")
        handle.seek(0)
        return handle


def _state(number: int) -> tuple[int, int, int]:
    """Size and times of an open file; the last one no program can set."""
    found = os.fstat(number)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sync_folder(folder: Path) -> None:
    # Renaming is durable only once the folder itself is on disk; some file systems cannot.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def scratch(near: PathLike) -> Iterator[BinaryIO]:
    """A file without a name, in the folder where `near` will be, for what is too big for memory.

    It is gone when it is closed and nothing maps it any more.

    Raises:
        Unwritable: it cannot be made, or the disk is full.
    """
    folder = Path(near).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as handle:
            yield handle
    except OSError as error:
        raise Unwritable(near, expected="a writable place", found=reason(error)) from None


class StagedFiles:
    """Several outputs that appear together, once all of them are written.

    Each file is written under a temporary name in its own folder; leaving the block flushes and
    syncs all of them, then renames them in the order they were opened. After an error before
    that nothing is left, and what was there before is as it was.

    ```
    with StagedFiles() as staged:
        staged.open("a.gotact").write(b"...")
        staged.open("a.record.json").write(b"...")
    ```
    """

    def __init__(self) -> None:
        self._files: list[tuple[BinaryIO, Path, Path, bool]] = []

    def open(self, path: PathLike, *, mode: int = 0o666, exclusive: bool = False) -> BinaryIO:
        """A binary file that becomes `path` when the block ends.

        Args:
            path: where the file will be; missing folders are created.
            mode: permissions before the umask; 0o600 for secrets.
            exclusive: refuse if `path` exists, now or at the moment of renaming.

        Raises:
            BadOption: `path` is already staged.
            OutputExists: `exclusive`, and something is there.
            Unwritable: the folder or the file cannot be made.
        """
        target = Path(path)
        if any(target == other for _, _, other, _ in self._files):
            raise BadOption(target, expected="a file of its own for each output", found="one twice")
        if exclusive and os.path.lexists(target):
            raise OutputExists(
                target, expected="no file of that name", found="one", hint="Choose another name."
            )
        try:
            if target.is_dir():
                raise Unwritable(target, expected="the name of a file", found="a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
        except OSError as error:
            raise Unwritable(target, expected="a writable place", found=reason(error)) from None
        handle = os.fdopen(number, "wb")
        self._files.append((handle, Path(name), target, exclusive))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, mode & ~umask)
        return handle

    def link(self, source: Path, path: PathLike) -> None:
        """Let a finished file on the same file system become `path`, too, when the block ends.

        `source` stays as it is, whatever happens; where files cannot be linked, it is copied.
        """
        self.open(path).close()
        _, name, target, exclusive = self._files.pop()
        name.unlink()
        try:
            os.link(source, name)
        except OSError:
            shutil.copyfile(source, name)
        self._files.append((name.open("rb+"), name, target, exclusive))

    def write(
        self, path: PathLike, data: bytes, *, mode: int = 0o666, exclusive: bool = False
    ) -> None:
        """Stage a file with the content `data`."""
        self.open(path, mode=mode, exclusive=exclusive).write(data)

    def temporary(self, path: PathLike) -> Path:
        """Where the content of `path` is before the block ends, flushed, for reading back.

        Raises:
            KeyError: `path` was never staged: a fault of the caller's.
        """
        for handle, name, target, _ in self._files:
            if target == Path(path):
                handle.flush()
                return name
        raise KeyError(path)

    def __enter__(self) -> StagedFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._commit()
            elif isinstance(error, OSError) and error.errno is not None and self._files:
                # An OSError of the body is one of writing: reads raise Unreadable themselves.
                raise Unwritable(
                    self._files[-1][2], expected="a writable place", found=reason(error)
                ) from None
        finally:
            for handle, name, _, _ in self._files:
                with contextlib.suppress(OSError):
                    handle.close()
                with contextlib.suppress(OSError):
                    name.unlink(missing_ok=True)

    def _commit(self) -> None:
        placed: list[Path] = []
        target = Path()
        try:
            for handle, _, target, _ in self._files:  # noqa: B007 - named in the error
                handle.flush()
                os.fsync(handle.fileno())
                handle.close()
            for _, name, target, exclusive in self._files:
                if exclusive:
                    os.link(name, target)  # unlike a rename, fails when the name is taken
                    placed.append(target)
                else:
                    os.replace(name, target)
        except OSError as error:
            for path in placed:
                path.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise OutputExists(target, expected="no file of that name", found="one") from None
            raise Unwritable(target, expected="a writable place", found=reason(error)) from None
        for folder in {target.parent for _, _, target, _ in self._files}:
            _sync_folder(folder)


def write_file(path: PathLike, data: bytes) -> None:
    """Replace `path` by `data`: staged, synced and renamed, or left as it was."""
    with StagedFiles() as staged:
        staged.write(path, data)
