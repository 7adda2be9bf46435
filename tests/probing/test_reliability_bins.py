"""Bins: every row is in one, and their intervals hold what is true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import oracle
from geometry_of_trust.probing.reliability_bins import reliability_bins


def test_bins_sum_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    p = expit(np.round(rng.normal(size=200) + 1.2 * y, 1))
    table = reliability_bins(p, y, np.arange(200))
    assert len(table) == 10
    assert sum(b.rows for b in table) == 200
    error = sum(b.rows / 200 * abs(b.mean_probability - b.positive_share) for b in table)
    assert error == pytest.approx(oracle.expected_calibration_error(p, y), rel=1e-5)


def test_bins_of_true_probabilities_contain_the_diagonal_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = (rng.random(4000) < p).astype(int)
    groups = np.arange(4000)
    assert sum(not b.calibrated for b in reliability_bins(p, y, groups)) <= 2
    assert (
        sum(not b.calibrated for b in reliability_bins(expit(4 * (p - 0.5)) ** 3, y, groups)) >= 6
    )
    # Copies are no evidence: ten groups of 400 equal rows cannot tell.
    assert (
        reliability_bins(p, y, groups % 10)[4].high - reliability_bins(p, y, groups % 10)[4].low
        > 0.4
    )
