"""A disk on which any system call of a sequence of writes can fail, or be the last one."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import pytest

Ending = Literal["fails", "is the last"]


class Died(BaseException):
    """The machine stopped; nothing can be caught or tidied up."""


@dataclass
class Disk:
    """Counts and notes the calls that change a folder, and ends one of them as it is told.

    Attributes:
        folder: calls on what is in it count.
        end: the number of the call that ends badly, and how; None: none does.
        calls: what was called, in order: its name, the name of the file, and the other name or
            the bytes. dead: whether the machine stopped.
    """

    folder: Path
    end: tuple[int, Ending] | None = None
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    dead: bool = False
    _open: dict[int, str] = field(default_factory=dict)
    _loose: set[int] = field(default_factory=set)
    _handles: list[Any] = field(default_factory=list)

    def call(self, name: str, subject: str, result: Any = None) -> None:
        """Count a call that is about to be made.

        Raises:
            Died: the machine stopped, at this call or before it. OSError: this call fails.
        """
        if self.dead:
            raise Died
        self.calls.append((name, subject, result))
        if self.end is not None and len(self.calls) == self.end[0]:
            if self.end[1] == "is the last":
                self.dead = True
                raise Died
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def name_of(self, path: Any) -> str | None:
        """What a path or an open file is called in the folder: empty for itself, else None."""
        if isinstance(path, int):
            is_folder = os.path.samestat(os.fstat(path), os.stat(self.folder))
            return "" if is_folder else self._open.get(path)
        whole = Path(os.path.abspath(path))
        return whole.name if whole.parent == self.folder else None

    @contextlib.contextmanager
    def watched(self) -> Iterator[Disk]:
        """The calls of the block go through this disk."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "link", "unlink", "fsync"):
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            patch.setattr(os, "open", self._opener(os.open))
            patch.setattr(os, "fdopen", self._fdopen(os.fdopen))
            patch.setattr(os, "close", self._closer(os.close))
            yield self
        if self.dead:  # and then it has no locks
            for handle in self._handles:
                handle.close()
            for descriptor in self._loose:
                os.close(descriptor)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(subject: Any, *arguments: Any, **options: Any) -> Any:
            known = self.name_of(subject)
            to = self.name_of(arguments[0]) if arguments else None
            if known is None and to is not None:
                self.call("link from outside", to, Path(subject).read_bytes())
            elif known is not None:
                self.call(name, known, to)
                if name == "fsync":  # what is kept is not up to this disk
                    return None
            return real(subject, *arguments, **options)

        return wrapper

    def _opener(self, real: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            known = self.name_of(path)
            if known and flags & os.O_CREAT:
                self.call("create", known)
            number = real(path, flags, *arguments, **options)
            if known:
                self._open[number] = known
                self._loose.add(number)
            return number

        return opened

    def _closer(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def closed(number: int) -> None:
            self._loose.discard(number)
            real(number)

        return closed

    def _fdopen(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(number: int, mode: str, *arguments: Any) -> Any:
            known = number in self._loose
            self._loose.discard(number)
            if known and mode == "wb":
                handle: Any = io.BufferedWriter(_Raw(self, number))
            else:
                handle = real(number, mode, *arguments)
            if known:
                self._handles.append(handle)
            return handle

        return opened


class _Raw(io.FileIO):
    """A file whose writes are counted; one that is the last is written by half."""

    def __init__(self, disk: Disk, number: int) -> None:
        super().__init__(number, "wb")
        self._disk, self._name = disk, disk.name_of(number) or ""

    def write(self, data: Any) -> int:
        if self._disk.dead:
            return len(data)
        try:
            self._disk.call("write", self._name, bytes(data))
        except Died:
            super().write(data[: len(data) // 2])
            raise
        return cast(int, super().write(data))


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def every_ending(
    run: Callable[[Path], object], prepare: Callable[[Path], object], place: Path
) -> Iterator[tuple[str, Path, BaseException | None]]:
    """A sequence of writes, made anew for every call of it and each way in which that can end.

    Yields what happened in words, the folder, and what was raised, of which the last is nothing.
    """
    for number in itertools.count(1):
        ended = False
        for ending in ("fails", "is the last"):
            folder = place / f"{number}-{ending[-4:]}"
            folder.mkdir()
            prepare(folder)
            disk = Disk(folder, (number, ending))
            error: BaseException | None = None
            with disk.watched():
                try:
                    run(folder)
                except (Died, Exception) as raised:
                    error = raised.with_traceback(None)
            ended = len(disk.calls) < number
            what = "nothing" if ended else f"call {number}, {disk.calls[number - 1][:2]}"
            yield f"{what} {ending}", folder, error
        if ended:
            return


# --- in which order a file system keeps things ------------------------------------------------


def kept_states(
    calls: list[tuple[str, str, Any]], before: dict[str, bytes]
) -> Iterator[dict[str, set[bytes | None]]]:
    """What each name of a folder may hold after a machine stopped, at each moment of a sequence.

    Only what was synced is sure to be kept: of a file's content any part may be missing that was
    written since; of names each change made since the folder was synced may be kept without those
    before it. None stands for a name that is not there.
    """
    disk = _Kept(before)
    for call, subject, result in calls:
        yield disk.states()
        disk.apply(call, subject, result)
    yield disk.states()


class _Kept:
    """What is in the files, and what of it is sure to be there after the machine stopped."""

    def __init__(self, before: dict[str, bytes]) -> None:
        self._written = {f"before, {name}": data for name, data in before.items()}
        self._synced = dict(self._written)
        self._files = {name: f"before, {name}" for name in before}
        self._kept: dict[str, set[str | None]] = {name: {n} for name, n in self._files.items()}

    def states(self) -> dict[str, set[bytes | None]]:
        """By name, all that it may hold."""
        return {
            name: set().union(*(self._versions(file) for file in files))
            for name, files in self._kept.items()
        }

    def _versions(self, file: str | None) -> set[bytes | None]:
        if file is None:
            return {None}
        whole, sure = self._written[file], self._synced.get(file, b"")
        rest = whole[len(sure) :]
        return {sure, whole, sure + rest[: len(rest) // 2], sure + bytes(len(rest))}

    def _name(self, name: str, file: str | None) -> None:
        self._kept.setdefault(name, {None}).add(file)
        self._files.pop(name, None)
        if file is not None:
            self._files[name] = file

    def apply(self, call: str, subject: str, result: Any) -> None:
        """Make a call."""
        file = self._files.get(subject, subject)
        if call == "create":
            self._written[subject] = b""
            self._name(subject, subject)
        elif call == "link from outside":
            self._written[subject] = result
            self._name(subject, subject)
        elif call == "write":
            self._written[file] += result
        elif call == "fsync" and subject:
            self._synced[file] = self._written[file]
        elif call == "fsync":
            self._kept = {name: {self._files.get(name)} for name in self._kept}
        elif call in ("link", "replace"):
            self._name(result, file)
        if call in ("replace", "unlink"):
            self._name(subject, None)
