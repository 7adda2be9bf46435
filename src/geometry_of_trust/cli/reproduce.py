"""The command reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import (
    MORE,
    OK,
    REFUSED,
    Many,
    Switch,
    app,
    of_one_text,
    progress_on,
)


@app.command(group=MORE)
def reproduce(
    *,
    attestation: Path,
    pubkey: Path,
    model: str,
    input: str | None = None,  # noqa: A002 - as in extract
    input_file: str | None = None,
    position: str | None = None,
    skip_special_tokens: Annotated[bool, Switch] = False,
    text_column: str = "text",
    label_column: Annotated[list[str] | None, Many] = None,
    group_column: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    add_generation_prompt: Annotated[bool, Switch] = False,
    probes: Annotated[list[Path] | None, Many] = None,
    activations: Path | None = None,
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Switch] = False,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Make an attestation again from model and text, and compare it byte for byte.

    Ends with MATCH, MISMATCH at ... or UNVERIFIABLE: ... (exit code 0, 1, 1).

    Parameters
    ----------
    attestation
        The attestation (JSON).
    pubkey
        The public key of the signer that you expect.
    model
        The model, as for extract.
    input
        The text.
    input_file
        The corpus, as for extract; the options that follow are those that the signer gave.
    position
        As for extract.
    skip_special_tokens
        As for extract.
    text_column
        As for extract.
    label_column
        As for extract.
    group_column
        As for extract.
    split
        As for extract.
    limit
        As for extract.
    add_generation_prompt
        As for extract.
    probes
        The signer's probe sets, in the order signed.
    activations
        The signer's .gotact file, if you have it: locates a mismatch.
    device
        As for extract.
    revision
        As for extract.
    trust_remote_code
        As for extract.
    low_memory
        As for extract.
    json
        Print the result as JSON.
    """
    if input is not None:
        position = of_one_text(
            position, skip_special_tokens, text_column != "text", label_column, group_column,
            split, limit, add_generation_prompt,
        )  # fmt: skip
    # A text whose tokens were chosen is a corpus of one, as in extract.
    chosen = input is not None and input_file is None and position is not None
    from geometry_of_trust.corpus.entries import Columns
    from geometry_of_trust.showing import reproductions, verdicts
    from geometry_of_trust.verifying.reproduce import reproduce as again
    from geometry_of_trust.verifying.verify import Refused

    try:
        with progress_on("Verifying") as progress:
            result = again(
                attestation,
                pubkey,
                model=model,
                text=None if chosen else input,
                corpus=[str(input)] if chosen else input_file,
                reading=None
                if input is not None and not chosen
                else {
                    "columns": Columns(text_column, tuple(label_column or ()), group_column),
                    "split": split,
                    "limit": limit,
                    "position": position or "last",
                    "skip_special_tokens": skip_special_tokens,
                    "add_generation_prompt": add_generation_prompt,
                },
                probes=probes or (),
                activations=activations,
                device=device,
                revision=revision,
                trust_remote_code=trust_remote_code,
                low_memory=low_memory,
                progress=progress,
            )
    except Refused as refused:
        print(verdicts.refusal_json(refused) if json else verdicts.refusal(refused))
        return refused.exit_code
    print(reproductions.reproduction_json(result) if json else reproductions.reproduction(result))
    return OK if result.outcome == "MATCH" else REFUSED
