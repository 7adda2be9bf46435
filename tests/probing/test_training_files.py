"""Training from files: where labels and groups come from, several dimensions and layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.errors import (
    BadLabelTable,
    BadOption,
    BadRowTable,
    GotError,
    LabelCount,
    LayerMissing,
    MissingColumn,
    MissingMember,
    RepeatedLayers,
    TooFewOfClass,
)
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.probing.probes import ProbeSet, read_probe_set
from geometry_of_trust.probing.training_files import train_files, train_layers
from options import training_arguments

D, TEXTS, LAYERS = 6, 40, (1, 4)


@dataclass(frozen=True)
class Corpus:
    """Paths of a corpus of 40 texts of three tokens, in ten groups, two labels a text."""

    folder: Path

    @property
    def sources(self) -> dict[str, Any]:
        return {
            "activations": self.folder / "a.gotact",
            "unembedding": self.folder / "u.gotue",
        }


def write_corpus(folder: Path, order: list[int], names: dict[int, str]) -> Corpus:
    """The corpus with its texts in some order and its groups under some names."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(len(LAYERS), TEXTS, 3, D)).astype(np.float32)
    warm, tall = np.arange(TEXTS) % 2, (np.arange(TEXTS) // 2) % 2
    values[:, :, :, 0] += 1.5 * warm[:, np.newaxis]
    values[:, :, :, 1] += 4 * tall[:, np.newaxis]
    with (
        (folder / "a.rows.parquet").open("wb") as handle,
        RowWriter(handle, ("warm", "tall")) as writer,
    ):
        for place, text in enumerate(order):
            writer.add(
                TextRows(
                    text=place,
                    group=names[text // 4],
                    token_index=[0, 1, 2],
                    token_id=[7, 8 + text % 5, 20 + text],
                    token=["a", "b", "c"],
                    span=[(0, 1), (2, 3), (4, 5)],
                    special=[False] * 3,
                    labels={"warm": int(warm[text]), "tall": int(tall[text])},
                )
            )
    states = values[:, order].reshape(len(LAYERS), 3 * TEXTS, D)
    write_activations(
        folder / "a.gotact", Activations("tiny", "Fp32", LAYERS, range(3 * TEXTS), states)
    )
    write_unembedding(
        folder / "u.gotue", np.random.default_rng(4).normal(size=(50, D)).astype(np.float32)
    )
    columns = np.repeat(np.column_stack([warm, tall])[order], 3, axis=0)
    (folder / "t.csv").write_text(
        "warm,tall\n" + "".join(f"{a},{b}\n" for a, b in columns.tolist())
    )
    (folder / "a.labels").write_text("".join(f"{a}\n" for a, _ in columns.tolist()))
    return Corpus(folder)


NAMES = {i: f"group {i}" for i in range(10)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"), list(range(TEXTS)), NAMES)


def cards(probe_set: ProbeSet) -> tuple[Card, ...]:
    assert probe_set.training is not None
    return probe_set.training.cards


@pytest.fixture(scope="module")
def both(corpus: Corpus) -> ProbeSet:
    """Both dimensions at layer 1."""
    columns = ("warm", "tall")
    return train_files(**corpus.sources, layer=1, label_columns=columns).probe_set


# --- several dimensions -----------------------------------------------------------------------


def test_several_dimensions_make_one_probe_set(corpus: Corpus, both: ProbeSet) -> None:
    assert [probe.name for probe in both.probes] == ["warm", "tall"]
    warm, tall = cards(both)
    assert (warm.dimension, tall.dimension) == ("warm", "tall")
    assert tall.quality.auroc.value > 0.97 > warm.quality.auroc.value > 0.6
    assert (warm.grouped, warm.groups, warm.folds) == (True, 10, 5)
    training = both.training
    assert training is not None
    assert (training.rows, training.labels_sha256) == (120, None)
    assert training.rows_digest == read_rows(rows_path(corpus.sources["activations"])).digest()
    assert 1 <= training.effective_dimension <= 2
    assert 1.5 < (training.unit_effective_dimension or 0) <= 2
    assert training.spectrum.mean_share is not None
    assert ProbeSet.from_json(both.to_json(), "p").to_json() == both.to_json()


def test_each_probe_is_what_it_would_be_alone(corpus: Corpus, both: ProbeSet) -> None:
    alone = train_files(**corpus.sources, layer=1, label_columns=["tall"]).probe_set
    assert np.array_equal(alone.probes[0].weights, both.probes[1].weights)
    assert cards(alone)[0] == cards(both)[1]


def test_a_table_says_the_same_as_the_row_table(corpus: Corpus, both: ProbeSet) -> None:
    table = corpus.folder / "t.csv"
    probe_set = train_files(**corpus.sources, layer=1, labels=table).probe_set
    assert cards(probe_set) == cards(both)
    assert probe_set.training is not None
    assert probe_set.training.labels_sha256 == sha256_file(table)


def test_columns_of_a_table_are_named(corpus: Corpus, both: ProbeSet, tmp_path: Path) -> None:
    header, *rows = (corpus.folder / "t.csv").read_text().splitlines()
    words = {"0": "FALSE", "1": "TRUE"}
    spread = [f"{row[0]}.0,a note,{words[row[2]]}" for row in rows]
    table = tmp_path / "t.CSV"
    table.write_text(f"\ufeff{header.replace(',', ',note,')}\r\n" + "\r\n".join(spread))
    named = train_files(
        **corpus.sources, layer=1, labels=table, label_columns=["tall", "warm"]
    ).probe_set
    assert cards(named) == cards(both)[::-1]
    one = train_files(
        **corpus.sources,
        layer=1,
        labels=table,
        label_columns=["warm"],
        **training_arguments(dimension="heat"),
    ).probe_set
    assert [probe.name for probe in one.probes] == ["heat"]
    with pytest.raises(BadLabelTable):
        train_files(**corpus.sources, layer=1, labels=table)


def test_columns_that_cannot_be_taken(corpus: Corpus) -> None:
    for labels, columns, error in (
        ("t.csv", ("cold",), MissingColumn),
        ("t.csv", ("warm", "warm"), BadOption),
        ("a.labels", ("warm",), BadOption),
    ):
        with pytest.raises(error):
            train_files(
                **corpus.sources, layer=1, labels=corpus.folder / labels, label_columns=columns
            )


def test_a_labels_file_uses_the_groups_too(corpus: Corpus, both: ProbeSet) -> None:
    probe_set = train_files(
        **corpus.sources,
        layer=1,
        labels=corpus.folder / "a.labels",
        **training_arguments(dimension="warm"),
    ).probe_set
    assert cards(probe_set)[0] == cards(both)[0]


def test_neither_order_of_texts_nor_names_of_groups_change_a_byte(
    tmp_path: Path, both: ProbeSet
) -> None:
    order = np.random.default_rng(8).permutation(TEXTS).tolist()
    moved = write_corpus(tmp_path, order, {i: f"{97 * (i + 3) % 11}" for i in range(10)})
    again = train_files(**moved.sources, layer=1, label_columns=("warm", "tall")).probe_set
    assert cards(again) == cards(both)
    for a, b in zip(again.probes, both.probes, strict=True):
        assert a.weights.tobytes() == b.weights.tobytes()
        assert (a.bias, a.platt_scale, a.platt_shift) == (b.bias, b.platt_scale, b.platt_shift)


def test_rows_that_are_all_said_to_belong_together_are_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, list(range(TEXTS)), dict.fromkeys(range(10), "one"))
    with pytest.raises(TooFewOfClass) as caught:
        train_files(**corpus.sources, layer=1, label_columns=["tall"])
    assert (caught.value.where, caught.value.found) == ("groups", "1 in all")


# --- inner products side by side --------------------------------------------------------------


def test_the_card_shows_both_inner_products(corpus: Corpus, both: ProbeSet) -> None:
    euclidean = train_files(
        **corpus.sources,
        layer=1,
        label_columns=["warm"],
        **training_arguments(inner_product="euclidean"),
    ).probe_set
    ours, theirs = cards(both)[0], cards(euclidean)[0]
    assert (ours.other_inner_product, theirs.other_inner_product) == ("Euclidean", "Causal")
    assert ours.other == theirs.quality
    assert theirs.other == ours.quality
    assert ours.quality != theirs.quality


# --- several layers ---------------------------------------------------------------------------


def test_several_layers_share_a_geometry(corpus: Corpus, both: ProbeSet) -> None:
    results = train_layers(**corpus.sources, layers=(4, 1), label_columns=("warm", "tall"))
    assert [result.probe_set.layer for result in results] == [4, 1]
    assert results[1].probe_set.to_json() == both.to_json()
    assert cards(results[0].probe_set) != cards(both)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"layers": ()}, RepeatedLayers),
        ({"layers": (1, 1)}, RepeatedLayers),
        ({"layers": (1, 2)}, LayerMissing),
        ({"label_columns": ()}, BadOption),
        ({"label_columns": ("warm", "warm")}, BadOption),
        ({"label_columns": ("cold",)}, MissingMember),
        ({"dimension": "x", "label_columns": ("warm", "tall")}, BadOption),
    ],
)
def test_refusals(corpus: Corpus, options: dict[str, Any], error: type[GotError]) -> None:
    chosen: dict[str, Any] = {"layers": (1,), "label_columns": ("warm",)} | options
    with pytest.raises(error):
        train_layers(**corpus.sources, **training_arguments(**chosen))


def test_too_few_groups_of_a_class_are_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, list(range(TEXTS)), NAMES)
    (tmp_path / "a.labels").write_text("1\n" * 12 + "0\n" * 108)  # one group
    with pytest.raises(TooFewOfClass):
        train_files(**corpus.sources, layer=1, labels=tmp_path / "a.labels")
    (tmp_path / "a.labels").write_text("1\n" * 12)
    with pytest.raises(LabelCount):
        train_files(**corpus.sources, layer=1, labels=tmp_path / "a.labels")
    rows_path(corpus.sources["activations"]).unlink()
    with pytest.raises(BadRowTable):
        train_files(**corpus.sources, layer=1, label_columns=["warm"])


# --- the command ------------------------------------------------------------------------------


def arguments(corpus: Corpus, *more: object) -> list[str]:
    sources = corpus.sources
    return [
        *map(
            str,
            (
                "train", "--activations", sources["activations"],
                "--unembedding", sources["unembedding"], *more,
            ),
        )
    ]  # fmt: skip


def test_command_with_layers_and_columns(
    corpus: Corpus, both: ProbeSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "p.json"
    options = ("--layers", 1, 4, "--label-column", "warm", "tall", "--output", output)
    assert main(arguments(corpus, *options)) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.layer1.json", "p.layer4.json"]
    assert (tmp_path / "p.layer1.json").read_bytes() == both.to_json()
    assert read_probe_set(tmp_path / "p.layer4.json").layer == 4
    for words in ("probe 'warm'", "SUFFICIENT", "Causal", "bag of tokens", "\non trust "):
        assert words in out
    assert main(["show", str(tmp_path / "p.layer1.json")]) == 0
    shown = capsys.readouterr().out
    for words in ("probe 'tall'", "selectivity", "effective rank", "before Platt scaling"):
        assert words in shown


def test_command_with_a_table_and_columns(
    corpus: Corpus, both: ProbeSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = corpus.folder / "t.csv"
    options = ("--labels", table, "--label-column", "warm", "tall", "--output", tmp_path / "p.json")
    assert main(arguments(corpus, "--layer", 1, *options)) == 0
    assert cards(read_probe_set(tmp_path / "p.json")) == cards(both)
    capsys.readouterr()
    sources = corpus.sources
    report = (
        "calibration-report", "--activations", sources["activations"], "--unembedding",
        sources["unembedding"], "--probes", tmp_path / "p.json", "--json", "--labels", table,
    )  # fmt: skip
    printed = []
    for columns in ((), ("--label-column", "tall", "warm")):
        assert main([str(word) for word in (*report, *columns)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert main([str(word) for word in (*report, "--label-column", "cold")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_command_prints_json(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--label-column", "warm", "--output", tmp_path / "p.json", "--json")
    assert main(arguments(corpus, "--layer", 1, *common)) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["training"]["cards"][0]["controls"]["bag_of_tokens"] > 0
    assert main(arguments(corpus, "--layers", 1, *common)) == 0
    assert [t["output"] for t in json.loads(capsys.readouterr().out)] == [
        str(tmp_path / "p.layer1.json")
    ]


@pytest.mark.parametrize(
    "options",
    [
        ("--label-column", "warm"),  # no layer
        ("--label-column", "warm", "--layer", 1, "--layers", 1),
        ("--layer", 1),  # no labels
    ],
)
def test_command_needs_layers_and_labels(
    corpus: Corpus, tmp_path: Path, options: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(corpus, *options, "--output", tmp_path / "p.json")) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
