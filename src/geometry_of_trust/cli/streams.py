"""Standard streams that can always be written to, so that no output bends an exit code.

Whoever reads what we print may leave, the disk may be full, a stream may be closed before we start
or unable to hold a letter: that must neither end a command nor stand in for its result.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast


class Outlet:
    """A text stream whose writing never fails: what fails first is kept, and nothing more written.

    Letters that the stream cannot hold become escapes. All else is done by the stream within.

    Attributes:
        failure: what the first failure was, in words; None so far.
        abandoned: whether it was that the reader left, which is its right.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = io.StringIO() if stream is None else stream
        self.failure: str | None = "it closed" if stream is None else None
        self.abandoned = False

    def write(self, text: str) -> int:
        """Write, if that is possible; the length of the text in any case."""
        with self._guarded() as stream:
            try:
                stream.write(text)
            except UnicodeEncodeError as error:
                stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def writelines(self, texts: list[str]) -> None:
        """Write several texts, if that is possible."""
        self.write("".join(texts))

    def flush(self) -> None:
        """Flush, if that is possible."""
        with self._guarded() as stream:
            stream.flush()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[TextIO]:
        """The stream to write to; one that goes nowhere, once something failed."""
        if self.failure is not None:
            yield io.StringIO()
            return
        try:
            yield self._stream
        except (OSError, ValueError) as error:  # ValueError: somebody closed it
            self.failure = getattr(error, "strerror", None) or str(error)
            self.abandoned = isinstance(error, BrokenPipeError)
            # What is still in its buffer would fail again when the interpreter ends.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded_streams() -> Iterator[Outlet]:
    """Standard streams that are all there, and outlets; yields that of the answers."""
    _fill_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    answers, talk = Outlet(sys.stdout), Outlet(sys.stderr)
    with contextlib.ExitStack() as stack:
        if sys.stdin is None:
            sys.stdin = stack.enter_context(open(os.devnull, encoding="utf-8"))
        sys.stdout, sys.stderr = cast(TextIO, answers), cast(TextIO, talk)
        try:
            yield answers
        finally:
            answers.flush()
            talk.flush()
            sys.stdin, sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Open what is closed of the first three: a file of ours in its place would be printed into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
