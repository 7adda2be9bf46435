"""How much memory there is, asked before something large is made of a small file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from geometry_of_trust.errors import NotEnoughMemory

PROC = Path("/proc")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def check_memory(where: str | os.PathLike[str], needed: int, what: str, hint: str = "") -> None:
    """Refuse what there is no memory for, before any of it is taken.

    Args:
        where: what is to blame. needed: bytes. what: is made with them.

    Raises:
        NotEnoughMemory: this process cannot have so much.
    """
    there = available()
    if there is not None and needed > there:
        raise NotEnoughMemory(
            where,
            expected=f"{_gigabytes(needed)} of memory for {what}",
            found=_gigabytes(there),
            hint=hint,
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def available() -> int | None:
    """Bytes that this process can still have; None where nothing says.

    The least of what the machine has to give, what the control groups around this process leave
    (as of a container), and what its own limits leave (`ulimit -v`, `ulimit -d`).
    """
    found = [*_of_machine(), *_of_control_groups(), *_of_limits()]
    return max(0, min(found)) if found else None


def _of_machine() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, LookupError):
        yield _kilobytes(PROC / "meminfo", "MemAvailable")
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no Linux: all that there is
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_limits() -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - of POSIX

    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            with contextlib.suppress(OSError, ValueError, LookupError):
                yield limit - _kilobytes(PROC / "self" / "status", used)


def _of_control_groups() -> Iterator[int]:
    """What each group around this process leaves: its limit, less what cannot be given back."""
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                root, names = CONTROL_GROUPS, ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                root = CONTROL_GROUPS / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            inside = PurePosixPath(path.lstrip("/"))
            for group in (inside, *inside.parents):
                with contextlib.suppress(OSError, ValueError):  # no limit: a word, or no file
                    limit, used = (int((root / group / name).read_text()) for name in names)
                    yield limit - used + _cached(root / group / "memory.stat")


def _cached(stat: Path) -> int:
    """Bytes of files' pages, which a group gives back when it needs memory."""
    with contextlib.suppress(OSError, ValueError):
        values = dict(line.split() for line in stat.read_text().splitlines())
        return sum(int(values.get(name, 0)) for name in ("active_file", "inactive_file"))
    return 0


def _kilobytes(path: Path, name: str) -> int:
    """A value of a file of /proc, in bytes."""
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024
