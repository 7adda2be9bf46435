"""The command checkpoint."""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust.cli.common import MORE, OK, app, progress_on
from geometry_of_trust.terminal import escaped


@app.command(group=MORE)
def checkpoint(*, unembedding: Path, output: Path, epsilon: float = 1e-6) -> int:
    """Keep the inner product of a model as a file, to measure drift from later.

    Parameters
    ----------
    unembedding
        The .gotue file.
    output
        Where the geometry checkpoint (.gotgeo) goes; the reference reads it, too.
    epsilon
        As given to train.
    """
    from geometry_of_trust.geometry.checkpoints import make_checkpoint
    from geometry_of_trust.showing import drifts

    with progress_on("Computing the inner product") as progress:
        geometry = make_checkpoint(unembedding, output, epsilon, progress)
    print(f"{drifts.geometry(geometry)}\nwrote {escaped(output)}")
    return OK
