"""What is measured on one published set: our probe, its peers, permuted labels, the twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.probing.methods import Method, Rows, means, peer
from scipy.special import expit

from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import Spectrum
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.controls import shuffled_by_group
from geometry_of_trust.probing.cross_validation import L2_GRID, cross_validate, nested_scores
from geometry_of_trust.probing.equal_rows import text_groups
from geometry_of_trust.probing.fresh_rows import score_fresh_rows
from geometry_of_trust.probing.held_out_figures import figure_of
from geometry_of_trust.probing.metrics import (
    ExpectedCalibrationError,
    WithinFoldAuroc,
    within_fold_auroc,
)
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.training import TrainingContext, train

LABEL = "label"
EXPLAINED = 0.01
"""An AUROC that is lower than scikit-learn's by more than this is looked into."""

PEERS: dict[str, Method] = {"scikit-learn": peer, "difference in means": means}

Figures = dict[str, Any]
"""Members of a result, as JSON has them."""


@dataclass(frozen=True, eq=False)
class States:
    """The states of some texts, and their row table."""

    activations: Activations
    rows: RowTable

    @property
    def y(self) -> Labels:
        """0 or 1, shape (n,)."""
        return self.rows.label(LABEL)


def figures(
    states: States,
    twin: States | None,
    layer: int,
    geometry: Geometry,
    spectrum: Spectrum,
    *,
    permuted: bool,
) -> Figures:
    """All that is measured at one layer; of permuted labels too where that is asked for."""
    context = TrainingContext(spectrum=spectrum)
    result = train(
        states.activations, states.y, geometry, layer=layer, rows=states.rows, context=context
    )
    split = SplitRows.of(
        states.activations.layer(layer), states.y, geometry, text_groups(states.rows)
    )
    sample = Sample(split.y, split.groups, split.fold)
    made = {name: _held_out(method, split) for name, method in PEERS.items()}
    found: Figures = {"ours": _of_card(result.training.cards[0])}
    found |= {name: _of_scores(sample, *scores) for name, scores in made.items()}
    gap = found["ours"]["auroc"] - found["scikit-learn"]["auroc"]
    if gap < -EXPLAINED:
        found |= _explained(split, sample, made["scikit-learn"][0])
    if permuted:
        dealt = np.empty_like(split.y)
        dealt[split.order] = shuffled_by_group(split.y, split.groups, seed=0)
        null = train(
            states.activations, dealt, geometry, layer=layer, rows=states.rows, context=context
        )
        found["permuted"] = _of_card(null.training.cards[0])
    if twin is not None:
        fresh = score_fresh_rows(
            result.probe_set.probes[0], geometry, twin.activations.layer(layer), twin.y, None
        )
        found["twin"] = _of_scores(fresh.sample, fresh.logits, expit(fresh.log_odds))
    return found


def _of_card(card: Card) -> Figures:
    assert card.other is not None
    assert card.null is not None
    return {
        "auroc": card.quality.auroc.value,
        "low": card.quality.auroc.low,
        "ece": card.quality.ece.value,
        "recall": card.quality.recall_at_1_percent.value,
        "euclidean auroc": card.other.auroc.value,
        "euclidean ece": card.other.ece.value,
        "l2": card.l2,
        "controls": vars(card.controls),
        "p": card.null.p,
        "verdict": card.verdict,
    }


def _held_out(method: Method, split: SplitRows) -> tuple[Array, Array]:
    """Scores and probabilities of each fold by a fit to the others, which chooses in these."""
    scores, p = np.empty(len(split.y)), np.empty(len(split.y))
    for k in range(split.fold_count):
        out = split.fold == k
        inner = np.unique(split.fold[~out], return_inverse=True)[1]
        rows = Rows(split.H[~out], split.y[~out], split.groups[~out], inner)
        scores[out], p[out] = method(rows, split.H[out])
    return scores, p


def _of_scores(sample: Sample, scores: Array, p: Array) -> Figures:
    ece = ExpectedCalibrationError(sample, p).of(np.ones((1, len(p))))
    return {"auroc": within_fold_auroc(sample, scores), "ece": float(ece[0])}


def _explained(split: SplitRows, sample: Sample, other: Array) -> Figures:
    """What a gap is made of: chance, and the λ that each four fifths choose for themselves.

    The interval of our AUROC less the other one is of the same resamples of groups; the other
    figure is that of the λ of all folds, in all of them.
    """
    cross = cross_validate(split.X, split.y, split.fold, L2_GRID, nested=True)
    ours = nested_scores(cross, split.y, split.fold).logits
    first, second = WithinFoldAuroc(sample, ours), WithinFoldAuroc(sample, other)
    values = np.concatenate([first.of(w) - second.of(w) for w in sample.weights()])
    ends = figure_of(values, sample.stretch, (-1.0, 1.0))
    one = cross.held_out[cross.best(split.y)].astype(np.float32)
    return {
        "interval of the gap": [ends.low, ends.high],
        "auroc of one penalty": within_fold_auroc(sample, one),
    }
