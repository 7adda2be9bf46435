"""Inner products and how far they moved, as text or JSON."""

from __future__ import annotations

import dataclasses

import numpy as np

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.drifts import DriftReport, ProbeDrift, ProbeSetDrift
from geometry_of_trust.showing.text import as_json, spread, table
from geometry_of_trust.terminal import bare_or_quoted, quoted


def geometry(shown: Geometry) -> str:
    """What there is to say of an inner product."""
    diagonal = np.diagonal(shown.matrix())
    added = f", {shortest_float32(shown.epsilon)} added to the diagonal" if shown.epsilon else ""
    return table(
        [
            ("hidden dimension", f"{shown.hidden_dim}"),
            ("inner product", f"{shown.inner_product}{added}"),
            ("diagonal", f"{np.median(diagonal):.4g} (median), {diagonal.min():.4g} to "
                         f"{diagonal.max():.4g}"),
            ("geometry", shown.digest),
        ]
    )  # fmt: skip


def report(result: DriftReport) -> str:
    """What `drift` prints."""
    mean = result.projected_distance
    whole = table(
        [
            ("reference", result.reference),
            ("current", result.current),
            ("hidden dimension", f"{result.hidden_dim}"),
            ("drift", f"{shortest_float32(result.moved.drift)} of the reference (Frobenius)"),
            ("alignment distance", f"{shortest_float32(result.moved.distance)} of the greater"),
            ("mean of the probes", "" if mean is None else f"{mean:.4g}"),
        ]
    )
    return "\n\n".join([whole, *map(_probe_set, result.probe_sets)])


def _probe_set(moved: ProbeSetDrift) -> str:
    lines = [f"probe set {bare_or_quoted(moved.path)}", *map(_probe, moved.probes)]
    count = len(moved.probes)
    if count > 1:
        lines.append(
            f"probes span {spread(moved.dimension_before, count)} in the reference, "
            f"{spread(moved.dimension_after, count)} now"
        )
        angles = ", ".join(f"{angle:.4g}" for angle in moved.angles)
        lines.append(
            f"principal angles of what they read, in degrees: {angles}"
            if angles
            else "no principal angles: the probes are not independent of each other"
        )
    return "\n".join(lines)


def _probe(probe: ProbeDrift) -> str:
    angle = "" if probe.angle is None else f", turned by {probe.angle:.4g} degrees"
    return (
        f"directional drift {shortest_float32(probe.moved.drift)}, "
        f"alignment distance {shortest_float32(probe.moved.distance)}{angle}, "
        f"layer {probe.layer}: {quoted(probe.name)}"
    )


def report_json(result: DriftReport) -> str:
    """What `drift --json` prints."""
    tree = dataclasses.asdict(result)
    return as_json(tree | {"projected_distance": result.projected_distance})
