"""One run at a time into a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from geometry_of_trust.errors import RunInProgress, Unwritable
from geometry_of_trust.files import reason
from geometry_of_trust.outputs.temporary_files import try_lock


@contextlib.contextmanager
def only_run_into(*outputs: Path) -> Iterator[None]:
    """The folders of these outputs are locked against other runs while the block lasts.

    Missing folders are made, and go again if nothing was put into them.

    Raises:
        RunInProgress: another run goes on into one of them.
        Unwritable: a folder cannot be made or opened.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted({Path(os.path.realpath(output.parent)) for output in outputs}):
            try:
                _make(folder, stack)
                descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
            except OSError as error:
                raise Unwritable(folder, expected="a folder", found=reason(error)) from None
            stack.callback(os.close, descriptor)
            locked = True
            with contextlib.suppress(OSError, ModuleNotFoundError):  # no locks: nothing to hold
                locked = try_lock(descriptor)
            if not locked:
                raise RunInProgress(
                    folder,
                    expected="no other run into this folder",
                    found="one that goes on",
                    hint="Wait for its end, or write into another folder.",
                )
        yield


def _make(folder: Path, stack: contextlib.ExitStack) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        stack.callback(_remove_empty, place)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
