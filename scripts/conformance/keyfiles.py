"""Key files byte by byte, with fixed salts: PEM (RFC 8410, 5958, 8018) and OpenSSH."""

from __future__ import annotations

import base64
import hashlib
import struct

import bcrypt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PASSPHRASE = b"correct horse"
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
PKCS8_PREFIX = bytes.fromhex("302e020100300506032b657004220420")
BCRYPT_ROUNDS = 16
PBKDF2_ROUNDS = 2048


def pem(label: str, blob: bytes, width: int = 64) -> bytes:
    """A PEM block."""
    body = base64.b64encode(blob).decode()
    lines = [body[i : i + width] for i in range(0, len(body), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def spki(public: bytes) -> bytes:
    """A public key as PEM."""
    return pem("PUBLIC KEY", SPKI_PREFIX + public)


def pkcs8(seed: bytes) -> bytes:
    """A secret key as PEM, not encrypted."""
    return pem("PRIVATE KEY", PKCS8_PREFIX + seed)


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes(2, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(length)]) + length + body


def encrypted_pkcs8(seed: bytes, said: int = PBKDF2_ROUNDS) -> bytes:
    """A secret key as PEM: PBES2, PBKDF2 with HMAC-SHA-256, AES-256-CBC; it says so many rounds."""
    salt, start = bytes([7]) * 16, bytes([9]) * 16
    key = hashlib.pbkdf2_hmac("sha256", PASSPHRASE, salt, PBKDF2_ROUNDS)
    plain = PKCS8_PREFIX + seed
    padding = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    hidden = encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()
    oid = {name: _der(6, bytes.fromhex(code)) for name, code in (
        ("pbes2", "2a864886f70d01050d"), ("pbkdf2", "2a864886f70d01050c"),
        ("hmac", "2a864886f70d0209"), ("aes", "60864801650304012a"),
    )}  # fmt: skip
    rounds = _der(2, said.to_bytes(4, "big").lstrip(b"\0"))
    derivation = _der(
        0x30,
        oid["pbkdf2"],
        _der(0x30, _der(4, salt), rounds, _der(0x30, oid["hmac"], _der(5))),
    )
    scheme = _der(0x30, derivation, _der(0x30, oid["aes"], _der(4, start)))
    blob = _der(0x30, _der(0x30, oid["pbes2"], scheme), _der(4, hidden))
    return pem("ENCRYPTED PRIVATE KEY", blob)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def ssh_public(public: bytes, kind: bytes = b"ssh-ed25519") -> bytes:
    """The blob of an OpenSSH public key."""
    return _string(kind) + _string(public)


def ssh_line(public: bytes, comment: str = "") -> bytes:
    """A public key as one line, without line feed."""
    line = b"ssh-ed25519 " + base64.b64encode(ssh_public(public))
    return line + f" {comment}".encode() if comment else line


def openssh(
    seed: bytes, public: bytes, passphrase: bytes | None = None, said: int = BCRYPT_ROUNDS
) -> bytes:
    """A secret key of OpenSSH, plain or under bcrypt and AES-256-CTR; it says so many rounds."""
    check = struct.pack(">II", 0x01020304, 0x01020304)
    block, cipher, derivation, options = 8, b"none", b"none", b""
    salt = bytes([5]) * 16
    if passphrase is not None:
        block, cipher, derivation = 16, b"aes256-ctr", b"bcrypt"
        options = _string(salt) + struct.pack(">I", said)
    plain = check + ssh_public(public) + _string(seed + public) + _string(b"a test key")
    plain += bytes(range(1, -len(plain) % block + 1))
    if passphrase is not None:
        stream = bcrypt.kdf(passphrase, salt, 48, BCRYPT_ROUNDS, ignore_few_rounds=True)
        encryptor = Cipher(algorithms.AES(stream[:32]), modes.CTR(stream[32:])).encryptor()
        plain = encryptor.update(plain) + encryptor.finalize()
    blob = b"openssh-key-v1\0" + _string(cipher) + _string(derivation) + _string(options)
    blob += struct.pack(">I", 1) + _string(ssh_public(public)) + _string(plain)
    return pem("OPENSSH PRIVATE KEY", blob, 70)
