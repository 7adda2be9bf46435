"""Keys and passphrases that are not taken: others', exchangeable, guessable, mismatched, costly."""

from __future__ import annotations

import base64
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from geometry_of_trust.errors import (
    BadKey,
    BadPassphrase,
    GotError,
    KeyPairMismatch,
    LimitExceeded,
    NotOwned,
    TooLarge,
    UnsafeFolder,
    UnsafeKeyPermissions,
    WeakKey,
    WrongKeyKind,
)
from geometry_of_trust.signing.key_making import generate_key_files
from geometry_of_trust.signing.keys import SecretKey, load_public_key, load_secret_key
from geometry_of_trust.signing.secret_files import read_passphrase

NOBODY = 65534
SEED = bytes(range(1, 33))
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
LOCKED = PRIVATE.private_bytes(
    s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"word")
)
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file to another user"
)
READERS: dict[str, Callable[[Path], object]] = {
    "key": load_secret_key,
    "passphrase": read_passphrase,
}


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    return READERS[request.param]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir(0o700)
    path = tmp_path / "mine" / "secret"
    path.write_bytes(SEED)
    path.chmod(0o600)
    return path


def test_a_secret_of_ones_own_is_taken(
    read: Callable[[Path], object], secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(secret)
    tmp_path.chmod(0o1777)  # as /tmp is
    for path in (secret, tmp_path / "link"):
        assert read(path)


@root_only
def test_a_secret_of_another_user_is_not_taken(
    read: Callable[[Path], object], secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(secret)
    os.link(secret, tmp_path / "hard")
    os.chown(secret, NOBODY, NOBODY)
    for path in (secret, tmp_path / "link", tmp_path / "hard"):
        with pytest.raises(NotOwned) as refused:
            read(path)
        assert refused.value.where == str(path)


@root_only
def test_a_link_of_another_user_to_ones_own_secret_is_not_followed(
    read: Callable[[Path], object], secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(secret)
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UnsafeFolder):
        read(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o707])
def test_a_secret_where_others_can_exchange_it_is_not_taken(
    mode: int, read: Callable[[Path], object], secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(secret)
    secret.parent.chmod(mode)
    for path in (secret, tmp_path / "link"):
        with pytest.raises(UnsafeFolder) as refused:
            read(path)
        assert refused.value.where == str(path)
    secret.parent.chmod(0o700)
    tmp_path.chmod(mode)
    with pytest.raises(UnsafeFolder):
        read(tmp_path / "link")
    assert read(secret)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_not_taken(
    mode: int, read: Callable[[Path], object], secret: Path
) -> None:
    secret.chmod(mode)
    with pytest.raises(UnsafeKeyPermissions):
        read(secret)


def test_passphrases(secret: Path) -> None:
    for data, phrase in ((b"a b\r\nmore", b"a b"), (b"", b""), (b"x", b"x")):
        secret.write_bytes(data)
        assert read_passphrase(secret) == phrase
    secret.write_bytes(b"x" * 4097)
    with pytest.raises(TooLarge):
        read_passphrase(secret)


def test_a_key_is_not_made_where_others_can_exchange_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        shared = tmp_path / "shared"
        shared.mkdir(0o777)
        with pytest.raises(UnsafeFolder):
            generate_key_files(shared / "key")
        assert os.listdir(shared) == []
        generate_key_files(shared / "new" / "key")  # a folder that is made is the user's alone
        assert load_secret_key(shared / "new" / "key")
        shared.chmod(0o1777)
        generate_key_files(shared / "key")
        assert load_secret_key(shared / "key")
    finally:
        os.umask(before)


@pytest.mark.parametrize("byte", [0, 1, 255])
def test_equal_bytes_are_no_key(byte: int, secret: Path) -> None:
    seed = bytes([byte]) * 32
    key = Ed25519PrivateKey.from_private_bytes(seed)
    for data in (
        seed,
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()),
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()),
    ):
        secret.write_bytes(data)
        with pytest.raises(WeakKey):
            load_secret_key(secret)


@pytest.mark.parametrize(
    "seed",
    [
        b"0123456789abcdef" * 2,
        b"correct horse battery staple ok\n",
        bytes(range(7)) * 4 + b"\0" * 4,
    ],
)
def test_a_text_or_a_pattern_is_no_key(seed: bytes, secret: Path) -> None:
    secret.write_bytes(seed)
    secret.with_name("secret.pub").write_bytes(SecretKey.from_seed(seed).public.raw)
    with pytest.raises(WeakKey) as refused:
        load_secret_key(secret)
    assert refused.value.where == str(secret)


@pytest.mark.parametrize("seed", [bytes(range(8)) * 4, b"correct horse battery staple o\x80\n"])
def test_what_chance_may_give_is_a_key(seed: bytes, secret: Path) -> None:
    """Eight bytes that differ; and one that is no text."""
    secret.write_bytes(seed)
    secret.with_name("secret.pub").write_bytes(SecretKey.from_seed(seed).public.raw)
    assert load_secret_key(secret).public == SecretKey.from_seed(seed).public


def test_an_openssh_key_of_two_halves(secret: Path) -> None:
    whole = PRIVATE.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption())
    blob = base64.b64decode(b"".join(whole.splitlines()[1:-1]))
    other = SecretKey.from_seed(SEED[::-1]).public.raw
    blob = blob.replace(PRIVATE.public_key().public_bytes_raw(), other)
    secret.write_bytes(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + base64.encodebytes(blob)
        + b"-----END OPENSSH PRIVATE KEY-----\n"
    )
    with pytest.raises(BadKey):
        load_secret_key(secret)


@pytest.mark.parametrize("form", ["raw", "pem"])
def test_a_key_beside_the_public_key_of_another(form: str, secret: Path) -> None:
    if form == "pem":
        secret.write_bytes(
            PRIVATE.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
        )
    beside = secret.with_name("secret.pub")
    beside.write_bytes(SecretKey.from_seed(SEED[::-1]).public.raw)
    with pytest.raises(KeyPairMismatch) as refused:
        load_secret_key(secret)
    assert refused.value.exit_code == 1
    other = Ed25519PrivateKey.from_private_bytes(SEED[::-1]).public_key()
    line = other.public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH) + b"\n"
    pem = other.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    for text in (b"ssh-rsa AAAA x", 2 * line, b"# mine\n" + pem, b"ecdsa-sha2-nistp256 A", LOCKED):
        beside.write_bytes(text)
        with pytest.raises(KeyPairMismatch):
            load_secret_key(secret)
    beside.write_bytes(b"what is no key says nothing")
    assert load_secret_key(secret).public.raw == PRIVATE.public_key().public_bytes_raw()


def test_a_raw_public_key_is_no_secret_whatever_it_is_called(tmp_path: Path) -> None:
    for n in range(8):
        _, public, key = generate_key_files(tmp_path / str(n), format="raw")
        copy = tmp_path / f"copy{n}"
        copy.write_bytes(public.read_bytes())
        copy.chmod(0o600)
        with pytest.raises(WrongKeyKind):
            load_secret_key(copy)
        (tmp_path / f"{n}.pub").unlink()
        assert load_secret_key(tmp_path / str(n)).public == key  # a seed alone is still one
        assert load_public_key(copy) == key


# --- keys that would take long to open --------------------------------------------------------


def openssh(rounds: int, cut: int | None = None) -> bytes:
    def text(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    options = text(b"s" * 16) + struct.pack(">I", rounds)
    blob = b"openssh-key-v1\0" + text(b"aes256-ctr") + text(b"bcrypt") + text(options)
    blob += struct.pack(">I", 1) + text(b"public") + text(b"secret" * 8)
    return block("OPENSSH PRIVATE KEY", blob[:cut])


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 128 else b"\x82" + struct.pack(">H", len(body))
    return bytes([tag]) + size + body


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def block(label: str, blob: bytes) -> bytes:
    body = base64.encodebytes(blob).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def pkcs8(kind: str, *numbers: int) -> bytes:
    given = der(0x30, der(4, b"salt" * 4), *map(number, numbers))
    derivation = der(0x30, der(6, bytes.fromhex(kind)), given)
    cipher = der(0x30, der(6, bytes.fromhex("60864801650304012a")), der(4, b"i" * 16))
    scheme = der(0x30, der(6, bytes.fromhex("2a864886f70d01050d")), der(0x30, derivation, cipher))
    return block("ENCRYPTED PRIVATE KEY", der(0x30, scheme, der(4, b"x" * 64)))


PBKDF2, SCRYPT = "2a864886f70d01050c", "2b06010401da47040b"
OLDER = block(  # PBES1, whose parameters stand one level higher
    "ENCRYPTED PRIVATE KEY",
    der(0x30, der(0x30, der(6, bytes.fromhex("2a864886f70d010503")),
                  der(0x30, der(4, b"salt" * 2), number(2**31 - 1))), der(4, b"x" * 64)),
)  # fmt: skip
COSTLY = {
    "bcrypt, 2^32 - 1": openssh(2**32 - 1),
    "bcrypt, 513": openssh(513),
    "PBKDF2": pkcs8(PBKDF2, 2**31 - 1),
    "PBKDF2, more than 64 bits": pkcs8(PBKDF2, 2**90),
    "scrypt": pkcs8(SCRYPT, 2**22, 8, 1),
    "scrypt, in parallel": pkcs8(SCRYPT, 2**10, 8, 2**20),
    "PBES1": OLDER,
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_key_that_takes_long_to_open_is_refused_before_it_is_opened(
    name: str, secret: Path
) -> None:
    secret.write_bytes(COSTLY[name])
    start = time.perf_counter()
    with pytest.raises(LimitExceeded) as refused:
        load_secret_key(secret, lambda: b"word")
    assert time.perf_counter() - start < 1
    assert refused.value.exit_code == 1


def test_what_is_not_costly_is_left_to_the_reader(secret: Path) -> None:
    for data in (
        openssh(3), openssh(3, 20), openssh(3, 40), pkcs8(PBKDF2, 2048), pkcs8(SCRYPT),
        pkcs8(SCRYPT, 2**10, 8, 1), block("ENCRYPTED PRIVATE KEY", b""),
        block("ENCRYPTED PRIVATE KEY", bytes.fromhex("3080308006")), LOCKED[:-60] + LOCKED[-59:],
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    ):  # fmt: skip
        secret.write_bytes(data)
        with pytest.raises(GotError) as refused:
            load_secret_key(secret, lambda: b"word")
        assert isinstance(refused.value, BadKey | BadPassphrase)
    secret.write_bytes(LOCKED)
    assert load_secret_key(secret, lambda: b"word")
