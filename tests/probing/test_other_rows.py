"""How far a probe carries: thresholds on benign rows, figures on other files, and refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import recall_score, roc_auc_score

from geometry_of_trust.cli import main
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.documents.schema import FLOAT, decimal
from geometry_of_trust.documents.thresholds import exceeding, thresholds
from geometry_of_trust.errors import (
    BadLabel,
    BadRowTable,
    DimensionMismatch,
    GotError,
    Inconsistent,
    LabelCount,
    LayerMissing,
    MissingMember,
    ModelMismatch,
    OneClass,
    PrecisionMismatch,
    TooFewGroups,
    TooFewOfClass,
    WrongType,
)
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.other_rows import thresholds_of
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.training_files import train_files

D, LAYER = 6, 4
U = np.random.default_rng(4).normal(size=(50, D)).astype(np.float32)


def write(
    folder: Path,
    name: str,
    y: NDArray[np.int8] | None,
    states: NDArray[np.float64],
    *,
    groups: Sequence[str] | None = None,
    tokens: int = 1,
    model: str = "tiny",
) -> Path:
    """Activations of texts of so many tokens, with a row table, and labels `warm` if there are."""
    path = folder / f"{name}.gotact"
    write_activations(
        path,
        Activations(model, "Fp32", (LAYER,), range(len(states)), states[None].astype(np.float32)),
    )
    columns = () if y is None else ("warm",)
    with path.with_suffix(".rows.parquet").open("wb") as h, RowWriter(h, columns) as writer:
        for i in range(len(states) // tokens):
            writer.add(
                TextRows(
                    text=i, group=None if groups is None else groups[i],
                    token_index=list(range(tokens)),
                    token_id=[crc32(f"{name} {i} {j}".encode()) >> 1 for j in range(tokens)],
                    token=["a"] * tokens, span=[(2 * j, 2 * j + 1) for j in range(tokens)],
                    special=[False] * tokens,
                    labels={} if y is None else {"warm": int(y[i])},
                )
            )  # fmt: skip
    return path


def rows(seed: int, n: int, effect: float, moved: float = 0.0) -> Any:
    """Labels, and states with an effect on one coordinate; all may be moved along it."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(np.int8)
    states = rng.normal(size=(n, D))
    states[:, 0] += effect * y + moved
    return y, states


@dataclasses.dataclass(frozen=True)
class Files:
    folder: Path
    sources: dict[str, Any]
    ood: Path
    moved: Path
    benign: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("carry")
    y, states = rows(0, 120, 3.0)
    activations = write(folder, "a", y, states)
    write_unembedding(folder / "u.gotue", U)
    like, found = rows(1, 200, 3.0)
    found[:7] = states[:7]  # stand in the training, too
    found[7] = found[8]  # one observation
    ood = write(folder, "like", like, found, groups=[f"g{i // 4}" for i in range(200)])
    moved = write(folder, "moved", *rows(2, 200, 0.5, 2.0))
    quiet = rows(3, 1210, 0.0)[1]
    quiet[:10] = states[:10]
    benign = write(folder, "benign", None, quiet)
    return Files(folder, {"activations": activations, "unembedding": folder / "u.gotue"},
                 ood, moved, benign)  # fmt: skip


def train(files: Files, **options: Any) -> ProbeSet:
    chosen: dict[str, Any] = {"layer": LAYER, "label_columns": ["warm"]}
    return train_files(**(files.sources | chosen | options)).probe_set


def card_of(probe_set: ProbeSet) -> Card:
    assert probe_set.training is not None
    return probe_set.training.cards[0]


@pytest.fixture(scope="module")
def plain(files: Files) -> ProbeSet:
    return train(files)


@pytest.fixture(scope="module")
def carried(files: Files) -> ProbeSet:
    return train(files, ood=[files.ood, files.moved], benign=files.benign)


# --- the rule ---------------------------------------------------------------------------------


def test_of_fresh_groups_no_more_than_said_are_above_a_threshold() -> None:
    """On average exactly (k + 1)/(N + 1), k the groups above: ranks of fresh ones are uniform."""
    rng = np.random.default_rng(5)
    for count, one_in in ((99, 100), (250, 100), (1000, 1000)):
        above = []
        for _ in range(400):
            values = rng.random(count)
            found = thresholds_of(values, np.arange(count), benign=True)
            bound = found.one_percent if one_in == 100 else found.tenth_percent
            assert bound is not None
            assert (values > bound).sum() == exceeding(count, one_in)
            above.append(1 - bound)  # the share of fresh ones that are greater
        expected = (exceeding(count, one_in) + 1) / (count + 1)
        assert expected <= 1 / one_in
        assert abs(np.mean(above) - expected) < 4 * np.std(above) / 20


def test_ties_and_groups_make_a_threshold_stricter() -> None:
    values = np.repeat([3.0, 2.0, 1.0], [1, 5, 394])
    assert thresholds_of(values, np.arange(400), benign=True).one_percent == 2.0
    assert (values > 2.0).sum() == 1 < exceeding(400, 100) == 3
    # Of two rows a group the greater counts: 200 groups, of which one may be above.
    paired = thresholds_of(np.arange(400.0), np.arange(400) // 2, benign=True)
    assert (paired.groups, paired.one_percent, paired.tenth_percent) == (200, 397.0, None)
    few = thresholds_of(np.arange(50.0), np.arange(50), benign=False)
    assert (few.one_percent, few.share) == (49.0, "1 false positive in 51")


def test_thresholds_that_cannot_be_are_refused() -> None:
    for kind, number in ((thresholds(FLOAT), float), (thresholds(decimal(FLOAT)), str)):
        tree = {"benign": True, "groups": 999, "one_percent": number(-1.5),
                "tenth_percent": number(2.5)}  # fmt: skip
        assert kind.write(kind.read(tree, "t")) == tree
        for changed in ({"groups": 998}, {"tenth_percent": number(-1.75)}):
            with pytest.raises(Inconsistent, match=r"t\."):
                kind.read(tree | changed, "t")
    del tree["tenth_percent"]
    with pytest.raises(Inconsistent):
        kind.read(tree | {"groups": 98}, "t")
    assert kind.read(tree | {"groups": 1, "benign": False}, "t").groups == 1
    of_file = {"activations_sha256": "ab" * 32}
    assert kind.read(tree | of_file, "t").activations_sha256 == "ab" * 32
    with pytest.raises(Inconsistent):
        kind.read(tree | of_file | {"benign": False}, "t")
    for text in ("1.50", "nan", "1e99", 1.5):
        with pytest.raises((WrongType, GotError)):
            kind.read(tree | {"one_percent": text}, "t")


# --- a card -----------------------------------------------------------------------------------


def test_figures_are_of_the_shipped_probe_at_the_frozen_threshold(
    files: Files, plain: ProbeSet, carried: ProbeSet
) -> None:
    card, probe = card_of(carried), carried.probes[0]
    own = card.thresholds
    assert own is not None
    assert (own.benign, own.groups) == (True, 1200)  # ten were trained on
    assert own.activations_sha256 == hashlib.sha256(files.benign.read_bytes()).hexdigest()
    geometry = Geometry.from_unembedding(read_unembedding(files.sources["unembedding"]))

    def read(states: NDArray[np.float64]) -> NDArray[np.float64]:
        stored = states.astype(np.float32).astype(np.float64)
        return np.array(exact.readings(probe.weights, geometry.phi, stored, probe.bias))

    quiet = read(rows(3, 1210, 0.0)[1][10:])
    assert (quiet > own.one_percent).sum() == exceeding(1200, 100) == 11
    assert (quiet > (own.tenth_percent or 0)).sum() == exceeding(1200, 1000) == 0
    like, moved = card.elsewhere
    y, states = rows(2, 200, 0.5, 2.0)
    raw = read(states)
    assert moved.auroc.value == pytest.approx(roc_auc_score(y, raw), abs=1e-7)
    at = moved.at_threshold
    assert at.recall.value == pytest.approx(recall_score(y, raw > own.one_percent), abs=1e-7)
    assert at.false_positives == (raw[y == 0] > own.one_percent).sum() > 10
    assert (like.name, like.positives, like.negatives) == ("like.gotact", 100, 100)
    assert like.repeated == 7
    assert (like.groups, moved.groups, moved.repeated) == (49, 200, 0)
    assert like.auroc.low > 0.9 > moved.auroc.high
    assert like.ece.high < moved.ece.low
    # Nothing else of the probe set is other than without.
    bare = dataclasses.replace(card, thresholds=None, elsewhere=())
    assert bare == card_of(plain)
    assert "thresholds" not in json.loads(plain.to_json())["training"]["cards"][0]
    assert ProbeSet.from_json(carried.to_json(), "p").to_json() == carried.to_json()


def test_the_order_of_rows_plays_no_part(files: Files, carried: ProbeSet) -> None:
    y, states = rows(2, 200, 0.5, 2.0)
    (files.folder / "turned").mkdir()
    turned = write(files.folder / "turned", "moved", y[::-1], states[::-1])
    again = card_of(train(files, ood=[turned], benign=files.benign)).elsewhere[0]
    here = card_of(carried).elsewhere[1]
    assert dataclasses.replace(again, activations_sha256=here.activations_sha256) == here


def test_without_benign_rows_the_threshold_is_of_negatives_held_out(files: Files) -> None:
    card = card_of(train(files, ood=[files.ood]))
    own = card.thresholds
    assert own is not None
    assert (own.benign, own.groups, own.tenth_percent) == (False, 60, None)
    assert own.share == "1 false positive in 61"
    assert card.elsewhere[0].at_threshold.false_positive_rate.value < 0.1


def test_texts_are_judged_where_texts_are_read(files: Files, tmp_path: Path) -> None:
    y, states = rows(6, 120, 3.0)
    spread = np.repeat(states, 2, axis=0) + np.random.default_rng(7).normal(size=(240, D))
    sources = files.sources | {"activations": write(tmp_path, "t", y, spread, tokens=2)}
    half = write(tmp_path, "half", y[:60], spread[:120] + 1e-3, tokens=2)
    quiet = write(tmp_path, "q", None, np.random.default_rng(8).normal(size=(240, D)), tokens=2)
    found = train_files(
        **sources, layer=LAYER, label_columns=["warm"], ood=[half], benign=quiet,
        options=TrainingOptions(aggregate="max"),
    ).probe_set  # fmt: skip
    card = card_of(found)
    assert card.thresholds is not None
    assert card.thresholds.groups == 120
    assert card.elsewhere[0].positives + card.elsewhere[0].negatives == 60
    quiet.with_suffix(".rows.parquet").unlink()
    with pytest.raises(BadRowTable):
        train_files(**sources, layer=LAYER, label_columns=["warm"], benign=quiet,
                    options=TrainingOptions(aggregate="max"))  # fmt: skip


def test_what_cannot_be_is_refused(files: Files, tmp_path: Path) -> None:
    y, states = rows(9, 120, 1.0)
    without = write(tmp_path, "without", None, states)
    few = write(tmp_path, "few", None, states[:98])
    grouped = write(tmp_path, "grouped", None, states, groups=["one", "two"] * 60)
    single = write(tmp_path, "single", y, states, groups=["one"] * 120)
    for options, error in (
        ({"ood": [write(tmp_path, "other", y, states, model="b")]}, ModelMismatch),
        ({"ood": [without]}, MissingMember),
        ({"ood": [write(tmp_path, "one", 0 * y, states)]}, OneClass),
        ({"ood": [write(tmp_path, "wide", y, np.tile(states, 2))]}, DimensionMismatch),
        ({"ood": [single]}, TooFewOfClass),
        ({"benign": write(tmp_path, "labelled", y, states)}, BadLabel),
        ({"benign": few}, TooFewGroups),
        ({"benign": grouped}, TooFewGroups),
        ({"benign": files.sources["activations"]}, BadLabel),
    ):
        with pytest.raises(error):
            train(files, **options)

    def never(*arguments: object) -> list[Any]:
        raise AssertionError("the model was run")

    with pytest.raises(TooFewGroups):
        train(files, benign=few, shifting=never)
    # The labels file beside serves where the row table has no such column.
    without.with_suffix(".labels").write_text("".join(f"{label}\n" for label in y))
    assert card_of(train(files, ood=[without])).elsewhere[0].positives == 60
    with pytest.raises(BadLabel):
        train(files, benign=without)
    without.with_suffix(".labels").write_text("0\n1\n")
    with pytest.raises(LabelCount):
        train(files, ood=[without])
    stored = Activations("tiny", "Fp32", (LAYER,), range(120), states[None].astype(np.float32))
    write_activations(without, dataclasses.replace(stored, precision="Fp16"))
    with pytest.raises(PrecisionMismatch):
        train(files, benign=without)
    write_activations(without, dataclasses.replace(stored, layers=(1,)))
    with pytest.raises(LayerMissing):
        train(files, benign=without)


def test_contradictions_are_refused(carried: ProbeSet) -> None:
    def changed(*path: Any, to: object) -> bytes:
        tree = json.loads(carried.to_json())
        place = tree["training"]["cards"][0]
        for step in path[:-1]:
            place = place[step]
        assert place[path[-1]] != to
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        return json.dumps(tree).encode()

    first = "elsewhere", 0
    for data in (
        changed("thresholds", to=None),
        changed(*first, "repeated", to=201),
        changed(*first, "groups", to=1),
        changed(*first, "positives", to=0),
        changed(*first, "at_threshold", "true_positives", to=101),
        changed(*first, "at_threshold", "false_positives", to=100),
        changed(*first, "at_threshold", "precision", "value", to=0.5),
        changed(*first, "recall_at_1_percent", to={"value": 0, "low": 0, "high": 0}),
    ):
        with pytest.raises((Inconsistent, WrongType)):
            ProbeSet.from_json(data, "p")


# --- the command ------------------------------------------------------------------------------


def test_the_command_and_what_shows_it(
    files: Files, carried: ProbeSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "p.json"
    sources = [f"--{name}={path}" for name, path in files.sources.items()]
    command = ["train", *sources, "--label-column", "warm", "--layer", str(LAYER), "--output",
               str(output), "--ood", str(files.ood), "--ood", str(files.moved),
               "--benign", str(files.benign)]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr()
    assert output.read_bytes() == carried.to_json()
    assert "warning: 7 of 200 of 'like.gotact' were trained on" in printed.err
    assert main(["show", str(output)]) == 0
    shown = capsys.readouterr().out
    for line in (
        "threshold for 1 % false positives on 1200 independent benign texts: logit above",
        "threshold for 0.1 %: logit above",
        "100 positive, 100 negative rows in 49 groups, 7 of them trained on: 'like.gotact'",
    ):
        assert line in printed.out
        assert line in shown
    assert main([*command[:-2], "--benign", str(output)]) != 0
    assert "expected no input" in capsys.readouterr().err
