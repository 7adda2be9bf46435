"""checkpoint, drift and keyring as a user types them, and show of what they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.signing.keyrings import load_keyring
from geometry_of_trust.signing.keys import load_public_key
from pipeline import Files, build


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
    return build(tmp_path_factory.mktemp("commands"))


def test_a_history_with_drift(files: Files, run: Run, tmp_path: Path) -> None:
    """From a checkpoint to a history that verifies."""
    reference, key = tmp_path / "g.gotgeo", tmp_path / "key"
    assert run("checkpoint", "--unembedding", files.unembedding, "--output", reference) == 0
    assert run.out.splitlines()[-1] == f"wrote {reference}"
    assert run("show", reference) == 0
    assert run.out.startswith("geometry checkpoint (.gotgeo), 186 bytes\n")
    assert "does not say" in run.out
    assert run("drift", reference, files.unembedding, "--probes", *files.probes) == 0
    assert "drift               0.0 of the reference (Frobenius)" in run.out
    assert run("drift", reference, files.unembedding, "--json") == 0
    assert json.loads(run.out)["moved"] == {"drift": 0.0, "distance": 0.0}
    assert run("drift", reference, reference, "--epsilon", "0.5") == 2
    assert run.err.startswith("got-cli: --epsilon: expected none, as nothing is added")
    assert run("keygen", "--output", key) == 0
    made = ["attest", "--activations", files.activations, "--unembedding", files.unembedding,
            "--probes", files.probes[0], "--key", key]  # fmt: skip
    first, second = tmp_path / "0.json", tmp_path / "1.json"
    assert run(*made, "--output", first) == 0
    arguments = ["--output", second, "--previous", first, "--geometry-reference", reference]
    assert run(*made, *arguments) == 0
    assert "in its history" in run.out
    assert "number 1, after" in run.out
    assert run("verify", "--chain", first, second, "--pubkey", f"{key}.pub") == 0
    arguments = ["--activations", files.activations, "--unembedding", files.unembedding,
                 "--probes", files.probes[0], "--geometry-reference", reference]  # fmt: skip
    assert run("verify", "--attestation", second, "--pubkey", f"{key}.pub", *arguments) == 0
    assert run.out.splitlines()[-1].endswith("parent_attestation_hash, sequence_number")
    assert run(*made, "--output", first, "--previous", first) == 2  # an output that is an input


def test_revoked_as_the_help_says_the_last_good_document_stays_valid(
    run: Run, files: Files, tmp_path: Path
) -> None:
    ring, key, last = tmp_path / "ring.json", tmp_path / "lab", tmp_path / "last.json"
    for name in ("offline", "lab"):
        assert run("keygen", "--output", tmp_path / name) == 0
    offline = tmp_path / "offline"
    assert run("keyring", "make", "--output", ring, "--key", offline) == 0
    changed = [ring, "--key", offline, "--pubkey", f"{key}.pub"]
    assert run("keyring", "add", *changed, "--name", "lab", "--valid-from", 0) == 0
    assert run("attest", "--activations", files.activations, "--unembedding", files.unembedding,
               "--probes", files.probes[0], "--key", key, "--output", last,
               "--timestamp", 1700000000) == 0  # fmt: skip
    checked = ["verify", "--attestation", last, "--keyring", ring, "--keyring-key",
               f"{offline}.pub"]  # fmt: skip
    for revoked_at, code in ((1700000001, 0), (1700000000, 1)):
        assert run("keyring", "revoke", *changed, "--reason", "stolen",
                   "--revoked-at", revoked_at) == 0  # fmt: skip
        assert run(*checked) == code


def test_outputs_replace_their_own_kind_only(run: Run, files: Files, tmp_path: Path) -> None:
    key, ring, probes = tmp_path / "key", tmp_path / "ring.json", tmp_path / "p.json"
    document, checkpoint = tmp_path / "a.json", tmp_path / "g.gotgeo"
    assert run("keygen", "--output", key) == 0
    assert run("keyring", "make", "--output", ring, "--key", key) == 0
    probes.write_bytes(files.probes[1].read_bytes())
    attest = ["attest", "--activations", files.activations, "--unembedding", files.unembedding,
              "--probes", files.probes[0], "--key", key, "--output"]  # fmt: skip
    keep = ["checkpoint", "--unembedding", files.unembedding, "--output"]
    for command, own in ((attest, document), (keep, checkpoint)):
        own.touch()
        for _ in range(2):
            assert run(*command, own) == 0
    for command, others in (
        (attest, (ring, probes, checkpoint)), (keep, (ring, probes, document)),
    ):  # fmt: skip
        for path in others:
            before = path.read_bytes()
            assert run(*command, path) == 1
            assert "another kind of file" in run.err
            assert path.read_bytes() == before


def test_options_of_a_keyring_that_cannot_be(run: Run, files: Files, tmp_path: Path) -> None:
    """Usage errors that name the option, and the keyring stays as it was."""
    ring, offline, lab = (tmp_path / name for name in ("ring.json", "offline", "lab"))
    for key in (offline, lab):
        assert run("keygen", "--output", key) == 0
    assert run("keyring", "make", "--output", ring, "--key", offline) == 0
    before = ring.read_bytes()
    changed = [ring, "--key", offline, "--pubkey", f"{lab}.pub"]
    for command, good, option, value in (
        ("add", "--name", "--name", ""),
        ("add", "--name", "--name", "n" * 257),
        ("add", "--name", "--valid-until", 10),
        ("add", "--name", "--valid-until", -1),
        ("add", "--name", "--valid-from", -1),
        ("revoke", "--reason", "--reason", ""),
        ("revoke", "--reason", "--revoked-at", -1),
    ):
        given = {good: "n"} | {option: value}
        options = [f"{name}={text}" for name, text in given.items()]
        assert run("keyring", command, *changed, *options) == 2
        assert run.err.startswith(f"got-cli: {option}: ")
        assert ring.read_bytes() == before
    checked = ["verify", "--attestation", files.probes[0], "--keyring", ring]
    assert run(*checked, "--keyring-key", f"{offline}.pub") == 2
    assert "--keyring: expected at least one public key" in run.err


def test_a_keyring(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    ring, offline = tmp_path / "ring.json", tmp_path / "offline"
    names = ("offline", "lab", "auditor")
    for name in names:
        assert run("keygen", "--output", tmp_path / name) == 0
    lab, auditor = tmp_path / "lab.pub", tmp_path / "auditor.pub"
    assert run("keyring", "make", "--output", ring, "--key", offline) == 0
    assert run("keyring", "make", "--output", ring, "--key", offline) == 1  # never overwrites
    added = ["keyring", "add", ring, "--key", offline]
    assert run(*added, "--pubkey", lab, "--name", "the lab", "--valid-from", 1600000000) == 0
    assert run(*added, "--pubkey", auditor, "--name", "a", "--purpose", "audit",
               "--valid-until", 1800000000) == 0  # fmt: skip
    assert run(*added, "--pubkey", lab, "--name", "again") == 1
    assert run("keyring", "revoke", ring, "--key", offline, "--pubkey", lab,
               "--reason", "stolen") == 0  # fmt: skip
    assert "REVOKED from 2023-11-14 22:13:20 UTC ('stolen')" in run.out
    found = load_keyring(ring, load_public_key(f"{offline}.pub"))
    assert (found.number, found.issued) == (3, 1700000000)
    assert [(e.name, e.purpose, e.valid_from, e.valid_until, e.revoked_at) for e in found.keys] == [
        ("the lab", "attest", 1600000000, None, 1700000000),
        ("a", "audit", 1700000000, 1800000000, None),
    ]
    assert run("keyring", "show", ring, "--keyring-key", f"{offline}.pub") == 0
    assert "(verified)" in run.out
    assert run("keyring", "show", ring, "--keyring-key", lab) == 1
    assert run("show", ring) == 0
    assert "NOT VERIFIED" in run.out
    assert run("keyring", "show", ring, "--json") == 0
    tree = json.loads(run.out)
    assert (tree["verified"], tree["keys"][0]["key_id"]) == (False, load_public_key(lab).key_id)
    assert (
        run("keyring", "add", ring, "--key", tmp_path / "lab", "--pubkey", lab, "--name", "n") == 1
    )
    assert run("verify", "--attestation", ring, "--keyring", ring) == 2  # without its key
    assert run("keyring", "make", "--output", tmp_path / "r", "--key", lab) == 1  # a public key
