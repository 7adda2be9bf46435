"""The command verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Many,
    Switch,
    app,
    opened_keyring,
)
from geometry_of_trust.cli.evidence_files import result_key, write_result
from geometry_of_trust.errors import BadOption

if TYPE_CHECKING:
    from geometry_of_trust.signing.keyrings import Keyring

PublicKeys = Parameter(consume_multiple=True, negative=(), alias="--public-key")


@app.command(group=STEPS, sort_key=6)
def verify(
    *,
    attestation: Path | None = None,
    pubkey: Annotated[list[Path] | None, PublicKeys] = None,
    keyring: Path | None = None,
    keyring_key: Path | None = None,
    evidence: Path | None = None,
    chain: Annotated[list[Path] | None, Many] = None,
    activations: Path | None = None,
    unembedding: Path | None = None,
    probes: Annotated[list[Path] | None, Many] = None,
    record: Path | None = None,
    rows: Path | None = None,
    geometry_reference: Path | None = None,
    labels: Path | None = None,
    bar: Path | None = None,
    intervention: Annotated[list[Path] | None, Many] = None,
    model: str | None = None,
    adapter: Path | None = None,
    model_signature: Path | None = None,
    model_key: Path | None = None,
    readings: Path | None = None,
    row: int | None = None,
    proof: Path | None = None,
    svr: Path | None = None,
    svr_key: Path | None = None,
    passphrase_file: Path | None = None,
    allow_legacy: Annotated[bool, Switch] = False,
    allow_reformatted: Annotated[bool, Switch] = False,
    json: Annotated[bool, Switch] = False,
) -> int:
    """6. Check an attestation: with a public key alone, or by recomputing everything.

    Parameters
    ----------
    attestation
        The attestation (JSON); or an envelope or a bundle with it in, which is checked as well.
    pubkey
        The public key of the signer that you expect; several, if any of them may have signed.
    keyring
        Instead of a public key: a keyring (got-cli keyring) that lists the signer's keys.
    keyring_key
        The public key that the keyring is signed with.
    evidence
        Check that this DSSE envelope or Sigstore bundle is evidence of the attestation.
    chain
        Instead of an attestation: a whole history, as files or a folder of .json files.
    activations
        Check this .gotact file against its digest.
    unembedding
        Check this .gotue file against its digest.
    probes
        Check these probe sets, in the order signed. With all three, recompute the readings.
    record
        Check this extraction record [default: the one beside the activations].
    rows
        Check this row table of a corpus against the extraction record, and make an evaluation
        again with its labels and groups [default of that: the one beside the activations].
    geometry_reference
        Check the .gotgeo file that drift was measured from; with the files, measure it again.
    labels
        Make the evaluation again with these labels, if the signer had them in a file of their own.
    bar
        Check this file of what had to be reached.
    intervention
        Check these results of interventions: that what is signed of them is what they say.
    model
        Check that this model is the one that was signed: a folder, a .gguf file, or a name in the
        hub's cache. Every file of it is digested.
    adapter
        The folder of the adapter that was in it.
    model_signature
        Check that this signature covers the model's files (OpenSSF Model Signing, by key).
    model_key
        The public key of the signer of the model (ECDSA, PEM).
    readings
        Check this file of readings that were too many for the document against their signed root,
        and make an evaluation again from them [default: the one beside the document].
    row
        Check this row of them, from 0, with its path alone, without the others.
    proof
        The file of that, from got-cli prove [default: the one beside the document].
    svr
        Where to say what was checked and passed, as an in-toto verification result in an envelope.
    svr_key
        Your own secret key, to sign that with.
    passphrase_file
        First line: the passphrase of that key, if it is encrypted.
    allow_legacy
        Accept documents without a binding, as the reference makes them.
    allow_reformatted
        Accept another spelling of the same JSON.
    json
        Print the result as JSON.
    """
    trusted = _trusted(pubkey, opened_keyring(keyring, keyring_key))
    files = {
        "evidence": evidence,
        "activations": activations,
        "unembedding": unembedding,
        "probes": probes,
        "record": record,
        "rows": rows,
        "geometry_reference": geometry_reference,
        "labels": labels,
        "bar": bar,
        "intervention": intervention,
        "model": model,
        "adapter": adapter,
        "model_signature": model_signature,
        "model_key": model_key,
        "readings": readings,
        "row": row,
        "proof": proof,
        "svr": svr,
    }
    if (attestation is None) == (chain is None):
        found = "both" if chain else "neither"
        raise BadOption("--attestation", expected="it or --chain", found=found)
    if attestation is None:
        given = next((name for name, value in files.items() if value is not None), None)
        if given is not None:
            option = f"--{given.replace('_', '-')}"
            hint = "Check each document by itself for that."
            raise BadOption(option, expected="none with --chain", found="one", hint=hint)
        return _history(
            chain or [],
            trusted,
            allow_legacy=allow_legacy,
            allow_reformatted=allow_reformatted,
            json=json,
        )
    if svr is not None and allow_legacy:
        raise BadOption("--svr", expected="none with --allow-legacy", found="one",
                        hint="A result says less of such a document than it seems to.")  # fmt: skip
    key = result_key(svr, svr_key, passphrase_file)
    from geometry_of_trust.showing import verdicts
    from geometry_of_trust.verifying.verdict import Refused
    from geometry_of_trust.verifying.verify import verify as check

    try:
        verdict = check(
            attestation,
            trusted,
            evidence=evidence,
            activations=activations,
            unembedding=unembedding,
            probes=probes or (),
            record=record,
            rows=rows,
            geometry_reference=geometry_reference,
            labels=labels,
            bar=bar,
            interventions=intervention or (),
            model=model,
            adapter=adapter,
            model_signature=model_signature,
            model_key=model_key,
            readings=readings,
            row=row,
            proof=proof,
            allow_legacy=allow_legacy,
            allow_reformatted=allow_reformatted,
        )
    except Refused as refused:
        print(verdicts.refusal_json(refused) if json else verdicts.refusal(refused))
        return refused.exit_code
    print(verdicts.verdict_json(verdict) if json else verdicts.verdict(verdict))
    if svr is not None and key is not None:
        write_result(svr, key, verdict.sha256, verdict.properties)
    return OK


def _trusted(pubkey: list[Path] | None, keyring: Keyring | None) -> list[Path] | Keyring:
    """Whose signatures count.

    Raises:
        BadOption: not one of keys and keyring.
    """
    if (pubkey is None) == (keyring is None):
        found = "neither" if keyring is None else "both"
        raise BadOption("--pubkey", expected="it or --keyring", found=found)
    return keyring or pubkey or []


def _history(
    chain: list[Path],
    trusted: list[Path] | Keyring,
    *,
    allow_legacy: bool,
    allow_reformatted: bool,
    json: bool,
) -> int:
    from geometry_of_trust.showing import histories
    from geometry_of_trust.verifying.history import HistoryRefused, verify_history

    try:
        history = verify_history(
            chain, trusted, allow_legacy=allow_legacy, allow_reformatted=allow_reformatted
        )
    except HistoryRefused as refused:
        print(histories.refusal_json(refused) if json else histories.refusal(refused))
        return refused.exit_code
    print(histories.history_json(history) if json else histories.history(history))
    return OK
