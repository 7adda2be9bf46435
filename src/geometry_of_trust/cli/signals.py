"""SIGTERM and SIGHUP end a command as SIGINT does: what it began is taken back, in one line."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from geometry_of_trust.outputs.interruptions import ENDING


class _EndedError(KeyboardInterrupt):
    """Raised by a signal that ends the program.

    Not KeyboardInterrupt itself: if that passes through `exec` of a text, as of a dataclass while a
    library is imported, `python -m` ends as by SIGINT, whatever exit code a command has.
    """


@dataclass
class Ending:
    """How a command was ended from outside, if it was."""

    signal: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells say it: 130, 143 or 129."""
        return 128 + self.signal


@contextlib.contextmanager
def as_interrupts() -> Iterator[Ending]:
    """In the block, a signal that would end the program raises KeyboardInterrupt.

    One that the program was started to ignore (`nohup`) stays ignored.
    """
    ending = Ending()

    def interrupt(number: int, _: FrameType | None) -> None:
        ending.signal = number
        raise _EndedError

    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = signal.signal(number, interrupt)
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
