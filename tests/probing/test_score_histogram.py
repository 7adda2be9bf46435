"""Scores by class: every row is counted once, in its cell."""

from __future__ import annotations

import numpy as np

from geometry_of_trust.probing.score_histogram import CELL_COUNT, ScoreHistogram, score_histogram


def test_rows_are_counted_by_class() -> None:
    scores = np.array([0.0, 0.5, 29.5, 30.0, 15.0, 15.0])
    counted = score_histogram(scores, np.array([0, 1, 1, 1, 0, 0]))
    assert (counted.low, counted.high) == (0.0, 30.0)
    assert counted.negatives == (1, *[0] * 14, 2, *[0] * 14)
    assert counted.positives == (1, *[0] * 28, 2)


def test_equal_scores_lie_in_one_cell() -> None:
    counted = score_histogram(np.full(4, 2.5), np.array([0, 1, 1, 1]))
    assert counted == ScoreHistogram(
        2.5, 2.5, (1, *[0] * (CELL_COUNT - 1)), (3, *[0] * (CELL_COUNT - 1))
    )
