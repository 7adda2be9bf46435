"""How well scores separate two classes and how honest probabilities are; all in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[Any]


def auroc(scores: Array, labels: Labels) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; ties count half.

    Args:
        scores, labels: shape (n,); labels 0 or 1, both present.
    """
    negatives = np.sort(scores[labels == 0])
    positives = scores[labels == 1]
    below = np.searchsorted(negatives, positives, side="left")
    not_above = np.searchsorted(negatives, positives, side="right")
    wins = int(below.sum()) + int(not_above.sum())  # counts, so that no rounding enters
    return wins / (2 * len(positives) * len(negatives))


def accuracy(logits: Array, labels: Labels) -> float:
    """Share of rows whose logit is above 0 exactly if the label is 1."""
    return int(((logits > 0) == (labels == 1)).sum()) / len(labels)


def log_loss(logits: Array, labels: Labels) -> float:
    """Mean of −ln P(label), P(1) = σ(logit), in nats."""
    return math.fsum(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))) / len(labels)


def expected_calibration_error(p: Array, labels: Labels, bins: int = 10) -> float:
    """ECE = Σ_k (n_k/n)·|mean p − share of positives| over `bins` equal bins (reference.md 7.5).

    A bin is closed below and open above, the last one closed; empty bins count nothing.
    """
    edges = np.arange(1, bins) / bins
    index = np.searchsorted(edges, p, side="right")
    gaps = np.bincount(index, weights=p - (labels == 1), minlength=bins)
    return math.fsum(np.abs(gaps)) / len(p)
