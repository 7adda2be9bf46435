"""Digests that were computed earlier, by what the system says of a file: for its own user.

An entry stands for a file at a path with a size, times, an inode and a device. No program can set
the time of the last change, so that a file that was written to has another one; but the system
dates not every store through a writable mapping. Who holds such a mapping, or can write to the
user's cache folder, can have a wrong digest given: a verifier does not use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.errors import GotError, Unreadable
from geometry_of_trust.files import PathLike, read_bounded, reason
from geometry_of_trust.ownership import is_own, others_can_write

LEAST_BYTES = 2**20
"""A smaller file is digested sooner than looked up."""

_SETTLED_NS = 2 * 10**9
"""How long a file must have been left alone before its digest is kept: times are coarse, and a
write right after the first could leave the file the same time."""

_VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATE = ("path", "size", "mtime_ns", "ctime_ns", "inode", "device")


@dataclass(frozen=True)
class FileState:
    """What tells one state of a file from another."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: PathLike) -> Self:
        """Of the file at a path.

        Raises:
            Unreadable: there is none.
        """
        try:
            return cls.from_stat(path, os.stat(path))
        except (OSError, ValueError) as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None

    @classmethod
    def from_stat(cls, path: PathLike, found: os.stat_result) -> Self:
        """Of what the system says."""
        times = found.st_mtime_ns, found.st_ctime_ns
        return cls(os.fspath(path), found.st_size, *times, found.st_ino, found.st_dev)


@dataclass(frozen=True)
class Remembered:
    """Digests of a file: 64 hex digits each.

    Attributes:
        sha256: of the whole; None if only the tensors were digested.
        tensors: of its tensors, in the order of the file.
    """

    sha256: str | None
    tensors: tuple[str, ...]


def user_cache() -> Path:
    """The user's folder of digests, in `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return home / "geometry-of-trust" / "digests"


class DigestCache:
    """A folder of remembered digests.

    It is used if it is the user's own and nobody else can write to it. Whatever is wrong with it or
    an entry, a digest is computed instead: nothing here raises.
    """

    def __init__(self, folder: PathLike) -> None:
        self._folder = Path(folder)

    def find(self, state: FileState, tensors: int) -> Remembered | None:
        """The digests of a file in this state, with so many tensors."""
        if state.size < LEAST_BYTES or not self._is_safe():
            return None
        try:
            tree = loads(read_bounded(self._name(state)), "digest cache")
        except GotError:
            return None
        if not isinstance(tree, dict) or tree.keys() != {"version", *_STATE, "sha256", "tensors"}:
            return None
        if tree["version"] != _VERSION or any(
            tree[name] != getattr(state, name) for name in _STATE
        ):
            return None
        sha256, digests = tree["sha256"], tree["tensors"]
        if not isinstance(digests, list) or len(digests) != tensors:
            return None
        if not all(map(_is_digest, digests)) or not (sha256 is None or _is_digest(sha256)):
            return None
        return Remembered(sha256, tuple(digests))

    def keep(self, state: FileState, found: Remembered) -> None:
        """Remember the digests of a file, if it was left alone for a while."""
        if state.size < LEAST_BYTES or time.time_ns() - _latest(state) < _SETTLED_NS:
            return
        tree = {"version": _VERSION} | {name: getattr(state, name) for name in _STATE}
        with contextlib.suppress(OSError, ValueError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_safe():
                return
            target = self._name(state)
            made = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
            try:
                with open(made, "xb") as handle:
                    handle.write(dumps(tree | {"sha256": found.sha256, "tensors": found.tensors}))
                os.replace(made, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    made.unlink()
                raise

    def _name(self, state: FileState) -> Path:
        """One entry for a path; the one of its latest state."""
        return self._folder / f"{hashlib.sha256(os.fsencode(state.path)).hexdigest()}.json"

    def _is_safe(self) -> bool:
        try:
            found = os.stat(self._folder)
        except OSError:
            return False
        return is_own(found) and not others_can_write(found)


def _latest(state: FileState) -> int:
    return max(state.mtime_ns, state.ctime_ns)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
