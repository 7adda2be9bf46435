"""Key files: docs/formats.md, Keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519

from conformance import ed25519
from conformance.ed25519 import OTHER, Key, P
from conformance.keyfiles import (
    PASSPHRASE,
    SPKI_PREFIX,
    encrypted_pkcs8,
    openssh,
    pem,
    pkcs8,
    spki,
    ssh_line,
    ssh_public,
)
from conformance.vector import Vector, accepted, refused

Other = ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | x25519.X25519PrivateKey
KEY = Key(bytes(range(1, 33)))
SEED, PUBLIC = KEY.seed, KEY.public
NEUTRAL = (1).to_bytes(32, "little")


def keys() -> Iterator[Vector]:
    """Vectors of kind `key`."""
    yield from _public_read()
    yield from _public_refused()
    yield from _points()
    yield from _secret_read()
    yield from _secret_refused()
    yield from _secret_weak()
    yield from _passphrases()
    yield from _raw_beside()
    yield from _other_algorithms()


def _public(name: str, data: bytes, comment: str, **more: str) -> Vector:
    return accepted("key", name, data, comment, as_a="public", more=more,
                    public=PUBLIC.hex(), key_id=KEY.key_id)  # fmt: skip


def _secret(name: str, data: bytes, comment: str, **more: str) -> Vector:
    return accepted("key", name, data, comment, as_a="secret", more=more,
                    public=PUBLIC.hex(), signs=KEY.sign(b"message").hex())  # fmt: skip


def _public_read() -> Iterator[Vector]:
    yield _public("public-raw", PUBLIC, "the public key of the seed 01 to 20 (hex)")
    yield _public("public-pem", spki(PUBLIC), "SubjectPublicKeyInfo")
    crlf = spki(PUBLIC).replace(b"\n", b"\r\n")
    yield _public("public-pem-carriage-returns", crlf, "lines that end in CR LF")
    yield _public("public-openssh", ssh_line(PUBLIC), "one line, without line feed")
    line = ssh_line(PUBLIC, "somebody@somewhere else") + b"\n"
    yield _public("public-openssh-comment", line, "a comment of two words, and a line feed")


def _public_refused() -> Iterator[Vector]:
    blob = SPKI_PREFIX + PUBLIC
    line = ssh_line(PUBLIC)
    for name, data, comment in (
        ("empty", b"", "no byte at all"),
        ("31-bytes", PUBLIC[1:], "a raw key of 31 bytes"),
        ("33-bytes", PUBLIC + b"\n", "a raw key with a line feed behind it"),
        ("hex", PUBLIC.hex().encode(), "hex is no form of a key file"),
        ("pem-no-base64", b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n", "!!!!"),
        ("pem-nothing-inside", pem("PUBLIC KEY", b""), "a block without a key"),
        ("pem-longer", pem("PUBLIC KEY", blob + b"\0"), "a byte after the key"),
        ("pem-shorter", pem("PUBLIC KEY", blob[:-1]), "a key of 31 bytes"),
        ("pem-another-oid", pem("PUBLIC KEY", blob.replace(b"\x2b\x65\x70", b"\x2b\x65\x6e")),
         "the identifier of X25519 before 32 bytes"),
        ("pem-another-end", spki(PUBLIC).replace(b"END PUBLIC", b"END OTHER"), "END says another"),
        ("pem-two-blocks", spki(PUBLIC) * 2, "a file holds one key and nothing else"),
        ("pem-text-before", b"a key\n" + spki(PUBLIC), "a file holds one key and nothing else"),
        ("openssh-two-lines", line + b"\n" + line, "a file holds one key and nothing else"),
        ("openssh-type-alone", b"ssh-ed25519", "no key behind the type"),
        ("openssh-another-type-inside",
         b"ssh-ed25519 " + base64.b64encode(ssh_public(PUBLIC, b"ssh-ed25518")),
         "the blob says another type than the line"),
        ("openssh-certificate", b"ssh-ed25519-cert-v01@openssh.com " + line.split()[1],
         "a certificate is no key"),
        ("openssh-options", b'command="x" ' + line, "options before the type"),
    ):  # fmt: skip
        yield refused("key", f"public-{name}", "BadKey", data, comment, as_a="public")
    for name, data in (("pkcs8", pkcs8(SEED)), ("pkcs8-encrypted", encrypted_pkcs8(SEED)),
                       ("openssh", openssh(SEED, PUBLIC)),
                       ("behind-a-public-one", spki(PUBLIC) + pkcs8(SEED))):  # fmt: skip
        yield refused("key", f"secret-as-public-{name}", "WrongKeyKind", data,
                      "a secret key where a public one is expected", as_a="public")  # fmt: skip
    yield refused("key", "public-too-large", "TooLarge", b"x", "one byte more than 65536",
                  repeats=((0, 1, 65537),), as_a="public")  # fmt: skip


def _points() -> Iterator[Vector]:
    for multiple, point in enumerate(ed25519.low_order()):
        yield refused("key", f"low-order-{multiple}", "LowOrderKey", ed25519.encoded(point),
                      f"{multiple} times a point of order 8", as_a="public")  # fmt: skip
    for x, y in ed25519.low_order():
        if x == 0:
            name = "1" if y == 1 else "minus-1"
            raw = (y | 1 << 255).to_bytes(32, "little")
            yield refused("key", f"low-order-y-{name}-with-sign", "LowOrderKey", raw,
                          "x is 0, which has no negative", as_a="public")  # fmt: skip
    for name, data in (("pem", spki(NEUTRAL)), ("openssh", ssh_line(NEUTRAL))):
        yield refused("key", f"low-order-{name}", "LowOrderKey", data,
                      "the neutral element in this form", as_a="public")  # fmt: skip
    for y in (0, 1, 3, 18):
        for sign in (0, 1):
            raw = (y + P | sign << 255).to_bytes(32, "little")
            yield refused("key", f"not-canonical-{y}-sign-{sign}", "BadKey", raw,
                          f"y = {y}, written as 2^255 - 19 + {y}", as_a="public")  # fmt: skip
    yield refused(
        "key", "not-canonical-all-ones", "BadKey", b"\xff" * 32, "256 ones", as_a="public"
    )
    for y in (2, 7):
        if ed25519.point_of(y, 0) is not None:
            raise ValueError(f"y = {y} is on the curve")
        yield refused("key", f"not-on-the-curve-{y}", "BadKey", y.to_bytes(32, "little"),
                      f"no point of the curve has y = {y}", as_a="public")  # fmt: skip


def _secret_read() -> Iterator[Vector]:
    yield _secret("secret-raw", SEED, "the seed of RFC 8032, 32 bytes, which are no public key")
    yield _secret("secret-pem", pkcs8(SEED), "PKCS#8, not encrypted")
    crlf = pkcs8(SEED).replace(b"\n", b"\r\n")
    yield _secret("secret-pem-carriage-returns", crlf, "lines that end in CR LF")
    yield _secret("secret-openssh", openssh(SEED, PUBLIC), "OpenSSH, not encrypted")
    yield _secret("secret-read-only", SEED, "mode 0400 is the owner's alone", mode="0400")


def _secret_refused() -> Iterator[Vector]:
    for mode in ("0640", "0604", "0620", "0601", "0644", "0777"):
        yield refused("key", f"mode-{mode}", "UnsafeKeyPermissions", pkcs8(SEED),
                      "group or others may use it (not checked on Windows)", as_a="secret",
                      mode=mode)  # fmt: skip
    for name, data in (("pem", spki(PUBLIC)), ("openssh", ssh_line(PUBLIC))):
        yield refused("key", f"public-as-secret-{name}", "WrongKeyKind", data,
                      "a public key where a secret one is expected", as_a="secret")  # fmt: skip
    body = openssh(SEED, PUBLIC)
    for name, data, comment in (
        ("empty", b"", "no byte at all"),
        ("31-bytes", SEED[1:], "a seed of 31 bytes"),
        ("33-bytes", SEED + b"\n", "a seed with a line feed behind it"),
        ("hex", SEED.hex().encode(), "hex is no form of a key file"),
        ("pem-two-blocks", pkcs8(SEED) * 2, "a file holds one key and nothing else"),
        ("pem-and-public", pkcs8(SEED) + spki(PUBLIC), "a file holds one key and nothing else"),
        ("pem-another-end", pkcs8(SEED).replace(b"END PRIVATE", b"END OTHER"), "END says another"),
        ("pem-no-base64", b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
         "!!!!"),
        ("pem-seed-of-31-bytes",
         pem("PRIVATE KEY", bytes.fromhex("302d020100300506032b65700421041f") + SEED[1:]),
         "the octet string inside is short"),
        ("openssh-truncated", pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\0" + bytes(20), 70),
         "the blob ends before the key"),
        ("openssh-cut", body[: len(body) // 2], "half of a file"),
    ):  # fmt: skip
        yield refused("key", f"secret-{name}", "BadKey", data, comment, as_a="secret")
    yield refused("key", "secret-too-large", "TooLarge", b"x", "one byte more than 65536",
                  repeats=((0, 1, 65537),), as_a="secret")  # fmt: skip


def _secret_weak() -> Iterator[Vector]:
    """Secret keys that are read and not taken."""
    equal = OTHER.seed
    for name, data in (
        ("raw", equal), ("pem", pkcs8(equal)), ("openssh", openssh(equal, OTHER.public)),
    ):  # fmt: skip
        yield refused("key", f"secret-of-equal-bytes-{name}", "WeakKey", data, "32 times 02",
                      as_a="secret")  # fmt: skip
    yield refused("key", "secret-beside-another-public", "KeyPairMismatch", pkcs8(SEED),
                  "key.pub beside it is of another key", as_a="secret", path="key",
                  beside="key.pub key/another-key")  # fmt: skip


def _passphrases() -> Iterator[Vector]:
    word = PASSPHRASE.decode()
    for name, data in (
        ("openssh", openssh(SEED, PUBLIC, PASSPHRASE, 2**32 - 1)),
        ("openssh-513", openssh(SEED, PUBLIC, PASSPHRASE, 513)),
        ("pem", encrypted_pkcs8(SEED, 2**31 - 1)),
    ):
        yield refused("key", f"encrypted-{name}-rounds", "LimitExceeded", data,
                      "more rounds than are computed, refused before the first", as_a="secret",
                      more={"passphrase": word})  # fmt: skip
    for name, data in (
        ("pem", encrypted_pkcs8(SEED)),
        ("openssh", openssh(SEED, PUBLIC, PASSPHRASE)),
    ):
        yield _secret(f"encrypted-{name}", data, "the passphrase opens it", passphrase=word)
        yield refused("key", f"encrypted-{name}-wrong", "BadPassphrase", data, "another passphrase",
                      as_a="secret", more={"passphrase": "battery staple"})  # fmt: skip
        yield refused("key", f"encrypted-{name}-none", "BadPassphrase", data, "no passphrase",
                      as_a="secret")  # fmt: skip
    yield _secret("not-encrypted-with-passphrase", pkcs8(SEED),
                  "a passphrase that is not needed is not asked for", passphrase=word)  # fmt: skip


def _raw_beside() -> Iterator[Vector]:
    """Raw bytes do not say what they are; the file beside them does."""
    yield refused("key", "raw-secret-as-public", "WrongKeyKind", SEED,
                  "key, and key.pub beside it holds its public key", as_a="public", path="key",
                  beside="key.pub key/public-raw")  # fmt: skip
    yield refused("key", "raw-secret-as-public-reference", "WrongKeyKind", SEED,
                  "a.key, and a.pub beside it, as the reference names them", as_a="public",
                  path="a.key", beside="a.pub key/public-pem")  # fmt: skip
    yield _public("raw-public-beside-garbage", PUBLIC, "what is no key beside it says nothing",
                  path="key", beside="key.pub key/public-hex")  # fmt: skip
    yield refused("key", "raw-public-as-secret", "WrongKeyKind", PUBLIC,
                  "the name ends in .pub, and nothing is beside it", as_a="secret",
                  path="key.pub")  # fmt: skip
    yield refused("key", "raw-public-as-secret-copy", "WrongKeyKind", PUBLIC,
                  "the file beside it holds the same bytes", as_a="secret", path="copy",
                  beside="copy.pub key/public-raw")  # fmt: skip
    yield refused("key", "raw-public-as-secret-alone", "WrongKeyKind", PUBLIC,
                  "a point of full order, with nothing beside it", as_a="secret")  # fmt: skip
    yield _secret("raw-secret-named-pub", SEED, "x.pub is secret if x.pub.pub is its public key",
                  path="x.pub", beside="x.pub.pub key/public-raw")  # fmt: skip
    yield accepted("key", "another-key", OTHER.public, "the public key of the seed 32 times 02",
                   as_a="public", public=OTHER.public.hex(), key_id=OTHER.key_id)  # fmt: skip


def _other_algorithms() -> Iterator[Vector]:
    curve = ec.derive_private_key(2**200 + 1, ec.SECP256R1())
    made: list[tuple[str, Other]] = [
        ("p-256", curve),
        ("ed448", ed448.Ed448PrivateKey.from_private_bytes(bytes([3]) * 57)),
        ("x25519", x25519.X25519PrivateKey.from_private_bytes(bytes([3]) * 32)),
    ]  # fmt: skip
    for name, key in made:
        secret = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
        public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
        yield refused("key", f"{name}-secret", "BadKey", secret, "another algorithm", as_a="secret")
        yield refused("key", f"{name}-public", "BadKey", public, "another algorithm", as_a="public")
    line = curve.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
    yield refused("key", "p-256-openssh", "BadKey", line, "another algorithm", as_a="public")
    yield refused("key", "p-256-openssh-as-secret", "WrongKeyKind", line,
                  "a public key of another algorithm", as_a="secret")  # fmt: skip
