"""From a probe and the rows that it was trained on to its card."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Card, Quality, judged
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import metrics
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.controls import Surface, controls
from geometry_of_trust.probing.cross_validation import CrossFit, Study, crossfit, honest
from geometry_of_trust.probing.held_out_figures import (
    CalibrationError,
    Sample,
    bins,
    figure,
    quality,
)
from geometry_of_trust.progress import Progress


def assessed(
    dimension: str,
    study: Study,
    probe: CausalProbe,
    cross: CrossFit,
    *,
    grouped: bool,
    beside: Geometry | None = None,
    seen: Surface | None = None,
    progress: Progress | None = None,
) -> Card:
    """The card of a probe fitted to a study.

    Args:
        cross: the cross-validation of the fit, nested where that is possible.
        grouped: whether groups were given.
        beside: the other inner product, to be measured too.
        seen: what can be seen of the rows without a model, in the order given to `Study.of`.
    """
    y, sample = study.y, Sample(study.y, study.groups, study.fold)
    scores = honest(cross, y, study.fold)
    figures = quality(sample, scores.logits, scores.log_odds)
    before, after = expit(scores.logits), expit(scores.log_odds)
    if seen is not None:
        tokens = seen.tokens
        ordered = None if tokens is None else [tokens[i] for i in study.order.tolist()]
        seen = Surface(ordered, seen.place[study.order])
    held = controls(study, probe.l2_, seen, progress)
    verdict, reason = judged(figures.auroc, held)
    with threadpool_limits(1, user_api="blas"):
        logits = probe.logits(study.H).astype(np.float32).astype(np.float64)
    return Card(
        dimension=dimension,
        positives=int(y.sum()),
        negatives=int((1 - y).sum()),
        groups=int(study.groups.max()) + 1,
        grouped=grouped,
        l2=probe.l2_,
        l2_chosen=probe.l2 is None,
        folds=study.folds,
        nested=cross.inner is not None,
        converged=True,
        training_auroc=round32(metrics.auroc(logits, y)),
        quality=figures,
        ece_before_platt=figure(sample, CalibrationError(sample, before)),
        bins_before=bins(before, y, study.groups),
        bins=bins(after, y, study.groups),
        other_inner_product=beside.inner_product if beside else None,
        other=_other(study, probe, sample, beside, progress) if beside else None,
        controls=held,
        verdict=verdict,
        reason=reason,
    )


def _other(
    study: Study, probe: CausalProbe, sample: Sample, beside: Geometry, progress: Progress | None
) -> Quality:
    held = study.under(beside)
    cross = crossfit(held.X, held.y, held.fold, probe.strengths(), nested=True, progress=progress)
    scores = honest(cross, held.y, held.fold)
    return quality(sample, scores.logits, scores.log_odds)
