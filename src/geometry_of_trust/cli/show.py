"""The command show."""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust.cli.common import (
    OK,
    app,
)


@app.command
def show(file: Path, /) -> int:
    """Print what is inside a .gotact, .gotue, .gotgeo, .labels, probe set or other document.

    Parameters
    ----------
    file
        The file. For a labels file beside its activations, the tokens next to their labels.
    """
    from geometry_of_trust.showing.any_file import describe

    for line in describe(file):
        print(line)
    return OK
