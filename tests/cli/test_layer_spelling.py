"""`--layers`, as people type it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import (
    Activations,
    errors,
    read_activations,
    read_probe_set,
    write_activations,
    write_unembedding,
)
from geometry_of_trust.cli import main
from geometry_of_trust.cli.layer_spelling import layers_of
from tiny_models import TinyModel

WRONG = ["", "x", "8-", "-", ":3", "3:3", "5-4", "1.0", "[0,2]", "0-99999", "1--2", "8;9", "١"]


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (["8", "15"], [8, 15]),
        (["8,15"], [8, 15]),
        (["8,", "15"], None),
        (["8-11"], [8, 9, 10, 11]),
        (["3-3"], [3]),
        (["0:3"], [0, 1, 2]),
        (["0-1,7", "-1"], [0, 1, 7, -1]),
    ],
)
def test_spellings(words: list[str], layers: list[int] | None) -> None:
    if layers is None:
        with pytest.raises(errors.BadOption):
            layers_of(words)
    else:
        assert layers_of(words) == layers


def test_all_and_nothing() -> None:
    assert layers_of(["all"]) is None
    assert layers_of(None) is None
    with pytest.raises(errors.BadOption):
        layers_of(["all", "1"])


@pytest.mark.parametrize("word", WRONG)
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(errors.BadOption) as caught:
        layers_of([word])
    assert caught.value.where == "--layers"


def extract(model: Path, folder: Path, *layers: str) -> int:
    return main(
        ["extract", "--model", str(model), "--input", "The river", "--output-activations",
         str(folder / "a.gotact"), "--output-unembedding", str(folder / "u.gotue"),
         "--layers", *layers]
    )  # fmt: skip


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("words", "layers"), [(["-1"], (3,)), (["all"], (0, 1, 2, 3)), (["-4", "2-3"], (0, 2, 3))]
)
def test_extract(
    words: list[str], layers: tuple[int, ...], tiny_model: TinyModel, tmp_path: Path
) -> None:
    assert extract(tiny_model("llama"), tmp_path, *words) == 0
    assert read_activations(tmp_path / "a.gotact").layers == layers


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["4"], "--layers 4: expected 0 to 3, or -1 for the last, down to -4, found 4"),
        (["0:9"], "--layers 0:9: expected 0 to 3, or -1 for the last, down to -4, found 4"),
        (["-5"], "--layers -5: expected 0 to 3, or -1 for the last, down to -4, found -5"),
        (["-1", "3"], "layers: expected each layer once, found 3 again"),
    ],
)
def test_extract_says_the_range(
    words: list[str], line: str, tiny_model: TinyModel, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert extract(tiny_model("llama"), tmp_path, *words) != 0
    assert f"got-cli: {line}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_train_counts_in_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    values = rng.normal(size=(3, 40, 4)).astype(np.float32)
    values[:, :, 0] += 3 * labels
    write_activations(
        tmp_path / "a.gotact", Activations("tiny", "Fp32", (2, 5, 7), range(40), values)
    )
    write_unembedding(tmp_path / "u.gotue", rng.normal(size=(9, 4)).astype(np.float32))
    (tmp_path / "a.labels").write_text("".join(f"{label}\n" for label in labels))
    train = ["train", "--activations", str(tmp_path / "a.gotact"), "--unembedding",
             str(tmp_path / "u.gotue"), "--labels", str(tmp_path / "a.labels"),
             "--output", str(tmp_path / "p.json"), "--layers"]  # fmt: skip
    assert main([*train, "-1", "2-2"]) == 0
    made = {path.name: read_probe_set(path).layer for path in tmp_path.glob("p.*")}
    assert made == {"p.layer2.json": 2, "p.layer7.json": 7}
    assert main([*train, "-4"]) == 1
    assert main([*train, "7,-1"]) == 2
