"""The command that reads a text token by token: read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from geometry_of_trust.cli.common import MORE, OK, Switch, app, progress_on, talk
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from geometry_of_trust.probing.token_readings import ProbeReadings, TextReadings


@app.command(group=MORE)
def read(
    *,
    activations: Path,
    probes: Path,
    unembedding: Path,
    text: int | None = None,
    other_weights: Annotated[bool, Switch] = False,
    unknown_training: Annotated[bool, Switch] = False,
    html: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Show what a probe says at every token of one text.

    Parameters
    ----------
    activations
        The .gotact file, with its extraction record or row table beside it.
    probes
        The probe set.
    unembedding
        The .gotue file that it was trained with.
    text
        Which text of a corpus, by its number from 0 [default: the only one].
    other_weights
        Take probes that were trained on another model's weights.
    unknown_training
        Also take a probe set that does not say what it was trained on, as the reference makes it,
        and activations with nothing beside them, whose tokens are not known.
    html
        Also write a page with the tokens shaded by their readings.
    json
        Print the result as JSON.
    """
    from geometry_of_trust.probing.token_readings import read_tokens
    from geometry_of_trust.showing import token_readings

    with progress_on("Reading the probes") as progress:
        text_readings = read_tokens(
            activations=activations,
            probes=probes,
            unembedding=unembedding,
            text=text,
            other_weights=other_weights,
            unknown_training=unknown_training,
            progress=progress,
        )
    if html is not None:
        write_file(html, token_readings.page(text_readings).encode())
    if json:
        print(token_readings.readings_json(text_readings))
    else:
        for probe in text_readings.probes:
            _show(text_readings, probe)
        print(f"\n{token_readings.LEGEND}")
    if text_readings.untold:
        talk(
            "warning: nothing says whether the probes were trained on such tokens, as probe set "
            "and extraction record would"
        )
    if text_readings.other_text:
        talk("warning: these are other tokens of a text than the probes were trained on")
    if text_readings.others:
        talk(
            f"warning: {text_readings.others} of {len(text_readings.tokens)} tokens are others "
            "than the probes were trained on, and are marked"
        )
    if html is not None:
        talk(f"wrote {escaped(html)}")
    return OK


def _show(text_readings: TextReadings, probe: ProbeReadings) -> None:
    """The running text, in colour on a terminal, then a line a token."""
    from geometry_of_trust.showing import token_readings

    print(token_readings.title(text_readings, probe))
    pieces = token_readings.pieces(text_readings, probe)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        running = Text()
        for piece, reading in pieces:
            red, green, blue = token_readings.shade(reading.confidence)
            running.append(piece, style=f"black on rgb({red},{green},{blue})")
        Console(highlight=False).print(running)
    else:
        print("".join(piece for piece, _ in pieces))
    print("\n".join(token_readings.lines(text_readings, probe)))
