"""Texts as what is judged: float64 beside the exact aggregate, order, labels, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import BadLabel, BadOption
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.cross_validation import cross_validate
from geometry_of_trust.probing.judged_units import Units, aggregated, judged_scores, texts_of
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.training import TrainingContext, TrainingResult, train
from row_tables import last_rows, table_of

D, TEXTS, LENGTHS = 6, 24, (1, 4, 7)
RNG = np.random.default_rng(11)
GEOMETRY = Geometry.from_unembedding(RNG.normal(size=(40, D)).astype(np.float32))
TOKENS = [[*range(LENGTHS[n % 3])] for n in range(TEXTS)]
LABELS = [n // 3 % 2 for n in range(TEXTS)]
# All texts begin alike, as those of a language model do; the label shows at one of their tokens.
STATES = [
    np.concatenate([np.ones((1, D)), RNG.normal(size=(len(tokens), D))])[: len(tokens)]
    + (np.arange(len(tokens)) == len(tokens) // 2)[:, np.newaxis] * 3 * (2 * label - 1)
    for tokens, label in zip(TOKENS, LABELS, strict=True)
]


def trained(order: Any, name: str, **options: Any) -> TrainingResult:
    """A probe of the texts in some order."""
    rows = table_of([TOKENS[n] for n in order], [f"g{n // 2}" for n in order])
    values = np.concatenate([STATES[n] for n in order]).astype(np.float32)[np.newaxis]
    labels = np.repeat([LABELS[n] for n in order], [len(TOKENS[n]) for n in order])
    acts = Activations("tiny", "Fp32", (1,), range(len(labels)), values)
    chosen: dict[str, Any] = {"rows": rows, "aggregate": Aggregate.parse(name), "l2": 1e-2}
    return train(acts, labels.astype(np.int8), GEOMETRY, layer=1, **(chosen | options))


@pytest.mark.parametrize(
    "name", ["mean", "max", "top-k-mean:3", "max-of-rolling-means:3", "max-of-rolling-means:99"]
)
def test_figures_are_of_the_aggregate_that_is_signed(name: str) -> None:
    aggregate = Aggregate.parse(name)
    scores = RNG.normal(size=(9, 5)).astype(np.float32).astype(np.float64)
    exact = [float(aggregate.of(column)) for column in scores.T.tolist()]
    assert aggregated(aggregate, scores) == pytest.approx(exact, rel=1e-12)
    assert float(aggregated(aggregate, scores[:, 0])) == pytest.approx(exact[0], rel=1e-12)


@pytest.mark.parametrize("name", ["mean", "max-of-rolling-means:2"])
def test_the_order_of_texts_changes_nothing(name: str) -> None:
    one, other = (trained(order, name) for order in (range(TEXTS), RNG.permutation(TEXTS)))
    assert replace(other.training, rows_digest=None) == replace(one.training, rows_digest=None)
    ours, theirs = (x.probe_set.probes[0] for x in (one, other))
    assert ours.weights.tobytes() == theirs.weights.tobytes()
    assert (ours.bias, ours.platt_scale, ours.platt_shift) == (
        theirs.bias, theirs.platt_scale, theirs.platt_shift,
    )  # fmt: skip


def test_a_card_of_texts() -> None:
    result = trained(range(TEXTS), "max")
    (card,) = result.training.cards
    assert (card.positives, card.negatives) == (TEXTS // 2, TEXTS // 2)
    assert result.training.rows == sum(map(len, TOKENS))
    assert result.training.tokens == TrainedTokens(aggregate="max")
    assert card.token_quality is not None
    assert card.quality.auroc.value > card.token_quality.auroc.value + 0.1
    assert card.controls.bag_of_tokens is not None
    assert sum(entry.rows for entry in card.bins) == TEXTS
    # The rows are fitted as ever; what differs is what they are calibrated by.
    rows = trained(range(TEXTS), "max", aggregate=None)
    assert rows.training.cards[0].token_quality is None
    assert rows.training.cards[0].quality == card.token_quality
    ours, theirs = (x.probe_set.probes[0] for x in (result, rows))
    assert ours.weights.tobytes() == theirs.weights.tobytes()
    assert (ours.platt_scale, ours.platt_shift) != (theirs.platt_scale, theirs.platt_shift)


def test_scores_of_a_fold_do_not_know_its_labels() -> None:
    labels = np.repeat(LABELS, [len(t) for t in TOKENS]).astype(np.int8)
    rows, H = table_of(TOKENS), np.concatenate(STATES)
    split = SplitRows.of(H, labels, GEOMETRY, rows.groups)
    texts = texts_of(Aggregate.parse("max"), rows, {"x": labels}, H)

    def scores(y: Any) -> Any:
        changed = replace(split, y=y)
        sample = Sample(y, split.groups, split.fold)
        units = texts.units(split.order, sample)
        cross = cross_validate(split.X, y, split.fold, (1e-1, 1e-3), nested=True)
        return units, judged_scores(cross, changed, units).log_odds

    units, before = scores(split.y)
    inside = units.sample.fold == 0
    flipped = np.where(split.fold == 0, 1 - split.y, split.y)
    _, after = scores(flipped)
    assert (after[inside] == before[inside]).all()
    assert (after[~inside] != before[~inside]).any()
    assert (units.spread(units.sample.y) == split.y).all()
    assert len(Units.rows(split).first) == len(split.y)


def test_what_has_no_aggregate() -> None:
    with pytest.raises(BadOption) as refused:
        trained(range(TEXTS), "max", rows=None)
    assert refused.value.where == "--aggregate"
    with pytest.raises(BadOption) as refused:
        trained(range(TEXTS), "max", context=TrainingContext(tokens=TrainedTokens(position="last")))
    assert refused.value.where == "--aggregate"
    mixed = np.arange(sum(map(len, TOKENS))) % 2
    with pytest.raises(BadLabel):
        texts_of(Aggregate.parse("max"), table_of(TOKENS), {"x": mixed}, np.concatenate(STATES))
    rows, last = last_rows(table_of(TOKENS))
    alone = texts_of(Aggregate.parse("max"), rows, {"x": mixed[last]}, np.concatenate(STATES)[last])
    assert sorted(span.start for span in alone.spans) == [*range(TEXTS)]
