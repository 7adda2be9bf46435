"""The command export."""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust.cli.common import MORE, OK, app, passphrase_from
from geometry_of_trust.cli.evidence_files import check_evidence_places, stage_evidence
from geometry_of_trust.errors import BadOption, LegacyDocument
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.terminal import escaped


@app.command(group=MORE)
def export(
    attestation: Path,
    *,
    key: Path,
    dsse: Path | None = None,
    bundle: Path | None = None,
    passphrase_file: Path | None = None,
) -> int:
    """Write an attestation as evidence for the tools of others, signed with its own key.

    It must verify by itself. Files that it was made from are not looked at.

    Parameters
    ----------
    attestation
        The attestation (JSON).
    key
        The secret key that signed it.
    dsse
        Where an in-toto statement in a DSSE envelope goes.
    bundle
        Where such an envelope goes in a Sigstore bundle.
    passphrase_file
        First line: the passphrase of an encrypted key.
    """
    if dsse is None and bundle is None:
        raise BadOption("--dsse", expected="it or --bundle, or both", found="neither")
    from geometry_of_trust.signing.attestation import read_attestation
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.keys import load_secret_key

    check_evidence_places(dsse, bundle)
    forbid_core_dumps()
    secret = load_secret_key(key, passphrase_from(passphrase_file))
    try:
        signed = read_attestation(attestation)
        with StagedFiles() as staged:
            stage_evidence(staged, signed, secret, dsse=dsse, bundle=bundle, where=attestation)
    except LegacyDocument as error:
        raise LegacyDocument(
            error.where, expected=error.expected, found=error.found,
            hint="Of a document without a binding there is no evidence in other formats.",
        ) from None  # fmt: skip
    for path in filter(None, (dsse, bundle)):
        print(f"wrote {escaped(path)}")
    return OK
