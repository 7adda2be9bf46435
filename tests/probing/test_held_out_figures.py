"""Figures against scikit-learn's, intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import metrics as peer

from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import counted_random, held_out_figures
from geometry_of_trust.probing.cross_validation import Study, crossfit, honest
from geometry_of_trust.probing.held_out_figures import (
    CalibrationError,
    Sample,
    bins,
    figure,
    quality,
    wilson,
)
from geometry_of_trust.probing.metrics import expected_calibration_error

Array = NDArray[np.float64]


def sample(n: int = 200, folds: int = 1, seed: int = 0) -> tuple[Sample, Array]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    scores = np.round(rng.normal(size=n) + 1.2 * y, 1).astype(np.float64)  # with ties
    return Sample(y, np.arange(n), np.arange(n) % folds), scores


def test_figures_are_scikit_learns() -> None:
    held, scores = sample()
    ours = quality(held, scores, scores - 0.3)
    p = expit(scores - 0.3)
    false, true, _ = peer.roc_curve(held.y, scores, drop_intermediate=False)
    expected = {
        "auroc": peer.roc_auc_score(held.y, scores),
        "average_precision": peer.average_precision_score(held.y, scores),
        "accuracy": peer.accuracy_score(held.y, p > 0.5),
        "recall_at_1_percent": true[false <= 0.01].max(),
        "brier": peer.brier_score_loss(held.y, p),
        "log_loss": peer.log_loss(held.y, p),
        "ece": expected_calibration_error(p, held.y),
    }
    for name, value in expected.items():
        held_figure: Figure = getattr(ours, name)
        assert held_figure.value == pytest.approx(value, rel=1e-6), name
        assert held_figure.low <= held_figure.value <= held_figure.high
        assert held_figure.value == float(np.float32(held_figure.value))


def test_pairs_of_different_folds_do_not_count() -> None:
    held, scores = sample(folds=4)
    shifted = scores + 100.0 * held.fold
    plain = quality(held, scores, scores).auroc
    assert quality(held, shifted, scores).auroc == plain
    by_fold = [peer.roc_auc_score(held.y[held.fold == k], scores[held.fold == k]) for k in range(4)]
    pairs = [
        (held.y[held.fold == k] == 1).sum() * (held.y[held.fold == k] == 0).sum() for k in range(4)
    ]
    assert plain.value == pytest.approx(np.average(by_fold, weights=pairs), rel=1e-6)


def test_resamples_are_what_a_loop_would_draw() -> None:
    held, scores = sample(40)
    held = Sample(held.y, np.arange(40) // 4, held.fold)
    drawn = counted_random.below(held_out_figures.SEED, 10, held_out_figures.RESAMPLES, 10)
    values = []
    for groups in drawn:
        rows = np.concatenate([np.flatnonzero(held.groups == g) for g in groups])
        if len(set(held.y[rows].tolist())) == 2:
            values.append(peer.roc_auc_score(held.y[rows], scores[rows]))
    low, high = np.quantile(values, [0.025, 0.975])
    ours = quality(held, scores, scores).auroc
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-6)


def test_resamples_are_the_same_however_many_are_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, scores = sample(50)
    whole = quality(held, scores, scores)
    monkeypatch.setattr(held_out_figures, "_AT_ONCE", 350)
    assert quality(held, scores, scores) == whole


def test_copies_of_rows_in_one_group_narrow_nothing() -> None:
    held, scores = sample(60)
    copies = Sample(np.repeat(held.y, 5), np.repeat(held.groups, 5), np.repeat(held.fold, 5))
    once = quality(held, scores, scores).auroc
    grouped = quality(copies, np.repeat(scores, 5), np.repeat(scores, 5)).auroc
    naive = Sample(copies.y, np.arange(300), copies.fold)
    alone = quality(naive, np.repeat(scores, 5), np.repeat(scores, 5)).auroc
    assert grouped == once
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_cross_validated_intervals_are_wider_by_the_root_of_two() -> None:
    held, _ = sample()
    crossed = Sample(held.y, held.groups, np.arange(200) % 2)
    assert (held.stretch, crossed.stretch) == (1.0, math.sqrt(2))


@pytest.mark.parametrize(
    "case",
    ["rows", "groups", pytest.param("wide", marks=pytest.mark.heavy)],
)
def test_without_an_effect_the_interval_of_the_auroc_contains_one_half(case: str) -> None:
    """In 95 ± 3 % of 400 seeds, through the whole nested chain."""
    n, d, size = {"rows": (60, 8, 1), "groups": (90, 8, 3), "wide": (40, 60, 1)}[case]
    inside = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.arange(n) % 2).astype(np.int8)
        geometry = Geometry("Euclidean", 0.0, d, None)
        study = Study.of(rng.normal(size=(n, d)), y, geometry, np.arange(n) // size)
        cross = crossfit(study.X, study.y, study.fold, (1.0, 1e-2), nested=True)
        scores = honest(cross, study.y, study.fold)
        held = Sample(study.y, study.groups, study.fold)
        auroc = figure(held, held_out_figures.Auroc(held, scores.logits))
        inside.append(auroc.low <= 0.5 <= auroc.high)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_intervals_of_a_fixed_scorer_cover_the_truth() -> None:
    """On rows that nothing was fitted to, in 95 ± 3 % of 400 seeds."""
    truth = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # of two normals, √2 apart
    inside = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        y = np.arange(120) % 2
        scores = rng.normal(size=120) + math.sqrt(2) * y
        held = Sample(y, np.arange(120), np.zeros(120, np.intp))
        auroc = figure(held, held_out_figures.Auroc(held, scores))
        inside.append(auroc.low <= truth <= auroc.high)
    assert 0.92 <= np.mean(inside) <= 0.98


# --- bins -------------------------------------------------------------------------------------


def test_bins_sum_to_the_calibration_error() -> None:
    held, scores = sample()
    p = expit(scores)
    table = bins(p, held.y, held.groups)
    assert len(table) == 10
    assert sum(b.rows for b in table) == 200
    error = sum(b.rows / 200 * abs(b.mean_probability - b.positive_share) for b in table)
    assert error == pytest.approx(figure(held, CalibrationError(held, p)).value, rel=1e-5)


def test_bins_of_true_probabilities_contain_the_diagonal_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = (rng.random(4000) < p).astype(int)
    groups = np.arange(4000)
    assert sum(not b.calibrated for b in bins(p, y, groups)) <= 2
    assert sum(not b.calibrated for b in bins(expit(4 * (p - 0.5)) ** 3, y, groups)) >= 6
    # Copies are no evidence: ten groups of 400 equal rows cannot tell.
    assert bins(p, y, groups % 10)[4].high - bins(p, y, groups % 10)[4].low > 0.4


def test_wilson() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1.0, 1)[1] == 1.0


# --- chance -----------------------------------------------------------------------------------


def test_drawn_numbers_are_fixed() -> None:
    assert counted_random.below(5, 100, 6).tolist() == counted_random.below(5, 100, 10)[:6].tolist()
    assert counted_random.below(5, 100, 6).tolist() != counted_random.below(6, 100, 6).tolist()
    u = counted_random.uniform(1, 20_000)
    assert 0 < u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(counted_random.normal(1, 20_000).std() - 1) < 0.02
    assert sorted(counted_random.permutation(3, 50).tolist()) == list(range(50))
    assert [round(x, 6) for x in counted_random.uniform(0, 3).tolist()] == PHILOX


PHILOX = [0.011547, 0.241549, 0.111426]
