"""Figures of quality of held-out scores, with bootstrap intervals by group.

Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from geometry_of_trust.documents.probe_card import Figure, Quality
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.metrics import (
    AveragePrecision,
    ExpectedCalibrationError,
    Mean,
    Metric,
    RecallAtFewFalsePositives,
    WithinFoldAuroc,
    log_losses,
)
from geometry_of_trust.probing.resampling import Sample

_LEVELS = (0.025, 0.975)


def quality_figures(sample: Sample, logits: Array, log_odds: Array) -> Quality:
    """All figures of a probe's held-out logits and calibrated log odds.

    Args:
        sample: the n rows. logits, log_odds: before and after Platt scaling, shape (n,), float64.
    """
    p = expit(log_odds)
    metrics: dict[str, Metric] = {
        "auroc": WithinFoldAuroc(sample, logits),
        "average_precision": AveragePrecision(sample, log_odds),
        "accuracy": Mean((log_odds > 0) == (sample.y == 1)),
        "recall_at_1_percent": RecallAtFewFalsePositives(sample, log_odds),
        "brier": Mean((p - sample.y) ** 2),
        "log_loss": Mean(log_losses(log_odds, sample.y), most=np.inf),
        "ece": ExpectedCalibrationError(sample, p),
    }
    return Quality(**_figures(sample, metrics))


def figure_with_interval(sample: Sample, metric: Metric) -> Figure:
    """One figure of the rows of a sample with its 95 % interval; float32 values."""
    return _figures(sample, {"": metric})[""]


def _figures(sample: Sample, metrics: Mapping[str, Metric]) -> dict[str, Figure]:
    values: dict[str, list[Array]] = {name: [] for name in metrics}
    for weights in sample.weights():
        for name, metric in metrics.items():
            values[name].append(metric.of(weights))
    return {
        name: figure_of(
            np.concatenate(parts),
            sample.stretch,
            (metrics[name].least, metrics[name].most),
            biased=metrics[name].biased,
        )
        for name, parts in values.items()
    }


def figure_of(
    values: Array, stretch: float, bounds: tuple[float, float], *, biased: bool = False
) -> Figure:
    """Of the value and of those of the resamples; resamples without a class count nothing.

    Args:
        values: shape (1 + resamples,). stretch: as of `Sample`. bounds, biased: as of `Metric`.
    """
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Figure(*[round32(value)] * 3)
    centre = drawn.mean() if biased else value
    ends = np.clip(value + stretch * (np.quantile(drawn, _LEVELS) - centre), *bounds)
    return Figure(round32(value), round32(float(ends[0])), round32(float(ends[1])))
