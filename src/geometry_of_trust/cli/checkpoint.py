"""The command checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

from geometry_of_trust.cli.common import MORE, OK, app, progress_on
from geometry_of_trust.outputs.places import check_replaces
from geometry_of_trust.terminal import escaped


@app.command(group=MORE)
def checkpoint(*, unembedding: Path, output: Path, epsilon: float = 1e-6) -> int:
    """Keep the inner product of a model as a file, to measure drift from later.

    Parameters
    ----------
    unembedding
        The .gotue file.
    output
        Where the geometry checkpoint (.gotgeo) goes; the reference reads it, too. Replaces no other
        kind of file.
    epsilon
        As given to train.
    """
    from geometry_of_trust.geometry.checkpoints import make_checkpoint
    from geometry_of_trust.showing import drifts

    check_replaces(output, "a checkpoint", re.compile(b"GOTG"))
    with progress_on("Computing the inner product") as progress:
        geometry = make_checkpoint(unembedding, output, epsilon, progress)
    print(f"{drifts.geometry(geometry)}\nwrote {escaped(output)}")
    return OK
