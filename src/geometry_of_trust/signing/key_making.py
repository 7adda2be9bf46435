"""A new Ed25519 key and its two files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from geometry_of_trust.errors import BadOption, BadPassphrase, OutputExists
from geometry_of_trust.files import PathLike
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.signing.ed25519_points import is_of_full_order
from geometry_of_trust.signing.keys import PublicKey, SecretKey

KeyFormat = Literal["pem", "raw", "openssh"]

BCRYPT_ROUNDS = 32
"""A quarter of a second; OpenSSH takes 24, the library 16."""


def generate_key_files(
    path: PathLike,
    *,
    format: KeyFormat | None = None,  # noqa: A002 - named as the command's option
    passphrase: bytes | None = None,
) -> tuple[Path, Path, PublicKey]:
    """Make a key: the secret at `path` (mode 0600), the public one at `path` + ".pub".

    Args:
        path: where the secret goes; missing folders are created, nothing is ever replaced.
        format: "pem" (PKCS#8 and SubjectPublicKeyInfo; the default without a passphrase), "raw"
            (the reference's 32 bytes) or "openssh" (the default with one).
        passphrase: encrypts an OpenSSH key, with bcrypt.

    Returns:
        The two paths and the public key.

    Raises:
        OutputExists, NotAFile, Unwritable: nothing was left behind. A public key without its
            secret one, as a run may leave that was killed, is not replaced either.
        UnsafeFolder: others can write to the folder of the secret.
        BadPassphrase: the passphrase is empty.
        BadOption: no such format, or a passphrase for one that holds none.
    """
    form: str = format or ("pem" if passphrase is None else "openssh")
    if form not in ("pem", "raw", "openssh"):
        raise BadOption("format", expected="pem, raw or openssh", found=form)
    if passphrase is not None and form != "openssh":
        raise BadOption("format", expected="openssh, to hold a passphrase", found=form)
    if passphrase == b"":
        raise BadPassphrase(path, expected="a passphrase", found="an empty one")
    secret_path, public_path = Path(path), Path(f"{os.fspath(path)}.pub")
    key = Ed25519PrivateKey.generate()
    while form == "raw" and is_of_full_order(key.private_bytes_raw()):
        key = Ed25519PrivateKey.generate()  # one that cannot be taken for a public key
    secret, public = _encoded(key, form, passphrase)
    if os.path.lexists(public_path) and not os.path.lexists(secret_path):
        raise OutputExists(
            public_path,
            expected="no file of that name",
            found="one, and no secret key beside it",
            hint="If a keygen that was killed left it, remove it; else choose another name.",
        )
    with StagedFiles() as staged:  # the secret leads: it appears after its public key
        staged.write(secret_path, secret, mode=0o600, exclusive=True)
        staged.write(public_path, public, exclusive=True)
    return secret_path, public_path, SecretKey(key).public


def _encoded(key: Ed25519PrivateKey, form: str, passphrase: bytes | None) -> tuple[bytes, bytes]:
    """The contents of the secret and of the public file."""
    # Imported here: checking a signature does not need it, and it takes as long as the rest.
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415

    public = key.public_key()
    if form == "raw":
        return key.private_bytes_raw(), public.public_bytes_raw()
    if form == "pem":
        return (
            key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()),
            public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo),
        )
    lock: s.KeySerializationEncryption = s.NoEncryption()
    if passphrase is not None:
        builder = s.PrivateFormat.OpenSSH.encryption_builder()
        lock = builder.kdf_rounds(BCRYPT_ROUNDS).build(passphrase)
    return (
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, lock),
        public.public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH) + b"\n",
    )
