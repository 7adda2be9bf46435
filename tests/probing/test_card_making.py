"""The card says of a fitted probe what its rows, its scores and its controls are."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from geometry_of_trust.documents.probe_card import judged
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.card_making import FittedProbe, make_card
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.cross_validation import cross_validate, nested_scores
from geometry_of_trust.probing.held_out_figures import quality_figures
from geometry_of_trust.probing.judged_units import Units
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.surface_features import SurfaceFeatures

N, D = 48, 5
CAUSAL = Geometry.from_gram(np.diag(np.array([4, 1, 1, 0.5, 2], np.float32)))
EUCLIDEAN = Geometry("Euclidean", 0.0, D, None)
RNG = np.random.default_rng(0)
Y = RNG.permutation(np.arange(N) % 3 == 0).astype(np.int8)
H = RNG.normal(size=(N, D)) + 1.5 * np.eye(D)[0] * Y[:, np.newaxis]
GROUPS = np.arange(N) // 2


def fitted(
    geometry: Geometry = CAUSAL, l2: float | None = 0.01, most_folds: int = 5
) -> FittedProbe:
    split = SplitRows.of(H, Y, geometry, GROUPS, most_folds)
    probe = CausalProbe(gram=geometry, l2=l2)
    cross = cross_validate(split.X, split.y, split.fold, probe.strengths(), nested=True)
    return FittedProbe(split, probe.fit_split(split, cross), cross, Units.rows(split))


def test_rows_and_figures_are_those_of_the_fit() -> None:
    made = fitted()
    card = make_card("warm", made, grouped=True)
    assert (card.dimension, card.positives, card.negatives) == ("warm", 16, 32)
    assert (card.groups, card.grouped, card.folds, card.nested) == (24, True, 5, True)
    assert (card.l2, card.l2_chosen) == (float(np.float32(0.01)), False)
    split = made.split
    scores = nested_scores(made.cross, split.y, split.fold)
    sample = Sample(split.y, split.groups, split.fold)
    assert card.quality == quality_figures(sample, scores.logits, scores.log_odds)
    assert (card.verdict, card.reason) == judged(card.quality.auroc, card.controls)
    for bins in (card.bins_before, card.bins):
        assert sum(b.rows for b in bins) == N


def test_the_auroc_on_the_rows_trained_on_is_of_all_pairs() -> None:
    made = fitted()
    card = make_card("warm", made, grouped=True)
    expected = oracle.auroc(made.probe.logits(made.split.H).astype(np.float32), made.split.y)
    assert card.training_auroc == float(np.float32(expected))


def test_the_other_inner_product_is_measured_on_the_same_splits() -> None:
    card = make_card("warm", fitted(), grouped=True, beside=EUCLIDEAN)
    assert card.other_inner_product == "Euclidean"
    assert card.other == make_card("warm", fitted(EUCLIDEAN), grouped=True).quality
    alone = make_card("warm", fitted(), grouped=True)
    assert (alone.other_inner_product, alone.other) == (None, None)
    assert alone.quality == card.quality


def test_two_folds_are_too_few_to_nest() -> None:
    card = make_card("warm", fitted(l2=None, most_folds=2), grouped=False)
    assert (card.folds, card.nested, card.l2_chosen, card.grouped) == (2, False, True, False)


def test_what_can_be_seen_is_taken_in_the_order_of_the_rows() -> None:
    """A place that gives the label away does so only where it stands beside its own row."""
    seen = SurfaceFeatures([[int(label)] for label in Y], Y[:, np.newaxis].astype(np.float64))
    card = make_card("warm", fitted(), grouped=True, surface=seen)
    assert card.controls.position_and_length == 1.0
    assert card.controls.bag_of_tokens == 1.0
    assert card.verdict == "INSUFFICIENT"
    moved = SurfaceFeatures(None, np.roll(seen.place, 1, axis=0))
    shifted = make_card("warm", fitted(), grouped=True, surface=moved)
    assert shifted.controls.bag_of_tokens is None
    assert shifted.controls.position_and_length is not None
    assert shifted.controls.position_and_length < 0.9
    assert make_card("warm", fitted(), grouped=True).controls.position_and_length is None


def test_progress_is_told() -> None:
    said: list[str] = []
    make_card("warm", fitted(), grouped=True, beside=EUCLIDEAN, progress=said.append)
    assert any("shuffled" in text for text in said)
    assert any("Cross-validation" in text for text in said)
    assert said.index("Control: shuffled labels") < said.index("Controls: directions")


@pytest.mark.parametrize("l2", [0.01, None])
def test_a_card_of_the_same_fit_is_the_same_card(l2: float | None) -> None:
    assert make_card("warm", fitted(l2=l2), grouped=True) == make_card(
        "warm", fitted(l2=l2), grouped=True
    )
