"""Controls find what they are there to find, and the verdict follows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from numpy.typing import NDArray

from geometry_of_trust.documents.probe_card import (
    DECISIVE,
    Card,
    Controls,
    Figure,
    PermutationNull,
    judged,
)
from geometry_of_trust.errors import BadRowTable
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.controls import bag_of_tokens, shuffled_by_group
from geometry_of_trust.probing.training import train
from places import EXAMPLES
from row_tables import last_rows, table_of

D = 12
GEOMETRY = Geometry("Euclidean", 0.0, D, None)


def card(
    H: Array,
    y: NDArray[np.int8],
    rows: RowTable | None = None,
    texts: list[list[int]] | None = None,
) -> Card:
    values = H.astype(np.float32)[np.newaxis]
    states = Activations("tiny", "Fp32", (0,), range(len(y)), values)
    if rows is not None and texts is not None:
        rows = replace(rows, tokens=tuple(map(tuple, texts)))  # a row a text
    return train(states, y, GEOMETRY, layer=0, l2=1e-2, rows=rows).training.cards[0]


# --- groups that leak -------------------------------------------------------------------------


def test_groups_that_leak_are_caught() -> None:
    """Each group is a cluster of its own, labelled at random: there is nothing to generalise."""
    rng = np.random.default_rng(0)
    centres, marks = 3 * rng.normal(size=(24, 40)), rng.permutation(np.arange(24) % 2)
    groups = np.repeat(np.arange(24), 8)
    H = centres[groups] + rng.normal(size=(192, 40))
    y = marks[groups].astype(np.int8)
    geometry = Geometry("Euclidean", 0.0, 40, None)
    states = Activations("t", "Fp32", (0,), range(192), H.astype(np.float32)[np.newaxis])
    texts = [[int(i)] * 8 for i in range(24)]
    cards = []
    for rows in (None, table_of(texts, [f"g{i}" for i in range(24)])):
        cards.append(train(states, y, geometry, layer=0, rows=rows).training.cards[0])
    by_row, by_group = cards
    assert by_row.quality.auroc.low > 0.9
    assert (by_row.verdict, by_row.grouped, by_row.groups) == ("SUFFICIENT", False, 192)
    assert by_group.quality.auroc.low < 0.5 < by_group.quality.auroc.high
    assert (by_group.verdict, by_group.grouped, by_group.groups) == ("INSUFFICIENT", True, 24)
    # Twenty-four draws, not 192: the interval says so.
    widths = [one.quality.auroc.high - one.quality.auroc.low for one in cards]
    assert widths[1] > 4 * widths[0]


# --- what words and places give ---------------------------------------------------------------


def test_words_alone_are_caught() -> None:
    """States that say which word was read, and labels that hang on one word."""
    rng = np.random.default_rng(1)
    texts = [[int(t) for t in rng.integers(0, 9, 6)] for _ in range(150)]
    words = rng.normal(size=(9, D))
    y = np.array([7 in t for t in texts], np.int8)
    whole = table_of(texts)
    H = np.array([words[t].mean(axis=0) for t in texts]) + 0.02 * rng.normal(size=(150, D))
    rows, _ = last_rows(whole)
    ordered = card(np.repeat(H, 6, axis=0), np.repeat(y, 6), whole)
    assert ordered.controls.bag_of_tokens is not None
    assert ordered.controls.bag_of_tokens > 0.97
    assert ordered.verdict == "INSUFFICIENT"
    assert "a bag of tokens" in ordered.reason
    # With the last token alone the words are not known, and that is what the card says.
    alone = card(H, y, rows)
    assert alone.controls.bag_of_tokens is None
    assert alone.controls.position_and_length is not None
    told = card(H, y, rows, texts)
    assert told.controls.bag_of_tokens is not None
    assert told.controls.bag_of_tokens > 0.97
    assert told.verdict == "INSUFFICIENT"
    assert replace(told.controls, bag_of_tokens=None, ngrams=None) == alone.controls


def test_position_and_length_are_caught() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(3, 12, 120)
    texts = [[int(t) for t in rng.integers(0, 5, n)] for n in lengths]
    rows, _ = last_rows(table_of(texts))
    y = (lengths > 7).astype(np.int8)
    H = rng.normal(size=(120, D))
    H[:, 0] = lengths + 0.1 * rng.normal(size=120)
    by_length = card(H, y, rows)
    assert by_length.controls.position_and_length is not None
    assert by_length.controls.position_and_length > 0.99
    assert by_length.verdict == "INSUFFICIENT"
    # Control: the same states with a label of their own.
    other = card(H, (H[:, 1] > 0).astype(np.int8), rows)
    assert other.controls.position_and_length is not None
    assert other.controls.position_and_length < 0.7
    assert other.verdict == "SUFFICIENT"


def test_a_direction_at_random_is_as_good_where_everything_follows_the_label() -> None:
    rng = np.random.default_rng(3)
    y = (np.arange(100) % 2).astype(np.int8)
    H = rng.normal(size=(100, D)) + 30.0 * y[:, np.newaxis] * rng.normal(size=D)
    assert card(H, y).controls.random_directions > 0.95
    plain = card(rng.normal(size=(100, D)) + np.eye(D)[0] * 3 * y[:, np.newaxis], y)
    assert plain.controls.random_directions < 0.8
    assert plain.controls.shuffled_labels < 0.65
    assert plain.selectivity > 0.3


def test_difference_in_means_is_optimal_for_round_classes() -> None:
    rng = np.random.default_rng(4)
    y = (np.arange(300) % 2).astype(np.int8)
    probe = card(rng.normal(size=(300, D)) + np.eye(D)[0] * 2 * y[:, np.newaxis], y)
    assert probe.controls.difference_in_means == pytest.approx(probe.quality.auroc.value, abs=0.03)
    # So it does not decide: a simple direction is not the lack of one.
    assert probe.verdict == "SUFFICIENT"
    # Where one direction is loud and says nothing, it is misled and the probe is not.
    loud = rng.normal(size=(300, D)) * np.array([1, 40, *[1] * (D - 2)])
    loud[:, 0] += 2 * y
    noisy = card(loud, y)
    assert noisy.controls.difference_in_means < noisy.quality.auroc.value - 0.1


# --- parts ------------------------------------------------------------------------------------


def test_labels_are_shuffled_by_group() -> None:
    groups = np.repeat(np.arange(20), 4)
    y = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 4)
    dealt = shuffled_by_group(y, groups, 1)
    assert dealt.sum() == y.sum()
    assert not np.array_equal(dealt, y)
    for group in range(20):
        assert len(set(dealt[groups == group].tolist())) == 1
    assert not np.array_equal(dealt, shuffled_by_group(y, groups, 2))


def test_words_that_say_nothing_tie(smollm2: Path) -> None:
    """Each word is as often in true statements as in false ones: last bits are all there is."""
    encode = tokenizers.Tokenizer.from_file(str(smollm2 / "tokenizer.json")).encode
    lines = (EXAMPLES / "statements.jsonl").read_text("utf-8").splitlines()
    statements = [json.loads(line) for line in lines]
    texts = [encode(s["text"]).ids for s in statements]
    y = np.array([s["true"] for s in statements], np.int8)
    rows, _ = last_rows(table_of(texts, [s["group"] for s in statements]))
    H = np.random.default_rng(3).normal(size=(len(y), D))
    assert card(H, y, rows, texts).controls.bag_of_tokens == 0.5


def test_a_bag_counts_tokens_that_two_groups_share() -> None:
    counts = bag_of_tokens([[1, 1, 2], [1, 3], [3, 3, 3], [4]], np.array([0, 1, 1, 2]))
    assert counts.tolist() == [[2.0], [1.0], [0.0], [0.0]]
    assert bag_of_tokens([[1], [2]], np.array([0, 1])).tolist() == [[0.0], [0.0]]


def test_row_table_of_another_length_is_refused() -> None:
    H, y = np.zeros((4, D)), np.array([0, 1, 0, 1], np.int8)
    with pytest.raises(BadRowTable):
        card(H, y, table_of([[1, 2, 3]]))


# --- the verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "changes", "verdict"),
    [
        (0.71, {}, "SUFFICIENT"),
        (0.70, {}, "INSUFFICIENT"),  # reached
        (0.71, {"difference_in_means": 1.0}, "SUFFICIENT"),
        (0.71, {"shuffled_labels": 0.8}, "INSUFFICIENT"),
        (0.71, {"random_directions": 0.8}, "INSUFFICIENT"),
        (0.71, {"position_and_length": 0.8}, "INSUFFICIENT"),
        (0.61, {"bag_of_tokens": None}, "SUFFICIENT"),
        (0.45, dict.fromkeys(DECISIVE, 0.4), "INSUFFICIENT"),  # chance is a rival too
    ],
)
def test_verdict(low: float, changes: dict[str, Any], verdict: str) -> None:
    controls = replace(Controls(0.5, 0.6, 0.9, 0.7, 0.55), **changes)
    assert judged(Figure(0.9, low, 0.95), controls)[0] == verdict


@pytest.mark.parametrize(
    ("low", "as_good", "verdict"),
    [(0.8, 0, "SUFFICIENT"), (0.8, 4, "SUFFICIENT"), (0.8, 5, "INSUFFICIENT"),
     (0.6, 0, "INSUFFICIENT")],
)  # fmt: skip
def test_a_verdict_needs_the_interval_and_the_permutations(
    low: float, as_good: int, verdict: str
) -> None:
    null = PermutationNull(199, as_good)
    controls = Controls(0.5, 0.6, 0.9, 0.7, 0.55)
    found, reason = judged(Figure(0.9, low, 0.95), controls, null)
    assert found == verdict
    assert ("of 199 permutations" in reason) == (low > 0.7)
