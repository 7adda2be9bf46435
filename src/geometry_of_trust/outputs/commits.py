"""Finished files take their names together, so that the first is only ever seen with its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from geometry_of_trust.errors import OutputExists, Unwritable
from geometry_of_trust.files import PathLike, reason
from geometry_of_trust.outputs.interruptions import deferred
from geometry_of_trust.outputs.ledger import note_left, note_written
from geometry_of_trust.outputs.places import output_place
from geometry_of_trust.outputs.temporary_files import moved_aside, new_name


@dataclass(eq=False)
class Place:
    """Where something goes, or is replaced.

    Attributes:
        existed: whether something was there that stays until it is replaced.
        before: descriptor, if it has one, and other name of what was there, while that may have to
            be put back.
    """

    target: Path
    existed: bool = field(default=False, init=False)
    before: tuple[int | None, Path] | None = field(default=None, init=False)


@dataclass(eq=False, kw_only=True)
class Staged(Place):
    """One output.

    Attributes:
        name: what it is called until it is done.
        exclusive: nothing may be there.
    """

    handle: BinaryIO
    name: Path
    exclusive: bool


@contextlib.contextmanager
def unwritable(path: PathLike) -> Iterator[None]:
    """An error of the system's in the block is one of writing this output.

    Raises:
        Unwritable: there was one.
    """
    try:
        yield
    except OSError as error:
        raise Unwritable(path, expected="a writable place", found=reason(error)) from None


def commit(files: Sequence[Staged], removed: Sequence[Place] = ()) -> None:
    """Give files that are on disk their names; put back what was there if one cannot have its own.

    The first is the lead. What it is to replace goes first and it comes last, and each step is on
    disk before the next: where a lead is found, it was there before all this, or all of this
    was done.

    Args:
        removed: what goes at the same time.

    Raises:
        OutputExists: a name that must be new is taken. NotAFile, UnsafeFolder: as `output_place`.
        Unwritable: a file cannot have its name.
    """
    lead, others = files[:1], files[1:]
    changed: list[Place] = []
    try:
        for file in files:
            if not file.exclusive:
                output_place(file.target)  # seen again
        for file in others:
            _keep_before(file)
        if others or removed:
            _set_aside(lead, changed)
            _sync_folders(changed)
            _set_aside(removed, changed)
        for group in (others, lead):
            for file in group:
                _rename(file)
                changed.append(file)
            _sync_folders(changed)
    except BaseException:
        for place in reversed(list(dict.fromkeys(changed))):
            _put_back(place)
        raise


def _keep_before(file: Staged) -> None:
    """Give what an output replaces a second name, so that it can be put back."""
    file.existed = os.path.lexists(file.target)
    if file.existed and not file.exclusive:
        with contextlib.suppress(OSError):  # not on every file system: it cannot be put back then
            file.before = new_name(file.target, file.target)


def _set_aside(places: Iterable[Place], changed: list[Place]) -> None:
    """Let what is there go, for now; where there was anything is added to `changed`."""
    for place in places:
        if os.path.lexists(place.target):
            with unwritable(place.target):
                place.before = moved_aside(place.target)
            changed.append(place)


def _rename(file: Staged) -> None:
    with unwritable(file.target):
        try:
            if file.exclusive:  # unlike a rename, a link fails when the name is taken
                os.link(file.name, file.target, follow_symlinks=False)
            else:
                os.replace(file.name, file.target)
        except FileExistsError:
            raise OutputExists(file.target, expected="no file of that name", found="one") from None


def _put_back(place: Place) -> None:
    """Let a place be as it was before; what cannot be is noted."""
    try:
        if place.before is not None:
            os.replace(place.before[1], place.target)
        elif place.existed:
            note_written(place.target)
        else:
            os.unlink(place.target)
    except OSError:
        note_written(place.target)
        if place.before is not None:  # the only copy there is: not to be discarded
            note_left(place.before[1])
            _close(place.before[0])
            place.before = None


def discard(files: Iterable[Staged], removed: Iterable[Place]) -> None:
    """Close all files, and remove their temporary names; what stays is noted."""
    with deferred():
        for file in files:
            with contextlib.suppress(OSError):
                file.handle.close()
            _remove(file.name)
        for place in (*files, *removed):
            if place.before is not None:
                _close(place.before[0])
                _remove(place.before[1])


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _remove(name: Path) -> None:
    try:
        name.unlink(missing_ok=True)
    except OSError:
        note_left(name)


def _sync_folders(changed: Iterable[Place]) -> None:
    # Renaming is durable only once the folder itself is on disk; some file systems cannot.
    for folder in dict.fromkeys(place.target.parent for place in changed):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
