"""What a probe says of a state: exact arithmetic, rounded once.

Formulas: docs/mathematics.md, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.errors import DimensionMismatch, NonFinite
from geometry_of_trust.formats.arrays import check_not_zero
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.fitted_range import far_norms, norm, range_of_norms
from geometry_of_trust.probing.probes import Probe, ProbeSet


@dataclass(frozen=True)
class Reading:
    """What a probe says of a state.

    Attributes:
        raw: the logit wᵀΦh + b, a float32 value.
        confidence: p = σ(a·raw + c), a float32 value from 0 to 1.
        flagged: unreliable: max(p, 1 − p) is below the probe's threshold.
        outside: far from what the probe was fitted on: the logit, or the norm of the state, is
            beyond its range (`fitted_range`); False where that is not known.
    """

    raw: float
    confidence: float
    flagged: bool
    outside: bool = False


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
    return [_reading(probe, value) for value in raw]


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


def read_aggregate(
    probe: Probe, geometry: Geometry, rows: NDArray[np.floating], aggregate: Aggregate
) -> Reading:
    """Read a text: the aggregate of what `read_probe` says of each of its rows by itself.

    The float32 readings of the rows are aggregated over the reals, and that is rounded once.

    Args:
        geometry: that the probe was trained under.
        rows: of the text's tokens, in order, shape (k, d), k ≥ 1, float32 values.

    Raises:
        DimensionMismatch, NonFinite, ZeroState: as `read_probe`.
    """
    return _of_text(probe, read_each(probe, geometry, rows), aggregate)


def _of_text(probe: Probe, rows: Sequence[Reading], aggregate: Aggregate) -> Reading:
    return _reading(probe, exact.round32(aggregate.of([row.raw for row in rows])))


def read_probe_set_at(
    probe_set: ProbeSet,
    geometry: Geometry,
    rows: NDArray[np.floating],
    aggregate: Aggregate | None = None,
) -> tuple[Reading, ...]:
    """What each probe of a set says of rows, held against the range that it was fitted on.

    Args:
        geometry: that the set was trained under. rows: shape (k, d), k ≥ 1, float32 values.
        aggregate: of the readings of the rows; None: the reading of their mean.

    Raises:
        DimensionMismatch, NonFinite, ZeroState: as `read_probe`.
    """
    if aggregate is None:
        readings = [read_probe(probe, geometry, rows) for probe in probe_set.probes]
    else:
        readings = [read_aggregate(p, geometry, rows, aggregate) for p in probe_set.probes]
    fitted = None if probe_set.training is None else probe_set.training.fitted
    if fitted is None:
        return tuple(readings)
    if aggregate is None:
        far = fitted.norms.far(norm(geometry, rows))
    else:
        norms = range_of_norms(geometry, rows.astype(np.float64))
        far = fitted.norms.far(norms.low) or fitted.norms.far(norms.high)
    return tuple(
        replace(reading, outside=far or scores.far(reading.raw))
        for reading, scores in zip(readings, fitted.scores, strict=True)
    )


def read_probe_set_at_each(
    probe_set: ProbeSet,
    geometry: Geometry,
    rows: NDArray[np.floating],
    texts: Sequence[tuple[int, int]] | None = None,
    aggregate: Aggregate | None = None,
) -> tuple[Reading, ...]:
    """`read_probe_set_at` of each of several states, or texts, by itself: much faster.

    Args:
        rows: shape (n, d), n ≥ 1, float32 values.
        texts: the first row of each text and the one after its last, if texts are read, by an
            aggregate of the readings of their rows; None: each row.

    Returns:
        The readings of all probes for the first row or text, then for the next.
    """
    columns = [read_each(probe, geometry, rows) for probe in probe_set.probes]
    if texts is not None and aggregate is not None:
        columns = [
            [_of_text(probe, column[start:stop], aggregate) for start, stop in texts]
            for probe, column in zip(probe_set.probes, columns, strict=True)
        ]
    fitted = None if probe_set.training is None else probe_set.training.fitted
    if fitted is not None:
        far = far_norms(fitted.norms, geometry, rows)
        if texts is not None:
            far = [any(far[start:stop]) for start, stop in texts]
        columns = [
            [
                replace(reading, outside=beyond or scores.far(reading.raw))
                for reading, beyond in zip(column, far, strict=True)
            ]
            for column, scores in zip(columns, fitted.scores, strict=True)
        ]
    return tuple(reading for row in zip(*columns, strict=True) for reading in row)
