"""Scores of rows that a probe has not seen: its readings, up to rounding, in canonical order."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.errors import DimensionMismatch, TooFewOfClass
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.fresh_rows import score_fresh_rows
from geometry_of_trust.probing.probe_readings import read_probe
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.splits import canonical_order

GEOMETRY = Geometry.from_gram(np.array([[2, 1], [1, 3]], np.float32))
PROBE = Probe("warm", np.array([0.5, -1], np.float32), 0.25, 2.0, -0.5)


def test_scores_are_the_readings_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    H = rng.normal(size=(12, 2)).astype(np.float32).astype(np.float64)
    y, groups = (np.arange(12) % 3 == 0).astype(np.int8), np.arange(12) // 4
    scores = score_fresh_rows(PROBE, GEOMETRY, H, y, groups)
    order, numbers = canonical_order(H, y, groups)
    readings = [read_probe(PROBE, GEOMETRY, H[i : i + 1]) for i in order]
    assert scores.logits == pytest.approx([reading.raw for reading in readings], rel=1e-6)
    p = 1 / (1 + np.exp(-scores.log_odds))
    assert p == pytest.approx([reading.confidence for reading in readings], rel=1e-6)
    assert np.array_equal(scores.sample.y, y[order])
    assert np.array_equal(scores.sample.groups, numbers)
    assert (scores.counts, scores.sample.stretch) == ((4, 8, 3), 1.0)


def test_a_probe_of_another_dimension_is_refused() -> None:
    wide = Probe("warm", np.ones(3, np.float32), 0.0)
    with pytest.raises(DimensionMismatch):
        score_fresh_rows(wide, GEOMETRY, np.eye(2), np.array([0, 1]), None)


def test_rows_of_one_group_are_refused() -> None:
    states, labels = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
    assert score_fresh_rows(PROBE, GEOMETRY, states, labels, np.array([0, 0, 0, 7])).counts[2] == 2
    same = np.ones((4, 2))  # equal rows are of one group, whatever they are said to be of
    with pytest.raises(TooFewOfClass):
        score_fresh_rows(PROBE, GEOMETRY, states, labels, np.zeros(4, np.int64))
    with pytest.raises(TooFewOfClass):
        score_fresh_rows(PROBE, GEOMETRY, same, labels, None)
