"""The command intervene."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import MORE, OK, Flat, Switch, app, progress_on, talk
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.outputs.places import check_replaces
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import InterventionOptions
from geometry_of_trust.terminal import escaped

_BEGINS = re.compile(rb'\s*\{\s*"format": "geometry-of-trust intervention"')


@app.command(group=MORE)
def intervene(
    *,
    model: str,
    probes: Path,
    input_file: str,
    targets: str,
    output: Path,
    dimension: str | None = None,
    how: Annotated[InterventionOptions, Flat] = InterventionOptions(),
    options: Annotated[ExtractionOptions, Flat] = ExtractionOptions(),
    row_options: Annotated[RowOptions, Flat] = RowOptions(),
    json: Annotated[bool, Switch] = False,
) -> int:
    """Move states along a probe's direction: does the model's next token follow?

    At the probe's layer the direction is added to the state of the last token of each text, taken
    away, and projected out, and so are random directions, as long and as varied. Says whether the
    probe DETECTS, STEERS and is NECESSARY. Always reproducible; got-cli attest --intervention signs
    the result. Of more texts than --limit [default: 64] the first so many are run.

    Parameters
    ----------
    model
        The model, as for extract.
    probes
        The probe set.
    input_file
        The texts, as for extract. With --label-column DETECTS is of them, else of the probe's card.
    targets
        Two tokens, such as ' yes, no': the first is what the probe's positive class predicts.
    output
        Where the result (JSON) goes.
    dimension
        The probe, if the set has several.
    json
        Print the result as JSON.
    """
    check_replaces(output, "a result of intervene", _BEGINS)
    from geometry_of_trust.intervening.intervene import intervene as moved
    from geometry_of_trust.showing import interventions

    with progress_on("Loading") as progress:
        result = moved(
            model,
            probes,
            input_file,
            targets,
            dimension=dimension,
            how=how,
            options=options,
            row_options=row_options,
            progress=progress,
            cost=lambda said: talk(f"note: {said}"),
        )
    write_file(output, result.to_json())
    if json:
        print(interventions.intervention_json(result))
    else:
        print(f"{interventions.intervention(result)}\nwrote {escaped(output)}")
    return OK
