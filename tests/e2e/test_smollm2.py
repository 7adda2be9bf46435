"""The six steps on SmolLM2, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import (
    read_activations,
    read_probe_set,
    read_record,
    read_unembedding,
)
from geometry_of_trust.cli import main
from places import EXAMPLES

TEXT = (EXAMPLES / "journey.txt").read_text("utf-8").rstrip("\n")
COMMAND = Path(sys.executable).with_name("got-cli")


class Shell:
    """Runs `got-cli` in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if code in (0, 1) and not done.stdout:
            assert done.stderr.count("\n") == 1
        return done.stdout + done.stderr


def extract_command(model: Path) -> list[object]:
    return ["extract", "--model", model, "--model-id", "smollm2", "--input", TEXT,
            "--layers", 8, 15, 22]  # fmt: skip


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Shell:
    """A folder in which the journey was extracted at three layers, and labelled by hand."""
    got = Shell(tmp_path_factory.mktemp("smollm2"))
    got(*extract_command(smollm2))
    labels = got.folder / "activations.labels"
    assert set(labels.read_text().split()) == {"0"}
    labels.write_bytes((EXAMPLES / "journey.labels").read_bytes())
    got("keygen", "--output", "key")
    for layer in (8, 15):
        printed = got(
            "train", "--activations", "activations.gotact", "--labels", "activations.labels",
            "--unembedding", "unembedding.gotue", "--layer", layer, "--dimension", "place_name",
            "--output", f"probes-{layer}.json",
        )  # fmt: skip
        assert "on trust" not in printed  # the record names the unembedding
    got(
        "attest", "--activations", "activations.gotact", "--probes", "probes-8.json",
        "probes-15.json", "--unembedding", "unembedding.gotue", "--key", "key",
        "--output", "attestation.json", "--timestamp", 1_700_000_000,
    )  # fmt: skip
    return got


VERIFY = ("verify", "--attestation", "attestation.json", "--pubkey", "key.pub")
FILES = (
    "--activations", "activations.gotact", "--unembedding", "unembedding.gotue",
    "--probes", "probes-8.json", "probes-15.json",
)  # fmt: skip


def test_what_was_extracted(shell: Shell) -> None:
    held = read_activations(shell.folder / "activations.gotact")
    record = read_record(shell.folder / "activations.record.json")
    assert (held.model_id, held.precision, held.layers) == ("smollm2", "Fp32", (8, 15, 22))
    assert held.values.shape == (3, 265, 576) == (3, len(record.tokens), 576)
    assert np.isfinite(held.values).all()
    assert read_unembedding(shell.folder / "unembedding.gotue").values.shape == (49152, 576)
    assert record.blocks_loaded < record.blocks_total
    assert record.tied

    spans = [token.span for token in record.tokens if token.span is not None]
    assert "".join(TEXT[a:b] for a, b in spans) == TEXT


def test_the_probe_means_something(shell: Shell) -> None:
    for layer in (8, 15):
        held = read_probe_set(shell.folder / f"probes-{layer}.json")
        assert held.training is not None
        card = held.training.cards[0]
        assert card.quality.auroc.value > 0.95
        assert card.quality.accuracy.value > 0.9
        assert card.controls.shuffled_labels < 0.7
        assert (card.verdict, card.converged) == ("SUFFICIENT", True)


def test_verified_with_the_key_alone_and_with_everything(shell: Shell, smollm2: Path) -> None:
    alone = shell(*VERIFY).splitlines()[-1]
    assert alone == (
        "VERIFIED, SIGNATURE AND BINDING ONLY: not checked: activations, unembedding, probes, "
        "extraction record, model, readings"
    )
    assert shell(*VERIFY, *FILES).splitlines()[-1].endswith("AND READINGS: not checked: model")
    assert shell(*VERIFY, *FILES, "--model", smollm2).splitlines()[-1] == "VERIFIED"


def test_tampering_swapping_and_another_key_are_refused(shell: Shell) -> None:
    document = (shell.folder / "attestation.json").read_bytes()
    tree = json.loads(document)
    first = repr(tree["confidence"][0]).encode()
    (shell.folder / "tampered.json").write_bytes(document.replace(first, first[:-1] + b"1", 1))
    tampered = [word if word != "attestation.json" else "tampered.json" for word in VERIFY]
    assert "REFUSED at step " in shell(*tampered, code=1).splitlines()[-1]
    swapped = [*FILES[:-2], FILES[-1], FILES[-2]]
    assert "REFUSED at step 5" in shell(*VERIFY, *swapped, code=1).splitlines()[-1]
    shell("keygen", "--output", "other")
    other = [word if word != "key.pub" else "other.pub" for word in VERIFY]
    assert "REFUSED at step 3" in shell(*other, code=1).splitlines()[-1]


def test_extracting_again_keeps_edited_labels_and_gives_the_same_bytes(
    shell: Shell, smollm2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process, which is this one."""
    names = (
        "activations.gotact",
        "unembedding.gotue",
        "activations.labels",
        "activations.record.json",
    )
    before = {name: (shell.folder / name).read_bytes() for name in names}
    monkeypatch.chdir(shell.folder)
    assert main(list(map(str, extract_command(smollm2)))) == 0
    assert "kept" in capsys.readouterr().out
    assert {name: (shell.folder / name).read_bytes() for name in names} == before


def test_show_joins_tokens_and_labels(shell: Shell) -> None:
    lines = shell("show", "activations.labels").splitlines()
    assert lines[0] == "labels: 265 positions, 56 positive, 209 negative"
    assert lines[8].split() == ["6", "1", "'", "Copenhagen'"]
