"""Figures of quality of held-out scores, with bootstrap intervals by group.

Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from geometry_of_trust.documents.probe_card import Bin, Figure, Quality
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing import counted_random
from geometry_of_trust.probing.splits import Indices, Labels

Array = NDArray[np.float64]

RESAMPLES = 1000
SEED = 5
BINS = 10
MOST_FALSE_POSITIVES = 0.01
_LEVELS = (0.025, 0.975)
_NORMAL = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_AT_ONCE = 2**21
"""Weights held at a time, as resamples times rows."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows to judge: labels 0 or 1, groups 0, 1, 2, …, and the fold whose scorer each row has."""

    y: Labels
    groups: Indices
    fold: Indices

    @property
    def stretch(self) -> float:
        """How many times wider than the resamples an interval is: √2 after cross-validation.

        Each fold's scorer was trained on the rows that the other folds judge, so that without any
        effect each pair of folds counts twice: the variance is twice what resamples show
        (docs/mathematics.md, section 7). With one scorer for all rows: 1.
        """
        return math.sqrt(2) if self.fold.any() else 1.0

    def weights(self) -> Iterator[Array]:
        """How often each row counts, shape (m, n): first once each, then resample by resample.

        A resample draws as many groups as there are, with replacement.
        """
        yield np.ones((1, len(self.y)))
        count = int(self.groups.max()) + 1
        source = counted_random.stream(SEED)
        step = max(1, _AT_ONCE // len(self.y))
        for start in range(0, RESAMPLES, step):
            part = counted_random.below(source, count, min(step, RESAMPLES - start), count)
            flat = part + count * np.arange(len(part))[:, np.newaxis]
            times = np.bincount(flat.ravel(), minlength=part.size).reshape(part.shape)
            yield times[:, self.groups].astype(np.float64)


def quality(sample: Sample, logits: Array, log_odds: Array) -> Quality:
    """All figures of a probe's held-out logits and calibrated log odds, each shape (n,)."""
    measures = {
        "auroc": Auroc(sample, logits),
        "average_precision": _AveragePrecision(sample, log_odds),
        "accuracy": _Mean((log_odds > 0) == (sample.y == 1)),
        "recall_at_1_percent": _Recall(sample, log_odds),
        "brier": _Mean((expit(log_odds) - sample.y) ** 2),
        "log_loss": _LogLoss(np.logaddexp(0.0, np.where(sample.y == 1, -log_odds, log_odds))),
        "ece": CalibrationError(sample, expit(log_odds)),
    }
    return Quality(**_figures(sample, measures))


def figure(sample: Sample, measure: Measure) -> Figure:
    """One figure with its interval."""
    return _figures(sample, {"": measure})[""]


def _figures(sample: Sample, measures: dict[str, Measure]) -> dict[str, Figure]:
    values: dict[str, list[Array]] = {name: [] for name in measures}
    for weights in sample.weights():
        for name, measure in measures.items():
            values[name].append(measure.of(weights))
    return {
        name: _figure(np.concatenate(parts), measures[name], sample.stretch)
        for name, parts in values.items()
    }


def _figure(values: Array, measure: Measure, stretch: float) -> Figure:
    """Of the value and of those of the resamples; resamples without a class count nothing."""
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Figure(*[round32(value)] * 3)
    centre = drawn.mean() if measure.biased else value
    ends = np.clip(value + stretch * (np.quantile(drawn, _LEVELS) - centre), 0.0, measure.most)
    return Figure(round32(value), round32(float(ends[0])), round32(float(ends[1])))


class Measure:
    """A figure of rows that count so many times each.

    `biased`: a resample shows more of it than there is, as copies of rows are noise of their own;
    the resamples are then moved so that their mean is the value. `most`: the greatest value.
    """

    biased = False
    most = 1.0

    def of(self, weights: Array) -> Array:
        """For weights of shape (m, n), shape (m,); NaN where it is not defined."""
        raise NotImplementedError


class _Mean(Measure):
    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = values.astype(np.float64)

    def of(self, weights: Array) -> Array:
        mean: Array = weights @ self.values / weights.sum(axis=1)
        return mean


class _LogLoss(_Mean):
    most = np.inf


class Auroc(Measure):
    """Share of pairs in order, ties half; only pairs of a fold, as other folds score otherwise."""

    def __init__(self, sample: Sample, scores: Array) -> None:
        self.parts = []
        for k in range(int(sample.fold.max()) + 1):
            rows = np.flatnonzero(sample.fold == k)
            rows = rows[np.argsort(scores[rows], kind="stable")]
            held = scores[rows]
            ends = np.searchsorted(held, held, "left"), np.searchsorted(held, held, "right")
            self.parts.append((rows, sample.y[rows] == 1, *ends))

    def of(self, weights: Array) -> Array:
        """As of `Measure`."""
        wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, positive, left, right in self.parts:
            held = weights[:, rows]
            below = np.cumsum(np.where(positive, 0.0, held), axis=1)
            below = np.concatenate([np.zeros((len(held), 1)), below], axis=1)
            held = held[:, positive]
            wins += (held * (below[:, left[positive]] + below[:, right[positive]])).sum(axis=1) / 2
            pairs += held.sum(axis=1) * below[:, -1]
        return _ratio(wins, pairs)


class _Ranked(Measure):
    """Counts of positives and of all rows at or above each distinct score, from the highest."""

    def __init__(self, sample: Sample, scores: Array) -> None:
        self.order = np.argsort(-scores, kind="stable")
        held = scores[self.order]
        self.ends = np.flatnonzero(np.append(held[1:] != held[:-1], True))
        self.positive = (sample.y == 1)[self.order]

    def counts(self, weights: Array) -> tuple[Array, Array]:
        held = weights[:, self.order]
        all_rows = np.cumsum(held, axis=1)[:, self.ends]
        return np.cumsum(held * self.positive, axis=1)[:, self.ends], all_rows


class _AveragePrecision(_Ranked):
    """Σ over distinct scores of the gain in recall times the precision there."""

    def of(self, weights: Array) -> Array:
        hits, rows = self.counts(weights)
        gain = np.diff(hits, axis=1, prepend=0.0)
        return _ratio((gain * hits / np.maximum(rows, 1.0)).sum(axis=1), hits[:, -1])


class _Recall(_Ranked):
    """Greatest share of positives at or above a score that 1 % of the negatives reach at most."""

    def of(self, weights: Array) -> Array:
        hits, rows = self.counts(weights)
        false = rows - hits
        allowed = false <= MOST_FALSE_POSITIVES * false[:, -1:]
        best = np.where(allowed, hits, 0.0).max(axis=1)
        return np.where(false[:, -1] > 0, _ratio(best, hits[:, -1]), np.nan)


class CalibrationError(Measure):
    """ECE = Σ_k |Σ_(i in bin k) (p_i − y_i)| / n."""

    biased = True

    def __init__(self, sample: Sample, p: Array) -> None:
        self.gaps = np.zeros((len(p), BINS))
        self.gaps[np.arange(len(p)), bin_of(p)] = p - sample.y

    def of(self, weights: Array) -> Array:
        """As of `Measure`."""
        error: Array = np.abs(weights @ self.gaps).sum(axis=1) / weights.sum(axis=1)
        return error


def _ratio(a: Array, b: Array) -> Array:
    ratio: Array = np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
    return ratio


def auroc(sample: Sample, scores: Array) -> float:
    """AUROC of the pairs within folds, rounded to float32; scores as float32."""
    rounded = scores.astype(np.float32).astype(np.float64)
    return round32(float(Auroc(sample, rounded).of(np.ones((1, len(scores))))[0]))


# --- bins -------------------------------------------------------------------------------------


def bin_of(p: Array) -> Indices:
    """Which of ten equal bins, closed below, the last one on both sides (reference.md 7.5)."""
    return np.searchsorted(np.arange(1, BINS) / BINS, p, side="right")


def bins(p: Array, y: Labels, groups: Indices) -> tuple[Bin, ...]:
    """The bin table of probabilities; empty bins have zeros.

    The interval is Wilson's, for as many independent draws as the bin has groups: rows of one
    group may be copies of each other.
    """
    index = bin_of(p)
    table = []
    for k in range(BINS):
        inside = index == k
        if not inside.any():
            table.append(Bin(0, 0, 0.0, 0.0, 0.0, 1.0))
            continue
        draws, share = len(np.unique(groups[inside])), float(y[inside].mean())
        low, high = wilson(share, draws)
        mean = float(p[inside].mean())
        table.append(Bin(int(inside.sum()), draws, *map(round32, (mean, share, low, high))))
    return tuple(table)


def wilson(share: float, draws: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability seen as `share` in so many draws."""
    z2 = _NORMAL**2 / draws
    centre = (share + z2 / 2) / (1 + z2)
    half = _NORMAL / (1 + z2) * float(np.sqrt(share * (1 - share) / draws + z2 / (4 * draws)))
    return max(0.0, centre - half), min(1.0, centre + half)
