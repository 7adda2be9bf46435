"""Random directions that are as long as a probe's, and along which states vary as much.

Drawn isotropically under the inner product, then turned. Every number is made by single operations
of IEEE 754 in one order, so that it has the same bits on every machine. Formulas:
docs/intervene.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import NotPositiveDefinite
from geometry_of_trust.geometry.inner_product import Geometry, ldl
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.counted_random import uniform

_UNIFORMS = 12
"""So many uniform numbers add up to one that is nearly normal, of variance 1."""
_TURNS = 16
"""How often a direction is turned at most until the variance is within reach."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The direction of a probe, and random ones.

    Attributes:
        units: of Φ-length 1, shape (1 + N, d), float32; the probe's is the first.
        projections: ⟨u, h − h̄⟩_Φ of each state h, float64, shape (1 + N, n).
    """

    units: NDArray[np.float32]
    projections: Array

    @property
    def deviations(self) -> Array:
        """The standard deviation of the projections, shape (1 + N,)."""
        count = self.projections.shape[1]
        deviations: Array = np.sqrt(_dots(self.projections, self.projections) / count)
        return deviations


def seed_of(*digests: str) -> int:
    """A seed that follows from digests, so that nobody chooses it."""
    return int.from_bytes(hashlib.sha256("".join(digests).encode()).digest()[:8], "little")


def directions(
    weights: NDArray[np.float32],
    geometry: Geometry,
    states: NDArray[np.float32],
    count: int,
    seed: int,
) -> Directions:
    """The direction of a probe and `count` random ones, matched.

    A random one is isotropic under Φ, and then turned in the plane of itself and of what the
    covariance of the states makes of it, as little as is needed for its projection to have the
    variance of the probe's; where that is out of reach it comes as near as it can.

    Args:
        weights: w of the probe, shape (d,). states: shape (n, d). seed: of the counted numbers.

    Raises:
        NotPositiveDefinite: Φ of a `Geometry` that was put together by hand.
    """
    frame = _Frame.of(geometry)
    centred = states.astype(np.float64)
    centred = frame.coordinates(centred - _mean(centred))
    drawn = np.zeros((count, geometry.hidden_dim))
    for part in uniform(seed, _UNIFORMS, *drawn.shape):
        drawn += part - 0.5
    probe = _unit(frame.coordinates(weights[np.newaxis].astype(np.float64)))
    own = _products(probe, centred)
    variance = float(_dots(own, own)[0]) / len(states)
    z = np.concatenate([probe, _turned(drawn, centred, variance)])
    return Directions(frame.vectors(z).astype(np.float32), _products(z, centred))


@dataclass(frozen=True, eq=False)
class _Frame:
    """Coordinates √D·Lᵀh, Φ = L·D·Lᵀ, in which Φ is the ordinary inner product.

    Attributes:
        transposed: Lᵀ, shape (d, d). roots: √D, shape (d,). None of the identity.
    """

    transposed: Array | None
    roots: Array | None

    @classmethod
    def of(cls, geometry: Geometry) -> _Frame:
        if geometry.phi is None:
            return cls(None, None)
        found = ldl(geometry.phi.astype(np.float64))
        if found is None:
            raise NotPositiveDefinite("Φ", expected="positive definite", found="a pivot below 0")
        return cls(np.triu(found[0]), np.sqrt(found[1]))

    def coordinates(self, vectors: Array) -> Array:
        """Of vectors, shape (n, d)."""
        if self.transposed is None or self.roots is None:
            return vectors
        return _products(vectors, self.transposed) * self.roots

    def vectors(self, coordinates: Array) -> Array:
        """With these coordinates, shape (n, d)."""
        if self.transposed is None or self.roots is None:
            return coordinates
        rest = coordinates / self.roots
        for i in reversed(range(len(self.roots))):
            rest[:, :i] -= rest[:, i, np.newaxis] * self.transposed[:i, i]
        return rest


def _mean(rows: Array) -> Array:
    """Of rows, shape (n, d): from the first to the last."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total += row
    return total / len(rows)


def _products(a: Array, b: Array) -> Array:
    """A·Bᵀ, shapes (n, k) and (m, k): each sum from the first term to the last."""
    found = np.zeros((len(a), len(b)))
    for x, y in zip(a.T.copy(), b.T.copy(), strict=True):
        found += x[:, np.newaxis] * y
    return found


def _dots(a: Array, b: Array) -> Array:
    """Of rows with rows, shape (n,): as `_products`."""
    found = np.zeros(len(a))
    for x, y in zip(a.T, b.T, strict=True):
        found += x * y
    return found


def _turned(z: Array, centred: Array, variance: float) -> Array:
    """Directions z, turned until the variance of their projections is that of a unit vector.

    With y the part of Cz that is orthogonal to z, C the covariance, and both of length 1, z + t·y
    has the variance v where (C_yy − v)t² + 2C_zy·t + C_zz − v = 0. Where no t does, z becomes that
    of the plane whose variance is nearest (a Ritz vector), and the plane is a new one.

    Args:
        z: shape (N, d). centred: states, shape (n, d). variance: v.
    """
    z, count = _unit(z), len(centred)
    left = np.arange(len(z))
    for _ in range(_TURNS):
        now = z[left]
        p = _products(now, centred)
        y = _products(p, centred.T)
        y = _unit(y - _dots(y, now)[:, np.newaxis] * now)
        py = _products(y, centred)
        zz, zy, yy = (_dots(a, b) / count for a, b in ((p, p), (p, py), (py, py)))
        inside = zy * zy - (yy - variance) * (zz - variance)
        reached = inside >= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (variance - zz) / (zy + np.copysign(np.sqrt(np.maximum(inside, 0.0)), zy))
            half = np.sqrt(((zz - yy) / 2) ** 2 + zy * zy)
            nearest = (zz + yy) / 2 + np.where(zz < variance, half, -half)
            t = np.where(reached, t, zy / (nearest - yy))
        known = np.isfinite(t) & np.isfinite(y).all(axis=1)
        now[known] = _unit(now[known] + t[known, np.newaxis] * y[known])
        z[left] = now
        left = left[known & ~reached]
        if not len(left):
            break
    return z


def _unit(rows: Array) -> Array:
    """Rows of length 1, shape (n, d); NaN of those that have none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Array = rows / np.sqrt(_dots(rows, rows))[:, np.newaxis]
    return unit
