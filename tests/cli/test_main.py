"""The command line as a user types it: output, exit codes, one line an error."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import cli
from geometry_of_trust.cli import main
from geometry_of_trust.cli.common import bar_on
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.signing.attestation import read_attestation
from geometry_of_trust.signing.keys import load_secret_key
from geometry_of_trust.version import __version__
from pipeline import KEY, TIMESTAMP, Files, P, build, signed_anew


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = build(tmp_path_factory.mktemp("cli"))
    (files.labels.parent / "key").write_bytes(bytes(range(1, 33)))
    (files.labels.parent / "key").chmod(0o600)
    (files.labels.parent / "key.pub").write_bytes(KEY.public.raw)
    return files


class Run:
    """Runs a command line in this process and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        code = main([str(argument) for argument in arguments])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def verify_arguments(files: Files, document: Path) -> list[object]:
    return ["verify", "--attestation", document, "--pubkey", files.labels.parent / "key.pub"]


def attest_arguments(files: Files, output: Path) -> list[object]:
    return [
        "attest", "--activations", files.activations, "--unembedding", files.unembedding,
        "--key", files.labels.parent / "key", "--output", output, "--timestamp", TIMESTAMP,
        "--probes", *files.probes,
    ]  # fmt: skip


def train_arguments(files: Files, output: Path) -> list[object]:
    return [
        "train", "--activations", files.activations, "--labels", files.labels,
        "--unembedding", files.unembedding, "--layer", 1, "--output", output,
    ]  # fmt: skip


def test_help_shows_the_steps_in_order(run: Run) -> None:
    assert run("--help") == 0
    places = [
        run.out.index(word)
        for word in ("\n│ extract ", "│ keygen ", "│ train ", "│ attest ", "│ verify ")
    ]
    assert places == sorted(places)
    assert "1 extract, 2 edit the .labels file" in " ".join(run.out.split())
    assert run("--version") == 0
    assert __version__ in run.out
    for command in ("extract", "keygen", "train", "attest", "verify", "show"):
        assert run(command, "--help") == 0
        assert "--empty" not in run.out
        assert "--no-" not in run.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("vrify",),
        ("verify",),
        ("verify", "--attestation"),
        ("verify", "--attestation", "a", "--pubkey", "b", "--nonsense"),
        ("train", "--layer", "x"),
        ("attest", "--position"),
        ("extract", "--model", "m", "--input", "t", "--layers", "1", "--dtype", "float64"),
        ("show",),
    ],
    ids=str,
)
def test_usage_errors_are_one_line_and_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2
    assert run.out == ""
    assert run.err.startswith("got-cli: ")
    assert run.err.count("\n") == 1
    assert "Traceback" not in run.err


def test_train_attest_verify(run: Run, files: Files, tmp_path: Path) -> None:
    probe = tmp_path / "new" / "folder" / "p.json"
    assert run(*train_arguments(files, probe), "--dimension", "warm") == 0
    for word in ("10 positive, 20 negative", "held out", "AUROC", "ECE", "converged", str(probe)):
        assert word in run.out
    assert run.err == ""
    document = tmp_path / "t.json"
    assert run(*attest_arguments(files, document)) == 0
    assert "layer 1, position last (29): 'warm'" in run.out
    assert run(*verify_arguments(files, document)) == 0
    lines = run.out.splitlines()
    assert [line[0] for line in lines if line[:1].isdigit()] == list("123456")
    assert lines[-1].startswith("VERIFIED, SIGNATURE AND BINDING ONLY: not checked: activations")
    supplied = ["--activations", files.activations, "--unembedding", files.unembedding]
    assert run(*verify_arguments(files, document), *supplied, "--probes", *files.probes) == 0
    assert run.out.splitlines()[-1] == "VERIFIED"


def test_the_same_command_gives_the_same_bytes(run: Run, files: Files, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(*train_arguments(files, tmp_path / f"p{name}")) == 0
        assert run(*attest_arguments(files, tmp_path / f"t{name}")) == 0
    assert (tmp_path / "pa").read_bytes() == (tmp_path / "pb").read_bytes()
    assert (tmp_path / "ta").read_bytes() == (tmp_path / "tb").read_bytes()


def test_json_output(run: Run, files: Files, tmp_path: Path) -> None:
    assert run(*train_arguments(files, tmp_path / "p"), "--json") == 0
    trained = json.loads(run.out)
    card = trained["training"]["cards"][0]
    assert card["positives"] == 10
    assert 0 <= card["quality"]["auroc"]["low"] <= card["quality"]["auroc"]["value"] <= 1
    assert run(*attest_arguments(files, tmp_path / "t"), "--json") == 0
    assert [r["dimension"] for r in json.loads(run.out)["readings"]] == ["warm", "tall"]
    assert run(*verify_arguments(files, tmp_path / "t"), "--json") == 0
    verdict = json.loads(run.out)
    assert (verdict["verified"], verdict["complete"]) == (True, False)
    assert [step["outcome"] for step in verdict["steps"]] == ["passed"] * 4 + ["not run"] * 2
    data = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(data.replace(b'"tiny"', b'"tony"'))
    assert run(*verify_arguments(files, tmp_path / "t"), "--json") == 1
    verdict = json.loads(run.out)
    assert (verdict["verified"], verdict["refused_at_step"]) == (False, 3)
    assert verdict["error"] == "BadSignature"


def test_a_refusal_says_nothing_of_what_the_document_claims(
    run: Run, files: Files, tmp_path: Path
) -> None:
    document = tmp_path / "t.json"
    assert run(*attest_arguments(files, document)) == 0
    document.write_bytes(document.read_bytes().replace(b"tiny", b"TINY"))
    assert run(*verify_arguments(files, document)) == 1
    assert "TINY" not in run.out
    assert run.out.splitlines()[-1].startswith("REFUSED at step 3: ")


def test_unreadable_input_is_code_3(run: Run, files: Files, tmp_path: Path) -> None:
    assert run(*verify_arguments(files, tmp_path / "none")) == 3
    assert run.err.count("\n") == 1
    (tmp_path / "junk").write_bytes(b"junk")
    assert run(*verify_arguments(files, tmp_path / "junk")) == 3
    assert run.out.splitlines()[-1].startswith("REFUSED at step 1: ")
    assert run("show", tmp_path / "junk") == 3
    assert run("show", tmp_path) == 3
    output = tmp_path / "p.json"
    arguments = train_arguments(files, output)
    arguments[arguments.index(files.activations)] = tmp_path / "junk"
    assert run(*arguments) == 3
    assert not output.exists()


def test_refused_training_leaves_nothing(run: Run, files: Files, tmp_path: Path) -> None:
    labels = tmp_path / "l.labels"
    labels.write_text("0\n" * P)
    arguments = train_arguments(files, tmp_path / "p.json")
    arguments[arguments.index(files.labels)] = labels
    assert run(*arguments) == 1
    assert run.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [labels]


def test_an_output_that_cannot_be_written(run: Run, files: Files, tmp_path: Path) -> None:
    assert run(*train_arguments(files, tmp_path)) == 3
    (tmp_path / "file").write_bytes(b"")
    assert run(*train_arguments(files, tmp_path / "file" / "p.json")) == 3
    assert run.err.count("\n") == 1


def test_untrusted_text_is_escaped(run: Run, files: Files, tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b[1;1HVERIFIED\nVERIFIED\u202e"
    attestation = files.attest(corpus_version=evil)
    (tmp_path / "t.json").write_bytes(attestation.to_json())
    assert run(*verify_arguments(files, tmp_path / "t.json")) == 0
    assert "\x1b" not in run.out
    assert "\u202e" not in run.out
    assert "VERIFIED" not in run.out.splitlines()[:-1]
    assert run("show", tmp_path / "t.json") == 0
    assert "\x1b" not in run.out
    acts = read_activations(files.activations)
    renamed = dataclasses.replace(acts, model_id=evil, values=np.array(acts.values))
    write_activations(tmp_path / "a.gotact", renamed)
    assert run("show", tmp_path / "a.gotact") == 0
    assert "\x1b" not in run.out
    (tmp_path / "bad.json").write_bytes(b'{"\x1b[2J": 1}'.replace(b"\x1b", b"\\u001b"))
    assert run(*verify_arguments(files, tmp_path / "bad.json")) == 3
    assert "\x1b" not in run.out + run.err


def test_an_insufficient_probe_is_warned_of_and_bound(
    run: Run, files: Files, tmp_path: Path
) -> None:
    labels = tmp_path / "l.labels"
    labels.write_text("0\n1\n1\n0\n1\n" * (P // 5))  # what the states know nothing of
    probe, document = tmp_path / "p.json", tmp_path / "t.json"
    arguments = train_arguments(files, probe)
    arguments[arguments.index(files.labels)] = labels
    assert run(*arguments, "--dimension", "vain") == 0
    assert "INSUFFICIENT: probe 'vain'" in run.out
    signing = attest_arguments(files, document)
    assert run(*signing[: signing.index("--probes")], "--probes", files.probes[0], probe) == 0
    assert run.err.count("INSUFFICIENT") == 1
    assert run.err.endswith("probe 'vain'\n")
    assert read_attestation(document).insufficient == ("vain",)
    assert run(*verify_arguments(files, document)) == 0
    assert ", by a probe that is INSUFFICIENT, layer 1, position last (29): 'vain'" in run.out
    assert run(*verify_arguments(files, document), "--json") == 0
    verdicts = [r["verdict"] for r in json.loads(run.out)["attestation"]["readings"]]
    assert verdicts == ["SUFFICIENT", "INSUFFICIENT"]


def test_keygen(run: Run, tmp_path: Path) -> None:
    assert run("keygen", "--output", tmp_path / "keys" / "k") == 0
    secret, public = tmp_path / "keys" / "k", tmp_path / "keys" / "k.pub"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    assert load_secret_key(secret).public.key_id in run.out
    before = secret.read_bytes(), public.read_bytes()
    assert run("keygen", "--output", secret) == 1
    assert (secret.read_bytes(), public.read_bytes()) == before
    assert run("keygen", "--output", tmp_path / "r", "--format", "raw") == 0
    assert len((tmp_path / "r").read_bytes()) == 32
    assert len((tmp_path / "r.pub").read_bytes()) == 32
    assert (
        run("keygen", "--output", tmp_path / "e", "--format", "raw", "--passphrase-file", secret)
        == 2
    )
    assert run("keygen", "--output", tmp_path / "x.pub") == 0
    assert (tmp_path / "x.pub.pub").exists()


def test_an_encrypted_key(run: Run, files: Files, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_bytes(b"correct horse\n")
    phrase.chmod(0o600)
    assert run("keygen", "--output", tmp_path / "k", "--passphrase-file", phrase) == 0
    assert b"OPENSSH" in (tmp_path / "k").read_bytes()
    arguments = attest_arguments(files, tmp_path / "t.json")
    arguments[arguments.index("--key") + 1] = tmp_path / "k"
    assert run(*arguments, "--passphrase-file", phrase) == 0
    phrase.write_bytes(b"wrong horse\n")
    assert run(*arguments, "--passphrase-file", phrase) == 1
    assert run.err.count("\n") == 1


def test_a_passphrase_needs_a_terminal_or_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("keygen", "--output", tmp_path / "k", "--encrypt") == 1
    assert not (tmp_path / "k").exists()
    answers = iter(["one", "two", "one", "one"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert run("keygen", "--output", tmp_path / "k", "--encrypt") == 1
    assert run("keygen", "--output", tmp_path / "k", "--encrypt") == 0
    assert load_secret_key(tmp_path / "k", lambda: b"one").public.key_id in run.out


def test_show(run: Run, files: Files, tmp_path: Path, interop: Path) -> None:
    expectations = {
        files.activations: ("tiny", "Fp32", "1, 4", "per-layer"),
        files.unembedding: ("40 tokens", "hidden dimension"),
        files.labels: (
            "30 positions, 10 positive, 20 negative",
            "no tokens to show",
            hashlib.sha256(files.labels.read_bytes()).hexdigest(),
        ),
        files.probes[0]: ("'warm'", "held out", "AUROC"),
        interop / "synthetic" / "probes-layer4.json": ("'honesty'", "--unknown-training"),
        interop / "demo" / "attestation.json": ("NOT VERIFIED", "key beside it"),
        interop / "per-position" / "activations_honesty.gotact": ("qwen3-8b", "per-position"),
    }
    for path, words in expectations.items():
        assert run("show", path) == 0
        for word in words:
            assert word in run.out
    write_file(tmp_path / "t.json", files.attest().to_json())
    assert run("show", tmp_path / "t.json") == 0
    assert "NOT VERIFIED by show" in run.out
    write_file(tmp_path / "o.json", b'{"a": 1}')
    assert run("show", tmp_path / "o.json") == 3


def test_the_reference_s_probe_sets(run: Run, interop: Path, files: Files, tmp_path: Path) -> None:
    folder = interop / "demo"
    sources = [
        "--activations", folder / "activations.gotact", "--unembedding", folder / "model.gotue",
        "--probes", folder / "probe_layer0.json",
    ]  # fmt: skip
    signed = tmp_path / "t.json"
    attest = ["attest", *sources, "--key", files.labels.parent / "key", "--output", signed]
    report = ["calibration-report", *sources, "--labels", folder / "labels.txt"]
    read = ["read", *sources]
    for arguments in (attest, report, read):
        assert run(*arguments) == 1
        assert "--unknown-training" in run.err
    assert run(*attest, "--unknown-training") == 0
    assert run.err.startswith("warning: it does not say what it was trained on")
    assert ", of unknown training\n" in run.out
    assert "by a probe of unknown training, layer 0, position last (19): 'truthful'" in run.out
    assert run("show", signed) == 0
    assert ", of unknown training\n" in run.out
    assert run(*verify_arguments(files, signed), *sources) == 0
    assert "probes of UNKNOWN TRAINING" in run.out
    assert run.out.endswith("\nVERIFIED\n")
    assert run(*verify_arguments(files, signed), "--json") == 0
    (reading,) = json.loads(run.out)["attestation"]["readings"]
    assert (reading["dimension"], reading["verdict"]) == ("truthful", None)
    assert run(*report, "--unknown-training") == 0
    assert "does not say what it was trained on" in run.out
    assert run(*read, "--unknown-training", "--html", tmp_path / "r.html") == 0
    assert run.out.startswith("layer 0, text 0; of unknown training: 'truthful'")
    assert run.out.count("\n   ") >= 20  # a line a row, whose token is not known


def test_allow_legacy(run: Run, interop: Path, files: Files, tmp_path: Path) -> None:
    folder = interop / "demo"
    arguments = [
        "verify",
        "--attestation",
        folder / "attestation.json",
        "--pubkey",
        folder / "key.pub",
    ]
    assert run(*arguments) == 1
    assert run(*arguments, "--allow-legacy") == 0
    assert "no signature covers sequence_number, probe_commitment" in run.out.splitlines()[-1]
    # In the reference's terms, whose flag says something else than ours.
    assert "p = 0.37458006 (flagged), " in run.out
    assert "reliable" not in run.out
    assert "p is below the threshold of the probe" in run.out
    assert run(*arguments, "--allow-legacy", "--json") == 0
    assert json.loads(run.out)["attestation"]["flag_rule"] == "p"
    compact = json.dumps(json.loads(files.attest().to_json())).encode()
    (tmp_path / "c.json").write_bytes(compact)
    assert run(*verify_arguments(files, tmp_path / "c.json")) == 1
    assert run(*verify_arguments(files, tmp_path / "c.json"), "--allow-reformatted") == 0


def test_without_torch_extract_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    heavy = [f"geometry_of_trust.extraction.{name}" for name in ("loading", "running", "capture")]
    for name in heavy:
        monkeypatch.delitem(sys.modules, name, raising=False)
        room, _, module = name.rpartition(".")  # another test may have imported it
        monkeypatch.delattr(f"{room}.{module}", raising=False)
    code = run(
        "extract", "--model", tmp_path, "--input", "x", "--layers", 0,
        "--output-activations", tmp_path / "a.gotact", "--output-unembedding", tmp_path / "u",
    )  # fmt: skip
    assert code == 2
    assert "geometry-of-trust[extract]" in run.err


def test_interruption_and_closed_pipes(
    run: Run, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("geometry_of_trust.showing.any_file.describe", interrupted)
    assert run("show", files.labels) == 130
    monkeypatch.undo()
    reader = subprocess.Popen(
        [sys.executable, "-m", "geometry_of_trust", "show", str(files.probes[0])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert reader.stdout is not None
    reader.stdout.close()
    _, errors = reader.communicate()
    assert b"Traceback" not in errors


def test_progress_only_on_a_terminal(files: Files, tmp_path: Path) -> None:
    """On a pseudo-terminal there is a spinner on stderr; stdout stays clean."""
    leader, follower = pty.openpty()
    arguments = map(str, train_arguments(files, tmp_path / "p"))
    done = subprocess.run(
        [sys.executable, "-m", "geometry_of_trust", *arguments],
        stdout=subprocess.PIPE, stderr=follower, check=True,
    )  # fmt: skip
    os.close(follower)
    seen = os.read(leader, 100_000)
    os.close(leader)
    assert b"\x1b[" in seen
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "memory"),
        (RecursionError("maximum recursion depth exceeded"), "depth"),
        (OSError(5, "Input/output error", b"\xff.json"), "Input/output error"),
        (OSError("no number"), "no number"),
        (ZeroDivisionError("division by zero"), "unforeseen ZeroDivisionError"),
        (BaseException("a panic\nof a library"), "unforeseen BaseException: a panic"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_ends_a_command_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, files: Files, error: BaseException, word: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("geometry_of_trust.showing.any_file.describe", fails)
    assert run("show", files.labels) == 3
    assert run.err.startswith("got-cli: ")
    assert run.err.count("\n") == 1
    assert word in run.err
    assert ("cli/show.py:" in run.err) == ("unforeseen" in word)


@pytest.mark.parametrize("place", ["", ".", "/", "..", "x" * 300, "\udcff", "a\x1b[2J/b"])
def test_places_that_are_no_file(run: Run, files: Files, tmp_path: Path, place: str) -> None:
    document = tmp_path / "t.json"
    document.write_bytes(files.attest().to_json())
    lost = [*verify_arguments(files, document), "--activations", place]
    retrain = [*train_arguments(files, tmp_path / "p.json"), "--activations", place]
    read = ["read", "--activations", place, "--probes", place, "--unembedding", place]
    for arguments in (lost, retrain, read, ["show", place], ["convert", place, "a.npy"]):
        assert run(*arguments) in (2, 3)
        assert "Traceback" not in run.err
        assert "unforeseen" not in run.err
        assert "\x1b" not in run.out + run.err


def test_outputs_that_are_no_file(run: Run, files: Files, tmp_path: Path) -> None:
    for place, layers in (("", ["--layer", 1]), (".", ["--layers", 1]), ("/", ["--layers", 4])):
        arguments = train_arguments(files, tmp_path)
        arguments[arguments.index("--layer") : arguments.index("--output")] = layers
        arguments[-1] = place
        assert run(*arguments) in (2, 3)
        assert run.err.count("\n") == 1
        assert "unforeseen" not in run.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("attest", "--corpus-version"), ("attest", "--model-id"), ("attest", "--position"),
        ("train", "--corpus-version"), ("train", "--dimension"), ("train", "--label-column"),
    ],
)  # fmt: skip
def test_an_option_that_is_no_text_is_named(
    run: Run, files: Files, tmp_path: Path, command: str, option: str
) -> None:
    make = attest_arguments if command == "attest" else train_arguments
    assert run(*make(files, tmp_path / "o.json"), option, "\udcff") in (2, 3)
    assert run.err.startswith(f"got-cli: {option}: expected ")
    assert run.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_was_typed_is_escaped_in_errors(run: Run) -> None:
    for arguments in (["--\x1b]0;x\x07"], ["\x1b[2J"], ["show", "--\u202e"], ["show", "\x1b"]):
        assert run(*arguments) in (2, 3)
        assert run.err.isascii()
        assert "\x1b" not in run.err


def test_a_terminal_that_gives_no_passphrase(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(prompt: str) -> str:
        raise EOFError

    def no_text(prompt: str) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for asked in (ends, no_text):
        monkeypatch.setattr("getpass.getpass", asked)
        assert run("keygen", "--output", tmp_path / "k", "--encrypt") == 1
        assert run.err.startswith("got-cli: passphrase: ")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "\udcff")  # bytes that are no UTF-8
    assert run("keygen", "--output", tmp_path / "k", "--encrypt") == 0
    assert load_secret_key(tmp_path / "k", lambda: b"\xff").public.key_id in run.out


def test_a_signature_over_other_bytes_is_refused(run: Run, files: Files, tmp_path: Path) -> None:
    lie = signed_anew(files.attest(), divergence_flag=not files.attest().divergence_flag)
    (tmp_path / "t.json").write_bytes(lie)
    assert run(*verify_arguments(files, tmp_path / "t.json")) == 1
    assert run.out.splitlines()[-1].startswith("REFUSED at step 2: ")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geometry_of_trust", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == __version__
    assert cli.app.name[0] == "got-cli"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, rate, remaining time and memory, on a terminal only; untrusted text is escaped."""
    screen = _Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with bar_on("Loading") as bar:
        bar.say("\x1b[31mred")
        time.sleep(0.2)  # a frame
        bar.advance(40, 100)
        time.sleep(0.02)
        bar.advance(60, 100)
        time.sleep(0.02)
        bar.advance(80, 100)
        time.sleep(0.2)
    shown = screen.getvalue()
    assert "\\x1b[31mred" in shown
    for part in (r"40/100", r"80/100", r"[1-9]\d*\.\d rows/s", r"0:00:0", r"\d+ MB"):
        assert re.search(part, shown), part
    rates = [float(rate) for rate in re.findall(r"(\d+\.\d) rows/s", shown)]
    assert max(rates) < 5000  # the 40 rows that were there are not counted
    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    with bar_on("Loading") as bar:
        bar.say("x")
        bar.advance(1, 2)
    assert quiet.getvalue() == ""


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor by the shell")
def test_a_closed_standard_output() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m geometry_of_trust --version >&-"],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("got-cli: standard output: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["extract", "--model", "m", "--input", "a", "--input-file", "b", "--layers", "1"],
        ["reproduce", "--attestation", "a", "--pubkey", "p", "--model", "m", "--input", "a"],
        ["sweep", "--input-file", "a"],
    ],
    ids=lambda command: command[0],
)
def test_an_option_that_does_nothing_any_more(
    command: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(*command)
    alone = run.err
    assert run(*command, "--low-memory") == code
    assert code > 1
    note, *others = run.err.splitlines(keepends=True)
    assert note.startswith("note: --low-memory does nothing any more")
    assert others == [alone]
    run(command[0], "--help")
    assert "--fast" in run.out or command[0] == "reproduce"
    assert "low-memory" not in run.out
