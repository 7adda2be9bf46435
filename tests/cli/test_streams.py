"""No output bends an exit code: a reader that leaves, a stream that is closed, a full disk."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.cli.streams import Outlet, guarded_streams
from geometry_of_trust.signing.keys import SecretKey
from places import VECTORS

DEMO = VECTORS / "demo"
COMMAND = f"{sys.executable} -m geometry_of_trust"
SIGNER = SecretKey.from_seed(bytes([1]) * 32)  # of the vectors
VERIFY = "verify --attestation attestation.json --pubkey key.pub"
LOST = ["| true", "| head -1", ">&-", "> /dev/full", "2> /dev/full", "<&- >&- 2>&-"]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a document each: `0` verifies, `1` is refused, `3` is none."""
    folder = tmp_path_factory.mktemp("documents")
    good = (DEMO / "attestation.json").read_bytes()
    for code, data in ((0, good), (1, good.replace(b"smollm2", b"smollm3")), (3, b"{}")):
        (folder / str(code)).mkdir()
        (folder / str(code) / "attestation.json").write_bytes(data)
        (folder / str(code) / "key.pub").write_bytes(SIGNER.public.raw)
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line by bash; its exit code is that of the first command in it."""
    script = f"{COMMAND} {command}\nexit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("lost", LOST)
def test_the_exit_code_is_that_of_the_verdict(lost: str, documents: Path) -> None:
    for code, extra in ((0, ""), (1, "--json"), (3, "")):
        done = shell(f"{VERIFY} {extra} {lost}", documents / str(code))
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


@pytest.mark.parametrize("lost", ["2>&-", "2> /dev/full", "2>&1 | true"])
def test_a_failure_shows_in_the_exit_code_when_nobody_hears_of_it(
    lost: str, tmp_path: Path
) -> None:
    assert shell(f"show nothing {lost}", tmp_path).returncode == 3


def test_a_command_that_is_not_heard_of_is_done(tmp_path: Path) -> None:
    """A file of ours must not become what stderr was: it would be printed into."""
    done = shell("keygen --output k <&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert "secret key" in done.stdout
    assert (tmp_path / "k").read_bytes().startswith(b"-----BEGIN")


@pytest.mark.parametrize(("lost", "code"), [("| true", 0), (">&-", 3), ("> /dev/full", 3)])
def test_an_answer_that_is_no_verdict_must_arrive_unless_its_reader_left(
    lost: str, code: int, tmp_path: Path
) -> None:
    done = shell(f"--help {lost}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (code, code == 3)
    assert shell(f"keygen --output k {lost}", tmp_path).returncode == code
    if lost == ">&-":  # nothing is begun whose answer cannot be told
        assert list(tmp_path.iterdir()) == []


def test_a_stream_that_lacks_letters_gets_escapes(documents: Path) -> None:
    done = subprocess.run(
        [*COMMAND.split(), *VERIFY.split()], cwd=documents / "0", capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0
    assert b"\\u2026" in done.stdout
    assert done.stderr == b""


def test_no_terminal_to_ask_for_a_passphrase_on(tmp_path: Path) -> None:
    done = shell("keygen --output k --encrypt <&-", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert list(tmp_path.iterdir()) == []


# --- outlets ----------------------------------------------------------------------------------


class _Failing(io.StringIO):
    """A stream without a place on the disk that fails from the second text on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def write(self, text: str) -> int:
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("error", "failure", "abandoned"),
    [
        (OSError(28, "No space left on device"), "No space left on device", False),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe", True),
        (ValueError("I/O operation on closed file"), "I/O operation on closed file", False),
    ],
)
def test_an_outlet_keeps_what_fails_and_writes_no_more(
    error: Exception, failure: str, abandoned: bool
) -> None:
    stream = _Failing(error)
    outlet = Outlet(stream)
    assert (outlet.write("one"), outlet.failure) == (3, None)
    outlet.writelines(["two", "three"])
    assert (outlet.failure, outlet.abandoned) == (failure, abandoned)
    assert outlet.write("four") == 4
    outlet.flush()
    assert stream.getvalue() == "one"
    assert stream.calls == 2


@pytest.mark.parametrize("extra", [[], ["--json"]])
@pytest.mark.parametrize(
    "command", [["verify"], ["reproduce", "--model", "none", "--input", "x"]], ids=lambda c: c[0]
)
def test_a_verdict_that_cannot_be_printed(
    command: list[str], extra: list[str], documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")):
        stream = _Failing(error)
        stream.calls = 1
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.chdir(documents / "1")
        arguments = VERIFY.split()[1:]
        assert main([*command, *arguments, *extra]) == 1
        assert stream.getvalue() == ""


def test_an_outlet_of_a_stream_that_is_not_there() -> None:
    outlet = Outlet(None)
    assert outlet.failure is not None
    assert not outlet.abandoned
    assert outlet.write("x") == 1
    assert not outlet.isatty()  # type: ignore[operator]


def test_an_outlet_of_a_stream_that_lacks_letters() -> None:
    held = io.BytesIO()
    outlet = Outlet(io.TextIOWrapper(held, encoding="ascii"))
    outlet.write("a…\udcff")
    outlet.flush()
    assert (held.getvalue(), outlet.failure) == (b"a\\u2026\\udcff", None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_is_left_in_a_buffer_does_not_fail_again() -> None:
    with Path("/dev/full").open("w") as stream:
        outlet = Outlet(stream)
        outlet.write("x")
        assert outlet.failure is None  # it is in the buffer
        outlet.flush()
        assert outlet.failure == "No space left on device"


def test_a_descriptor_that_is_closed_is_taken() -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        with guarded_streams():
            assert os.fstat(0).st_rdev == Path(os.devnull).stat().st_rdev
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_streams_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stderr", None)
    before = sys.stdout
    with guarded_streams() as answers:
        assert sys.stdin is not None
        assert sys.stdin.read() == ""
        print("heard by nobody", file=sys.stderr)
        assert answers.failure is None
    assert (sys.stdin, sys.stdout, sys.stderr) == (None, before, None)


def test_main_with_no_stream_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["show", str(tmp_path / "none")]) == 3
    assert main(["verify", "--attestation", str(tmp_path), "--pubkey", str(tmp_path)]) == 3
