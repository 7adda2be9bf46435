"""Keyrings as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

import dataclasses

from geometry_of_trust.showing.text import as_json, table
from geometry_of_trust.showing.verdicts import moment
from geometry_of_trust.signing.keyrings import KeyEntry, Keyring
from geometry_of_trust.terminal import bare_or_quoted, quoted


def keyring(ring: Keyring, *, verified: bool) -> str:
    """What a keyring says, for a person."""
    checked = "verified" if verified else "NOT VERIFIED, as no key was given"
    rows = [
        ("keyring", f"number {ring.number} of {moment(ring.issued)}, by its signer's word"),
        ("SHA-256", ring.sha256),
        ("signed by", f"{ring.key_id} ({checked})"),
        *(("key", _entry(entry)) for entry in ring.keys),
    ]
    return table(rows)


def _entry(entry: KeyEntry) -> str:
    until = "" if entry.valid_until is None else f" until {moment(entry.valid_until)}"
    revoked = ""
    if entry.revoked_at is not None:
        revoked = f", REVOKED from {moment(entry.revoked_at)} ({quoted(entry.reason or '')})"
    return (
        f"{entry.key.key_id} to {entry.purpose}, from {moment(entry.valid_from)}{until}{revoked}: "
        f"{bare_or_quoted(entry.name)}"
    )


def keyring_json(ring: Keyring, *, verified: bool) -> str:
    """What a keyring says, for a program."""
    tree = {"verified": verified, "sha256": ring.sha256} | dataclasses.asdict(ring)
    tree["keys"] = [{"key_id": entry.key.key_id} | dataclasses.asdict(entry) for entry in ring.keys]
    return as_json(tree)
