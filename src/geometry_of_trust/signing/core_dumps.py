"""No copy of this program's memory on the disk, while there is a secret in it."""

from __future__ import annotations

import contextlib
import sys

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """From now on a crash of this program leaves no core dump, where the system allows that.

    By the limit on its size, and on Linux, where a dump that goes to a program has no limit, by
    saying that the process is not to be dumped; other programs of this user cannot read its memory
    then, either. Both hold until the program ends, which is why the commands do this and the
    functions that they call do not.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            import ctypes  # noqa: PLC0415 - only where there is a secret

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
