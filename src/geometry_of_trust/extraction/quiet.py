"""What surrounds a model's libraries: their import, their warnings, and the many objects they make.

Each of these is narrow: a corpus run takes hours, reads the user's own iterators, and must neither
hide their warnings nor keep their garbage.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import threading
import warnings
from collections.abc import Iterator

from geometry_of_trust.arithmetic import library
from geometry_of_trust.extras import optional


@contextlib.contextmanager
def running_model() -> Iterator[None]:
    """Whatever runs a model: its libraries there, and their log and progress bars silent.

    Raises:
        MissingExtra, NoKernels: a library is not installed.
        BadOption: as `library.chosen`.
    """
    with optional(), making(), unwarned():
        from geometry_of_trust.extraction import loading  # noqa: PLC0415 - heavy
    library.chosen()
    with loading.silence():
        yield


@contextlib.contextmanager
def making() -> Iterator[None]:
    """No search for garbage while libraries are imported or a model is made.

    Both leave millions of objects that stay; looking through them again and again takes a fifth of
    the whole time of a short run. Afterwards they count as old, so that searches for young garbage
    leave them out. Nor does the process end with such a search, which would take a second.
    """
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()  # both together: what was made now counts as old
            gc.unfreeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """No warnings of third parties: around a call into them, and nothing else.

    Filters are the process's: of several threads the first sets them, the last puts them back.
    """
    _Unwarned.enter()
    try:
        yield
    finally:
        _Unwarned.leave()


class _Unwarned:
    """How many calls are within `unwarned`, and what to do after the last."""

    lock = threading.Lock()
    inside = 0
    filters = contextlib.ExitStack()

    @classmethod
    def enter(cls) -> None:
        with cls.lock:
            if cls.inside == 0:
                cls.filters.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            cls.inside += 1

    @classmethod
    def leave(cls) -> None:
        with cls.lock:
            cls.inside -= 1
            if cls.inside == 0:
                cls.filters.close()
