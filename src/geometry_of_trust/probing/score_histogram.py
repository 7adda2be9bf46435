"""Scores by class, counted: what a picture of them needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Labels

CELL_COUNT = 30


@dataclass(frozen=True)
class ScoreHistogram:
    """How many rows of each class have a score in each of 30 equal cells from low to high.

    Attributes:
        low, high: least and greatest score. negatives, positives: counts, a cell each.
    """

    low: float
    high: float
    negatives: tuple[int, ...]
    positives: tuple[int, ...]


def score_histogram(scores: Array, y: Labels) -> ScoreHistogram:
    """Count scores by class; the last cell holds its upper end too.

    Args:
        scores: finite, shape (n,), float64. y: labels 0 or 1, shape (n,).
    """
    low, high = float(scores.min()), float(scores.max())
    span = high - low
    cells = np.zeros(len(scores), np.intp)
    if span > 0:
        cells = np.minimum(((scores - low) * (CELL_COUNT / span)).astype(np.intp), CELL_COUNT - 1)
    counts = [np.bincount(cells[y == label], minlength=CELL_COUNT).tolist() for label in (0, 1)]
    return ScoreHistogram(round32(low), round32(high), *map(tuple, counts))
