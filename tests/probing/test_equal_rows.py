"""Rows that are one observation stay together: random labels are never learnt by heart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.documents.probe_card import Card, Repeats
from geometry_of_trust.errors import TooFewOfClass
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.equal_rows import (
    equal_row_count,
    joined_groups,
    near_row_count,
    text_groups,
)
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.training import train
from geometry_of_trust.showing.cards import card as shown
from geometry_of_trust.showing.cards import warnings
from row_tables import last_rows, table_of

D = 24
GEOMETRY = Geometry("Euclidean", 0.0, D, None)
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(60, D)).astype(np.float32).astype(np.float64)
LABELS = RNG.permutation(np.arange(60) % 2).astype(np.int8)


def card(H: Array, y: Labels, rows: RowTable | None = None) -> Card:
    states = Activations("t", "Fp32", (0,), range(len(y)), H.astype(np.float32)[np.newaxis])
    return train(states, y, GEOMETRY, layer=0, l2=1e-3, rows=rows).training.cards[0]


def partition(names: Indices) -> list[list[int]]:
    return sorted(np.flatnonzero(names == name).tolist() for name in set(names.tolist()))


def test_copies_of_random_rows_teach_nothing() -> None:
    """Without the rule the AUROC is 0.999, and the verdict SUFFICIENT."""
    twice = np.arange(120) % 60
    made = card(STATES[twice], LABELS[twice])
    assert (made.groups, made.grouped, made.verdict) == (60, False, "INSUFFICIENT")
    assert made.quality.auroc.low < 0.5
    assert made.repeats is not None
    assert (made.repeats.equal_rows, made.repeats.joined_groups) == (120, 60)
    assert made.repeats.near_rows == 0
    assert "120 of 120 rows equal another" in shown(made, "Euclidean")
    assert "120 rows became 60 groups" in shown(made, "Euclidean")
    (line,) = warnings(made)
    assert line.startswith("120 rows of 'unnamed' equal another")
    probe = CausalProbe(l2=1e-3).fit(STATES[twice], LABELS[twice])
    assert np.mean((probe.held_out_ > 0) == LABELS[twice]) < 0.7
    with pytest.raises(TooFewOfClass):
        card(np.ones((8, D)), LABELS[:8])


def test_the_command_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = STATES[np.arange(120) % 60].astype(np.float32)[np.newaxis]
    write_activations(tmp_path / "a.gotact", Activations("t", "Fp32", (0,), range(120), states))
    write_unembedding(tmp_path / "u.gotue", RNG.normal(size=(50, D)).astype(np.float32))
    (tmp_path / "a.labels").write_text("".join(f"{label}\n" for label in [*LABELS, *LABELS]))
    places = (
        f"--{name}={tmp_path / file}"
        for name, file in (
            ("activations", "a.gotact"), ("unembedding", "u.gotue"), ("labels", "a.labels"),
            ("output", "p.json"),
        )
    )  # fmt: skip
    assert main(["train", *places, "--layer", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert "warning: 120 rows of 'unnamed' equal another" in said.err
    read = read_probe_set(tmp_path / "p.json")
    assert read.training is not None
    assert read.training.cards[0].repeats == Repeats(120, 120, 60, 0)
    tree = json.loads(said.out)["training"]["cards"][0]
    assert (tree["repeats"]["joined_groups"], tree["null"]["permutations"]) == (60, 499)


def test_copies_that_are_nearly_equal_are_warned_of() -> None:
    """They are another group's, as nobody knows where nearness ends: the card looks good."""
    twice = np.arange(120) % 60
    made = card(STATES[twice] + 0.01 * RNG.normal(size=(120, D)), LABELS[twice])
    assert made.repeats is not None
    assert (made.repeats.equal_rows, made.repeats.near_rows) == (0, 120)
    assert "nearly do" in warnings(made)[0]
    alone = card(STATES, LABELS)
    assert alone.repeats is not None
    assert (alone.repeats.equal_rows, alone.repeats.near_rows) == (0, 0)
    assert not warnings(alone)


def test_texts_of_the_same_tokens_are_one_group() -> None:
    """Whatever their states: another batch may give them other last digits."""
    texts = [[i % 60, 61, 62 + i % 60] for i in range(120)]
    whole = table_of(texts)
    assert partition(text_groups(whole)) == [  # type: ignore[arg-type]
        [3 * i, 3 * i + 1, 3 * i + 2, 3 * i + 180, 3 * i + 181, 3 * i + 182] for i in range(60)
    ]
    rows, _ = last_rows(whole)
    told = replace(rows, tokens=tuple(map(tuple, texts)))
    H = STATES[np.arange(120) % 60] + 1e-3 * RNG.normal(size=(120, D))
    made = card(H, LABELS[np.arange(120) % 60], told)
    assert (made.groups, made.verdict) == (60, "INSUFFICIENT")
    assert made.repeats is not None
    assert (made.repeats.joined_groups, made.repeats.near_rows) == (60, 0)
    groups = text_groups(rows)  # whose tokens are not known
    assert groups is not None
    assert len(set(groups.tolist())) == 120
    assert text_groups(None) is None
    assert text_groups(table_of([[1, 1, 1]])) is None


def test_groups_that_share_a_row_are_one() -> None:
    H = np.arange(10.0)[:, np.newaxis]
    H[7] = H[1]
    H[8] = H[2]
    H[0, 0], H[9, 0] = 0.0, -0.0
    groups = np.array([5, 5, 4, 4, 3, 3, 2, 2, 1, 1])
    assert partition(joined_groups(H, groups)) == [[0, 1, 2, 3, 6, 7, 8, 9], [4, 5]]
    assert partition(joined_groups(H)) == [[0, 9], [1, 7], [2, 8], [3], [4], [5], [6]]
    assert equal_row_count(H) == 6


def test_a_beginning_that_most_texts_share_joins_nothing_but_itself() -> None:
    """Each of 12 texts begins with one state; four of them are no more than that."""
    text = np.concatenate([np.repeat(np.arange(8), 3), np.arange(8, 12)])
    H = RNG.normal(size=(28, D))
    H[[*range(0, 24, 3), 24, 25, 26, 27]] = H[0]
    expected = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(8)] + [[24, 25, 26, 27]]
    assert partition(joined_groups(H, text)) == expected
    assert near_row_count(H, joined_groups(H, text)) == 12
    H[7] = H[4]  # a row that two share makes them one
    assert [3, 4, 5, 6, 7, 8] in partition(joined_groups(H, text))


def test_huge_states_do_not_make_the_others_near() -> None:
    """A language model's first token is a hundred times longer; a mean would follow it."""
    H = STATES.copy()
    H[:6] = 3000 * np.eye(D)[0] + RNG.normal(size=(6, D))
    assert near_row_count(H - H.mean(axis=0), np.arange(60)) == 6
