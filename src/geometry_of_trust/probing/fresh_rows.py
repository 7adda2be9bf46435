"""Rows that a probe was not fitted to, scored by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import NonFinite, TooFewOfClass
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.equal_rows import joined_groups
from geometry_of_trust.probing.judged_units import TextsJudged
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.splits import canonical_order


@dataclass(frozen=True, eq=False)
class FreshScores:
    """Scores of rows by a probe that was not fitted to them.

    Attributes:
        sample: the rows, in canonical order. order: where each row, not text, was, shape (n,).
        logits: shape (n,), float32 values.
        log_odds: the logits after Platt scaling, shape (n,), float64.
    """

    sample: Sample
    order: Indices
    logits: Array
    log_odds: Array

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many positive rows, negative rows, and groups there are."""
        y = self.sample.y
        return int((y == 1).sum()), int((y == 0).sum()), int(self.sample.groups.max()) + 1


def score_fresh_rows(
    probe: Probe,
    geometry: Geometry,
    H: Array,
    y: Labels,
    groups: Labels | None,
    *,
    texts: TextsJudged | None = None,
) -> FreshScores:
    """Score states by a probe, in canonical order; by BLAS, and so not as exactly as a reading.

    Args:
        probe: of d weights. geometry: that it was trained under.
        H: states, shape (n, d), float64. y: 0 or 1, shape (n,).
        groups: equal for rows that belong together, shape (n,); None: each on its own.
            Groups that share a row are one (`equal_rows`).
        texts: to score instead of rows, of a probe that reads texts.

    Raises:
        DimensionMismatch: the probe and the geometry differ in dimension.
        TooFewOfClass: all rows are of one group, of whose like nothing says how they scatter.
        NonFinite: a logit is beyond float32.
    """
    order, numbers = canonical_order(H, y, joined_groups(H, groups))
    if not numbers.any():
        raise TooFewOfClass("groups", expected="two or more", found="1 in all")
    direction = geometry.apply(probe.weights.astype(np.float64))
    with threadpool_limits(1, user_api="blas"):
        logits = H[order] @ direction + probe.bias
    if not (np.abs(logits) <= np.finfo(np.float32).max).all():
        raise NonFinite(f"probe {probe.name!r}", expected="logits within float32", found="others")
    logits = logits.astype(np.float32).astype(np.float64)
    sample = Sample.of_one_scorer(y[order], numbers)
    if texts is not None:
        units = texts.units(order, sample)
        sample, logits = units.sample, units.of(logits).astype(np.float32).astype(np.float64)
    log_odds = probe.platt_scale * logits + probe.platt_shift
    return FreshScores(sample, order, logits, log_odds)
