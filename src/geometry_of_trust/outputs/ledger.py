"""What a command has written so far: told to its user when it fails or is stopped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Ledger:
    """Outputs, as they come.

    Attributes:
        written: outputs that got their names. left: temporary files that could not be removed.
    """

    written: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    @property
    def told(self) -> str:
        """For the end of a line that says what failed; empty if nothing is there."""
        return f"; {self}" if self._there else ""

    @property
    def _there(self) -> list[str]:
        parts = []
        for what, paths in (("written", self.written), ("left", self.left)):
            there = [str(path) for path in paths if os.path.lexists(path)]
            parts += [f"{what}: {', '.join(there)}"] if there else []
        return parts

    def __str__(self) -> str:
        """What of it is there now, in words: `nothing was written` if nothing is."""
        return "; ".join(self._there) or "nothing was written"


_current: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@contextlib.contextmanager
def keeping_a_ledger() -> Iterator[Ledger]:
    """What is written in the block stands in the ledger that it yields."""
    ledger = Ledger()
    token = _current.set(ledger)
    try:
        yield ledger
    finally:
        _current.reset(token)


def note_written(path: Path) -> None:
    """An output has got its name."""
    ledger = _current.get()
    if ledger is not None:
        ledger.written.append(path)


def note_left(path: Path) -> None:
    """A temporary file could not be removed."""
    ledger = _current.get()
    if ledger is not None:
        ledger.left.append(path)
