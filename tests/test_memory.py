"""What of memory there is: the least of what machine, control groups and limits leave."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from geometry_of_trust import errors, memory

UNLIMITED = 9223372036854771712
"""What version 1 of control groups says for no limit."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of our own with 4096 kB to give, and no limits."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    say(tmp_path / "proc" / "meminfo", "MemTotal: 9999 kB\nMemAvailable:    4096 kB\n")
    return tmp_path


def say(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_machine_has_some() -> None:
    there = memory.available()
    assert there is not None
    assert there > 2**20
    memory.check_memory("x", 2**20, "a small thing")


def test_what_the_machine_has(machine: Path) -> None:
    assert memory.available() == 4096 * 1024


def test_a_control_group_of_version_2(machine: Path) -> None:
    say(machine / "proc" / "self" / "cgroup", "0::/a/b\n")
    group = machine / "groups" / "a"
    say(group / "memory.max", "3000000\n")
    say(group / "memory.current", "1000000\n")
    assert memory.available() == 2_000_000
    say(group / "memory.stat", "anon 5\nactive_file 100\ninactive_file 20\n")
    assert memory.available() == 2_000_120, "files' pages are given back"
    say(group / "b" / "memory.max", "max\n")
    say(group / "b" / "memory.current", "1000000\n")
    assert memory.available() == 2_000_120, "no limit of its own"
    say(machine / "groups" / "memory.max", "500\n")
    say(machine / "groups" / "memory.current", "600\n")
    assert memory.available() == 0, "never less than nothing"


def test_a_control_group_of_version_1(machine: Path) -> None:
    say(machine / "proc" / "self" / "cgroup", "4:cpu:/x\n3:memory,pids:/x\n1:name=systemd:/\n")
    group = machine / "groups" / "memory" / "x"
    say(group / "memory.limit_in_bytes", f"{UNLIMITED}\n")
    say(group / "memory.usage_in_bytes", "1000\n")
    assert memory.available() == 4096 * 1024
    say(group / "memory.limit_in_bytes", "5000\n")
    assert memory.available() == 4000


def test_limits_of_the_process(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 3_000_000, resource.RLIMIT_DATA: 2_500_000}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert memory.available() == 4096 * 1024, "nothing says what is used"
    say(machine / "proc" / "self" / "status", "VmSize:\t 1000 kB\nVmData:\t 100 kB\n")
    assert memory.available() == 3_000_000 - 1_024_000


def test_the_limit_of_addresses_of_this_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, hard))
        there = memory.available()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert there is not None
    assert there <= 300 * 2**20


def test_without_proc(machine: Path) -> None:
    (machine / "proc" / "meminfo").unlink()
    there = memory.available()
    assert there is not None
    assert there > 2**30, "all that the machine has"


def test_where_nothing_says(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "proc" / "meminfo").unlink()
    monkeypatch.delattr("os.sysconf")
    monkeypatch.setattr("sys.platform", "win32")
    assert memory.available() is None
    memory.check_memory("x", 10**18, "nobody knows")


def test_what_there_is_no_memory_for(machine: Path) -> None:
    memory.check_memory("x", 4096 * 1024, "just enough")
    with pytest.raises(errors.NotEnoughMemory) as caught:
        memory.check_memory("x", 4096 * 1024 + 1, "too much", hint="Do less.")
    assert (caught.value.where, caught.value.hint) == ("x", "Do less.")
    assert caught.value.exit_code == 3
