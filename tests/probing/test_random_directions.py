"""Random directions: as long and as varied as the probe's, the same bits everywhere, and fair."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.random_directions import Directions, directions, seed_of

D, N = 24, 20
RNG = np.random.default_rng(0)
U = (RNG.normal(size=(100, D)) * np.geomspace(1, 8, D)).astype(np.float32)
STATES = (RNG.normal(size=(N, D)) @ RNG.normal(size=(D, D)) + 5).astype(np.float32)
GEOMETRY = Geometry.from_unembedding(U)
EUCLIDEAN = Geometry.from_unembedding(U, inner_product="euclidean")


def made(weights: NDArray[Any], geometry: Geometry = GEOMETRY, seed: int = 1) -> Directions:
    return directions(weights.astype(np.float32), geometry, STATES, 99, seed)


@pytest.mark.parametrize("geometry", [GEOMETRY, EUCLIDEAN])
def test_they_are_as_long_and_as_varied_as_the_probes(geometry: Geometry) -> None:
    w = RNG.normal(size=D)
    found = made(w, geometry)
    units, phi = found.units.astype(np.float64), geometry.matrix().astype(np.float64)
    np.testing.assert_allclose(((units @ phi) * units).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(units[0], w / np.sqrt(w @ phi @ w), rtol=1e-5)
    projections = units @ phi @ (STATES - STATES.mean(axis=0, dtype=np.float64)).T
    np.testing.assert_allclose(found.projections, projections, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(projections.std(axis=1) / projections[0].std(), 1, rtol=1e-4)
    assert len({row.tobytes() for row in found.units}) == 100
    assert found.units.tobytes() != made(w, geometry, seed=2).units.tobytes()


def test_a_variance_that_is_out_of_reach_is_come_near_to() -> None:
    """Along the first principal direction nothing else varies as much."""
    phi = GEOMETRY.matrix().astype(np.float64)
    centred = STATES - STATES.mean(axis=0, dtype=np.float64)
    lower = np.linalg.cholesky(phi)
    first = np.linalg.svd(centred @ lower)[2][0]
    found = made(np.linalg.solve(lower.T, first))
    assert (found.deviations[1:] > 0.99 * found.deviations[0]).all()
    least = np.linalg.svd(centred @ lower)[2][-1]  # along which nothing varies: fewer states
    found = made(np.linalg.solve(lower.T, least))
    assert np.isfinite(found.units).all()
    assert (found.deviations[1:] < 0.1 * made(first).deviations[0]).all()


def test_their_bits_are_fixed() -> None:
    """On every machine, with every version of numpy and whoever's BLAS."""
    rows = np.arange(N * 4, dtype=np.float32).reshape(N, 4) ** 2 % 13
    matrix = (np.arange(28, dtype=np.float32).reshape(7, 4) * 5) % 11
    w = np.array([1, -2, 3, 0.5], np.float32)
    found = directions(w, Geometry.from_unembedding(matrix), rows, 5, 3)
    data = found.units.tobytes() + found.projections.tobytes()
    assert hashlib.sha256(data).hexdigest() == FIXED
    assert seed_of("a", "b") == seed_of("ab") != seed_of("ba")


FIXED = "4604f443b786d9cfcb52c0d3787a31af720b931debd37265cfac34253628e308"


@pytest.mark.parametrize("kind", ["isotropic", "of the states"])
def test_one_random_direction_in_twenty_does_more(kind: str) -> None:
    """400 probes that know nothing, against what a linear model makes of each direction."""
    rng = np.random.default_rng(5)
    lower = np.linalg.cholesky(GEOMETRY.matrix().astype(np.float64))
    passed = 0
    for seed in range(400):
        gradient = rng.normal(size=D) @ lower.T
        if kind == "isotropic":
            w = np.linalg.solve(lower.T, rng.normal(size=D))
        else:
            w = rng.choice([-1, 1], size=N) @ (STATES - STATES.mean(axis=0))
        steered = made(w, seed=seed).units @ gradient
        passed += (1 + (steered[1:] >= steered[0]).sum()) / 100 <= 0.05
    assert 6 <= passed <= 34  # of 20: 3.2 standard deviations
