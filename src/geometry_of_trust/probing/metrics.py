"""How well scores separate two classes, and how far probabilities hold.

A metric is told how often each row counts, for many resamples at a time. All in float64.
Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.probe_card import BIN_COUNT
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.reliability_bins import bin_of
from geometry_of_trust.probing.resampling import Sample

MOST_FALSE_POSITIVES = 0.01


class Metric(ABC):
    """A figure of rows that count so many times each.

    `biased`: a resample shows more of it than there is, as copies of rows are noise of their own;
    the resamples are then moved so that their mean is the value. `least`, `most`: what it can be.
    """

    biased = False
    least = 0.0
    most = 1.0

    @abstractmethod
    def of(self, weights: Array) -> Array:
        """For weights of shape (m, n), shape (m,); NaN where it is not defined."""


class Mean(Metric):
    """The mean of a value of each row, shape (n,)."""

    def __init__(self, values: NDArray[np.generic], most: float = 1.0) -> None:
        self.values = values.astype(np.float64)
        self.most = most

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        mean: Array = weights @ self.values / weights.sum(axis=1)
        return mean


class WithinFoldAuroc(Metric):
    """Share of pairs in order, ties half; only pairs of a fold, as other folds score otherwise."""

    def __init__(self, sample: Sample, scores: Array) -> None:
        self.parts = []
        for k in range(int(sample.fold.max()) + 1):
            rows = np.flatnonzero(sample.fold == k)
            rows = rows[np.argsort(scores[rows], kind="stable")]
            ordered = scores[rows]
            left, right = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
            self.parts.append((rows, sample.y[rows] == 1, left, right))

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, positive, left, right in self.parts:
            times = weights[:, rows]
            below = np.cumsum(np.where(positive, 0.0, times), axis=1)
            below = np.concatenate([np.zeros((len(times), 1)), below], axis=1)
            times = times[:, positive]
            wins += (times * (below[:, left[positive]] + below[:, right[positive]])).sum(axis=1) / 2
            pairs += times.sum(axis=1) * below[:, -1]
        return _ratio(wins, pairs)


class _Ranked(Metric):
    """Counts of positives and of all rows at or above each distinct score, from the highest."""

    def __init__(self, sample: Sample, scores: Array) -> None:
        self.order = np.argsort(-scores, kind="stable")
        falling = scores[self.order]
        self.ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        self.positive = (sample.y == 1)[self.order]

    def counts(self, weights: Array) -> tuple[Array, Array]:
        """For weights of shape (m, n), both of shape (m, distinct scores)."""
        times = weights[:, self.order]
        all_rows = np.cumsum(times, axis=1)[:, self.ends]
        return np.cumsum(times * self.positive, axis=1)[:, self.ends], all_rows


class AveragePrecision(_Ranked):
    """Σ over distinct scores of the gain in recall times the precision there."""

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        hits, rows = self.counts(weights)
        gain = np.diff(hits, axis=1, prepend=0.0)
        return _ratio((gain * hits / np.maximum(rows, 1.0)).sum(axis=1), hits[:, -1])


class RecallAtFewFalsePositives(_Ranked):
    """Greatest share of positives at or above a score that 1 % of the negatives reach at most."""

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        hits, rows = self.counts(weights)
        false = rows - hits
        allowed = false <= MOST_FALSE_POSITIVES * false[:, -1:]
        best = np.where(allowed, hits, 0.0).max(axis=1)
        return np.where(false[:, -1] > 0, _ratio(best, hits[:, -1]), np.nan)


class ExpectedCalibrationError(Metric):
    """ECE = Σ_k |Σ_(i in bin k) (p_i − y_i)| / n, over ten equal bins; p of shape (n,)."""

    biased = True

    def __init__(self, sample: Sample, p: Array) -> None:
        self.gaps = np.zeros((len(p), BIN_COUNT))
        self.gaps[np.arange(len(p)), bin_of(p)] = p - sample.y

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        error: Array = np.abs(weights @ self.gaps).sum(axis=1) / weights.sum(axis=1)
        return error


def _ratio(a: Array, b: Array) -> Array:
    ratio: Array = np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
    return ratio


def within_fold_auroc(sample: Sample, scores: Array) -> float:
    """AUROC of the pairs within folds, rounded to float32; NaN if no fold has both classes.

    Args:
        scores: shape (n,), float64; compared as float32, in units of a power of two, which changes
            no comparison, so that none of them is beyond it.
    """
    _, exponent = np.frexp(np.abs(scores).max(initial=0.0))
    rounded = np.ldexp(scores, -exponent).astype(np.float32).astype(np.float64)
    return round32(float(WithinFoldAuroc(sample, rounded).of(np.ones((1, len(scores))))[0]))


def log_losses(logits: Array, labels: Labels) -> Array:
    """−ln P(label) of each row in nats, P(1) = σ(logit).

    Args:
        logits: shape (…, n). labels: 0 or 1, shape (n,).

    Returns:
        As the logits, shape (…, n), float64.
    """
    losses: Array = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    return losses
