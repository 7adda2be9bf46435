"""Files of evidence, as several commands write them: of an attestation, and of a verdict."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.cli.common import passphrase_from, talk
from geometry_of_trust.errors import BadOption, GotError, OutputExists
from geometry_of_trust.files import read_bounded
from geometry_of_trust.outputs.places import check_replaces
from geometry_of_trust.outputs.staged_files import StagedFiles, write_file
from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from geometry_of_trust.signing.attestation import Attestation
    from geometry_of_trust.signing.keys import SecretKey

_ENVELOPE = re.compile(rb'\s*\{\s*"payload')
_BUNDLE = re.compile(rb'\s*\{\s*"mediaType"')


def check_evidence_places(dsse: Path | None, bundle: Path | None = None) -> None:
    """An envelope and a bundle of an attestation replace nothing but their own kind.

    Raises:
        OutputExists: something else is there.
    """
    from geometry_of_trust.evidence.attested import PREDICATE_TYPE

    if dsse is not None:
        check_replaces(dsse, "a DSSE envelope", _ENVELOPE)
        _check_says(dsse, "a DSSE envelope of an attestation", PREDICATE_TYPE)
    if bundle is not None:
        check_replaces(bundle, "a Sigstore bundle", _BUNDLE)
        _check_says(bundle, "a Sigstore bundle of an attestation", PREDICATE_TYPE)


def _check_says(path: Path, what: str, predicate_type: str) -> None:
    """What an output would replace is a statement of the same type: all look alike outside.

    Raises:
        OutputExists: it is another one, or none.
    """
    from geometry_of_trust.evidence.envelopes import read_envelope
    from geometry_of_trust.evidence.statements import read_statement

    if not os.path.isfile(path) or not os.path.getsize(path):
        return
    with contextlib.suppress(GotError):
        payload = read_envelope(read_bounded(path), path).payload
        read_statement(payload, str(path), predicate_type)
        return
    raise OutputExists(
        path, expected=f"no file of that name, or {what}", found="evidence of another kind",
        hint="Choose another name.",
    )  # fmt: skip


def stage_evidence(
    staged: StagedFiles,
    attestation: Attestation,
    key: SecretKey,
    *,
    dsse: Path | None,
    bundle: Path | None,
    where: Path | str = "attestation",
) -> None:
    """Stage an attestation as an envelope, as a bundle, or both. Errors: as `make_evidence`."""
    from geometry_of_trust.evidence.attested import make_evidence

    for path, bundled in ((dsse, False), (bundle, True)):
        if path is not None:
            staged.write(path, make_evidence(attestation, key, bundle=bundled, where=where))


def result_key(
    svr: Path | None, svr_key: Path | None, passphrase_file: Path | None
) -> SecretKey | None:
    """The secret key that signs a verdict; None if none is to be written.

    Raises:
        BadOption: one of the two options alone. Others: as `load_secret_key`.
    """
    if svr is None and svr_key is None:
        return None
    if svr is None or svr_key is None:
        name = "--svr" if svr is None else "--svr-key"
        raise BadOption(name, expected="--svr and --svr-key, or neither", found="none")
    from geometry_of_trust.evidence.verification_results import SVR_TYPE
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.keys import load_secret_key

    check_replaces(svr, "a verification result", _ENVELOPE)
    _check_says(svr, "a verification result", SVR_TYPE)
    forbid_core_dumps()
    return load_secret_key(svr_key, passphrase_from(passphrase_file))


def write_result(svr: Path, key: SecretKey, document: str, properties: tuple[str, ...]) -> None:
    """Write what holds of a document, and say so.

    Args:
        document: its SHA-256.
    """
    from geometry_of_trust.evidence.verification_results import make_verification_result

    write_file(svr, make_verification_result(document, properties, key))
    talk(f"wrote {escaped(svr)}: {', '.join(properties)}")


def transfer_key(dsse: Path, key: Path, passphrase_file: Path | None) -> SecretKey:
    """The secret key that signs what was found under other weights.

    Raises:
        OutputExists: something else stands where it goes. Others: as `load_secret_key`.
    """
    from geometry_of_trust.evidence.transfer_statements import TRANSFER_TYPE
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.keys import load_secret_key

    check_replaces(dsse, "a DSSE envelope", _ENVELOPE)
    _check_says(dsse, "what was found of probes under other weights", TRANSFER_TYPE)
    forbid_core_dumps()
    return load_secret_key(key, passphrase_from(passphrase_file))


def write_transfer(
    dsse: Path, key: SecretKey, states: str, found: Mapping[str, object], timestamp: int | None
) -> None:
    """Sign and write it, and say so; arguments and errors as of `make_transfer_statement`."""
    from geometry_of_trust.evidence.transfer_statements import make_transfer_statement
    from geometry_of_trust.signing.checks import stated_time

    write_file(dsse, make_transfer_statement(states, found, key, stated_time(timestamp)))
    talk(f"wrote {escaped(dsse)}")


def check_transfer(path: Path, pubkey: Path, states: str, found: Mapping[str, object]) -> str:
    """Hold an envelope against what was found; what to say of it. Errors: those of the check."""
    from geometry_of_trust.evidence.transfer_statements import check_transfer_statement
    from geometry_of_trust.showing.verdicts import moment
    from geometry_of_trust.signing.keys import load_public_key

    key, data = load_public_key(pubkey), read_bounded(path)
    when = check_transfer_statement(data, path, key, states, found)
    return (
        f"MATCH: {escaped(path)} says what these files give; signed by {key.key_id}, by its "
        f"own word at {moment(when)}"
    )
