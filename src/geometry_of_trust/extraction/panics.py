"""Calls into libraries written in Rust, whose panics are no errors of Python.

A panic arrives as a `BaseException` that no `except Exception` sees, and the library itself prints
it to the process's standard error. Here it becomes an ordinary error, and nothing is printed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

_STANDARD_ERROR = 2


class PanicError(RuntimeError):
    """A library written in Rust stopped where its authors did not expect it."""


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Around a call into such a library.

    What any thread prints to standard error meanwhile is printed afterwards, unless it is a panic.

    Raises:
        PanicError: the library panicked.
    """
    with _held_back() as held:
        try:
            yield
        except BaseException as error:
            # Every library has a class of its own of this name, and exports none of them.
            if type(error).__name__ != "PanicException":
                raise
            held.truncate(0)
            raise PanicError(f"{error}") from None


@contextlib.contextmanager
def _held_back() -> Iterator[BinaryIO]:
    """The file that standard error goes to until the block ends, when it is passed on."""
    with tempfile.TemporaryFile() as held:
        try:
            before = os.dup(_STANDARD_ERROR)
        except OSError:  # closed: then a library prints nowhere
            yield held
            return
        try:
            os.dup2(held.fileno(), _STANDARD_ERROR)
            yield held
        finally:
            os.dup2(before, _STANDARD_ERROR)
            os.close(before)
            held.seek(0)
            if printed := held.read():
                with contextlib.suppress(OSError):
                    os.write(_STANDARD_ERROR, printed)
