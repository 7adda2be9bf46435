"""Metrics of weighted rows: as counting pairs and adding up by hand gives them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as peer

import oracle
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.metrics import (
    AveragePrecision,
    ExpectedCalibrationError,
    Mean,
    Metric,
    RecallAtFewFalsePositives,
    WithinFoldAuroc,
    log_losses,
    within_fold_auroc,
)
from geometry_of_trust.probing.resampling import Sample


def sample(n: int = 50, folds: int = 1) -> tuple[Sample, Array]:
    """Rows with many equal scores."""
    rng = np.random.default_rng(0)
    scores, y = rng.integers(0, 6, n).astype(float), rng.integers(0, 2, n)
    return Sample(y, np.arange(n), np.arange(n) % folds), scores


def once(metric: Metric, n: int) -> float:
    return float(metric.of(np.ones((1, n)))[0])


@pytest.mark.parametrize(
    ("p", "labels", "expected"),
    [
        ([0.95, 0.85, 0.15, 0.05, 0.55], [1, 0, 0, 0, 1], 0.31),  # reference.md V12
        ([1.0, 0.0], [1, 0], 0.0),
        ([0.1, 0.1], [1, 0], 0.4),  # a bin is closed below: both in [0.1, 0.2)
        ([0.3, 0.39], [1, 0], 0.155),  # 0.3·10 rounds to 3: the same bin
        ([0.95, 1.0], [1, 1], 0.025),  # the last bin is closed
    ],
)
def test_expected_calibration_error(p: list[float], labels: list[int], expected: float) -> None:
    rows = Sample.of_one_scorer(np.array(labels), np.arange(len(p)))
    ours = once(ExpectedCalibrationError(rows, np.array(p)), len(p))
    assert ours == pytest.approx(expected, abs=1e-12)
    assert oracle.expected_calibration_error(np.array(p), np.array(labels)) == pytest.approx(
        expected, abs=1e-12
    )


def test_auroc_counts_pairs() -> None:
    rows, scores = sample()
    expected = oracle.auroc(scores, rows.y)
    assert once(WithinFoldAuroc(rows, scores), 50) == pytest.approx(expected, abs=1e-15)
    assert within_fold_auroc(rows, scores) == float(np.float32(expected))
    assert within_fold_auroc(rows, -scores) == pytest.approx(1 - expected, rel=1e-6)


def test_auroc_of_folds_counts_the_pairs_of_each() -> None:
    rows, scores = sample(folds=3)
    wins = pairs = 0.0
    for k in range(3):
        y = rows.y[rows.fold == k]
        count = int(y.sum()) * int((1 - y).sum())
        wins += count * oracle.auroc(scores[rows.fold == k], y)
        pairs += count
    assert once(WithinFoldAuroc(rows, scores), 50) == pytest.approx(wins / pairs, abs=1e-15)


def test_a_row_that_counts_twice_is_two_rows() -> None:
    rows, scores = sample()
    times = np.random.default_rng(1).integers(0, 3, 50)
    copies = Sample.of_one_scorer(np.repeat(rows.y, times), np.arange(times.sum()))
    p = (scores + 0.5) / 7
    for make in (WithinFoldAuroc, AveragePrecision, RecallAtFewFalsePositives,
                 ExpectedCalibrationError):  # fmt: skip
        counted = make(rows, p).of(times[np.newaxis].astype(float))
        assert counted[0] == pytest.approx(once(make(copies, np.repeat(p, times)), times.sum()))
    mean = Mean(scores).of(times[np.newaxis].astype(float))
    assert mean[0] == pytest.approx(np.repeat(scores, times).mean())


def test_what_needs_both_classes_is_not_defined_with_one() -> None:
    rows, scores = sample()
    positives = (rows.y == 1)[np.newaxis].astype(float)
    assert np.isnan(WithinFoldAuroc(rows, scores).of(positives)).all()
    assert np.isnan(RecallAtFewFalsePositives(rows, scores).of(positives)).all()
    assert np.isnan(AveragePrecision(rows, scores).of(1 - positives)).all()
    ones = Sample.of_one_scorer(np.ones(3, np.int8), np.arange(3))
    assert math.isnan(within_fold_auroc(ones, np.arange(3.0)))


def test_recall_at_a_score_that_one_in_a_hundred_negatives_reach() -> None:
    scores = np.concatenate([np.arange(100.0), [99.5, 98.5, 97.5, 96.5]])
    rows = Sample.of_one_scorer(np.repeat([0, 1], [100, 4]), np.arange(104))
    assert once(RecallAtFewFalsePositives(rows, scores), 104) == 0.5


def test_log_losses() -> None:
    logits, y = np.array([[2.0, -1.0, 0.5, 0.0], [800.0, -800.0, 0.0, 0.0]]), np.array([1, 0, 0, 0])
    p = 1 / (1 + np.exp(-logits[0]))
    assert log_losses(logits, y)[0] == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)))
    assert log_losses(logits, y)[1].tolist()[:2] == [0.0, 0.0]
    assert log_losses(-logits, y)[1].tolist()[:2] == [800.0, 800.0]
    assert log_losses(logits[0], y).mean() == pytest.approx(peer.log_loss(y, p))


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_an_auroc_of_scores_beyond_float32(size: float) -> None:
    """As of the difference in means of huge states: no comparison is lost, nothing is warned."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40)
    scores = rng.normal(size=40) + y
    rows = Sample.of_one_scorer(y, np.arange(40))
    assert within_fold_auroc(rows, size * scores) == within_fold_auroc(rows, scores)
