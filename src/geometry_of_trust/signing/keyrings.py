"""Keyrings: whose keys sign what, from when to when, and which were revoked, signed by one key.

A plain file of strict JSON with one spelling, like an attestation. The key that signs it stays
offline; a verifier has its public half, and learns the others from the file. What is signed begins
with a domain of its own, which no attestation begins with: one is never taken for the other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import rfc8785

from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.schema import (
    DIGEST,
    STRING,
    choice,
    hexadecimal,
    integer,
    member,
    record,
    vector,
)
from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.errors import (
    BadOption,
    BadSignature,
    Inconsistent,
    KeyNotValid,
    LimitExceeded,
    NotOurSpelling,
    UnknownSigner,
)
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.signing.keys import PublicKey, SecretKey, load_public_key

Purpose = Literal["attest", "audit"]
PURPOSES: tuple[Purpose, ...] = ("attest", "audit")
"""What a key is for: signing attestations, or verdicts on them."""

KEYRING_VERSION = 1
KEYRING_DOMAIN = b"GOT-KEYRING-V1\0"
MAX_KEYS = 1024
MAX_TIME = 2**53 - 1
"""Latest moment, in Unix seconds: the greatest integer that RFC 8785 writes."""

_FORMAT = "geometry-of-trust keyring"
_MAX_VALUES = 16 + 8 * MAX_KEYS
_MOMENT = integer(53)


@dataclass(frozen=True)
class KeyEntry:
    """A key of a keyring.

    Attributes:
        public_key: its 32 bytes, as hex digits. name: whose it is, or what it is called.
        purpose: what it signs.
        valid_from: Unix seconds, from which on it signs. valid_until: from which on it does not,
            or None.
        revoked_at: from which on nothing that it signed counts, or None. reason: why, or None.
    """

    public_key: str
    name: str
    purpose: Purpose
    valid_from: int
    valid_until: int | None = None
    revoked_at: int | None = None
    reason: str | None = None

    @property
    def key(self) -> PublicKey:
        """The key.

        Raises:
            BadKey, LowOrderKey: the bytes are none.
        """
        return PublicKey(bytes.fromhex(self.public_key))

    def check_valid(self, purpose: Purpose, timestamp: int, where: PathLike) -> None:
        """The key is for this purpose, and was valid at this time.

        Args:
            where: what it signed, for the error.

        Raises:
            KeyNotValid: it is not, or was not.
        """
        what = f"{where}, key {self.key.key_id[:16]} of the keyring"
        if self.purpose != purpose:
            raise KeyNotValid(what, expected=f"one for {purpose}", found=f"one for {self.purpose}")
        for early, state, moment in (
            (True, "valid from", self.valid_from),
            (False, "valid until", self.valid_until),
            (False, f"revoked ({self.reason}) at", self.revoked_at),
        ):
            if moment is not None and (timestamp < moment) == early:
                raise KeyNotValid(
                    what, expected=f"one that is valid at {timestamp}, the time stated",
                    found=f"{state} {moment}",
                )  # fmt: skip


@dataclass(frozen=True)
class Keyring:
    """Keys, and who vouches for them.

    Attributes:
        number: 0 of a new keyring, and one more with every change.
        issued: Unix seconds, when it was signed, by the word of who did.
        keys: each key once.
        key_id: of the offline key that signs.
        signature: 128 hex digits, or empty before signing.
    """

    number: int
    issued: int
    keys: tuple[KeyEntry, ...]
    key_id: str
    signature: str = ""
    format: str = _FORMAT
    version: int = KEYRING_VERSION

    def signed_bytes(self) -> bytes:
        """What the signature is over: `GOT-KEYRING-V1`, a zero byte and the RFC 8785 form."""
        tree: dict[str, object] = {**_KEYRING.write(self)}  # type: ignore[dict-item]
        del tree["signature"]
        return KEYRING_DOMAIN + rfc8785.dumps(tree)  # type: ignore[arg-type]

    def to_json(self) -> bytes:
        """The one text of this keyring: pretty-printed, no trailing newline."""
        return dumps(_KEYRING.write(self))

    @cached_property
    def sha256(self) -> str:
        """Of its file, which tells two keyrings of one number apart."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def entry(self, key_id: str) -> KeyEntry:
        """The key with this id.

        Raises:
            UnknownSigner: there is none.
        """
        for entry in self.keys:
            if entry.key.key_id == key_id:
                return entry
        raise UnknownSigner("keyring", expected="a key that it lists", found=f"key {key_id}")

    def check_signed_by(self, key: PublicKey, where: PathLike) -> None:
        """The offline key signed this.

        Raises:
            UnknownSigner: another one did, by what it says. BadSignature: nobody did.
        """
        if self.key_id != key.key_id:
            raise UnknownSigner(
                f"{where}.key_id", expected=f"a keyring signed by key {key.key_id}",
                found=self.key_id,
            )  # fmt: skip
        try:
            key.verify(bytes.fromhex(self.signature), self.signed_bytes())
        except BadSignature as error:
            raise BadSignature(
                f"{where}.signature", expected=error.expected, found=error.found
            ) from None


_ENTRY = record(
    KeyEntry,
    member("public_key", DIGEST),
    member("name", STRING),
    member("purpose", choice(PURPOSES)),
    member("valid_from", _MOMENT),
    member("valid_until", _MOMENT, default=None, omitted=True),
    member("revoked_at", _MOMENT, default=None, omitted=True),
    member("reason", STRING, default=None, omitted=True),
)
_KEYRING = record(
    Keyring,
    member("format", choice((_FORMAT,))),
    member("version", integer(16)),
    member("number", _MOMENT),
    member("issued", _MOMENT),
    member("keys", vector(_ENTRY)),
    member("key_id", DIGEST),
    member("signature", hexadecimal(64)),
)


# --- reading ----------------------------------------------------------------------------------


def parse_keyring(data: bytes, where: PathLike) -> Keyring:
    """Read a keyring strictly; its signature is not looked at.

    Raises:
        TooLarge, BadText, BadJson and its kinds: not a keyring.
        NotOurSpelling: the bytes are not the text that is written for their content.
        Inconsistent, LimitExceeded, BadKey, LowOrderKey: as `check_entries`.
    """
    ring = _KEYRING.read(loads(data, where, _MAX_VALUES), str(where))
    if ring.version != KEYRING_VERSION:
        raise Inconsistent(f"{where}.version", expected=KEYRING_VERSION, found=ring.version)
    check_entries(ring, where)
    if ring.to_json() != data:
        raise NotOurSpelling(
            where, expected="the text that is written for its content", found="another spelling"
        )
    return ring


def check_entries(ring: Keyring, where: PathLike) -> None:
    """Each key of a keyring is there once, and its members fit together.

    Raises:
        LimitExceeded: more than 1024 keys, or a name or reason of more than 256 bytes.
        BadKey, LowOrderKey: one that is no key.
        Inconsistent: a key twice, or the one that signs the keyring; a time to which a key is valid
            that is not after that from which it is; a reason without a revocation, or the reverse.
    """
    if len(ring.keys) > MAX_KEYS:
        raise LimitExceeded(f"{where}.keys", expected=f"at most {MAX_KEYS}", found=len(ring.keys))
    seen: set[str] = set()
    for i, entry in enumerate(ring.keys):
        here = f"{where}.keys[{i}]"
        check_name(entry.name, f"{here}.name")
        check_name(entry.reason or "", f"{here}.reason")
        key_id = entry.key.key_id
        if key_id in seen:
            raise Inconsistent(f"{here}.public_key", expected="each key once", found=key_id)
        if key_id == ring.key_id:
            expected = "another key than the one that signs the keyring"
            raise Inconsistent(f"{here}.public_key", expected=expected, found=key_id)
        seen.add(key_id)
        if entry.valid_until is not None and entry.valid_until <= entry.valid_from:
            expected = f"a time after {entry.valid_from}"
            raise Inconsistent(f"{here}.valid_until", expected=expected, found=entry.valid_until)
        if (entry.revoked_at is None) != (entry.reason is None):
            expected = "revoked_at and reason, or neither"
            raise Inconsistent(f"{here}.reason", expected=expected, found=entry.reason)


def load_keyring(path: PathLike, offline_key: PathLike | PublicKey) -> Keyring:
    """Read a keyring, once it is seen to be signed by the offline key.

    Args:
        offline_key: the public key, or its file.

    Raises:
        Unreadable, and as `parse_keyring`.
        BadKey, WrongKeyKind, LowOrderKey: as `load_public_key`.
        UnknownSigner, BadSignature: another key signed it, or none.
    """
    key = offline_key if isinstance(offline_key, PublicKey) else load_public_key(offline_key)
    ring = parse_keyring(read_bounded(path), path)
    ring.check_signed_by(key, path)
    return ring


# --- making -----------------------------------------------------------------------------------


def new_keyring(offline_key: SecretKey, issued: int) -> Keyring:
    """A keyring without keys, signed.

    Raises:
        BadOption: a time that is none.
    """
    return _signed(Keyring(0, issued, (), offline_key.public.key_id), offline_key)


def with_key(ring: Keyring, entry: KeyEntry, offline_key: SecretKey, issued: int) -> Keyring:
    """The keyring with one more key, signed anew.

    Raises:
        UnknownSigner, BadSignature: the keyring is not signed by this offline key.
        Inconsistent, LimitExceeded: as `check_entries`; a key that is there, revoked or not, is
            not added again.
        BadOption: a time that is none.
    """
    return _changed(ring, (*ring.keys, entry), offline_key, issued)


def with_revocation(
    ring: Keyring, key_id: str, offline_key: SecretKey, *, at: int, reason: str, issued: int
) -> Keyring:
    """The keyring with one of its keys revoked, signed anew.

    Args:
        at: Unix seconds, from which on nothing that it signed counts.

    Raises:
        UnknownSigner: it has no such key, or another offline key. BadSignature: as `with_key`.
        BadOption: the key is revoked from an earlier time on already; or a time that is none.
        LimitExceeded: as `check_entries`.
    """
    found = ring.entry(key_id)
    if found.revoked_at is not None and found.revoked_at <= at:
        raise BadOption(
            f"key {key_id[:16]}", expected="one that is not revoked yet",
            found=f"one that is, from {found.revoked_at} on",
        )  # fmt: skip
    revoked = dataclasses.replace(found, revoked_at=at, reason=reason)
    keys = tuple(revoked if entry == found else entry for entry in ring.keys)
    return _changed(ring, keys, offline_key, issued)


def _changed(
    ring: Keyring, keys: tuple[KeyEntry, ...], offline_key: SecretKey, issued: int
) -> Keyring:
    ring.check_signed_by(offline_key.public, "keyring")
    changed = dataclasses.replace(ring, number=ring.number + 1, issued=issued, keys=keys)
    return _signed(changed, offline_key)


def _signed(ring: Keyring, offline_key: SecretKey) -> Keyring:
    for moment in _moments(ring):
        if not 0 <= moment <= MAX_TIME:
            raise BadOption("time", expected=f"Unix seconds from 0 to {MAX_TIME}", found=moment)
    check_entries(ring, "keyring")
    signature = offline_key.sign(ring.signed_bytes()).hex()
    return dataclasses.replace(ring, signature=signature)


def _moments(ring: Keyring) -> Iterator[int]:
    yield ring.issued
    for entry in ring.keys:
        for moment in (entry.valid_from, entry.valid_until, entry.revoked_at):
            if moment is not None:
                yield moment
