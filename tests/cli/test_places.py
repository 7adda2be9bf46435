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
BOTH = ["a.gotact", "u.gotue", "a.labels", "a.record.json", "a.rows.parquet", "./a.gotact"]


@pytest.mark.parametrize(
    ("arguments", "outputs"),
    [
        (ATTEST, [*BOTH, "p1.json", "p4.json", "key", "key.pub", "words", "x/../key", "hard"]),
        ([*TRAIN, "--output"], [*BOTH, "key", "key.pub", "hard", "link"]),
        ([*TRAIN, "--output", "same.png", "--plot"], ["same.png", "./same.png"]),
        ([*TRAIN, "--output", "new.json", "--plot"], ["labels.png", "key.svg"]),
        (LAYERS, ["layered.json"]),
        (READ, [*BOTH, "p1.json", "key", "hard"]),
        ([*REPORT, "--plot"], ["labels.png", "key.svg"]),
        (["sweep", *THREE, "--labels", "a.labels", "--plot"], ["labels.png"]),
        (["convert", "a.gotact"], ["a.gotact", "hard.gotact", "a.rows.parquet", "key.npy"]),
        ([*EXTRACT, "--output-activations"], ["corpus.txt", "u.gotue.x", "key", "link"]),
        ([*EXTRACT, "--output-unembedding", "same.gotact", "--output-activations"],
         ["same.gotact", "./same.gotact"]),
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
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for output in outputs:
        assert main([*arguments, output]) in (1, 2), output
        after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert after == before, output
    assert (folder / "link").is_symlink()


@pytest.mark.parametrize("arguments", [ATTEST, [*TRAIN, "--output"], READ])
def test_an_output_that_is_no_file(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("pipe")
    for output in ("pipe", "/dev/stdout", "/dev/zero"):
        assert main([*arguments, output]) == 3
    assert Path("/dev/stdout").is_symlink()
    assert Path("/dev/zero").is_char_device()
    assert (folder / "pipe").is_fifo()
