"""Temporary files of our own: made new, locked while they are in use, cleaned up once left over.

The name of each ends in `SUFFIX`. One that nobody holds a lock on any more was left by a run that
was killed, and is removed by the next run that writes into its folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from geometry_of_trust.errors import Unwritable
from geometry_of_trust.files import PathLike, reason
from geometry_of_trust.outputs.interruptions import deferred
from geometry_of_trust.ownership import is_own

SUFFIX = ".got-tmp"
_OURS = re.compile(
    rf"\..*\.[0-9a-f]{{16}}{re.escape(SUFFIX)}|got-\w{{8}}{re.escape(SUFFIX)}", re.DOTALL
)
"""What files and folders of ours are called: nothing else is ever cleaned up."""

_RUN = "run"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder against other programs, until it is closed; False if one has it.

    Raises:
        OSError: this file system has no such locks. ModuleNotFoundError: nor has Windows.
    """
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_temporary(name: str) -> bool:
    """Whether a file or folder is called as ours are."""
    return _OURS.fullmatch(name) is not None


def hidden_name(target: Path) -> Path:
    """A name beside `target` that nobody has."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}{SUFFIX}")


def new_file(target: Path, mode: int) -> tuple[int, Path]:
    """An empty file in the folder of `target`, open, and locked where files can be.

    Args:
        mode: permissions before the umask.

    Raises:
        OSError: it cannot be made.
    """
    return locked_name(target, lambda name: os.open(name, _NEW | _NO_LINK, mode))


def new_name(source: Path, target: Path) -> tuple[int, Path]:
    """Another name of `source` in the folder of `target`, open, and locked where files can be.

    Raises:
        OSError: files cannot be linked here, or this one cannot be opened.
    """

    def linked(name: Path) -> int:
        os.link(source, name, follow_symlinks=False)
        return os.open(name, os.O_RDONLY | _NO_LINK)

    return locked_name(target, linked)


def moved_aside(path: Path) -> tuple[int | None, Path]:
    """What is at `path` under a name beside it; open, and locked where files can be.

    It is locked before it has a name that others clean up. What cannot be opened (a link, a file
    of which everything is forbidden) has no descriptor, and nobody can lock it either.

    Raises:
        OSError: it cannot be renamed.
    """
    name, descriptor = hidden_name(path), None
    with contextlib.suppress(OSError, ModuleNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK)
        try_lock(descriptor)
    try:
        os.replace(path, name)
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return descriptor, name


def locked_name(target: Path, make: Callable[[Path], int]) -> tuple[int, Path]:
    """What `make` opens under a name beside `target`, locked before anybody took it for left over.

    Raises:
        OSError: `make` failed.
    """
    while True:
        name = hidden_name(target)
        descriptor = make(name)
        locked = True
        with contextlib.suppress(OSError, ModuleNotFoundError):
            locked = try_lock(descriptor)
        # A second name of a file that another run has locked is safe as long as that one goes on.
        if os.path.lexists(name) and (locked or os.fstat(descriptor).st_nlink > 1):
            return descriptor, name
        # In the moment before it was locked, another run removed it, or is about to.
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def clean_up(folder: Path) -> None:
    """Remove what runs of this user's that were killed left in a folder."""
    with contextlib.suppress(OSError, ModuleNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and is_own(entry.stat(follow_symlinks=False)):
                with contextlib.suppress(OSError):
                    _remove_left_over(entry.path)


def _remove_left_over(path: str) -> None:
    """Remove a file, or a folder as `scratch_folder` makes it, if nobody has it locked."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK)
    try:
        if not try_lock(descriptor):
            return
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if set(os.listdir(descriptor)) <= {_RUN}:
                shutil.rmtree(path)
        else:
            os.unlink(path)
    finally:
        os.close(descriptor)


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


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this user's alone, among the system's temporary ones, that goes with the block.

    Raises:
        Unwritable: it cannot be made.
    """
    place = Path(tempfile.gettempdir())
    clean_up(place)
    with contextlib.ExitStack() as stack:
        try:
            with deferred():
                whole = Path(tempfile.mkdtemp(prefix="got-", suffix=SUFFIX, dir=place))
                stack.callback(_remove, whole)
            descriptor = os.open(whole, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with contextlib.suppress(OSError, ModuleNotFoundError):
                try_lock(descriptor)
            folder = whole / _RUN  # so that whoever locks the folder of a run can lock this one
            folder.mkdir()
        except OSError as error:
            raise Unwritable(place, expected="a writable place", found=reason(error)) from None
        yield folder


def _remove(folder: Path) -> None:
    with deferred():
        shutil.rmtree(folder, ignore_errors=True)
