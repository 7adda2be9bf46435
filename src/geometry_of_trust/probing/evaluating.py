"""Readings of every row held against labels: the same bits on every machine.

Counts are exact, other sums are of integers: of what is added, rounded to a multiple of a power of
two. Intervals are those of `resampling`, by group. Formulas: docs/evaluations.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geometry_of_trust.documents.evaluations import ProbeEvaluation
from geometry_of_trust.documents.probe_card import BIN_COUNT, AtThreshold, Figure
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.metrics import Metric, RecallAtFewFalsePositives, WithinFoldAuroc
from geometry_of_trust.probing.reliability_bins import bin_of
from geometry_of_trust.probing.resampling import Sample

_LEVELS = (Fraction(25, 1000), Fraction(975, 1000))


def evaluate(
    dimension: str,
    readings: tuple[ArrayLike, ArrayLike],
    sample: Sample,
    threshold: float | None,
    above: float | None = None,
) -> ProbeEvaluation:
    """How a probe's readings agree with labels.

    Args:
        dimension: its name.
        readings: raw readings and probabilities, float32 values, shape (n,) each.
        sample: the n rows, in their order, both classes among them, of one scorer.
        threshold: probability from which a row is called positive, or None.
        above: without one, the raw reading above which it is, or None.
    """
    raw, p = (np.array(values, np.float64) for values in readings)
    y = sample.y == 1
    metrics: dict[str, Metric] = {
        "auroc": WithinFoldAuroc(sample, raw),
        "recall_at_1_percent": RecallAtFewFalsePositives(sample, raw),
        "brier": _IntegerMean(sample, (p - sample.y) ** 2),
        "ece": _IntegerCalibrationError(sample, p),
    }
    called = None
    if threshold is not None:
        called = p >= threshold
    elif above is not None:
        called = raw > above
    if called is not None:
        metrics |= {
            "recall": _Share(called & y, y),
            "false_positive_rate": _Share(called & ~y, ~y),
            "precision": _Share(called & y, called),
            "accuracy": _Share(called == y, np.ones(len(y), np.bool_)),
        }
    found = _figures(sample, metrics)
    at_threshold = None
    if called is not None:
        at_threshold = AtThreshold(
            int((called & y).sum()),
            int((called & ~y).sum()),
            _defined(found["recall"]),
            _defined(found["false_positive_rate"]),
            found["precision"],
            _defined(found["accuracy"]),
        )
    return ProbeEvaluation(
        dimension=dimension,
        positives=int(y.sum()),
        negatives=int((~y).sum()),
        auroc=_defined(found["auroc"]),
        recall_at_1_percent=_defined(found["recall_at_1_percent"]),
        brier=_defined(found["brier"]),
        ece=_defined(found["ece"]),
        at_threshold=at_threshold,
    )


class _Share(Metric):
    """The share of rows with a property among some of them, which have it all; shape (n,) each."""

    def __init__(self, having: NDArray[np.bool_], among: NDArray[np.bool_]) -> None:
        self.columns = np.stack([having, among], axis=1).astype(np.float64)

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        having, among = (weights @ self.columns).T  # of integers, which no order of adding changes
        share: Array = np.divide(having, among, out=np.full(len(weights), np.nan), where=among > 0)
        return share


class _Integers:
    """Numbers from −1 to 1 as integers that no resample of their rows makes overflow in sum.

    They are multiples of 2^−s, s = 62 less the bits of the most rows that a resample can have (as
    many as there are groups, times the largest), and at most 53.
    """

    def __init__(self, sample: Sample, values: Array) -> None:
        counts = np.bincount(sample.groups)
        bits = min(53, 62 - (len(counts) * int(counts.max())).bit_length())
        self.one = 2.0**bits
        self.values = np.rint(values * self.one).astype(np.int64)

    def sums(self, weights: Array) -> NDArray[np.int64]:
        """For weights of shape (m, n) and values of shape (n, …), shape (m, …)."""
        sums: NDArray[np.int64] = weights.astype(np.int64) @ self.values
        return sums


class _IntegerMean(Metric):
    """The mean of a value of each row, shape (n,)."""

    def __init__(self, sample: Sample, values: Array) -> None:
        self.integers = _Integers(sample, values)

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        mean: Array = self.integers.sums(weights) / (weights.sum(axis=1) * self.integers.one)
        return mean


class _IntegerCalibrationError(Metric):
    """As `metrics.ExpectedCalibrationError`."""

    biased = True

    def __init__(self, sample: Sample, p: Array) -> None:
        gaps = np.zeros((len(p), BIN_COUNT))
        gaps[np.arange(len(p)), bin_of(p)] = p - sample.y
        self.integers = _Integers(sample, gaps)

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        sums = np.abs(self.integers.sums(weights)).sum(axis=1)
        error: Array = sums / (weights.sum(axis=1) * self.integers.one)
        return error


def _figures(sample: Sample, metrics: Mapping[str, Metric]) -> dict[str, Figure | None]:
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for weights in sample.weights():
        for name, metric in metrics.items():
            values[name] += metric.of(weights).tolist()
    return {name: _figure(found, metrics[name]) for name, found in values.items()}


def _figure(values: Sequence[float], metric: Metric) -> Figure | None:
    """Of the value and of those of the resamples, as `held_out_figures`; None if it has no value.

    The ends are over the reals, of the resamples' values, and rounded once.
    """
    value, drawn = values[0], sorted(x for x in values[1:] if math.isfinite(x))
    if not math.isfinite(value):
        return None
    ends = [value, value]
    if drawn:
        centre = math.fsum(drawn) / len(drawn) if metric.biased else value
        moved = Fraction(value) - Fraction(centre)
        reached = [round32(_quantile(drawn, level) + moved) for level in _LEVELS]
        ends = [min(max(end, metric.least), metric.most) for end in reached]
    return Figure(*map(round32, (value, *ends)))


def exact_figure(sample: Sample, metric: Metric) -> Figure | None:
    """One figure with its interval, of the same bits everywhere if the metric is; or None."""
    return _figures(sample, {"": metric})[""]


def _quantile(ordered: Sequence[float], level: Fraction) -> Fraction:
    """Between two neighbours, as far from the first as its place says."""
    place = level * (len(ordered) - 1)
    index = math.floor(place)
    here, after = Fraction(ordered[index]), Fraction(ordered[min(index + 1, len(ordered) - 1)])
    return here + (after - here) * (place - index)


def _defined(figure: Figure | None) -> Figure:
    """A figure that has a value where there are rows of both classes."""
    assert figure is not None  # noqa: S101
    return figure


def sample_of(labels: Labels, groups: NDArray[np.int64] | None) -> Sample:
    """Rows in their order; groups numbered as they first appear, or each row its own.

    Args:
        labels: 0 or 1, shape (n,). groups: equal for rows of one group, shape (n,), or None.
    """
    own = np.arange(len(labels)) if groups is None else groups
    _, first, numbers = np.unique(own, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # of each name its place among those that appear
    return Sample.of_one_scorer(labels, order[numbers].astype(np.intp))
