"""What a probe says of a state: exact arithmetic, rounded once.

Formulas: docs/mathematics.md, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import DimensionMismatch, NonFinite
from geometry_of_trust.formats.arrays import check_not_zero
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import Probe


@dataclass(frozen=True)
class Reading:
    """What a probe says of a state.

    Attributes:
        raw: the logit wᵀΦh + b, a float32 value.
        confidence: p = σ(a·raw + c), a float32 value from 0 to 1.
        flagged: unreliable: max(p, 1 − p) is below the probe's threshold.
    """

    raw: float
    confidence: float
    flagged: bool


def read_probe(probe: Probe, geometry: Geometry, rows: NDArray[np.floating]) -> Reading:
    """Read one state, or the mean of several: exact arithmetic, rounded once to float32.

    raw = RN₃₂(wᵀΦh̄ + b) and confidence = RN₃₂(σ(a·raw + c)), h̄ the mean of the rows.

    Args:
        probe: d weights.
        geometry: the inner product that the probe was trained under.
        rows: shape (k, d), k ≥ 1, float32 values.

    Raises:
        DimensionMismatch: of the probe, the geometry and the rows.
        NonFinite: a row is not finite, or the logit is beyond float32.
        ZeroState: a row is zero in every coordinate.
    """
    _check(probe, geometry, rows)
    return _reading(probe, exact.reading(probe.weights, geometry.phi, rows, probe.bias))


def read_each(probe: Probe, geometry: Geometry, rows: NDArray[np.floating]) -> list[Reading]:
    """Read each of several states: what `read_probe` gives for it alone, but much faster.

    Args:
        probe, geometry: as of `read_probe`. rows: shape (n, d), n ≥ 1, float32 values.

    Raises:
        DimensionMismatch, NonFinite, ZeroState: as `read_probe`.
    """
    _check(probe, geometry, rows)
    raw = exact.readings(probe.weights, geometry.phi, rows, probe.bias)
    return [_reading(probe, value) for value in raw.tolist()]


def _check(probe: Probe, geometry: Geometry, rows: NDArray[np.floating]) -> None:
    d = geometry.hidden_dim
    if probe.weights.size != d or rows.ndim != 2 or rows.shape[1] != d or not len(rows):
        raise DimensionMismatch(
            f"probe {probe.name!r}",
            expected=f"{d} weights, and states of dimension {d}, as the geometry",
            found=f"{probe.weights.size} weights, states of shape {rows.shape}",
        )
    if not np.isfinite(rows).all():
        raise NonFinite(f"probe {probe.name!r}", expected="finite states", found="others")
    check_not_zero(f"probe {probe.name!r}", rows)


def _reading(probe: Probe, raw: float) -> Reading:
    if not math.isfinite(raw):
        raise NonFinite(f"probe {probe.name!r}", expected="a logit within float32", found=raw)
    p = exact.sigmoid(probe.platt_scale, raw, probe.platt_shift)
    return Reading(raw, p, max(p, 1.0 - p) < probe.reliability_threshold)
