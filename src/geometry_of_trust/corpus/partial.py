"""A corpus run in the making: a folder beside the output that survives whatever ends the run.

`values` is the `.gotact` file, of its full length from the start; `journal` has a line for each
batch whose rows are on the disk, with their digest. What the journal does not vouch for is run
again, so that a run killed at any moment and resumed gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadOption,
    NoSpace,
    ResumeMismatch,
    RunInProgress,
    UnsafeFolder,
    Unwritable,
)
from geometry_of_trust.files import read_bounded, reason
from geometry_of_trust.formats.gotact import ActivationsSink
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.outputs.temporary_files import is_temporary, try_lock
from geometry_of_trust.ownership import POSIX, open_folder

_PLAN = "plan.json"
_FILES = frozenset((_PLAN, "lock", "journal", "values", "rows", "labels", "tokens", "copy"))

COMMIT_SECONDS = 2.0
"""How long a batch may wait before it is vouched for: the most that a killed run repeats."""

_SPARE = 64 * 2**20


def partial_path(activations: Path) -> Path:
    """Where the run of an output is in the making: `a.gotact` → `a.gotact.partial`."""
    return activations.with_name(activations.name + ".partial")


class Partial:
    """The folder of one run, locked against other processes while the `with` lasts.

    It is this user's alone: one that somebody else put there is not used.

    Raises:
        RunInProgress: another process is at work on it.
        UnsafeFolder: it belongs to somebody else, or others can write to it.
        Unwritable: it cannot be made. BadOption: this system has no file locks.
    """

    def __init__(self, activations: Path) -> None:
        self.folder = partial_path(activations)
        self._stack = contextlib.ExitStack()
        self._descriptor = -1
        self._foreign: frozenset[str] = frozenset()

    def __enter__(self) -> Partial:
        if not POSIX:
            raise BadOption("--input-file", expected="Linux or macOS for a corpus",
                            found=sys.platform)  # fmt: skip
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir(0o700)
            self._descriptor = open_folder(self.folder)
            self._stack.callback(os.close, self._descriptor)
            lock = os.open(
                "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                0o600, dir_fd=self._descriptor,
            )  # fmt: skip
            self._stack.callback(os.close, lock)
            locked = try_lock(lock)
            names = frozenset(os.listdir(self._descriptor))
            if _PLAN not in names:  # of no run, so that something else may lie in it
                ours = _FILES | {name for name in names if is_temporary(name)}
                self._foreign = names - ours
        except OSError as error:
            self._stack.close()
            raise Unwritable(self.folder, expected="a folder", found=reason(error)) from None
        if not locked:
            self._stack.close()
            raise RunInProgress(
                self.folder, expected="no other run into it", found="one that goes on"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def file(self, name: str) -> Path:
        """One of its files.

        Raises:
            UnsafeFolder: somebody has put another folder in the place of this one.
        """
        if not os.path.samestat(os.lstat(self.folder), os.fstat(self._descriptor)):
            raise UnsafeFolder(self.folder, expected="the folder of this run", found="another one")
        return self.folder / name

    @property
    def started(self) -> bool:
        """Whether there is something to go on with."""
        return self.file(_PLAN).exists()

    def settings(self) -> dict[str, Any]:
        """What the run was started with."""
        tree: dict[str, Any] = json.loads(read_bounded(self.file(_PLAN)))
        return tree

    def begin(self, settings: Mapping[str, object]) -> None:
        """From now on the run can be resumed."""
        write_file(self.file(_PLAN), json.dumps(settings, indent=2).encode(), told=False)

    def check(self, settings: Mapping[str, object]) -> None:
        """Refuse to go on with other settings than those among these that the run began with.

        Raises:
            ResumeMismatch: naming all that differ.
        """
        earlier = self.settings()
        names = [name for name in settings if earlier.get(name) != settings[name]]
        if names:
            raise ResumeMismatch(
                self.folder,
                expected="; ".join(f"{name}: {earlier.get(name)}" for name in names),
                found="; ".join(f"{name}: {settings[name]}" for name in names),
                hint="Give the same options and data, or remove this folder and start anew.",
            )

    def detach(self) -> None:
        """Let go of outputs that a run killed at its very end has already linked to files here.

        They would be written to with them. The values are copied, as rows may be missing yet.
        """
        for name in ("rows", "labels", "tokens"):
            self.file(name).unlink(missing_ok=True)
        values = self.file("values")
        if values.exists() and values.stat().st_nlink > 1:
            shutil.copyfile(values, self.file("copy"))
            os.replace(self.file("copy"), values)

    def discard(self) -> None:
        """Remove the files of a run but for the lock, and nothing that somebody else put there.

        `plan.json` goes first, so that no half of it looks like a run.
        """
        for name in sorted(os.listdir(self._descriptor), key=lambda name: name != _PLAN):
            if name != "lock" and name not in self._foreign:
                os.unlink(name, dir_fd=self._descriptor)

    def remove(self) -> None:
        """Remove the folder."""
        with contextlib.suppress(OSError):
            self.discard()
            os.unlink("lock", dir_fd=self._descriptor)
            self.folder.rmdir()


def check_space(folder: Path, needed: int) -> None:
    """Refuse if a disk cannot hold what will be written.

    Raises:
        NoSpace.
    """
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise NoSpace(folder, expected=f"{needed + _SPARE} bytes free", found=f"{free} bytes free")


class Journal:
    """The values file and the list of what in it is done.

    Args:
        partial: the folder.
        sink: writes the values file.
        starts: the first row of each text. counts: its number of rows.
    """

    def __init__(
        self,
        partial: Partial,
        values: BinaryIO,
        sink: ActivationsSink,
        starts: Sequence[int],
        counts: Sequence[int],
    ) -> None:
        self._partial, self._values, self._sink = partial, values, sink
        self._starts, self._counts = starts, counts
        self.where = partial.folder
        self._lines: list[str] = []
        self._committed = time.monotonic()

    def done(self, units: Iterator[tuple[int, ...]]) -> dict[int, int]:
        """Numbers of the batches that are done, with their rows, each seen to be on the disk."""
        done: dict[int, int] = {}
        journal = self._partial.file("journal")
        lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
        digests = dict(line.split(" ", 1) for line in lines if " " in line)
        for number, unit in enumerate(units):
            if str(number) in digests:
                blocks = (self._sink.get(self._starts[n], self._counts[n]) for n in unit)
                states = np.concatenate(list(blocks), axis=1)
                if _digest(states) == digests[str(number)]:
                    done[number] = states.shape[1]
        kept = "".join(f"{number} {digests[str(number)]}\n" for number in done)
        # Without a torn last line; and from now on, the name of the journal is on the disk:
        write_file(self._partial.file("journal"), kept.encode(), told=False)
        return done

    def write(self, number: int, unit: Sequence[int], states: NDArray[np.float32]) -> None:
        """Write the rows of one batch, float32, shape (layers, rows, d), and vouch for them soon.

        Raises:
            OSError: nothing that was vouched for is lost.
        """
        row = 0
        for n in unit:
            count = self._counts[n]
            self._sink.put(self._starts[n], states[:, row : row + count])
            row += count
        self._lines.append(f"{number} {_digest(states)}\n")
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Put all that was written on the disk, then vouch for it."""
        os.fsync(self._values.fileno())
        with self._partial.file("journal").open("a") as journal:
            journal.write("".join(self._lines))
            journal.flush()
            os.fsync(journal.fileno())
        self._lines.clear()
        self._committed = time.monotonic()


def _digest(states: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(states, "<f4").data).hexdigest()
