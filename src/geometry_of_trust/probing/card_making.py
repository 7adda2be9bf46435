"""From a probe and the rows that it was trained on to its card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Card, Quality, judged
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.controls import measured_controls
from geometry_of_trust.probing.cross_validation import (
    CrossValidation,
    cross_validate,
    nested_scores,
)
from geometry_of_trust.probing.held_out_figures import figure_with_interval, quality_figures
from geometry_of_trust.probing.judged_units import Units, judged_scores
from geometry_of_trust.probing.metrics import ExpectedCalibrationError, within_fold_auroc
from geometry_of_trust.probing.reliability_bins import reliability_bins
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.surface_features import SurfaceFeatures
from geometry_of_trust.progress import Progress


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A probe and what it came from.

    Attributes:
        split: the rows that it was fitted to, n of them. probe: fitted to these.
        cross: their cross-validation, nested where that is possible.
        units: what is judged: these rows, or texts.
    """

    split: SplitRows
    probe: CausalProbe
    cross: CrossValidation
    units: Units


def make_card(
    dimension: str,
    fitted: FittedProbe,
    *,
    grouped: bool,
    beside: Geometry | None = None,
    surface: SurfaceFeatures | None = None,
    progress: Progress | None = None,
) -> Card:
    """The card of a fitted probe.

    Args:
        dimension: the probe's name. grouped: whether groups were given.
        beside: the other inner product, to be measured too.
        surface: what can be seen of the rows without a model, in the order given to
            `SplitRows.of`; of a text the first of its rows counts.
        progress: called with what is being done.

    Raises:
        DidNotConverge: a solver stalled. NotPositiveDefinite: a Φ has no Cholesky factor.
    """
    split, probe, cross = fitted.split, fitted.probe, fitted.cross
    units = fitted.units
    sample, y = units.sample, units.sample.y
    scores = judged_scores(cross, split, units)
    quality = quality_figures(sample, scores.logits, scores.log_odds)
    before, after = expit(scores.logits), expit(scores.log_odds)
    ordered = None if surface is None else surface.in_order(split.order[units.first])
    controls = measured_controls(split, probe.l2_, ordered, units, progress)
    verdict, reason = judged(quality.auroc, controls)
    with threadpool_limits(1, user_api="blas"):
        logits = units.of(probe.logits(split.H).astype(np.float32).astype(np.float64))
    return Card(
        dimension=dimension,
        positives=int((y == 1).sum()),
        negatives=int((y == 0).sum()),
        groups=split.group_count,
        grouped=grouped,
        l2=probe.l2_,
        l2_chosen=probe.l2 is None,
        folds=split.fold_count,
        nested=cross.inner is not None,
        converged=True,
        training_auroc=within_fold_auroc(Sample.of_one_scorer(y, sample.groups), logits),
        quality=quality,
        ece_before_platt=figure_with_interval(sample, ExpectedCalibrationError(sample, before)),
        bins_before=reliability_bins(before, y, sample.groups),
        bins=reliability_bins(after, y, sample.groups),
        other_inner_product=beside.inner_product if beside else None,
        other=_quality_under(beside, fitted, progress) if beside else None,
        controls=controls,
        verdict=verdict,
        reason=reason,
        token_quality=None if units.aggregate is None else _of_tokens(split, cross),
    )


def _of_tokens(split: SplitRows, cross: CrossValidation) -> Quality:
    """Held-out figures of the rows by themselves."""
    scores = nested_scores(cross, split.y, split.fold)
    sample = Sample(split.y, split.groups, split.fold)
    return quality_figures(sample, scores.logits, scores.log_odds)


def _quality_under(geometry: Geometry, fitted: FittedProbe, progress: Progress | None) -> Quality:
    """Held-out figures of what is judged under another inner product."""
    split = fitted.split.under(geometry)
    strengths = fitted.probe.strengths()
    cross = cross_validate(split.X, split.y, split.fold, strengths, nested=True, progress=progress)
    scores = judged_scores(cross, split, fitted.units)
    return quality_figures(fitted.units.sample, scores.logits, scores.log_odds)
