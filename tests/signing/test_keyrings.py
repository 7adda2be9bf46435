"""Keyrings: made, changed, read, and forged in every way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from geometry_of_trust import errors
from geometry_of_trust.showing.keyrings import keyring, keyring_json
from geometry_of_trust.signing.keyrings import (
    MAX_KEYS,
    MAX_TIME,
    KeyEntry,
    Keyring,
    load_keyring,
    new_keyring,
    parse_keyring,
    with_key,
    with_revocation,
)
from geometry_of_trust.signing.keys import PublicKey, SecretKey

OFFLINE = SecretKey.from_seed(bytes(range(2, 34)))
OTHER = SecretKey.from_seed(bytes(range(3, 35)))
LAB, AUDITOR = (SecretKey.from_seed(bytes(range(n, n + 32))).public for n in (4, 5))
LAB_ENTRY = KeyEntry(LAB.raw.hex(), "the lab", "attest", 100)
AUDITOR_ENTRY = KeyEntry(AUDITOR.raw.hex(), "auditor", "audit", 100, 200)


@pytest.fixture(scope="module")
def ring() -> Keyring:
    ring = with_key(new_keyring(OFFLINE, 1000), LAB_ENTRY, OFFLINE, 1001)
    ring = with_key(ring, AUDITOR_ENTRY, OFFLINE, 1002)
    return with_revocation(ring, LAB.key_id, OFFLINE, at=150, reason="lost", issued=1003)


def forged(ring: Keyring, key: SecretKey = OFFLINE, **changes: Any) -> Keyring:
    """A keyring that says something else, signed by the key all the same."""
    lie = dataclasses.replace(ring, **changes)
    return dataclasses.replace(lie, signature=key.sign(lie.signed_bytes()).hex())


def refused(ring: Keyring, error: type[errors.GotError]) -> errors.GotError:
    with pytest.raises(error) as caught:
        parse_keyring(ring.to_json(), "ring").check_signed_by(OFFLINE.public, "ring")
    assert type(caught.value) is error
    return caught.value


# --- made and read ----------------------------------------------------------------------------


def test_every_change_is_numbered_and_signed(ring: Keyring, tmp_path: Path) -> None:
    assert (ring.number, ring.issued, ring.key_id) == (3, 1003, OFFLINE.public.key_id)
    assert ring.keys[0] == dataclasses.replace(LAB_ENTRY, revoked_at=150, reason="lost")
    assert ring.keys[1] == AUDITOR_ENTRY
    path = tmp_path / "ring.json"
    path.write_bytes(ring.to_json())
    assert load_keyring(path, OFFLINE.public) == ring
    (tmp_path / "off.pub").write_bytes(OFFLINE.public.raw)
    assert load_keyring(path, tmp_path / "off.pub") == ring


def test_the_bytes_that_are_signed(ring: Keyring) -> None:
    tree = json.loads(ring.to_json())
    signature = tree.pop("signature")
    message = b"GOT-KEYRING-V1\0" + rfc8785.dumps(tree)
    assert ring.signed_bytes() == message
    OFFLINE.public.verify(bytes.fromhex(signature), message)
    assert list(tree) == ["format", "version", "number", "issued", "keys", "key_id"]
    assert list(tree["keys"][0]) == [
        "public_key", "name", "purpose", "valid_from", "revoked_at", "reason",
    ]  # fmt: skip
    assert list(tree["keys"][1])[4:] == ["valid_until"]


def test_same_keys_and_times_give_the_same_bytes(ring: Keyring) -> None:
    again = with_key(new_keyring(OFFLINE, 1000), LAB_ENTRY, OFFLINE, 1001)
    again = with_key(again, AUDITOR_ENTRY, OFFLINE, 1002)
    again = with_revocation(again, LAB.key_id, OFFLINE, at=150, reason="lost", issued=1003)
    assert again.to_json() == ring.to_json()


def test_a_revocation_may_only_move_back(ring: Keyring) -> None:
    earlier = with_revocation(ring, LAB.key_id, OFFLINE, at=120, reason="stolen", issued=1004)
    assert (earlier.keys[0].revoked_at, earlier.keys[0].reason) == (120, "stolen")
    for at in (150, 151):
        with pytest.raises(errors.BadOption):
            with_revocation(ring, LAB.key_id, OFFLINE, at=at, reason="r", issued=1004)
    with pytest.raises(errors.UnknownSigner):
        with_revocation(ring, OTHER.public.key_id, OFFLINE, at=1, reason="r", issued=1004)


def test_only_the_offline_key_changes_it(ring: Keyring) -> None:
    with pytest.raises(errors.UnknownSigner):
        with_revocation(ring, LAB.key_id, OTHER, at=1, reason="r", issued=1004)
    entry = KeyEntry(OTHER.public.raw.hex(), "n", "attest", 1)
    with pytest.raises(errors.UnknownSigner):
        with_key(ring, entry, OTHER, 1004)
    unsigned = dataclasses.replace(ring, number=7)
    with pytest.raises(errors.BadSignature):
        with_key(unsigned, entry, OFFLINE, 1004)


def test_a_key_is_added_once(ring: Keyring) -> None:
    for purpose in ("attest", "audit"):
        entry = dataclasses.replace(LAB_ENTRY, name="again", purpose=purpose)
        with pytest.raises(errors.Inconsistent) as caught:
            with_key(ring, entry, OFFLINE, 1004)
        assert caught.value.where == "keyring.keys[2].public_key"


def test_two_keyrings_of_one_number_have_two_digests(ring: Keyring) -> None:
    one, other = (
        with_revocation(ring, LAB.key_id, OFFLINE, at=at, reason="r", issued=1004) for at in (1, 2)
    )
    assert one.number == other.number
    assert one.sha256 == hashlib.sha256(one.to_json()).hexdigest() != other.sha256
    for shown in (one, other):
        assert shown.sha256 in keyring(shown, verified=True)
        assert json.loads(keyring_json(shown, verified=True))["sha256"] == shown.sha256


def test_the_offline_key_does_not_list_itself(ring: Keyring) -> None:
    entry = dataclasses.replace(LAB_ENTRY, public_key=OFFLINE.public.raw.hex())
    with pytest.raises(errors.Inconsistent) as caught:
        with_key(ring, entry, OFFLINE, 1004)
    assert caught.value.where == "keyring.keys[2].public_key"
    found = refused(forged(ring, keys=(LAB_ENTRY, entry)), errors.Inconsistent)
    assert found.where == "ring.keys[1].public_key"


@pytest.mark.parametrize("moment", [-1, MAX_TIME + 1])
def test_times_that_are_none(moment: int) -> None:
    with pytest.raises(errors.BadOption):
        new_keyring(OFFLINE, moment)
    ring = new_keyring(OFFLINE, 0)
    with pytest.raises(errors.BadOption):
        with_key(ring, dataclasses.replace(LAB_ENTRY, valid_from=moment), OFFLINE, 1)
    valid_until = dataclasses.replace(LAB_ENTRY, valid_from=-2, valid_until=moment)
    with pytest.raises(errors.BadOption):
        with_key(ring, valid_until, OFFLINE, 1)
    assert new_keyring(OFFLINE, MAX_TIME).issued == MAX_TIME


# --- validity ---------------------------------------------------------------------------------


def test_from_when_to_when_a_key_is_valid(ring: Keyring) -> None:
    auditor = ring.entry(AUDITOR.key_id)
    for timestamp, valid in ((99, False), (100, True), (199, True), (200, False)):
        if valid:
            auditor.check_valid("audit", timestamp, "d.json")
            continue
        with pytest.raises(errors.KeyNotValid) as caught:
            auditor.check_valid("audit", timestamp, "d.json")
        assert caught.value.where == f"d.json, key {AUDITOR.key_id[:16]} of the keyring"
    lab = ring.entry(LAB.key_id)
    lab.check_valid("attest", 149, "d.json")
    with pytest.raises(errors.KeyNotValid) as caught:
        lab.check_valid("attest", 150, "d.json")
    assert "lost" in caught.value.found


def test_a_key_is_valid_for_its_purpose_only(ring: Keyring) -> None:
    with pytest.raises(errors.KeyNotValid):
        ring.entry(AUDITOR.key_id).check_valid("attest", 150, "d.json")
    with pytest.raises(errors.UnknownSigner):
        ring.entry(OTHER.public.key_id)


# --- forged -----------------------------------------------------------------------------------


def test_a_keyring_of_another_key(ring: Keyring) -> None:
    mallory = OTHER.public.key_id
    assert refused(forged(ring, OTHER, key_id=mallory), errors.UnknownSigner).where == "ring.key_id"
    assert refused(forged(ring, OTHER), errors.BadSignature).where == "ring.signature"


@pytest.mark.parametrize(
    "change",
    [
        {"number": 4}, {"issued": 1}, {"keys": ()},
        {"keys": (LAB_ENTRY, AUDITOR_ENTRY)},  # the revocation taken out
    ],
)  # fmt: skip
def test_anything_changed_without_the_key(ring: Keyring, change: dict[str, Any]) -> None:
    refused(dataclasses.replace(ring, **change), errors.BadSignature)


def test_a_signature_of_an_attestation_is_none_of_a_keyring(ring: Keyring) -> None:
    """What is signed begins with a domain of its own."""
    naked = ring.signed_bytes().removeprefix(b"GOT-KEYRING-V1\0")
    refused(dataclasses.replace(ring, signature=OFFLINE.sign(naked).hex()), errors.BadSignature)
    assert ring.signed_bytes()[:2] != (1).to_bytes(2, "little")  # as of an attestation


def test_every_bit_counts(ring: Keyring) -> None:
    data = ring.to_json()
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(errors.GotError):
            parse_keyring(bytes(changed), "ring").check_signed_by(OFFLINE.public, "ring")


@pytest.mark.parametrize(
    ("entry", "error", "where"),
    [
        ({"valid_until": 100}, errors.Inconsistent, "valid_until"),
        ({"revoked_at": 100}, errors.Inconsistent, "reason"),
        ({"reason": "why"}, errors.Inconsistent, "reason"),
        ({"name": "n" * 257}, errors.LimitExceeded, "name"),
        ({"reason": "n" * 257, "revoked_at": 1}, errors.LimitExceeded, "reason"),
    ],
)
def test_members_that_do_not_fit_together(
    ring: Keyring, entry: dict[str, Any], error: type[errors.GotError], where: str
) -> None:
    """Whoever signed them."""
    lie = forged(ring, keys=(dataclasses.replace(LAB_ENTRY, **entry),))
    assert refused(lie, error).where == f"ring.keys[0].{where}"


def test_keys_that_are_none(ring: Keyring) -> None:
    for raw, error in (("ff" * 32, errors.BadKey), ("01" + "00" * 31, errors.LowOrderKey)):
        entry = dataclasses.replace(LAB_ENTRY, public_key=raw)
        refused(forged(ring, keys=(entry,)), error)
    refused(forged(ring, keys=(LAB_ENTRY, LAB_ENTRY)), errors.Inconsistent)


def test_too_many_keys(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    from geometry_of_trust.signing import keyrings

    refused(forged(ring, keys=(LAB_ENTRY,) * (2 * MAX_KEYS)), errors.TooLarge)
    monkeypatch.setattr(keyrings, "MAX_KEYS", 2)
    assert parse_keyring(ring.to_json(), "ring") == ring
    monkeypatch.setattr(keyrings, "MAX_KEYS", 1)
    refused(ring, errors.LimitExceeded)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"version": 1', '"version": 2', errors.Inconsistent),
        ('"version": 1', '"version": 1, "more": 1', errors.UnknownMember),
        ('"number": 3', '"number": 3,\n  "number": 3', errors.DuplicateMember),
        ('"number": 3', '"number": 9007199254740992', errors.WrongType),
        ('"number": 3', '"number": 3.0', errors.WrongType),
        ('"number": 3', '"number":  3', errors.NotOurSpelling),
        ('  "number": 3,\n', "", errors.MissingMember),
        ("geometry-of-trust keyring", "keyring", errors.WrongType),
        ('"purpose": "audit"', '"purpose": "all"', errors.WrongType),
    ],
)
def test_other_texts(ring: Keyring, old: str, new: str, error: type[errors.GotError]) -> None:
    text = ring.to_json().decode()
    assert old in text
    with pytest.raises(error):
        parse_keyring(text.replace(old, new, 1).encode(), "ring")


def test_the_offline_key_is_a_key(ring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    path.write_bytes(ring.to_json())
    with pytest.raises(errors.UnknownSigner):
        load_keyring(path, PublicKey(OTHER.public.raw))
    with pytest.raises(errors.Unreadable):
        load_keyring(tmp_path / "nothing", OFFLINE.public)
