"""Readings held against labels: the figures of a card, but with the same bits everywhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from geometry_of_trust.documents.evaluations import MEASURES
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.evaluating import _Integers, _quantile, evaluate, sample_of
from geometry_of_trust.probing.held_out_figures import figure_with_interval
from geometry_of_trust.probing.metrics import (
    ExpectedCalibrationError,
    Mean,
    Metric,
    RecallAtFewFalsePositives,
    WithinFoldAuroc,
)
from geometry_of_trust.probing.reliability_bins import bin_of

RNG = np.random.default_rng(11)
N = 300
Y = (RNG.random(N) < 0.3).astype(np.int8)
GROUPS = np.sort(RNG.integers(0, 60, N))
GROUPS = np.unique(GROUPS, return_inverse=True)[1]
RAW = (RNG.normal(size=N) + 1.2 * Y).astype(np.float32).astype(np.float64)
P = (1 / (1 + np.exp(-RAW))).astype(np.float32).astype(np.float64)


def test_figures_are_those_that_a_card_would_have() -> None:
    sample = sample_of(Y, GROUPS)
    found = evaluate("x", (RAW.tolist(), P.tolist()), sample, None)
    assert found.at_threshold is None
    metrics: dict[str, Metric] = {
        "auroc": WithinFoldAuroc(sample, RAW),
        "recall_at_1_percent": RecallAtFewFalsePositives(sample, RAW),
        "brier": Mean((P - Y) ** 2),
        "ece": ExpectedCalibrationError(sample, P),
    }
    for name in MEASURES:
        ours, theirs = found.figure(name), figure_with_interval(sample, metrics[name])
        assert ours is not None
        for end in ("value", "low", "high"):
            assert getattr(ours, end) == pytest.approx(getattr(theirs, end), abs=2e-7), name


def test_values_are_those_over_the_reals() -> None:
    found = evaluate("x", (RAW.tolist(), P.tolist()), sample_of(Y, None), 0.5)
    gaps = [Fraction(p) - int(y) for p, y in zip(P.tolist(), Y, strict=True)]
    assert found.brier.value == round32(sum((g * g for g in gaps), Fraction(0)) / N)
    bins = bin_of(P)
    sums = [sum((g for g, k in zip(gaps, bins, strict=True) if k == b), Fraction(0))
            for b in range(10)]  # fmt: skip
    assert found.ece.value == round32(sum(map(abs, sums), Fraction(0)) / N)
    order = np.argsort(RAW)
    again = evaluate("x", (RAW[order].tolist(), P[order].tolist()), sample_of(Y[order], None), 0.5)
    for name in (*MEASURES, "recall", "precision"):
        ours, theirs = found.figure(name), again.figure(name)
        assert ours is not None
        assert theirs is not None
        assert ours.value == theirs.value  # the resamples are of rows in their order


def test_a_threshold_that_nothing_reaches() -> None:
    found = evaluate("x", (RAW.tolist(), P.tolist()), sample_of(Y, None), 1.0).at_threshold
    assert found is not None
    assert (found.true_positives, found.false_positives, found.precision) == (0, 0, None)
    assert found.recall.value == found.false_positive_rate.high == 0.0


def test_sums_of_resamples_do_not_overflow() -> None:
    """Of one large group and many small ones: a resample may be of the large one alone."""
    groups = np.array([0] * 1000 + list(range(1, 3000)))
    integers = _Integers(sample_of(np.zeros(len(groups), np.int8), groups), -np.ones(len(groups)))
    weights = np.where(groups == 0, 3000.0, 0.0)[np.newaxis]
    assert integers.sums(weights)[0] == -3_000_000 * int(integers.one)
    assert integers.one >= 2.0**38


def test_a_quantile_lies_between_neighbours() -> None:
    assert _quantile([1.0, 2.0, 4.0], Fraction(1, 2)) == 2
    assert _quantile([1.0, 2.0, 4.0], Fraction(3, 4)) == 3
    assert _quantile([1.0, 2.0, 4.0], Fraction(1)) == 4
    assert _quantile([7.0], Fraction(1, 40)) == 7
