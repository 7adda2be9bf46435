"""Attestations as evidence: an in-toto Statement that its signer signs, too; docs/evidence.md.

The predicate is the attestation, and the subjects follow from it, so that an attestation has one
statement, and a statement one text. The numbers beside the checks are those of
docs/verification.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from geometry_of_trust.documents.schema import write_members
from geometry_of_trust.documents.strictjson import dumps
from geometry_of_trust.errors import (
    BadSignature,
    DigestMismatch,
    Inconsistent,
    LimitExceeded,
    NotOurSpelling,
    UnknownMember,
    UnknownSigner,
)
from geometry_of_trust.evidence.envelopes import Envelope, encoded, read_envelope
from geometry_of_trust.evidence.reading import brief
from geometry_of_trust.evidence.statements import read_statement, statement
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike
from geometry_of_trust.signing.attestation import MEMBERS, Attestation, parse_document
from geometry_of_trust.signing.checks import check_binding, check_structure
from geometry_of_trust.signing.keys import PublicKey, SecretKey

PREDICATE_TYPE = "https://geometry-of-trust/attestation/v1"
"""What a predicate is that is an attestation, as docs/evidence.md describes it."""


@dataclass(frozen=True)
class Evidence:
    """An attestation in a statement in an envelope, or in that of a bundle.

    Whoever has it knows that all of it says the same, and nothing yet of any signature.
    """

    attestation: Attestation
    envelope: Envelope
    where: str

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return "a DSSE envelope" if self.envelope.hint is None else "a Sigstore bundle"

    @property
    def sha256(self) -> str:
        """Of the file of the attestation alone."""
        return _digest(self.attestation)

    def check_signed_by(self, key: PublicKey) -> None:
        """The envelope is signed by the key that signed the attestation.

        Raises:
            UnknownSigner: it says that another one signed it. BadSignature: this one did not.
        """
        # 3.5 Evidence: the envelope, too, is signed by this key, and names no other.
        for name, found in (("keyid", self.envelope.key_id), ("hint", self.envelope.hint)):
            if found not in (None, key.key_id):
                raise UnknownSigner(
                    f"{self.where}, {name}", expected=f"key {key.key_id}", found=brief(found)
                )
        _check_signature(
            key, self.envelope.signature, self.envelope.signed_bytes, f"{self.where}, sig"
        )

    def check_holds(self, attestation: Attestation, where: PathLike) -> None:
        """The attestation in it is this one.

        Raises:
            DigestMismatch: it is another one.
        """
        # 1.9 Evidence beside a document is of that document.
        if self.attestation != attestation:
            raise DigestMismatch(
                self.where, expected=f"evidence of {where}, sha256 {_digest(attestation)}",
                found=f"that of another attestation, sha256 {self.sha256}",
            )  # fmt: skip


def make_evidence(
    attestation: Attestation,
    key: SecretKey,
    *,
    bundle: bool = False,
    where: PathLike = "attestation",
) -> bytes:
    """The statement of a signed attestation in a DSSE envelope, which the same key signs.

    Args:
        bundle: put the envelope into a Sigstore bundle v0.3.
        where: what the attestation is called in errors.

    Raises:
        LegacyDocument: the attestation has no binding.
        UnknownSigner: another key signed it, by its binding. BadSignature: this one did not.
        LimitExceeded, TimestampInFuture, Inconsistent, BindingMismatch: as steps 2 and 4 of a
            verification.
        LimitExceeded: the text would be longer than any that is read.
    """
    bound, key_id = attestation.bound(where), key.public.key_id
    if bound.key_id != key_id:
        raise UnknownSigner(
            f"{where}.binding.key_id", expected=f"this key, {key_id}", found=bound.key_id,
            hint="Evidence is signed with the key that signed the attestation.",
        )  # fmt: skip
    check_structure(attestation, where)
    signature, message = bytes.fromhex(attestation.signature), attestation.signed_bytes()
    _check_signature(key.public, signature, message, f"{where}.signature")
    check_binding(attestation, key.public, where)
    payload = dumps(_statement(attestation))
    envelope = Envelope(payload, key.sign(encoded(payload)), key_id, key_id if bundle else None)
    text = envelope.to_json()
    if len(text) > MAX_DOCUMENT_BYTES:
        raise LimitExceeded(
            "evidence", expected=f"at most {MAX_DOCUMENT_BYTES} bytes", found=len(text)
        )
    return text


def parse_evidence(data: bytes, where: PathLike, *, reformatted: bool = False) -> Evidence:
    """Read evidence of an attestation strictly; signatures are not looked at.

    Args:
        reformatted: accept another spelling of the same content.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember: no strict JSON.
        BadBundle: no envelope with one signature; no in-toto Statement, or one of something else.
        LegacyDocument, WrongType, NonFinite, UnknownMember, MissingMember: in it is no attestation
            with a binding.
        Inconsistent: the subjects are not those of this attestation.
        NotOurSpelling: the bytes are not the text that is written for this content.
    """
    # 1.6 Evidence: one envelope with one signature, alone or in a bundle.
    envelope = read_envelope(data, where)
    inside = f"{where}, payload"
    # 1.7 Evidence: a statement whose predicate is an attestation, read as by 1.1, 1.3 and 1.4.
    tree = read_statement(envelope.payload, inside, PREDICATE_TYPE)
    predicate = json.dumps(tree.get("predicate"), ensure_ascii=False).encode("utf-8")
    attestation = parse_document(predicate, f"{inside}, predicate", reformatted=True).attestation
    attestation.bound(f"{inside}, predicate")
    # 1.8 Evidence: its subjects are those of the attestation, and nothing is said besides.
    expected = _statement(attestation)
    if tree.get("subject") != expected["subject"]:
        raise Inconsistent(
            f"{inside}, subject", expected="the digests that the attestation binds",
            found=_difference(tree.get("subject"), expected["subject"]),
        )  # fmt: skip
    if unknown := tree.keys() - expected.keys():
        raise UnknownMember(inside, expected="only members of a statement", found=brief(unknown))
    spelt = dumps(expected) == envelope.payload and envelope.to_json() == data
    if not spelt and not reformatted:
        raise NotOurSpelling(
            where, expected="the text that is written for its content", found="another spelling",
            hint="--allow-reformatted accepts evidence that a program has re-spelled.",
        )  # fmt: skip
    return Evidence(attestation, envelope, str(where))


def subjects_of(attestation: Attestation) -> Iterator[tuple[str, str]]:
    """Of what an attestation is evidence: names and SHA-256, as it binds them.

    Raises:
        LegacyDocument: it has no binding.
    """
    bound = attestation.bound()
    yield "attestation", _digest(attestation)
    yield "activations", bound.activations.sha256
    yield "unembedding", bound.unembedding.sha256
    for i, entry in enumerate(bound.probe_sets):
        yield f"probe set {i}", entry.sha256
    if attestation.model_hash is not None:
        yield f"model {attestation.model_id}", attestation.model_hash


def _check_signature(key: PublicKey, signature: bytes, message: bytes, where: str) -> None:
    try:
        key.verify(signature, message)
    except BadSignature as error:
        raise BadSignature(where, expected=error.expected, found=error.found) from None


def _statement(attestation: Attestation) -> dict[str, object]:
    predicate = write_members(attestation, MEMBERS)
    return statement(subjects_of(attestation), PREDICATE_TYPE, predicate)


def _digest(attestation: Attestation) -> str:
    """SHA-256 of the file that an attestation is written to."""
    return hashlib.sha256(attestation.to_json()).hexdigest()


def _difference(found: object, expected: object) -> str:
    """The first of the subjects that is not as expected."""
    if not isinstance(found, list) or not isinstance(expected, list):
        return brief(found)
    for i, wanted in enumerate(expected):
        if i >= len(found) or found[i] != wanted:
            return brief(found[i]) if i < len(found) else f"none for {wanted['name']!r}"
    return f"{len(found)} subjects, not {len(expected)}"
