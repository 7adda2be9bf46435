"""The command verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Many,
    Switch,
    app,
)


@app.command(group=STEPS, sort_key=6)
def verify(
    *,
    attestation: Path,
    pubkey: Path,
    activations: Path | None = None,
    unembedding: Path | None = None,
    probes: Annotated[list[Path] | None, Many] = None,
    record: Path | None = None,
    rows: Path | None = None,
    allow_legacy: Annotated[bool, Switch] = False,
    allow_reformatted: Annotated[bool, Switch] = False,
    json: Annotated[bool, Switch] = False,
) -> int:
    """6. Check an attestation: with a public key alone, or by recomputing everything.

    Parameters
    ----------
    attestation
        The attestation (JSON).
    pubkey
        The public key of the signer that you expect.
    activations
        Check this .gotact file against its digest.
    unembedding
        Check this .gotue file against its digest.
    probes
        Check these probe sets, in the order signed. With all three, recompute the readings.
    record
        Check this extraction record [default: the one beside the activations].
    rows
        Check this row table of a corpus against the extraction record.
    allow_legacy
        Accept documents without a binding, as the reference makes them.
    allow_reformatted
        Accept another spelling of the same JSON.
    json
        Print the result as JSON.
    """
    from geometry_of_trust.showing import verdicts
    from geometry_of_trust.verifying.verify import Refused
    from geometry_of_trust.verifying.verify import verify as check

    try:
        verdict = check(
            attestation,
            pubkey,
            activations=activations,
            unembedding=unembedding,
            probes=probes or (),
            record=record,
            rows=rows,
            allow_legacy=allow_legacy,
            allow_reformatted=allow_reformatted,
        )
    except Refused as refused:
        print(verdicts.refusal_json(refused) if json else verdicts.refusal(refused))
        return refused.exit_code
    print(verdicts.verdict_json(verdict) if json else verdicts.verdict(verdict))
    return OK
