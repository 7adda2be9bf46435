"""The command reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import (
    MORE,
    OK,
    REFUSED,
    Dropped,
    Flat,
    Many,
    Switch,
    app,
    progress_on,
    warn_of_low_memory,
)
from geometry_of_trust.cli.evidence_files import result_key, write_result
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.extraction.options import LoadingOptions


@app.command(group=MORE)
def reproduce(
    *,
    attestation: Path,
    pubkey: Path,
    model: str,
    input: str | None = None,  # noqa: A002 - as in extract
    input_file: str | None = None,
    row_options: Annotated[RowOptions, Flat] = RowOptions(),
    probes: Annotated[list[Path] | None, Many] = None,
    activations: Path | None = None,
    record: Path | None = None,
    rows: Path | None = None,
    geometry_reference: Path | None = None,
    labels: Path | None = None,
    intervention: Annotated[list[Path] | None, Many] = None,
    intervention_input_file: Annotated[list[str] | None, Many] = None,
    readings: Path | None = None,
    model_signature: Path | None = None,
    model_key: Path | None = None,
    options: Annotated[LoadingOptions, Flat] = LoadingOptions(),
    svr: Path | None = None,
    svr_key: Path | None = None,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Dropped] = False,
) -> int:
    """Make an attestation again from model and text, and compare it byte for byte.

    Ends with MATCH, MISMATCH at ... or UNVERIFIABLE: ... (exit code 0, 1, 1).

    Parameters
    ----------
    attestation
        The attestation (JSON); or an envelope or a bundle with it in.
    pubkey
        The public key of the signer that you expect.
    model
        The model, as for extract.
    input
        The text.
    input_file
        The corpus, as for extract; the options that follow are those that the signer gave.
    probes
        The signer's probe sets, in the order signed.
    activations
        The signer's .gotact file, if you have it: locates a mismatch.
    record
        The signer's extraction record, if you have it: names the first token that differs
        [default: the one beside the activations].
    rows
        The signer's row table, which that needs of a corpus [default: as the record].
    geometry_reference
        The .gotgeo file that drift was measured from, if the signer measured it.
    labels
        The signer's labels, if an evaluation was made with those of a file of their own.
    intervention
        The signer's results of interventions, if some were signed: each is run again.
    intervention_input_file
        The texts that each of them was run on, in the same order.
    readings
        The signer's readings, if they were too many for the document: names the first row that
        differs [default: the file beside the document].
    model_signature
        Check that this signature covers the model's files (OpenSSF Model Signing, by key).
    model_key
        The public key of the signer of the model (ECDSA, PEM).
    svr
        Where to say that it matched, as an in-toto verification result in an envelope.
    svr_key
        Your own secret key, to sign that with.
    passphrase_file
        First line: the passphrase of that key, if it is encrypted.
    json
        Print the result as JSON.
    low_memory
        Does nothing any more.
    """
    warn_of_low_memory(low_memory)
    key = result_key(svr, svr_key, passphrase_file)
    from geometry_of_trust.verifying.reproduce import reproduce as again
    from geometry_of_trust.verifying.verdict import Refused

    try:
        with progress_on("Verifying") as progress:
            result = again(
                attestation,
                pubkey,
                model=model,
                text=input,
                corpus=input_file,
                row_options=row_options,
                probes=probes or (),
                activations=activations,
                record=record,
                rows=rows,
                geometry_reference=geometry_reference,
                labels=labels,
                interventions=intervention or (),
                intervention_texts=intervention_input_file or (),
                readings=readings,
                model_signature=model_signature,
                model_key=model_key,
                options=options,
                progress=progress,
            )
    except Refused as refused:
        from geometry_of_trust.showing import verdicts

        print(verdicts.refusal_json(refused) if json else verdicts.refusal(refused))
        return refused.exit_code
    from geometry_of_trust.showing import reproductions

    print(reproductions.reproduction_json(result) if json else reproductions.reproduction(result))
    if result.outcome != "MATCH":
        return REFUSED
    if svr is not None and key is not None:
        write_result(svr, key, result.sha256, result.properties)
    return OK
