"""Outputs that appear whole, together, or not at all: the one way in which files are written."""

from __future__ import annotations

import hashlib
import os
import shutil
import weakref
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from geometry_of_trust.errors import BadOption, NotAFile, OutputExists, Unwritable
from geometry_of_trust.files import PathLike, reason
from geometry_of_trust.outputs.commits import Place, Staged, commit, discard, unwritable
from geometry_of_trust.outputs.interruptions import deferred
from geometry_of_trust.outputs.ledger import note_written
from geometry_of_trust.outputs.places import identities, output_place
from geometry_of_trust.outputs.temporary_files import clean_up, new_file, new_name
from geometry_of_trust.ownership import check_folder

_HASHED_AT_ONCE = 2**20


class StagedFiles:
    """Several outputs that appear together, once all of them are written.

    Each file is written under a temporary name in its own folder; leaving the block flushes and
    syncs all of them, then gives them their names. After an error nothing is left, and what was
    there before is as it was, also if it is a renaming that fails. A signal waits until all are in
    their place. The file that was opened first leads the others: at every moment in which a system
    may die it is there with all of its companions as they were, or with all of them new, or it is
    absent. Each of the others is then as it was, or new: never half of it.

    ```
    with StagedFiles() as staged:
        staged.open("a.gotact").write(b"...")
        staged.open("a.record.json").write(b"...")
    ```

    Args:
        told: whether they are outputs that a user is told of.
    """

    def __init__(self, *, told: bool = True) -> None:
        self._files: list[Staged] = []
        self._told = told
        self._removed: list[Place] = []
        self._cleaned: set[Path] = set()
        # At the program's end, too: a signal may come before the end of the block has begun.
        self._discard = weakref.finalize(self, discard, self._files, self._removed)

    def open(self, path: PathLike, *, mode: int = 0o666, exclusive: bool = False) -> BinaryIO:
        """A binary file that becomes `path` when the block ends.

        Args:
            path: where the file will be; missing folders are created.
            mode: permissions before the umask; 0o600 for secrets.
            exclusive: refuse if `path` exists, now or at the moment of renaming.

        Raises:
            BadOption: `path` is already staged, in whatever spelling.
            OutputExists: `exclusive`, and something is there; or a key, or edited labels.
            NotAFile: something is there that is no plain file.
            UnsafeFolder: it is reached through a link that others may have put there; or it is a
                secret, in a folder that others can write to.
            Unwritable: the folder or the file cannot be made.
        """
        target = self._place(path, secret=not mode & 0o077, exclusive=exclusive)
        with unwritable(path), deferred():
            number, name = new_file(target, mode)
            handle = os.fdopen(number, "wb")
            self._files.append(Staged(target, handle=handle, name=name, exclusive=exclusive))
        return handle

    def link(self, source: Path, path: PathLike) -> None:
        """Let a finished file on the same file system become `path`, too, when the block ends.

        `source` stays as it is, whatever happens; where files cannot be linked, it is copied.

        Raises:
            As `open`.
        """
        target = self._place(path)
        with unwritable(path), deferred():
            try:
                number, name = new_name(source, target)
            except OSError:
                with source.open("rb") as whole:
                    shutil.copyfileobj(whole, self.open(path))
            else:
                handle = os.fdopen(number, "rb")
                self._files.append(Staged(target, handle=handle, name=name, exclusive=False))

    def _place(self, path: PathLike, *, secret: bool = False, exclusive: bool = False) -> Path:
        """Where an output goes, once nothing speaks against it and its folder is there."""
        if exclusive and os.path.lexists(path):
            raise OutputExists(
                path, expected="no file of that name", found="one", hint="Choose another name."
            )
        target = output_place(path)
        with unwritable(path):
            target.parent.mkdir(0o700 if secret else 0o777, parents=True, exist_ok=True)
            if secret:
                check_folder(target.parent, path)
        taken = {identity for file in self._files for identity in identities(file.target)}
        if not taken.isdisjoint(identities(target)):
            raise BadOption(path, expected="a file of its own for each output", found="one twice")
        if target.parent not in self._cleaned:
            self._cleaned.add(target.parent)
            clean_up(target.parent)
        return target

    def write(
        self, path: PathLike, data: bytes, *, mode: int = 0o666, exclusive: bool = False
    ) -> None:
        """Stage a file with the content `data`.

        Raises:
            As `open`.
        """
        self.open(path, mode=mode, exclusive=exclusive).write(data)

    def remove(self, path: PathLike) -> None:
        """Let what is at `path` go when the others appear, if there is anything.

        Raises:
            NotAFile: it is a folder.
        """
        if os.path.isdir(path):
            raise NotAFile(path, expected="a file, or nothing", found="a folder")
        self._removed.append(Place(Path(path)))

    def sha256(self, path: PathLike) -> str:
        """Of what was staged as `path`, from the disk: 64 lower-case hex digits.

        Raises:
            KeyError: `path` was never staged: a fault of the caller's.
        """
        name = identities(output_place(path))[0]
        for file in self._files:
            if identities(file.target)[0] == name:
                file.handle.flush()
                return _digest(file.handle.fileno())
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
                self._sync()
                with deferred():
                    commit(self._files, self._removed)
                    for file in self._files if self._told else ():
                        note_written(file.target)
            elif isinstance(error, OSError) and error.errno is not None and self._files:
                # An OSError of the body is one of writing: reads raise Unreadable themselves.
                raise Unwritable(
                    self._files[-1].target, expected="a writable place", found=reason(error)
                ) from None
        finally:
            self._discard()

    def _sync(self) -> None:
        for file in self._files:
            with unwritable(file.target):
                file.handle.flush()
                os.fsync(file.handle.fileno())


def _digest(descriptor: int) -> str:
    digest, start = hashlib.sha256(), 0
    while data := os.pread(descriptor, _HASHED_AT_ONCE, start):
        digest.update(data)
        start += len(data)
    return digest.hexdigest()


def write_file(path: PathLike, data: bytes, *, told: bool = True) -> None:
    """Replace `path` by `data`: staged, synced and renamed, or left as it was.

    Args:
        told: as of `StagedFiles`.

    Raises:
        As `StagedFiles.open`.
    """
    with StagedFiles(told=told) as staged:
        staged.write(path, data)
