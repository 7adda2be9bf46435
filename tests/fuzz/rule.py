"""The rule for every reader, whatever its input: a value or an error of ours, soon, in little."""

from __future__ import annotations

import contextlib
import os
import resource
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import geometry_of_trust
from geometry_of_trust.errors import GotError

SECONDS = 5.0
RESIDENT = 500 * 10**6
"""Bytes of memory that reading one input may add at its peak."""

ADDRESSES = 2 * RESIDENT
"""Bytes of addresses: what asks for more at once has not looked at how long its input is."""

PACKAGE = str(Path(geometry_of_trust.__file__).parent)


@dataclass(frozen=True)
class Outcome:
    """What reading an input came to.

    Attributes:
        place: class of the error, and file and line of the package where it arose; "read" for none.
        fault: how the rule was broken; empty if it was kept.
    """

    place: str
    fault: str


def outcome(read: Callable[[bytes], None], data: bytes) -> Outcome:
    """Read one input and hold it against the rule."""
    place, fault = "read", ""
    before, start = _peak(), time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # printed beside the answer
            read(data)
    except GotError as error:
        place = _place(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        place = _place(error)
        fault = "".join(traceback.format_exception(error))
    seconds, grown = time.perf_counter() - start, _peak() - before
    if seconds > SECONDS:
        fault += f"\n{seconds:.1f} s"
    if grown > RESIDENT:
        fault += f"\n{grown // 10**6} MB"
    return Outcome(place, fault)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(error: BaseException) -> str:
    """The innermost line of the package that an error passed through."""
    inside = [
        f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(PACKAGE)
    ]
    return f"{type(error).__name__} {inside[-1] if inside else '?'}"


@contextlib.contextmanager
def bounded_addresses() -> Iterator[None]:
    """No more than `ADDRESSES` on top of what this process has; beyond, a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
