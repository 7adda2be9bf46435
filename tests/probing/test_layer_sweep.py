"""Choosing a layer: the right one is found, chance is not believed, and the test fold is unseen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.cli import main
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import (
    BadOption,
    GotError,
    LayerMissing,
    MissingMember,
    OneClass,
    RepeatedLayers,
    TooFewGroups,
)
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.layer_choice import Sweep
from geometry_of_trust.probing.layer_sweep import rows_of_test_fold, sweep, sweep_files
from geometry_of_trust.probing.options import FittingOptions
from options import training_arguments
from tiny_models import FAMILIES, LAYERS, build

TEXTS, D = 160, 8
SIGNAL = (0.0, 0.4, 2.0, 2.0, 0.8)
"""How far apart the classes are in layers 3, 5, 7, 9 and 11."""

DEPTHS = (3, 5, 7, 9, 11)
LABELS = np.arange(TEXTS) % 2
OTHER = np.arange(TEXTS) // 2 % 2  # the same in the two texts of a group

pytestmark = pytest.mark.usefixtures("quickly")


@dataclass(frozen=True)
class Files:
    folder: Path

    @property
    def sources(self) -> dict[str, Any]:
        return {
            "activations": self.folder / "a.gotact",
            "unembedding": self.folder / "u.gotue",
        }

    @property
    def states(self) -> NDArray[np.float32]:
        return np.array(read_activations(self.folder / "a.gotact").values)

    def rewrite(self, states: NDArray[np.float32]) -> None:
        write_activations(
            self.folder / "a.gotact",
            Activations("tiny", "Fp32", DEPTHS, range(states.shape[1]), states),
        )


def states_of(signal: tuple[float, ...], seed: int = 1) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(len(DEPTHS), TEXTS, D)).astype(np.float32)
    for layer, strength in zip(values, signal, strict=True):
        layer[:, 0] += strength * (2 * LABELS - 1)
        layer[:, 1] += strength * (2 * OTHER - 1)
    if signal[2]:
        values[3] = values[2]
    return values


def write(folder: Path, states: NDArray[np.float32], order: list[int] | None = None) -> Files:
    """A corpus of texts with a row each, in groups of two, in some order."""
    folder.mkdir(exist_ok=True)
    files, order = Files(folder), order or list(range(TEXTS))
    with (
        rows_path(files.sources["activations"]).open("wb") as handle,
        RowWriter(handle, ("warm", "tall")) as writer,
    ):
        for place, text in enumerate(order):
            writer.add(
                TextRows(
                    text=place,
                    group=f"{(text // 2) * 37 % 101}",
                    token_index=[1],
                    token_id=[10 + text],
                    token=["a"],
                    span=[(0, 1)],
                    special=[False],
                    tokens=[text % 7, 10 + text],
                    labels={"warm": int(LABELS[text]), "tall": int(OTHER[text])},
                )
            )
    files.rewrite(states[:, order])
    U = np.random.default_rng(4).normal(size=(50, D)).astype(np.float32)
    write_unembedding(folder / "u.gotue", U)
    return files


def swept(files: Files, *columns: str, **options: Any) -> Sweep:
    return sweep_files(
        **files.sources, label_columns=columns or ("warm",), **training_arguments(**options)
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write(tmp_path_factory.mktemp("sweep"), states_of(SIGNAL))


@pytest.fixture(scope="module")
def result(files: Files) -> Sweep:
    return swept(files, "warm", "tall")


# --- the choice -------------------------------------------------------------------------------


def test_the_layer_with_the_signal_is_found(result: Sweep) -> None:
    assert (result.model_id, result.inner_product, result.grouped) == ("tiny", "Causal", True)
    assert result.layers == DEPTHS
    assert [dimension.dimension for dimension in result.dimensions] == ["warm", "tall"]
    for dimension in result.dimensions:
        assert dimension.recommended == dimension.chosen == 7  # 9 holds the same states
        assert dimension.verdict == "SUFFICIENT"
        by_layer = {entry.layer: entry for entry in dimension.layers}
        assert by_layer[3].verdict == "INSUFFICIENT"
        assert dimension.final.quality.auroc.value > 0.9
        assert dimension.final.groups + dimension.groups == TEXTS // 2
        rows = (
            dimension.positives
            + dimension.negatives
            + dimension.final.positives
            + dimension.final.negatives
        )
        assert rows == TEXTS


def test_no_signal_anywhere_is_insufficient(tmp_path: Path) -> None:
    for seed in (5, 6):
        files = write(tmp_path, states_of((0.0,) * len(DEPTHS), seed))
        (dimension,) = swept(files).dimensions
        assert (dimension.verdict, dimension.recommended) == ("INSUFFICIENT", None)
        assert dimension.chosen == dimension.best
        auroc = dimension.final.quality.auroc
        assert auroc.low < 0.5 < auroc.high


@pytest.mark.heavy
def test_chance_is_seldom_believed() -> None:
    """Of 40 sweeps over noise at most two recommend a layer: 5 % would, if the test were all."""
    U = np.random.default_rng(4).normal(size=(50, D)).astype(np.float32)
    geometry, labels = Geometry.from_unembedding(U), {"warm": LABELS.astype(np.int8)}
    believed = 0
    for seed in range(40):
        states = states_of((0.0,) * len(DEPTHS), 100 + seed)
        acts = Activations("tiny", "Fp32", DEPTHS, range(TEXTS), states)
        believed += sweep(acts, labels, geometry).dimensions[0].recommended is not None
    assert believed <= 2


def test_a_layer_that_fails_on_the_test_fold_is_not_recommended(
    files: Files, tmp_path: Path
) -> None:
    states = states_of((0.0,) * len(DEPTHS))
    changed = write(tmp_path, states)
    rows = np.setdiff1d(np.arange(TEXTS), unseen_rows(changed))
    states[1, rows, 0] += 3 * (2 * LABELS[rows] - 1)
    changed.rewrite(states)
    (dimension,) = swept(changed).dimensions
    assert dimension.chosen == DEPTHS[1]
    by_layer = {entry.layer: entry for entry in dimension.layers}
    assert by_layer[DEPTHS[1]].verdict == "SUFFICIENT"
    assert (dimension.verdict, dimension.recommended) == ("INSUFFICIENT", None)


# --- the test fold ----------------------------------------------------------------------------


def unseen_rows(files: Files, labels: NDArray[Any] = LABELS) -> NDArray[np.intp]:
    """Rows of the test fold: of whole groups, about a fifth, both classes."""
    rows = read_rows(rows_path(files.sources["activations"]))
    acts = read_activations(files.sources["activations"])
    test = rows_of_test_fold(acts.layer(DEPTHS[-1]), labels.astype(np.int8), rows.groups)
    rest = np.setdiff1d(np.arange(len(rows)), test)
    assert not set(rows.groups[test]) & set(rows.groups[rest])
    assert abs(len(test) - len(rows) / 5) <= 2
    assert set(labels[test]) == {0, 1}
    return test


def test_the_choice_never_sees_the_test_fold(files: Files, tmp_path: Path, result: Sweep) -> None:
    test = unseen_rows(files)
    changed = write(tmp_path, states_of(SIGNAL))
    states = changed.states
    # The deepest layer says which rows these are, and so stays.
    states[:-1, test] = 100 * np.random.default_rng(9).normal(size=states[:-1, test].shape)
    changed.rewrite(states)
    (dimension,) = swept(changed).dimensions
    original = result.dimensions[0]
    for ours, theirs in zip(dimension.layers[:-1], original.layers[:-1], strict=True):
        assert ours == theirs
    assert (dimension.chosen, dimension.why, dimension.best) == (
        original.chosen,
        original.why,
        original.best,
    )
    assert dimension.final.groups == original.final.groups
    assert dimension.final.quality != original.final.quality


def test_labels_of_the_test_fold_change_its_figures_only(files: Files, result: Sweep) -> None:
    """The other way round: rows of choice that change do change the choice's figures."""
    test = unseen_rows(files)
    rest = np.setdiff1d(np.arange(TEXTS), test)
    folder = files.folder / "more"
    changed = write(folder, states_of(SIGNAL))
    states = changed.states
    states[0, rest[:10]] += 1
    changed.rewrite(states)
    (dimension,) = swept(changed).dimensions
    assert dimension.layers[0] != result.dimensions[0].layers[0]
    assert dimension.layers[1:] == result.dimensions[0].layers[1:]
    assert dimension.final == result.dimensions[0].final


# --- what plays no part -----------------------------------------------------------------------


def test_neither_the_order_of_texts_nor_other_layers_change_a_figure(
    files: Files, tmp_path: Path, result: Sweep
) -> None:
    order = np.random.default_rng(3).permutation(TEXTS).tolist()
    moved = write(tmp_path, states_of(SIGNAL), order)
    assert swept(moved, "warm", "tall") == result
    few = swept(files, layers=(9, 5)).dimensions[0]
    assert few.layers == tuple(result.dimensions[0].layers[i] for i in (1, 3))
    assert few.chosen == 9


def test_without_a_row_table_each_row_is_a_group(tmp_path: Path) -> None:
    files = write(tmp_path, states_of(SIGNAL))
    rows_path(files.sources["activations"]).unlink()
    (tmp_path / "a.labels").write_text("".join(f"{label}\n" for label in LABELS))
    alone = sweep_files(
        **files.sources,
        labels=tmp_path / "a.labels",
        layers=[7],
        options=FittingOptions(dimension="warm"),
    )
    assert not alone.grouped
    assert alone.dimensions[0].final.groups == TEXTS // 5
    assert alone.dimensions[0].layers[0].controls.position_and_length is None


def test_the_words_are_compared_at_each_layer(result: Sweep) -> None:
    for dimension in result.dimensions:
        assert len({entry.controls.bag_of_tokens for entry in dimension.layers}) == 1
        assert dimension.layers[0].controls.bag_of_tokens is not None
        assert len({entry.controls.random_directions for entry in dimension.layers}) > 1


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"layers": ()}, RepeatedLayers),
        ({"layers": (5, 5)}, RepeatedLayers),
        ({"layers": (5, 6)}, LayerMissing),
        ({"label_columns": ("cold",)}, MissingMember),
        ({"label_columns": ()}, BadOption),
        ({"l2": -1.0}, BadOption),
    ],
)
def test_refusals(files: Files, options: dict[str, Any], error: type[GotError]) -> None:
    with pytest.raises(error):
        sweep_files(
            **(files.sources | {"label_columns": ("warm",)} | training_arguments(**options))
        )


@pytest.mark.parametrize(("positives", "error"), [(0, OneClass), (3, TooFewGroups),
                                                  (15, TooFewGroups)])  # fmt: skip
def test_too_few_groups_for_a_test_fold(
    tmp_path: Path, positives: int, error: type[GotError]
) -> None:
    files = write(tmp_path, states_of(SIGNAL))
    labels = np.zeros(TEXTS, int)
    labels[: 2 * positives : 2] = 1
    (tmp_path / "a.labels").write_text("".join(f"{label}\n" for label in labels))
    with pytest.raises(error) as caught:
        sweep_files(**files.sources, labels=tmp_path / "a.labels")
    assert caught.value.exit_code == 1


def test_twenty_groups_of_each_class_are_enough(tmp_path: Path) -> None:
    files = write(tmp_path, states_of(SIGNAL))
    labels = np.zeros(TEXTS, int)
    labels[:40:2] = 1
    assert labels[unseen_rows(files, labels)].sum() == 4


# --- the command ------------------------------------------------------------------------------


def arguments(files: Files, *more: object) -> list[str]:
    sources = files.sources
    return [*map(str, ("sweep", "--activations", sources["activations"],
                       "--unembedding", sources["unembedding"], *more))]  # fmt: skip


def test_command(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "s.svg"
    options = ("--label-column", "warm", "tall", "--plot", picture)
    assert main(arguments(files, *options)) == 0
    out, err = capsys.readouterr()
    for words in ("SUFFICIENT, recommended: layer 7: 'warm'", "one standard error", "tall",
                  "on the test fold", "chosen", "insufficient", "too great"):  # fmt: skip
        assert words in out
    assert err.splitlines() == [f"wrote {picture}"]
    assert picture.read_bytes().startswith(b"<?xml")


def test_command_prints_json(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(files, "--label-column", "warm", "--layers", 3, 7, "--json")) == 0
    tree = json.loads(capsys.readouterr().out)
    (dimension,) = tree["dimensions"]
    assert (tree["layers"], dimension["recommended"], dimension["chosen"]) == ([3, 7], 7, 7)
    assert dimension["layers"][1]["quality"]["auroc"]["value"] > 0.9
    assert dimension["final"]["quality"]["auroc"]["low"] > 0.5


def test_command_says_that_nothing_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path, states_of((0.0,) * len(DEPTHS)))
    assert main(arguments(files, "--label-column", "warm")) == 0
    assert "INSUFFICIENT, recommended: none: 'warm'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--label-column", "warm", "--plot", "s.gif"), 2),
        (("--label-column", "warm", "--limit", 3), 2),  # of a corpus
        (("--label-column", "warm", "--model", "m", "--input-file", "c.jsonl"), 2),
        (("--label-column", "warm", "--layers", 4), 1),
        (("--label-column", "cold"), 3),
    ],
)
def test_command_refuses(
    files: Files, options: tuple[object, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files, *options)) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--activations", "a.gotact"),
        ("--model", "m"),
        ("--model", "m", "--input-file", "c.txt", "--output-activations", "a.gotact"),
    ],
)
def test_command_needs_files_or_a_model(options: tuple[str, ...]) -> None:
    assert main(["sweep", "--label-column", "x", *options]) == 2


def test_a_model_runs_once_for_all_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(FAMILIES["llama"], tmp_path / "model")
    corpus = tmp_path / "c.jsonl"
    corpus.write_text("".join(
        json.dumps({"text": f"The {'river' if i % 2 else 'city'} {i} flows", "wet": i % 2}) + "\n"
        for i in range(60)
    ))  # fmt: skip
    common = ["sweep", "--model", str(model), "--input-file", str(corpus), "--fast",
              "--label-column", "wet", "--json"]  # fmt: skip
    before = set(tmp_path.iterdir())
    assert main(common) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["layers"] == list(range(LAYERS))
    assert set(tmp_path.iterdir()) == before
    kept = [tmp_path / "k.gotact", tmp_path / "k.gotue"]
    assert main([*common, "--layers", "1", "3", "--output-activations", str(kept[0]),
                 "--output-unembedding", str(kept[1])]) == 0  # fmt: skip
    again = json.loads(capsys.readouterr().out)
    assert again["layers"] == [1, 3]
    assert read_activations(kept[0]).layers == (1, 3)
    assert [again["dimensions"][0]["layers"][i] for i in (1,)] == [
        tree["dimensions"][0]["layers"][3]
    ]
    dimension = sweep_files(
        activations=kept[0], unembedding=kept[1], label_columns=["wet"]
    ).dimensions[0]
    assert dimension.layers[1].layer == 3
    assert dimension.layers[1].quality.auroc.value == pytest.approx(
        again["dimensions"][0]["layers"][1]["quality"]["auroc"]["value"]
    )


def test_columns_of_a_table_are_not_asked_of_the_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(FAMILIES["llama"], tmp_path / "model")
    corpus, table = tmp_path / "c.txt", tmp_path / "t.csv"  # a text file has no columns
    words = [f"The {'river' if i % 2 else 'city'} {i} flows" for i in range(60)]
    corpus.write_text("".join(f"{text}\n" for text in words))
    table.write_text(
        "text,wet\n" + "".join(f"{text},{bool(i % 2)}\n" for i, text in enumerate(words))
    )
    common = ["sweep", "--model", str(model), "--input-file", str(corpus), "--fast", "--layers",
              "1", "--json", "--labels", str(table)]  # fmt: skip
    assert main([*common, "--label-column", "wet"]) == 0
    dimensions = json.loads(capsys.readouterr().out)["dimensions"]
    assert [entry["dimension"] for entry in dimensions] == ["wet"]
    assert main(common) == 3
    assert capsys.readouterr().err.count("\n") == 1
