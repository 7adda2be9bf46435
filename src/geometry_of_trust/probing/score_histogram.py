"""Scores by class, counted: what a picture of them needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.splits import Labels

CELLS = 30


@dataclass(frozen=True)
class Histogram:
    """How many rows of each class have a score in each of `CELLS` equal cells from low to high.

    Attributes:
        low, high: least and greatest score. negatives, positives: counts, a cell each.
    """

    low: float
    high: float
    negatives: tuple[int, ...]
    positives: tuple[int, ...]


def histogram(scores: NDArray[np.float64], y: Labels) -> Histogram:
    """Of finite scores, shape (n,), with labels 0 or 1; the last cell holds its upper end too."""
    low, high = float(scores.min()), float(scores.max())
    span = high - low
    cells = np.zeros(len(scores), np.intp)
    if span > 0:
        cells = np.minimum(((scores - low) * (CELLS / span)).astype(np.intp), CELLS - 1)
    counts = [np.bincount(cells[y == label], minlength=CELLS).tolist() for label in (0, 1)]
    return Histogram(round32(low), round32(high), *map(tuple, counts))
