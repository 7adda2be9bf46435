"""Resamples: drawn by group, the same however they are cut up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geometry_of_trust.probing import resampling
from geometry_of_trust.probing.resampling import RESAMPLES, Sample


def sample(rows: int = 50, size: int = 1) -> Sample:
    y = np.random.default_rng(0).integers(0, 2, rows)
    return Sample.of_one_scorer(y, np.arange(rows) // size)


def test_each_resample_draws_as_many_groups_as_there_are() -> None:
    first, *rest = sample(60, 3).weights()
    assert first.tolist() == [[1.0] * 60]
    weights = np.concatenate(rest)
    assert weights.shape == (RESAMPLES, 60)
    assert (weights.sum(axis=1) == 60).all()
    by_group = weights.reshape(RESAMPLES, 20, 3)
    assert (by_group == by_group[:, :, :1]).all()
    assert 0.9 < weights.mean(axis=0).min() <= weights.mean(axis=0).max() < 1.1


def test_resamples_are_the_same_however_many_are_in_memory_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = np.concatenate(list(sample().weights()))
    monkeypatch.setattr(resampling, "_AT_ONCE", 350)
    parts = list(sample().weights())
    assert len(parts) > 100
    assert np.array_equal(np.concatenate(parts), whole)


def test_cross_validated_intervals_are_wider_by_the_root_of_two() -> None:
    alone = sample()
    crossed = Sample(alone.y, alone.groups, np.arange(50) % 2)
    assert (alone.stretch, crossed.stretch) == (1.0, math.sqrt(2))
