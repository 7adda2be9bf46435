"""Rows to judge, and how often each counts when groups are drawn anew: the bootstrap by group.

Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geometry_of_trust.probing import counted_random
from geometry_of_trust.probing.array_types import Array, Indices, Labels

RESAMPLES = 1000
SEED = 5

_AT_ONCE = 2**21
"""Weights in memory at a time, as resamples times rows."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows to judge.

    Attributes:
        y: labels 0 or 1, shape (n,). groups: 0, 1, 2, …, shape (n,).
        fold: the fold whose scorer each row has, from 0, shape (n,).
    """

    y: Labels
    groups: Indices
    fold: Indices

    @classmethod
    def of_one_scorer(cls, y: Labels, groups: Indices) -> Sample:
        """Rows that all have the same scorer; y and groups of shape (n,)."""
        return cls(y, groups, np.zeros(len(y), np.intp))

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
            part = counted_random.integers(source, count, min(step, RESAMPLES - start), count)
            flat = part + count * np.arange(len(part))[:, np.newaxis]
            times = np.bincount(flat.ravel(), minlength=part.size).reshape(part.shape)
            yield times[:, self.groups].astype(np.float64)
