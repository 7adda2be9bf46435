"""The command that changes the kind of a file: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from geometry_of_trust.cli.common import MORE, OK, Many, Switch, app, progress_on
from geometry_of_trust.cli.layer_spelling import layers_of
from geometry_of_trust.documents.codes import Layout


@app.command(group=MORE)
def convert(
    source: Path,
    destination: Path,
    /,
    *,
    model_id: str | None = None,
    precision: Literal["Fp32", "Fp16", "Bfloat16", "Int8"] | None = None,
    layers: Annotated[list[str] | None, Many] = None,
    gotact_layout: Layout | None = None,
    rows: Annotated[bool, Switch] = False,
) -> int:
    """Convert between .gotact or .gotue and .safetensors, .npy, .parquet; or between layouts.

    The suffix of the destination says what it becomes. Also reads what vLLM's hidden-state export
    writes; docs/bridges.md says what its layer numbers are in ours.

    Parameters
    ----------
    source
        The file to read.
    destination
        The file to write; replaced if it exists.
    model_id
        Name of the model, where the source does not say it (.npy, vLLM).
    precision
        What the model ran in, where the source does not say it (.npy).
    layers
        Our numbers of the layers in the source, in its order, where it does not say them.
    gotact_layout
        Layout of a .gotact destination [default: the source's].
    rows
        Join the row table beside the source to the rows of a .parquet destination.
    """
    from geometry_of_trust.converting.conversion import convert as run
    from geometry_of_trust.showing import conversions

    with progress_on("Converting"):
        converted = run(
            source,
            destination,
            model_id=model_id,
            precision=precision,
            layers=layers_of(layers),
            layout=gotact_layout,
            rows=rows,
        )
    print(conversions.conversion(converted))
    return OK
