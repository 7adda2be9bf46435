"""How far an AUROC falls in another style: paired, by scorers that never saw the text's group."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.probe_card import Card, ShiftFall
from geometry_of_trust.errors import BadLabel, BadOption, Inconsistent
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.cross_validation import cross_validate
from geometry_of_trust.probing.layer_sweep import sweep
from geometry_of_trust.probing.other_rows import Others
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.shift_falls import check_texts, fold_directions
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.training import train
from row_tables import last_rows, table_of

D, TEXTS, LAYER = 5, 80, 3
RNG = np.random.default_rng(2)
PHI = Geometry.from_gram(np.cov(RNG.normal(size=(D, 40))), 0.0)
Y = (np.arange(TEXTS) % 2).astype(np.int8)
STATES = RNG.normal(size=(TEXTS, D)) + 2.0 * np.outer(Y, np.eye(D)[0])
WORDS = [[7, 100 + i] for i in range(TEXTS)]
GROUPS = [f"g{i // 4}" for i in range(TEXTS)]
ROWS = last_rows(table_of(WORDS, GROUPS))[0]


@dataclass(frozen=True)
class Style:
    name: str
    states: dict[int, NDArray[np.float32]]
    text: NDArray[np.int64]
    changed: frozenset[int] = frozenset({1, 2, 999})


def style(name: str, states: NDArray[np.float64], times: int = 1) -> Style:
    return Style(name, {LAYER: states.astype(np.float32)}, np.repeat(np.arange(TEXTS), times))


STYLES = (
    style("same", STATES),
    style("moved", STATES + 9.0 * np.eye(D)[1]),  # ranks alike, all logits moved
    style("scrambled", RNG.permutation(STATES)),
    style("turned", STATES * np.array([-1, 1, 1, 1, 1])),
)


def card(states: NDArray[np.float64], rows: RowTable, times: int = 1, **options: Any) -> Card:
    values = states[None].astype(np.float32)
    activations = Activations("tiny", "Fp32", (LAYER,), range(len(states)), values)
    made = train(activations, np.repeat(Y, times), PHI, layer=LAYER, rows=rows, **options)
    again = ProbeSet.from_json(made.probe_set.to_json(), "p")
    assert again.training is not None
    assert again.training.cards == made.training.cards
    return made.training.cards[0]


@pytest.fixture(scope="module")
def judged() -> Card:
    return card(STATES, ROWS, others=Others(shifted=STYLES))


def test_what_changes_nothing_costs_nothing_and_what_does_is_found(judged: Card) -> None:
    same, moved, scrambled, turned = judged.shifts
    auroc = judged.quality.auroc
    for unharmed in (same, moved):
        assert unharmed.changed == 2
        assert unharmed.fall.value == pytest.approx(0, abs=1e-6)
    assert same.auroc.value == auroc.value > 0.85
    # Paired: the fall is known far better than either AUROC is.
    assert same.fall.high - same.fall.low < 1e-6 < auroc.high - auroc.low
    assert scrambled.auroc.low < 0.5 < scrambled.auroc.high
    assert scrambled.fall.low > 0.1
    assert turned.auroc.value == pytest.approx(1 - auroc.value, abs=0.1)
    assert turned.fall.value == pytest.approx(auroc.value - turned.auroc.value, abs=1e-6)
    assert replace(judged, shifts=()) == card(STATES, ROWS)


def test_scorers_saw_nothing_of_the_fold() -> None:
    """They are those of the card: fitted to what is outside, with the λ chosen there."""
    split = SplitRows.of(STATES, Y, PHI, ROWS.groups)
    cross = cross_validate(split.X, split.y, split.fold, (0.1,), nested=True)
    for k, (direction, bias) in enumerate(fold_directions(split, cross)):
        inside = split.fold == k
        own = split.H[inside] @ direction + bias
        assert own == pytest.approx(cross.held_out[0][inside], rel=1e-5, abs=1e-5)
        alone = CausalProbe(gram=PHI, l2=0.1).fit(split.H[~inside], split.y[~inside])
        # It knows nothing of the fold but a share in the spreads, which are medians of all rows.
        assert np.corrcoef(own, alone.logits(split.H[inside]))[0, 1] > 0.99


def test_texts_of_another_length_are_judged_as_texts() -> None:
    """With a row a token a text may have more of them in another style."""
    table = table_of(WORDS, GROUPS)
    tokens = np.repeat(STATES, 2, axis=0) + RNG.normal(size=(2 * TEXTS, D)) / 4
    three = np.repeat(STATES, 3, axis=0) + RNG.normal(size=(3 * TEXTS, D)) / 4
    found = card(
        tokens, table, 2, aggregate=Aggregate.parse("mean"),
        others=Others(shifted=[style("same", tokens, 2), style("longer", three, 3)]),
    )  # fmt: skip
    same, longer = found.shifts
    assert same.fall.value == pytest.approx(0, abs=1e-6)
    assert abs(longer.fall.value) < 0.05
    plain = card(tokens, table, 2, others=Others(shifted=[style("longer", three, 3)]))
    assert abs(plain.shifts[0].fall.value) < 0.05


def test_a_sweep_asks_for_the_texts_of_the_test_fold_alone() -> None:
    asked: list[tuple[list[int], list[int]]] = []

    def shifting(texts: Any, layers: Any) -> list[Style]:
        asked.append((list(texts), list(layers)))
        keep = np.array(texts)
        return [
            Style(one.name, {LAYER: one.states[LAYER][keep]}, keep, one.changed) for one in STYLES
        ]

    activations = Activations(
        "tiny", "Fp32", (LAYER,), range(TEXTS), STATES[None].astype(np.float32)
    )
    found = sweep(activations, {"x": Y}, PHI, rows=ROWS, shifting=shifting).dimensions[0]
    ((texts, layers),) = asked
    assert layers == [LAYER]
    assert len(texts) == found.final.positives + found.final.negatives == 16
    same, _, _, turned = found.shifts
    assert same.auroc == found.final.quality.auroc
    assert same.fall.value == 0
    assert turned.auroc.value < 0.5


def test_what_cannot_be_is_refused(judged: Card) -> None:
    with pytest.raises(BadOption):
        check_texts(None, {"x": Y})
    with pytest.raises(BadLabel):
        check_texts(table_of(WORDS), {"x": np.tile(np.array([0, 1], np.int8), TEXTS)})
    values = STATES[None].astype(np.float32)
    activations = Activations("tiny", "Fp32", (LAYER,), range(TEXTS), values)
    probe_set = train(activations, Y, PHI, layer=LAYER).probe_set
    assert probe_set.training is not None
    shift = judged.shifts[2]
    lies: tuple[ShiftFall, ...] = (
        replace(shift, changed=TEXTS + 1),
        replace(shift, fall=judged.shifts[0].fall),
    )
    for lie in lies:
        cards = (replace(judged, shifts=(lie,)),)
        told = replace(probe_set, training=replace(probe_set.training, cards=cards))
        with pytest.raises(Inconsistent, match="shifts"):
            ProbeSet.from_json(told.to_json(), "p")
    assert "shifts" not in json.loads(probe_set.to_json())["training"]["cards"][0]
