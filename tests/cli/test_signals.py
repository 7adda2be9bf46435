"""A command that is ended from outside takes back what it began, and says what is there."""

# ruff: noqa: PT012 - what is tested happens at the end of a block

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.cli.signals import as_interrupts
from geometry_of_trust.outputs.interruptions import deferred
from geometry_of_trust.signing.keys import load_public_key, load_secret_key

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

AT_CALL = """
import os, signal, sys
number, at, count = int(sys.argv[1]), int(sys.argv[2]), 0
signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
def counting(name):
    real = getattr(os, name)
    def called(*arguments, **options):
        global count
        result = real(*arguments, **options)
        count += 1
        if count == at:
            os.kill(os.getpid(), number)
        return result
    setattr(os, name, called)
for name in ("open", "fdopen", "fsync", "link", "unlink", "close"):
    counting(name)
from geometry_of_trust.cli import main
code = main(sys.argv[3:])
print("calls", count, flush=True)
sys.exit(code)
"""


IN_EXEC = """
import os, signal, sys, time
number = int(sys.argv[1])
signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
from geometry_of_trust import cli
from geometry_of_trust.signing import core_dumps
core_dumps.forbid_core_dumps = lambda: exec("os.kill(os.getpid(), number); time.sleep(60)")
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.fixture
def none_ignored() -> Iterator[None]:
    """As in a terminal; `nohup` and a shell's background ignore some."""
    before = {n: signal.getsignal(n) for n in ENDING}
    for n in ENDING:
        signal.signal(n, signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL)
    yield
    for n, handler in before.items():
        signal.signal(n, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_at_any_call_leaves_a_pair_of_keys_or_nothing(number: int, tmp_path: Path) -> None:
    calls, at = 100, 0
    while at < calls:
        at += 5 if number != signal.SIGTERM else 2
        folder = tmp_path / str(at)
        folder.mkdir()
        run = subprocess.run(
            [sys.executable, "-c", AT_CALL, str(int(number)), str(at),
             "keygen", "--output", folder / "key"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        calls = int(run.stdout.split()[-1])
        found = sorted(os.listdir(folder))
        assert found in ([], ["key", "key.pub"]), (at, found)
        assert run.returncode == (128 + number if at <= calls else 0), (at, run.stderr)
        for name in found:
            assert str(folder / name) in run.stdout + run.stderr, (at, run.stderr)
        if not found:
            assert run.stderr == "got-cli: interrupted; nothing was written\n"


@pytest.mark.usefixtures("none_ignored")
@pytest.mark.parametrize("number", ENDING)
def test_signals_end_a_command_in_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def killed(*_: object) -> None:
        os.kill(os.getpid(), number)

    before = [signal.getsignal(n) for n in ENDING]
    monkeypatch.setattr("geometry_of_trust.showing.any_file.describe", killed)
    assert main(["show", str(tmp_path)]) == 128 + number
    assert capsys.readouterr().err == "got-cli: interrupted; nothing was written\n"
    assert [signal.getsignal(n) for n in ENDING] == before


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_while_a_library_makes_code_of_text(number: int, tmp_path: Path) -> None:
    """As dataclasses are made when a library is imported: `python -m` would end as by SIGINT."""
    (tmp_path / "ended.py").write_text(IN_EXEC)
    command = [sys.executable, "-m", "ended", str(int(number)), "keygen", "--output", "key"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "got-cli: interrupted; nothing was written\n"
    assert done.returncode == 128 + number


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_interrupts(), deferred():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("none_ignored")
def test_signals_wait_for_the_end_of_a_block() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), as_interrupts() as ending:
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done = True
        pytest.fail("not interrupted")  # pragma: no cover
    assert done
    assert ending.exit_code == 143


def test_keygen_says_what_it_wrote_when_nobody_reads_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "geometry_of_trust", "keygen", "--output", tmp_path / "key"],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert str(tmp_path / "key") in run.stderr
    assert str(tmp_path / "key.pub") in run.stderr
    assert load_secret_key(tmp_path / "key").public == load_public_key(tmp_path / "key.pub")


def test_no_core_dump_while_a_secret_is_in_memory(tmp_path: Path) -> None:
    program = (
        "import ctypes, resource, sys\n"
        "from geometry_of_trust.cli import main\n"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "code = main(sys.argv[1:])\n"
        "print(code, resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3))\n"
    )
    commands: list[tuple[list[str | Path], int]] = [
        (["keygen", "--output", tmp_path / "key"], 0),
        (["attest", "--key", tmp_path / "key", "--activations", tmp_path / "a", "--probes",
          tmp_path / "p", "--unembedding", tmp_path / "u", "--output", tmp_path / "t"], 3),
    ]  # fmt: skip
    for arguments, code in commands:
        run = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        dumpable = "0" if sys.platform == "linux" else run.stdout.split()[-1]
        assert run.stdout.splitlines()[-1] == f"{code} 0 {dumpable}"


def test_the_ledger_tells_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stays(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stays)
        patch.setattr(os, "link", full)
        assert main(["keygen", "--output", str(tmp_path / "key")]) == 3
    left, said = list(tmp_path.iterdir()), capsys.readouterr().err
    assert len(left) == 2
    assert all(str(path) in said.partition("left: ")[2] for path in left)
