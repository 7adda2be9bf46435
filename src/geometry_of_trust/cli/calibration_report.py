"""The command calibration-report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import (
    MORE,
    OK,
    Many,
    Switch,
    app,
    progress_on,
    talk,
)
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.terminal import escaped


@app.command(group=MORE)
def calibration_report(
    *,
    activations: Path,
    probes: Path,
    unembedding: Path,
    labels: Path | None = None,
    label_column: Annotated[list[str] | None, Many] = None,
    other_weights: Annotated[bool, Switch] = False,
    unknown_training: Annotated[bool, Switch] = False,
    anyway: Annotated[bool, Switch] = False,
    plot: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Compare the probabilities of a probe set with labels of data that it was not trained on.

    Prints bins, ECE, and a reliability diagram: whether what is said to be so in 7 of 10 cases is.

    Parameters
    ----------
    activations
        The .gotact file, of other texts than those trained on.
    probes
        The probe set.
    unembedding
        The .gotue file that it was trained with.
    labels
        As for train; with several probes, a column of each one's name.
    label_column
        As for train.
    other_weights
        Take probes that were trained on another model's weights.
    unknown_training
        Also take a probe set that does not say what it was trained on, as the reference makes it.
    anyway
        Also take rows of other tokens than the probes were trained on.
    plot
        A picture of reliability and scores, .png or .svg.
    json
        Print the report as JSON.
    """
    from geometry_of_trust.plotting.image_files import check_picture
    from geometry_of_trust.plotting.pictures import calibration_picture
    from geometry_of_trust.probing.calibration_report import calibration_report as compare
    from geometry_of_trust.showing import probes as shown

    if plot is not None:
        check_picture(plot)
    with progress_on("Reading the probes") as progress:
        report = compare(
            activations=activations,
            probes=probes,
            unembedding=unembedding,
            labels=labels,
            label_columns=label_column or (),
            unknown_training=unknown_training,
            anyway=anyway,
            other_weights=other_weights,
            progress=progress,
        )
    if plot is not None:
        write_file(plot, calibration_picture(report, plot))
    print(shown.calibration_json(report) if json else shown.calibration(report))
    if plot is not None:
        talk(f"wrote {escaped(plot)}")
    return OK
