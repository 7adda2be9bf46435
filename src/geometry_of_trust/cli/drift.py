"""The command drift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import MORE, OK, Many, Switch, app, progress_on


@app.command(group=MORE)
def drift(
    reference: Path,
    current: Path,
    /,
    *,
    probes: Annotated[list[Path] | None, Many] = None,
    epsilon: float | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Measure how far an inner product, and what probes read, has moved from a reference.

    Parameters
    ----------
    reference
        What it is measured from: a checkpoint (.gotgeo) or an unembedding (.gotue).
    current
        What has moved: the same.
    probes
        Probe sets: also measure the directions of their probes.
    epsilon
        As given to train; of a checkpoint of the reference, the one that it was made with
        [default: 1e-6, where one of them needs it].
    json
        Print the result as JSON.
    """
    from geometry_of_trust.probing.drifts import measure_drift
    from geometry_of_trust.showing import drifts

    with progress_on("Measuring the drift") as progress:
        report = measure_drift(reference, current, probes or (), epsilon=epsilon, progress=progress)
    print(drifts.report_json(report) if json else drifts.report(report))
    return OK
