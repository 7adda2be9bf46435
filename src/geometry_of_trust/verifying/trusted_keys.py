"""Whose signatures a verifier takes: one key, a few, or those of a keyring."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.errors import BadOption, UnknownSigner
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.keyrings import Keyring
from geometry_of_trust.signing.keys import PublicKey, load_public_key
from geometry_of_trust.terminal import bare_or_quoted

Trust = PathLike | PublicKey | Keyring | Sequence[PathLike | PublicKey]
"""A public key or its file, several of them, or a keyring."""


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys, at least one, and the keyring that lists them, if one does."""

    keys: tuple[PublicKey, ...]
    keyring: Keyring | None = None

    @classmethod
    def of(cls, given: Trust) -> TrustedKeys:
        """The keys that are given in any of the forms.

        Raises:
            BadOption: there are none.
            Unreadable, TooLarge, BadKey, WrongKeyKind, LowOrderKey: as `load_public_key`.
        """
        if isinstance(given, Keyring):
            keys, ring = tuple(entry.key for entry in given.keys), given
        else:
            each = [given] if isinstance(given, str | os.PathLike | PublicKey) else given
            keys, ring = tuple(map(_loaded, each)), None
        if not keys:
            name = "--pubkey" if ring is None else "--keyring"
            raise BadOption(name, expected="at least one public key", found="none")
        return cls(keys, ring)

    def candidates(self, claimed: Attestation, where: PathLike) -> tuple[PublicKey, ...]:
        """Those that may have signed a document: of several the one that it binds, if it does.

        Raises:
            UnknownSigner: it binds none of several.
        """
        if claimed.binding is None or len(self.keys) == 1:
            return self.keys
        named = tuple(key for key in self.keys if key.key_id == claimed.binding.key_id)
        if not named:
            raise UnknownSigner(
                f"{where}.binding.key_id",
                expected="a key of the keyring" if self.keyring else "one of the keys given",
                found=claimed.binding.key_id,
            )
        return named

    def described(self, key: PublicKey, timestamp: int, where: PathLike) -> str:
        """The key that signed at a stated time, in words, once a keyring says that it may have.

        Raises:
            KeyNotValid: it says that it may not.
        """
        if self.keyring is None:
            return f"key {key.key_id[:16]}…"
        entry = self.keyring.entry(key.key_id)
        entry.check_valid("attest", timestamp, where)
        later = "" if entry.revoked_at is None else f", revoked later ({entry.reason})"
        return (
            f"key {key.key_id[:16]}… ({bare_or_quoted(entry.name)} of keyring "
            f"{self.keyring.number}, {self.keyring.sha256[:16]}…), valid at the time stated, which "
            f"is the signer's word{later}"
        )


def _loaded(key: PathLike | PublicKey) -> PublicKey:
    return key if isinstance(key, PublicKey) else load_public_key(key)
