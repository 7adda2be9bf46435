"""CKA: what it does not see, what it does, and what the plain estimate would say instead."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.probing.similarity import debiased_cka

Array = NDArray[np.float64]


def plain_cka(X: Array, Y: Array) -> float:
    """As of Kornblith et al. (2019), biased."""
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    norms = np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y)
    return float(np.linalg.norm(X.T @ Y) ** 2 / norms)


def hsic(K: Array, L: Array) -> float:
    """Song et al. (2012), equation 5, word for word."""
    n = len(K)
    K, L = K - np.diag(np.diagonal(K)), L - np.diag(np.diagonal(L))
    ones = np.ones(n)
    total = np.trace(K @ L) + (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (ones @ K @ L @ ones)) / (n * (n - 3)))


def test_it_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 4)) + 2
    Y = X @ rng.normal(size=(4, 6)) + rng.normal(size=(9, 6))
    K, L = X @ X.T, Y @ Y.T
    expected = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
    assert debiased_cka(X, Y) == pytest.approx(expected, rel=1e-9)


def test_rotations_scales_and_offsets_change_nothing_and_other_maps_do() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 10)) * np.arange(1, 11)
    rotation = np.linalg.qr(rng.normal(size=(10, 10))).Q
    assert debiased_cka(X, 7 * X @ rotation + 100) == pytest.approx(1)
    stretched = debiased_cka(X, X / np.arange(1, 11) ** 2)
    assert stretched is not None
    assert 0 < stretched < 0.5


def test_independent_states_are_unlike_though_the_plain_estimate_says_otherwise() -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, Y = rng.normal(size=(2, 50, 200))
        assert plain_cka(X, Y) > 0.7
        found.append(debiased_cka(X, Y))
    assert np.mean(np.array(found, np.float64)) == pytest.approx(0, abs=0.02)


def test_of_rows_that_are_all_alike_nothing_is_said() -> None:
    assert debiased_cka(np.ones((5, 3)), np.random.default_rng(0).normal(size=(5, 3))) is None
