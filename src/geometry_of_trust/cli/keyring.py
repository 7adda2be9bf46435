"""The commands of keyrings: make, add, revoke and show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App

from geometry_of_trust.cli.common import MORE, OK, Switch, app, passphrase_from
from geometry_of_trust.errors import BadOption
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.terminal import MAX_NAME_BYTES, escaped

if TYPE_CHECKING:
    from geometry_of_trust.signing.keyrings import Keyring
    from geometry_of_trust.signing.keys import SecretKey

keyring = App(
    name="keyring",
    help="Say whose keys sign, from when to when, in a file that an offline key signs.",
    help_format="plaintext",
    group=MORE,
)
app.command(keyring)


@keyring.command
def make(*, output: Path, key: Path, passphrase_file: Path | None = None) -> int:
    """Make a keyring without keys. Never overwrites.

    Parameters
    ----------
    output
        Where the keyring (JSON) goes.
    key
        The offline secret key, which signs this and no attestation.
    passphrase_file
        First line: the passphrase of an encrypted key.
    """
    from geometry_of_trust.signing.checks import stated_time
    from geometry_of_trust.signing.keyrings import new_keyring

    ring = new_keyring(_secret(key, passphrase_file), stated_time(None))
    return _written(output, ring, new=True)


@keyring.command
def add(
    ring: Path,
    /,
    *,
    key: Path,
    pubkey: Path,
    name: str,
    purpose: Literal["attest", "audit"] = "attest",
    valid_from: int | None = None,
    valid_until: int | None = None,
    passphrase_file: Path | None = None,
) -> int:
    """Add a key to a keyring.

    Parameters
    ----------
    ring
        The keyring, which is replaced.
    key
        The offline secret key.
    pubkey
        The public key to add.
    name
        Whose key it is, or what it is called.
    purpose
        What it signs: attestations, or (audit) verdicts on them.
    valid_from
        Unix seconds, from which on it signs [default: now].
    valid_until
        Unix seconds, from which on it does not [default: without end].
    passphrase_file
        First line: the passphrase of an encrypted offline key.
    """
    from geometry_of_trust.signing.checks import stated_time
    from geometry_of_trust.signing.keyrings import KeyEntry, with_key
    from geometry_of_trust.signing.keys import load_public_key

    _check_text("--name", name)
    _check_moments(valid_from=valid_from, valid_until=valid_until)
    secret, now = _secret(key, passphrase_file), stated_time(None)
    start = now if valid_from is None else valid_from
    if valid_until is not None and valid_until <= start:
        raise BadOption("--valid-until", expected=f"a time after {start}", found=valid_until)
    entry = KeyEntry(
        load_public_key(pubkey).raw.hex(),
        name,
        purpose,
        start,
        valid_until,
    )
    return _written(ring, with_key(_opened(ring, secret), entry, secret, now))


@keyring.command
def revoke(
    ring: Path,
    /,
    *,
    key: Path,
    pubkey: Path,
    reason: str,
    revoked_at: int | None = None,
    passphrase_file: Path | None = None,
) -> int:
    """Revoke a key of a keyring: nothing counts that says it was signed from then on.

    The time of a document is its signer's word, and who stole a key writes any. So let it be one
    second after the time of the last document that you know to be good, not that of the theft.

    Parameters
    ----------
    ring
        The keyring, which is replaced.
    key
        The offline secret key.
    pubkey
        The public key to revoke.
    reason
        Why, for people.
    revoked_at
        Unix seconds, from which on nothing that it signed counts [default: now].
    passphrase_file
        First line: the passphrase of an encrypted offline key.
    """
    from geometry_of_trust.signing.checks import stated_time
    from geometry_of_trust.signing.keyrings import with_revocation
    from geometry_of_trust.signing.keys import load_public_key

    _check_text("--reason", reason)
    _check_moments(revoked_at=revoked_at)
    secret, now = _secret(key, passphrase_file), stated_time(None)
    at = now if revoked_at is None else revoked_at
    key_id = load_public_key(pubkey).key_id
    opened = _opened(ring, secret)
    revoked = with_revocation(opened, key_id, secret, at=at, reason=reason, issued=now)
    return _written(ring, revoked)


@keyring.command
def show(
    ring: Path, /, *, keyring_key: Path | None = None, json: Annotated[bool, Switch] = False
) -> int:
    """Print a keyring, and check who signed it.

    Parameters
    ----------
    ring
        The keyring.
    keyring_key
        The public key that it is to be signed with.
    json
        Print it as JSON.
    """
    from geometry_of_trust.files import read_bounded
    from geometry_of_trust.showing import keyrings
    from geometry_of_trust.signing.keyrings import load_keyring, parse_keyring

    if keyring_key is None:
        opened = parse_keyring(read_bounded(ring), ring)
    else:
        opened = load_keyring(ring, keyring_key)
    verified = keyring_key is not None
    print(
        keyrings.keyring_json(opened, verified=verified)
        if json
        else keyrings.keyring(opened, verified=verified)
    )
    return OK


def _check_text(option: str, text: str) -> None:
    """BadOption if a name or a reason is empty, or longer than is signed."""
    size = len(text.encode())
    if not 0 < size <= MAX_NAME_BYTES:
        raise BadOption(option, expected=f"1 to {MAX_NAME_BYTES} bytes", found=size)


def _check_moments(**moments: int | None) -> None:
    """BadOption if one of the times, by the names of their options, is none."""
    from geometry_of_trust.signing.keyrings import MAX_TIME

    for name, moment in moments.items():
        if moment is not None and not 0 <= moment <= MAX_TIME:
            option = f"--{name.replace('_', '-')}"
            raise BadOption(option, expected=f"Unix seconds from 0 to {MAX_TIME}", found=moment)


def _secret(key: Path, passphrase_file: Path | None) -> SecretKey:
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.keys import load_secret_key

    forbid_core_dumps()
    return load_secret_key(key, passphrase_from(passphrase_file))


def _opened(ring: Path, secret: SecretKey) -> Keyring:
    from geometry_of_trust.signing.keyrings import load_keyring

    return load_keyring(ring, secret.public)


def _written(path: Path, ring: Keyring, *, new: bool = False) -> int:
    from geometry_of_trust.showing import keyrings

    with StagedFiles() as staged:
        staged.write(path, ring.to_json(), exclusive=new)
    print(f"{keyrings.keyring(ring, verified=True)}\nwrote {escaped(path)}")
    return OK
