"""Ed25519 keys: load, sign, check. The only room that uses `cryptography`.

Three forms of key file are read: the reference's 32 raw bytes, PEM and OpenSSH. Checking is
strict (RFC 8032 section 5.1.7, and more): one byte string per key and per signature, and no key
of low order, under which one signature would fit every message.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from geometry_of_trust.errors import (
    BadKey,
    BadPassphrase,
    BadSignature,
    GotError,
    KeyPairMismatch,
    WeakKey,
    WrongKeyKind,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.ed25519_points import (
    LOW_ORDER_Y,
    ORDER,
    POINT_BYTES,
    P,
    check_point,
    is_of_full_order,
    y_of,
)
from geometry_of_trust.signing.secret_files import check_secret_file, read_with_state
from geometry_of_trust.signing.unlocking_costs import check_cost

Passphrase = Callable[[], bytes]

KEY_BYTES = POINT_BYTES
SIGNATURE_BYTES = 64
MAX_KEY_FILE_BYTES = 65536

# DER of SubjectPublicKeyInfo with the Ed25519 identifier (RFC 8410 section 4), up to the key.
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
SSH_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s([^-]*)-----END \1-----")
SECRET_LABELS = (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"OPENSSH PRIVATE KEY")
_KEY_LINE = re.compile(rb"\A\s*(ssh|ecdsa|sk)-|(PUBLIC|PRIVATE) KEY-----")
_LEAST_DIFFERENT = 8
_TEXT = re.compile(rb"[\t\n\r -~]*")
FORMS = "an Ed25519 key as 32 raw bytes, PEM or OpenSSH"


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key.

    Attributes:
        raw: the 32 bytes of the compressed point.

    Raises:
        BadKey: not 32 bytes, not canonical, or not a point of the curve.
        LowOrderKey: a point whose order divides 8.
    """

    raw: bytes

    def __post_init__(self) -> None:
        check_point("public key", self.raw)

    @property
    def key_id(self) -> str:
        """SHA-256 of the key, 64 hex digits: the reference's agent id."""
        return hashlib.sha256(self.raw).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if `signature` (R ‖ S, 64 bytes) is this key's over `message`.

        Raises:
            BadSignature: it is not; or S is not below the group order, or R is not canonical or
                of low order, whatever the equation says.
        """
        found = ""
        if len(signature) != SIGNATURE_BYTES:
            found = f"{len(signature)} bytes"
        elif int.from_bytes(signature[32:], "little") >= ORDER:
            found = "S not below the group order"
        elif y_of(signature[:32]) >= P:
            found = "R not canonical"
        elif y_of(signature[:32]) in LOW_ORDER_Y:
            found = "R of low order"
        else:
            try:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
            except InvalidSignature:
                found = "one that does not verify"
        if found:
            expected = f"a signature by key {self.key_id[:16]}"
            raise BadSignature("signature", expected=expected, found=found)


class SecretKey:
    """An Ed25519 signing key. Neither its `repr` nor any error shows the secret."""

    __slots__ = ("_key", "public")

    public: PublicKey

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of a 32-byte seed (RFC 8032's private key).

        Raises:
            BadKey: another length.
        """
        if len(seed) != KEY_BYTES:
            raise BadKey("seed", expected=f"{KEY_BYTES} bytes", found=f"{len(seed)} bytes")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`: 64 bytes, the same every time."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SecretKey(key_id={self.public.key_id!r})"


# --- loading ----------------------------------------------------------------------------------


def _neighbours(path: PathLike) -> Iterator[bytes]:
    """The public keys beside a raw key file, by our naming and by the reference's."""
    for beside in _names_beside(path):
        with contextlib.suppress(GotError):
            yield _public_bytes(beside, read_with_state(beside, MAX_KEY_FILE_BYTES)[0])


def _names_beside(path: PathLike) -> list[Path]:
    own = Path(path)
    return [
        name for name in (Path(f"{os.fspath(path)}.pub"), own.with_suffix(".pub")) if name != own
    ]


def load_public_key(path: PathLike) -> PublicKey:
    """Read a public key: 32 raw bytes, PEM (SubjectPublicKeyInfo) or an OpenSSH line.

    Raises:
        Unreadable, TooLarge: as `read_bounded`.
        WrongKeyKind: the file holds a secret key. Raw bytes can be either; they are taken for a
            secret when the file beside them with the suffix .pub is its public key.
        BadKey: not an Ed25519 key, not canonical, or not a point of the curve.
        LowOrderKey: a point whose order divides 8.
    """
    data, _ = read_with_state(path, MAX_KEY_FILE_BYTES)
    wrong = b"PRIVATE KEY-----" in data
    if len(data) == KEY_BYTES:
        wrong = SecretKey.from_seed(data).public.raw in _neighbours(path)
    if wrong:
        raise WrongKeyKind(
            path,
            expected="a public key",
            found="a secret key",
            hint="The public key is the file ending in .pub. Keep the secret one to yourself.",
        )
    raw = _public_bytes(path, data)
    check_point(path, raw)
    return PublicKey(raw)


def _public_bytes(path: PathLike, data: bytes) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    block = PEM.fullmatch(text)
    words = text.split()
    prefix, body = b"", b""
    if block and block[1] == b"PUBLIC KEY":
        prefix, body = SPKI_PREFIX, b"".join(block[2].split())
    elif len(words) > 1 and words[0] == b"ssh-ed25519" and len(text.splitlines()) == 1:
        prefix, body = SSH_PREFIX, words[1]
    with contextlib.suppress(binascii.Error):
        blob = base64.b64decode(body, validate=True)
        if len(blob) == len(prefix) + KEY_BYTES and blob.startswith(prefix):
            return blob[len(prefix) :]
    raise BadKey(path, expected=FORMS, found=f"{len(data)} other bytes")


def load_secret_key(path: PathLike, passphrase: Passphrase | None = None) -> SecretKey:
    """Read a secret key: 32 raw bytes, PEM (PKCS#8) or OpenSSH, the last two perhaps encrypted.

    Args:
        path: the file, which must be this user's alone.
        passphrase: asked only if the key is encrypted.

    Raises:
        Unreadable, TooLarge: as `read_bounded`.
        WrongKeyKind: the file holds a public key. Raw bytes can be either; see `_looks_public`.
        NotOwned, UnsafeKeyPermissions, UnsafeFolder, NotAFile: as `check_secret_file`.
        LimitExceeded: it is encrypted so that opening it takes too long (`unlocking_costs`).
        BadPassphrase: the key is encrypted, and the passphrase is missing, empty or wrong.
        BadKey: not an Ed25519 secret key in one of these forms.
        WeakKey: 32 bytes that are text, or of which fewer than eight differ.
        KeyPairMismatch: the file beside it with the suffix .pub holds another key.
    """
    data, found = read_with_state(path, MAX_KEY_FILE_BYTES)
    if _looks_public(path, data):
        raise WrongKeyKind(
            path,
            expected="a secret key",
            found="a public key" if len(data) != KEY_BYTES else "what may be a public key",
            hint="The secret key is the file without the suffix .pub. 32 raw bytes that could be "
            "either are taken with their .pub beside them.",
        )
    check_secret_file(path, found)
    if len(data) == KEY_BYTES:
        key = Ed25519PrivateKey.from_private_bytes(data)
    else:
        key = _parsed_secret(path, data, passphrase)
    _check_random(path, key.private_bytes_raw())
    secret = SecretKey(key)
    beside = next(_neighbours(path), None)
    if beside != secret.public.raw and (beside is not None or _another_beside(path)):
        raise KeyPairMismatch(
            path,
            expected="beside it the public key that belongs to it, or none",
            found="that of another key",
            hint="Which of the two is meant? Put the right pair together.",
        )
    return secret


def _check_random(path: PathLike, seed: bytes) -> None:
    """A seed is one that chance may have given: a text or a pattern is somebody's word for a key.

    Raises:
        WeakKey: it is not. Of random seeds none is ever one of these (less than 1 in 10¹³).
    """
    found = f"{len(set(seed))} different bytes" if len(set(seed)) < _LEAST_DIFFERENT else ""
    if _TEXT.fullmatch(seed):
        found = "text"
    if found:
        raise WeakKey(path, expected="a key of 32 random bytes", found=found,
                      hint="Make a key with got-cli keygen.")  # fmt: skip


def _another_beside(path: PathLike) -> bool:
    """Whether a file that ends in .pub beside this one holds a key that is not read here."""
    for beside in _names_beside(path):
        with contextlib.suppress(GotError):
            if _says_key(read_with_state(beside, MAX_KEY_FILE_BYTES)[0]):
                return True
    return False


def _looks_public(path: PathLike, data: bytes) -> bool:
    """Whether a file holds a public key.

    Of 32 raw bytes nothing says so but the files beside them and the name. Without a .pub beside
    them that is theirs they are taken for a public key when they are the point of one, as one seed
    in 16 is by chance.
    """
    if len(data) != KEY_BYTES:
        return _says_key(data) and b"PRIVATE KEY-----" not in data
    beside = list(_neighbours(path))
    if data in beside:
        return True
    if SecretKey.from_seed(data).public.raw in beside:
        return False
    return os.fspath(path).endswith(".pub") or is_of_full_order(data)


def _says_key(data: bytes) -> bool:
    """Whether a file says of itself that it is a key, of whatever kind."""
    return _KEY_LINE.search(data) is not None


def _parsed_secret(path: PathLike, data: bytes, passphrase: Passphrase | None) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415

    text = data.strip()
    block = PEM.fullmatch(text)
    if not block or block[1] not in SECRET_LABELS:
        raise BadKey(path, expected=FORMS, found=f"{len(data)} other bytes")
    check_cost(path, block[1], block[2])
    ssh = block[1] == b"OPENSSH PRIVATE KEY"
    load = s.load_ssh_private_key if ssh else s.load_pem_private_key
    word: bytes | None = None
    # The library's messages are dropped: they are not ours to keep free of secrets.
    try:
        try:
            key = load(text, None)
        except TypeError:  # says that the key is encrypted
            word = _asked(path, passphrase)
            key = load(text, word)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        if word is None:
            raise BadKey(path, expected=FORMS, found="a damaged or unknown one") from None
        raise BadPassphrase(
            path, expected="its passphrase", found="one that does not open it"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(path, expected="an Ed25519 key", found="a key of another algorithm")
    # The library compares the two public keys in such a file, but neither with the secret one.
    if ssh and SSH_PREFIX + key.public_key().public_bytes_raw() not in base64.b64decode(block[2]):
        raise BadKey(path, expected="the public key of its secret", found="that of another")
    return key


def _asked(path: PathLike, passphrase: Passphrase | None) -> bytes:
    word = passphrase() if passphrase else b""
    if not word:
        raise BadPassphrase(path, expected="the passphrase of this key", found="none")
    return word
