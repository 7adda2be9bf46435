"""Verdicts as evidence: in-toto Simple Verification Results v0.2, signed by who verified."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.documents.strictjson import dumps
from geometry_of_trust.errors import BadBundle
from geometry_of_trust.evidence.envelopes import Envelope, encoded
from geometry_of_trust.evidence.reading import brief, json_object
from geometry_of_trust.evidence.statements import read_statement, statement
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.version import __version__

SVR_TYPE = "https://in-toto.io/attestation/svr/v0.2"
VERIFIER = f"https://geometry-of-trust/got-cli/{__version__}"
"""Which program verified; who ran it, the signature says."""


@dataclass(frozen=True)
class VerificationResult:
    """What a verifier says of an attestation.

    Attributes:
        document: SHA-256 of the attestation's file. properties: what holds of it; no more.
        created: RFC 3339, by the verifier's word.
        verifier: the program's URI.
    """

    document: str
    properties: tuple[str, ...]
    created: str
    verifier: str


def make_verification_result(
    document: str, properties: Sequence[str], key: SecretKey, now: float | None = None
) -> bytes:
    """A result in a DSSE envelope, signed by the verifier's key.

    Args:
        document: SHA-256 of the attestation's file (`Verdict.sha256`).
        properties: of a verdict or a reproduction.
        now: the clock, in Unix seconds; default the real one.
    """
    moment = datetime.datetime.fromtimestamp(time.time() if now is None else now, datetime.UTC)
    predicate = {
        "verifier": {"id": VERIFIER, "policies": []},
        "timeCreated": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "properties": list(properties),
    }
    payload = dumps(statement([("attestation", document)], SVR_TYPE, predicate))
    return Envelope(payload, key.sign(encoded(payload)), key.public.key_id).to_json()


def read_result(payload: bytes, where: str) -> VerificationResult:
    """What a statement says that is such a result; of whichever verifier, and not verified.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember, BadBundle: it is none.
    """
    tree = read_statement(payload, where, SVR_TYPE)
    predicate = json_object(tree.get("predicate"), f"{where}, predicate")
    verifier = json_object(predicate.get("verifier"), f"{where}, verifier")
    properties, subjects = predicate.get("properties"), tree.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise BadBundle(f"{where}, subject", expected="one subject", found=brief(subjects))
    digest = json_object(json_object(subjects[0], where).get("digest"), f"{where}, digest")
    if not isinstance(properties, list):
        raise BadBundle(f"{where}, properties", expected="a list", found=brief(properties))
    return VerificationResult(
        _text(digest.get("sha256"), f"{where}, sha256"),
        tuple(_text(name, f"{where}, properties") for name in properties),
        _text(predicate.get("timeCreated"), f"{where}, timeCreated"),
        _text(verifier.get("id"), f"{where}, verifier"),
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BadBundle(where, expected="a string", found=brief(value))
    return value
