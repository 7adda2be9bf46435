"""attest --dsse, export, verify of evidence, --svr and show, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from model_signatures import bundle as model_signature
from model_signatures import statement as model_statement
from pipeline import Files, build
from places import VECTORS
from signed_documents import payload_of, spelt


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """With two keys, and an attestation as its signer writes it."""
    made = build(tmp_path_factory.mktemp("commands"))
    folder = made.labels.parent
    for name in ("key", "auditor"):
        assert main(["keygen", "--output", str(folder / name)]) == 0
    return made


@pytest.fixture(scope="module")
def home(files: Files) -> Path:
    folder = files.labels.parent
    assert main([
        "attest", *sources(files), "--key", str(folder / "key"), "--output", str(folder / "a.json"),
        "--dsse", str(folder / "a.dsse"), "--bundle", str(folder / "a.bundle"),
    ]) == 0  # fmt: skip
    return folder


def sources(files: Files) -> list[str]:
    return ["--activations", str(files.activations), "--unembedding", str(files.unembedding),
            "--probes", *map(str, files.probes)]  # fmt: skip


def test_attest_and_export_write_the_same(home: Path, run: Run, tmp_path: Path) -> None:
    dsse, bundle = tmp_path / "e.dsse", tmp_path / "e.bundle"
    exported = ["export", home / "a.json", "--key", home / "key"]
    assert run(*exported, "--dsse", dsse, "--bundle", bundle) == 0
    assert run.out.splitlines() == [f"wrote {dsse}", f"wrote {bundle}"]
    assert dsse.read_bytes() == (home / "a.dsse").read_bytes()
    assert bundle.read_bytes() == (home / "a.bundle").read_bytes()
    assert run(*exported, "--dsse", dsse) == 0  # its own kind is replaced
    before = bundle.read_bytes()
    assert run(*exported, "--dsse", bundle) == 1
    assert run(*exported, "--bundle", home / "a.json") == 2  # an output that is an input
    assert run(*exported) == 2
    for name in ("synthetic", "demo"):  # export has no --allow-legacy
        legacy = VECTORS / "reference" / name / "attestation.json"
        assert run("export", legacy, "--key", home / "key", "--dsse", tmp_path / "none") == 1
        assert "there is no evidence" in run.err
    other = ["export", home / "a.json", "--key", home / "auditor", "--dsse", tmp_path / "none"]
    assert run(*other) == 1
    assert "binding.key_id" in run.err
    assert len(run.err.splitlines()) == 1
    assert bundle.read_bytes() == before
    assert not (tmp_path / "none").exists()


def test_outputs_appear_together_or_not_at_all(
    files: Files, home: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "other.json").write_text("{}")
    for name, code in (("taken", 3), ("other.json", 1), ("a.json", 2)):
        assert run("attest", *sources(files), "--key", home / "key", "--output",
                   tmp_path / "a.json", "--dsse", tmp_path / name) == code  # fmt: skip
        assert not (tmp_path / "a.json").exists()


def test_evidence_of_another_kind_is_not_replaced(home: Path, run: Run, tmp_path: Path) -> None:
    dsse, svr = tmp_path / "e", tmp_path / "r"
    export = ["export", home / "a.json", "--key", home / "key"]
    result = ["verify", "--attestation", home / "a.json", "--pubkey", home / "key.pub",
              "--svr-key", home / "auditor", "--svr"]  # fmt: skip
    assert run(*export, "--dsse", dsse) == run(*result, svr) == 0
    signed = tmp_path / "model.sig"
    signed.write_bytes((home / "a.bundle").read_bytes().replace(b'"payload": "', b'"payload": "AA'))
    before = [path.read_bytes() for path in (dsse, svr, signed)]
    for command in ([*result, dsse], [*export, "--dsse", svr], [*export, "--bundle", signed]):
        assert run(*command) == 1
        assert "evidence of another kind" in run.err
    assert [path.read_bytes() for path in (dsse, svr, signed)] == before
    svr.write_bytes(b"")
    assert run(*result, svr) == run(*result, svr) == 0  # nothing is replaced, and its own kind


def test_verify_takes_evidence_with_all_its_options(files: Files, home: Path, run: Run) -> None:
    for name in ("a.dsse", "a.bundle"):
        command = ["verify", "--attestation", home / name, "--pubkey"]
        assert run(*command, home / "key.pub") == 0
        assert "VERIFIED, SIGNATURE AND BINDING ONLY" in run.out
        assert run(*command, home / "key.pub", *sources(files), "--json") == 0
        assert json.loads(run.out)["verdict"] == "VERIFIED"
        assert run(*command, home / "auditor.pub") == 1
        assert "REFUSED at step 3" in run.out
        assert run("verify", "--chain", home / name, "--pubkey", home / "key.pub") == 0
        pair = ["verify", "--attestation", home / "a.json", "--evidence", home / name, "--pubkey"]
        assert run(*pair, home / "key.pub") == 0
        assert run(*pair, home / "auditor.pub") == 1
    assert run("verify", "--chain", home / "a.json", "--evidence", home / "a.dsse", "--pubkey",
               home / "key.pub") == 2  # fmt: skip


def test_a_bundle_that_is_tied_to_something_else(
    files: Files, home: Path, run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    assert run("attest", *sources(files), "--key", home / "key", "--output", other,
               "--timestamp", 1) == 0  # fmt: skip
    command = ["verify", "--attestation", other, "--pubkey", home / "key.pub", "--evidence"]
    assert run(*command, home / "a.bundle") == 1
    assert "that of another attestation" in run.out.splitlines()[-1]


def test_a_result_says_what_passed_and_no_more(
    files: Files, home: Path, run: Run, tmp_path: Path
) -> None:
    svr = tmp_path / "a.svr"
    signed = ["--svr", svr, "--svr-key", home / "auditor"]
    command = ["verify", "--attestation", home / "a.json", "--pubkey", home / "key.pub"]

    def properties() -> list[str]:
        found = json.loads(payload_of(svr.read_bytes()))["predicate"]["properties"]
        assert isinstance(found, list)
        return found

    assert run(*command, *signed) == 0
    assert "wrote" in run.err
    assert properties() == ["GOT_SIGNATURE", "GOT_BINDING"]
    assert run(*command, *signed, *sources(files), "--json") == 0
    assert json.loads(run.out)["complete"]
    assert properties()[2:] == ["GOT_READINGS_RECOMPUTED", "GOT_COMPLETE"]
    assert run("show", svr) == 0
    assert "NOT VERIFIED" in run.out
    assert "GOT_COMPLETE" in run.out
    assert run("verify", "--attestation", svr, "--pubkey", home / "auditor.pub") == 3
    svr.unlink()
    wrong = ["verify", "--attestation", home / "a.json", "--pubkey", home / "auditor.pub"]
    assert run(*wrong, *signed) == 1
    assert run(*command, *signed, "--activations", files.probes[0]) == 1
    assert run(*command, "--svr", svr) == 2
    assert run(*command, "--svr-key", home / "auditor") == 2
    assert run(*command, *signed, "--allow-legacy") == 2
    chain = ["verify", "--chain", home / "a.json", "--pubkey", home / "key.pub"]
    assert run(*chain, *signed) == 2
    assert not svr.exists()
    assert run(*command, "--svr", home / "a.json", "--svr-key", home / "auditor") == 2
    assert run(*command, "--svr", home / "auditor.pub", "--svr-key", home / "auditor") == 1


def test_show_says_what_evidence_holds(home: Path, run: Run, tmp_path: Path) -> None:
    for name, kind in (("a.dsse", "DSSE envelope"), ("a.bundle", "Sigstore bundle")):
        assert run("show", home / name) == 0
        first, *others = run.out.splitlines()
        assert kind in first
        assert "NOT VERIFIED" in first
        assert any(line.startswith("reading") for line in others)
    (tmp_path / "model.sig").write_bytes(spelt(model_signature(model_statement())))
    assert run("show", tmp_path / "model.sig") == 3
    assert "model_signing/signature" in run.err
    (tmp_path / "cut").write_text('{"payloadType": "x"}')
    assert run("show", tmp_path / "cut") == 3
