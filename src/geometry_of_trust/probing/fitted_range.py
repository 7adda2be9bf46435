"""The range of what a probe was fitted on, and what lies far beyond it.

The rule: a value is beyond a range if it lies outside of it by more than the range is wide. Where
it comes from: docs/probes.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.schema import FLOAT, Kind, member, real, record, vector
from geometry_of_trust.errors import Inconsistent
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array

_NEAR = 1e-6
"""Squares so near to the least or the greatest, relatively, are computed exactly."""
_ROUNDINGS = 1e-6
_OVERFLOWS = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Range:
    """The least and the greatest of some values; float32 values."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """That of these values."""
        some = sorted(values)
        return cls(some[0], some[-1])

    @property
    def far_ends(self) -> tuple[float, float]:
        """Below and above these a value lies outside by more than the range is wide."""
        width = self.high - self.low
        return self.low - width, self.high + width

    def far(self, value: float) -> bool:
        """Whether a value lies outside by more than the range is wide."""
        low, high = self.far_ends
        return not low <= value <= high


@dataclass(frozen=True)
class FittedRange:
    """What the rows of a training had, as those of a reading are compared with it.

    Attributes:
        norms: ‖h‖_Φ of the rows. scores: what each probe says of them, one range a probe.
    """

    norms: Range
    scores: tuple[Range, ...]


def norm(geometry: Geometry, rows: NDArray[np.floating]) -> float:
    """‖h̄‖_Φ, h̄ the mean of the rows rounded to float32: the same bits on every machine.

    The square over the reals is rounded to float32, then its root.

    Args:
        geometry: of dimension d. rows: shape (k, d), k ≥ 1, finite float32 values.

    Returns:
        A float32 value; infinite if the square overflows.
    """
    state = rows[0].astype(np.float64)
    if len(rows) > 1:
        sums = exact.exact_sums(rows.T.astype(np.float64))
        state = np.array([exact.round32(total / len(rows)) for total in sums])
    return exact.round32(math.sqrt(exact.reading(state, geometry.phi, state[None, :], 0.0)))


def range_of_norms(geometry: Geometry, H: Array) -> Range:
    """The range of the exact ‖h‖_Φ of the rows of H, shape (n, d), float64."""
    with threadpool_limits(1, user_api="blas"):
        squares = geometry.inner(H, H)
    least, most = float(squares.min()), float(squares.max())
    ends = (squares <= least + _NEAR * abs(least)) | (squares >= most - _NEAR * abs(most))
    return Range.of(norm(geometry, H[i : i + 1]) for i in np.flatnonzero(ends))


def far_norms(norms: Range, geometry: Geometry, rows: NDArray[np.floating]) -> list[bool]:
    """Whether the `norm` of each of several states by itself is far outside of a range.

    Each is first bounded in float64; only one that may be on either side is computed.

    Args:
        rows: shape (n, d), finite float32 values.
    """
    low, high = norms.far_ends
    d = geometry.hidden_dim
    phi = np.eye(d) if geometry.phi is None else geometry.phi.astype(np.float64)
    size, found = np.abs(phi), []
    for part in exact.row_slices(d, len(rows)):
        h = rows[part].astype(np.float64)
        square = ((h @ phi) * h).sum(axis=1)
        # The bound of both sums, and more than the square and its root are rounded by to float32.
        error = exact.gamma(2 * d + 8) * ((np.abs(h) @ size) * np.abs(h)).sum(axis=1)
        error = error * exact.SLACK + _ROUNDINGS * square
        outside = (square - error > high**2) | ((low > 0) & (square + error < low**2))
        inside = (square + error < min(high**2, _OVERFLOWS)) & (
            (low <= 0) | (square - error > low**2)
        )
        for i, beyond in enumerate(outside.tolist()):
            decided = beyond or inside[i]
            found.append(beyond if decided else norms.far(norm(geometry, h[i : i + 1])))
    return found


# --- members of the file ----------------------------------------------------------------------


def _range(kind: Kind[float]) -> Kind[Range]:
    plain = record(Range, member("low", kind), member("high", kind))

    def read(value: object, where: str) -> Range:
        found = plain.read(value, where)
        if found.low > found.high:
            raise Inconsistent(where, expected="low up to high", found=f"{found.low}, {found.high}")
        return found

    return Kind(read, plain.write)


FITTED_RANGE = record(
    FittedRange, member("norms", _range(real(0))), member("scores", vector(_range(FLOAT)))
)
