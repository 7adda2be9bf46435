"""Bounded reads, staged writes and digests of files: the only room that writes to disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from geometry_of_trust.errors import BadOption, OutputExists, TooLarge, Unreadable, Unwritable

PathLike = str | os.PathLike[str]

MAX_DOCUMENT_BYTES = 16 * 2**20
"""Largest JSON, text or key file that is read into memory."""


def reason(error: OSError | ValueError) -> str:
    """What the operating system said, without the path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[BufferedReader]:
    """Open a regular file for reading.

    Raises:
        Unreadable: the file is missing, is not a regular file, or cannot be opened.
    """
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
    """SHA-256 of a file as 64 lower-case hex digits, in constant memory."""
    with opened(path) as handle:
        try:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None


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
        """Where the content of `path` is before the block ends, flushed, for reading back."""
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
