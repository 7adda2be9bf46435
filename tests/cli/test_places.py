"""No command writes where it reads, nor over a key or edited labels, however it is told to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.documents.names_beside import record_path, rows_path
from pipeline import KEY, build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("places")).labels.parent
    (folder / "key").write_bytes(bytes(range(1, 33)))
    (folder / "key").chmod(0o600)
    (folder / "key.pub").write_bytes(KEY.public.raw)
    for beside in (record_path, rows_path):
        beside(folder / "a.gotact").write_bytes(b"what lies beside")
    (folder / "words").write_bytes(b"a passphrase")
    (folder / "corpus.txt").write_bytes(b"text\n")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


THREE = ["--activations", "a.gotact", "--unembedding", "u.gotue"]
ATTEST = ["attest", *THREE, "--probes", "p1.json", "p4.json", "--key", "key",
          "--passphrase-file", "words", "--output"]  # fmt: skip
TRAIN = ["train", *THREE, "--labels", "a.labels", "--layer", "1"]
LAYERS = [*TRAIN[:-2], "--layers", "1", "4", "--output"]
READ = ["read", *THREE, "--probes", "p1.json", "--html"]
REPORT = ["calibration-report", *THREE, "--probes", "p1.json", "--labels", "a.labels"]
EXTRACT = ["extract", "--model", "model", "--layers", "0", "--input-file", "corpus.txt"]
SWEEP = ["sweep", "--model", "model", "--input-file", "corpus.txt", "--output-unembedding", "out.u",
         "--labels"]  # fmt: skip
BOTH = ["a.gotact", "u.gotue", "a.labels", "a.record.json", "a.rows.parquet", "./a.gotact"]


@pytest.mark.parametrize(
    ("arguments", "outputs"),
    [
        (ATTEST, [*BOTH, "p1.json", "p4.json", "key", "key.pub", "words", "x/../key", "hard"]),
        ([*TRAIN, "--output"], [*BOTH, "key", "key.pub", "hard", "link"]),
        ([*TRAIN, "--output", "same.png", "--plot"], ["same.png", "./same.png"]),
        ([*TRAIN, "--output", "new.json", "--plot"], ["labels.png", "key.svg"]),
        (LAYERS, ["layered.json"]),
        ([*SWEEP, "out.labels", "--output-activations"], ["out.gotact"]),
        ([*SWEEP, "out.rows.parquet", "--output-activations"], ["out.gotact", "x/../out.gotact"]),
        (READ, [*BOTH, "p1.json", "key", "hard"]),
        ([*REPORT, "--plot"], ["labels.png", "key.svg"]),
        (["sweep", *THREE, "--labels", "a.labels", "--plot"], ["labels.png"]),
        (["convert", "a.gotact"], ["a.gotact", "hard.gotact", "a.rows.parquet", "key.npy"]),
        ([*EXTRACT, "--output-activations"], ["corpus.txt", "u.gotue.x", "key", "link"]),
        ([*EXTRACT, "--output-unembedding", "same.gotact", "--output-activations"],
         ["same.gotact", "./same.gotact"]),
        ([*EXTRACT, "--output-activations", "new.gotact", "--output-unembedding"],
         ["new.gotact.partial", "new.gotact.partial/values", "x/../new.gotact.partial/u"]),
        (["keygen", "--output"], ["key", "key.pub", "a.labels", "p1.json"]),
    ],
)  # fmt: skip
def test_an_output_destroys_nothing(
    arguments: list[str], outputs: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "x").mkdir()
    os.link("a.gotact", "hard")
    os.link("a.gotact", "hard.gotact")
    os.link("a.labels", "layered.layer4.json")
    (folder / "link").symlink_to("key")
    for name in ("labels.png", "u.gotue.x"):
        shutil.copy("a.labels", name)
    for name in ("key.svg", "key.npy"):
        shutil.copy("key", name)
    (folder / "out.labels").write_bytes(b"0\n" * 30)
    (folder / "out.rows.parquet").write_bytes(b"a table of labels")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for output in outputs:
        assert main([*arguments, output]) in (1, 2), output
        after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert after == before, output
    assert (folder / "link").is_symlink()


@pytest.mark.parametrize("layers", ["1-1", "-2", "all", "1:2,4"])
def test_a_probe_set_of_layers_however_spelt_is_no_input(
    layers: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for beside in (record_path, rows_path):
        beside(folder / "a.gotact").unlink()
    os.link("a.gotact", "p.layer1.gotact")
    before = (folder / "a.gotact").read_bytes()
    assert main([*TRAIN[:-2], "--layers", layers, "--output", "p.gotact"]) == 2
    assert "a.gotact" in capsys.readouterr().err
    assert (folder / "p.layer1.gotact").read_bytes() == before
    assert not (folder / "p.layer4.gotact").exists()


@pytest.mark.parametrize("arguments", [ATTEST, [*TRAIN, "--output"], READ])
def test_an_output_that_is_no_file(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("pipe")
    (folder / "device").symlink_to("/dev/fd/1")
    # No device of the system's own: a fault here would replace it for everybody.
    for output in ("pipe", "device", "."):
        assert main([*arguments, output]) == 3
    assert (folder / "device").is_symlink()
    assert (folder / "pipe").is_fifo()
