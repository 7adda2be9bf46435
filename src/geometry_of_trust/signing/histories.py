"""Attestations that follow one another (reference.md 5.1): what makes one the next.

A document of a history holds the attestation hash of the one before it, and a number that is one
more; its time is not earlier. The numbers beside the checks are those of docs/verification.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from geometry_of_trust.errors import (
    HistoryOrder,
    LegacyDocument,
    LimitExceeded,
    UnknownSigner,
)
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.signing.attestation import Attestation, parse_document
from geometry_of_trust.signing.checks import check_binding, check_structure
from geometry_of_trust.signing.keyrings import Keyring
from geometry_of_trust.signing.keys import PublicKey

MAX_NUMBER = 2**64 - 1


@dataclass(frozen=True)
class Place:
    """Where a document stands in a history: after which one, by its hash, and its number."""

    parent: str | None
    number: int


FIRST = Place(None, 0)


def place_of(attestation: Attestation) -> Place:
    """Where a document says that it stands; the first place, if it names none before it."""
    if attestation.parent_attestation_hash is None:
        return FIRST
    return Place(attestation.parent_attestation_hash, attestation.sequence_number)


def check_follows(before: Attestation | None, after: Attestation, where: PathLike) -> None:
    """Number, time and kind of a document follow from the one before it, whose hash it names.

    Args:
        before: the one before it; None: it names none, and is the first.

    Raises:
        HistoryOrder: number or time do not.
        LegacyDocument: one of the two has a binding, and the other none.
    """
    # 7.4 The number is one more; that of the first is 0.
    number = 0 if before is None else before.sequence_number + 1
    if after.sequence_number != number:
        raise HistoryOrder(f"{where}.sequence_number", expected=number, found=after.sequence_number)
    # 7.5 The time is not earlier.
    if before is not None and after.timestamp < before.timestamp:
        raise HistoryOrder(
            f"{where}.timestamp",
            expected=f"{before.timestamp}, the time of the one before it, or later",
            found=after.timestamp,
        )
    # 7.6 Either all have a binding, or none.
    if before is not None and (before.binding is None) != (after.binding is None):
        kinds = ("one with a binding", "one without")
        expected, found = kinds if after.binding is None else kinds[::-1]
        raise LegacyDocument(where, expected=f"{expected}, as the one before it", found=found)


def place_after(
    previous: PathLike, key: PublicKey, timestamp: int, keyring: Keyring | None = None
) -> Place:
    """The place of a new document after an existing one, which must verify on its own.

    Args:
        previous: the document before it.
        key: that signs the new one. timestamp: of the new one.
        keyring: whose keys may take over from each other; None: the same key signs both.

    Raises:
        Unreadable, and as `parse_document`, `check_structure` and `check_binding`: the document is
            malformed or inconsistent. LegacyDocument: it has no binding.
        UnknownSigner: another key signed it, and no keyring says that both may.
        KeyNotValid: by the keyring one of the keys was not valid at the time of its document.
        BadSignature: nobody signed it. HistoryOrder: it is later than the new one.
        LimitExceeded: it has the last number that there is.
    """
    before = parse_document(read_bounded(previous), previous).attestation
    check_structure(before, previous)
    if before.binding is None:
        raise LegacyDocument(
            previous, expected="a document with a binding", found="one without, as the reference's",
            hint="Begin a history of its own: attest without --previous.",
        )  # fmt: skip
    signer_id = before.binding.key_id
    signer = key
    if keyring is not None:
        keyring.entry(key.key_id).check_valid("attest", timestamp, "the new document")
        entry = keyring.entry(signer_id)
        entry.check_valid("attest", before.timestamp, previous)
        signer = entry.key
    elif signer_id != key.key_id:
        raise UnknownSigner(
            previous,
            expected=f"a document by key {key.key_id}, which signs the next one",
            found=f"one by key {signer_id}",
            hint="A history changes its key by a keyring that lists both: give --keyring and "
            "--keyring-key.",
        )
    signer.verify(bytes.fromhex(before.signature), before.signed_bytes())
    check_binding(before, signer, previous)
    if timestamp < before.timestamp:
        raise HistoryOrder(
            "--timestamp", expected=f"{before.timestamp}, the time of {previous}, or later",
            found=timestamp,
        )  # fmt: skip
    if before.sequence_number == MAX_NUMBER:
        raise LimitExceeded(
            f"{previous}.sequence_number", expected="a number with one after it", found=MAX_NUMBER
        )
    return Place(before.digest, before.sequence_number + 1)
