"""Keys: made, loaded, refused; strict Ed25519."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from geometry_of_trust.errors import (
    BadKey,
    BadOption,
    BadPassphrase,
    BadSignature,
    GotError,
    LowOrderKey,
    OutputExists,
    TooLarge,
    Unreadable,
    UnsafeKeyPermissions,
    Unwritable,
    WrongKeyKind,
)
from geometry_of_trust.signing.ed25519_points import ORDER, P
from geometry_of_trust.signing.key_making import KeyFormat, generate_key_files
from geometry_of_trust.signing.keys import (
    PublicKey,
    SecretKey,
    load_public_key,
    load_secret_key,
)
from places import REFERENCE, VECTORS

RFC8032 = json.loads((VECTORS / "rfc8032.json").read_bytes())
FORMATS: list[KeyFormat] = ["pem", "raw", "openssh"]
SEED = bytes(range(1, 33))
KEY = SecretKey.from_seed(SEED)
SIGNATURE = KEY.sign(b"message")
posix = pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")


@pytest.fixture(autouse=True)
def _plain_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def place(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


# --- signing and checking ---------------------------------------------------------------------


def test_seed_of_ones() -> None:
    key = SecretKey.from_seed(b"\x01" * 32)
    expected = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    assert key.public.raw.hex() == expected
    expected = "34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e"
    assert key.public.key_id == expected


@pytest.mark.parametrize("vector", RFC8032, ids=lambda vector: str(vector["name"]))
def test_rfc_8032(vector: dict[str, str]) -> None:
    key = SecretKey.from_seed(bytes.fromhex(vector["secret"]))
    message = bytes.fromhex(vector["message"])
    assert key.public.raw.hex() == vector["public"]
    assert key.sign(message).hex() == vector["signature"]
    PublicKey(bytes.fromhex(vector["public"])).verify(bytes.fromhex(vector["signature"]), message)
    with pytest.raises(BadSignature):
        key.public.verify(bytes.fromhex(vector["signature"]), message + b"\0")


def test_every_bit_of_a_signature_counts() -> None:
    KEY.public.verify(SIGNATURE, b"message")
    for bit in range(512):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSignature):
            KEY.public.verify(bytes(changed), b"message")


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_signatures_of_other_lengths(length: int) -> None:
    with pytest.raises(BadSignature) as caught:
        KEY.public.verify((SIGNATURE * 2)[:length], b"message")
    assert (caught.value.where, caught.value.exit_code) == ("signature", 1)
    assert caught.value.found == f"{length} bytes"  # ours, not left to the library


@pytest.mark.parametrize("multiple", range(1, 16))
def test_the_same_signature_with_a_larger_s(multiple: int) -> None:
    larger = int.from_bytes(SIGNATURE[32:], "little") + multiple * ORDER
    assert larger < 2**256
    with pytest.raises(BadSignature) as caught:
        KEY.public.verify(SIGNATURE[:32] + larger.to_bytes(32, "little"), b"message")
    assert caught.value.found == "S not below the group order"  # ours, not left to the library


def test_s_that_is_the_order() -> None:
    with pytest.raises(BadSignature) as caught:
        KEY.public.verify(SIGNATURE[:32] + ORDER.to_bytes(32, "little"), b"message")
    assert caught.value.found == "S not below the group order"


def signed_with_r(r: bytes) -> bytes:
    """A signature of KEY over b"message" whose R is the neutral element, written as `r`."""
    scalar = int.from_bytes(hashlib.sha512(SEED).digest()[:32], "little")
    scalar = scalar & (2**254 - 8) | 2**254
    digest = hashlib.sha512(r + KEY.public.raw + b"message").digest()
    k = int.from_bytes(digest, "little")
    return r + (k * scalar % ORDER).to_bytes(32, "little")


NEUTRAL = (1).to_bytes(32, "little")


def test_r_of_low_order_is_refused_although_the_equation_holds() -> None:
    signature = signed_with_r(NEUTRAL)
    # The control: the library alone accepts it.
    Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(signature, b"message")
    with pytest.raises(BadSignature):
        KEY.public.verify(signature, b"message")


@pytest.mark.parametrize("r", [P, P + 1, 1 + 2**255, P + 1 + 2**255])
def test_r_that_is_not_canonical_is_refused(r: int) -> None:
    with pytest.raises(BadSignature) as caught:
        KEY.public.verify(signed_with_r(r.to_bytes(32, "little")), b"message")
    assert caught.value.found == ("R not canonical" if r % 2**255 >= P else "R of low order")


def test_one_signature_of_a_low_order_key_fits_every_message() -> None:
    signature = NEUTRAL + bytes(32)
    for message in (b"a", b"b"):  # the control: the library alone accepts both
        Ed25519PublicKey.from_public_bytes(NEUTRAL).verify(signature, message)
    with pytest.raises(LowOrderKey):
        PublicKey(NEUTRAL)


@pytest.mark.parametrize("raw", [b"", b"\2" * 31, b"\2" * 33, (2).to_bytes(32, "little")])
def test_bytes_that_are_no_key(raw: bytes) -> None:
    with pytest.raises(BadKey) as caught:
        PublicKey(raw)
    assert caught.value.where == "public key"


@pytest.mark.parametrize("seed", [b"", b"\1" * 31, b"\1" * 33])
def test_seeds_of_other_lengths(seed: bytes) -> None:
    with pytest.raises(BadKey) as caught:
        SecretKey.from_seed(seed)
    assert caught.value.where == "seed"


# --- making -----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("form", FORMATS)
def test_made_keys_load(form: KeyFormat, tmp_path: Path) -> None:
    os.umask(0)
    secret, public, key = generate_key_files(tmp_path / "new" / "key", format=form)
    assert (secret, public) == (tmp_path / "new" / "key", tmp_path / "new" / "key.pub")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o666
    assert load_public_key(public) == key
    loaded = load_secret_key(secret)
    assert loaded.public == key
    key.verify(loaded.sign(b"x"), b"x")


def test_the_bytes_of_each_format(tmp_path: Path) -> None:
    def contents(form: KeyFormat | None) -> tuple[bytes, bytes, PublicKey]:
        secret, public, key = generate_key_files(tmp_path / str(form), format=form)
        return secret.read_bytes(), public.read_bytes(), key

    secret, public, key = contents("raw")
    assert (len(secret), public) == (32, key.raw)
    assert SecretKey.from_seed(secret).public == key
    for form in (None, "pem"):
        secret, public, key = contents(form)
        assert secret.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert s.load_pem_public_key(public).public_bytes_raw() == key.raw  # type: ignore[union-attr]
    secret, public, key = contents("openssh")
    assert secret.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert s.load_ssh_public_key(public).public_bytes_raw() == key.raw  # type: ignore[union-attr]


def test_two_keys_differ(tmp_path: Path) -> None:
    first, second = (generate_key_files(tmp_path / name)[2] for name in "ab")
    assert first != second


def test_a_passphrase_makes_an_encrypted_openssh_key(tmp_path: Path) -> None:
    secret, public, key = generate_key_files(tmp_path / "key", passphrase=b"correct horse")
    assert load_public_key(public) == key
    blob = base64.b64decode(b"".join(secret.read_bytes().splitlines()[1:-1]))
    assert b"bcrypt" in blob
    assert load_secret_key(secret, lambda: b"correct horse").public == key
    for answer in (lambda: b"wrong", lambda: b"", None):
        with pytest.raises(BadPassphrase) as caught:
            load_secret_key(secret, answer)
        assert caught.value.where == str(secret)


@pytest.mark.parametrize("form", FORMATS)
def test_the_suffix_is_appended(form: KeyFormat, tmp_path: Path) -> None:
    secret, public, key = generate_key_files(tmp_path / "x.pub", format=form)
    assert (secret.name, public.name) == ("x.pub", "x.pub.pub")
    assert load_secret_key(secret).public == key
    assert load_public_key(public) == key
    with pytest.raises(WrongKeyKind):
        load_public_key(secret)


@pytest.mark.parametrize("name", ["key", "key.pub"])
@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_overwritten(form: KeyFormat, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(OutputExists) as caught:
        generate_key_files(tmp_path / "key", format=form)
    assert caught.value.where == str(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_public_key_without_its_secret_is_kept_and_said(tmp_path: Path) -> None:
    """As a run leaves it that was killed between the two."""
    (tmp_path / "key.pub").write_bytes(b"public")
    with pytest.raises(OutputExists) as caught:
        generate_key_files(tmp_path / "key")
    assert caught.value.where == str(tmp_path / "key.pub")
    assert "no secret key" in str(caught.value.found)
    assert caught.value.hint
    os.unlink(tmp_path / "key.pub")
    generate_key_files(tmp_path / "key")
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub"]


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExists):
        generate_key_files(tmp_path / "key")
    assert os.listdir(tmp_path) == ["key"]


def test_nothing_is_left_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def fails(source: Any, target: Any, **options: Any) -> None:
        if str(target).endswith(".pub"):
            raise OSError(28, "No space left on device")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(Unwritable):
        generate_key_files(tmp_path / "key")
    assert os.listdir(tmp_path) == []


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(BadPassphrase):
        generate_key_files(tmp_path / "key", passphrase=b"")
    for form in ("raw", "pem"):
        with pytest.raises(BadOption):
            generate_key_files(tmp_path / "key", format=form, passphrase=b"x")
    with pytest.raises(BadOption):
        generate_key_files(tmp_path / "key", format="der")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


# --- loading ----------------------------------------------------------------------------------

PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
PKCS8 = PRIVATE.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
OPENSSH = PRIVATE.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption())
LOCKED_PKCS8 = PRIVATE.private_bytes(
    s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"word")
)
SPKI = PRIVATE.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
LINE = PRIVATE.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
SECRETS = {"raw": SEED, "pkcs8": PKCS8, "openssh": OPENSSH, "crlf": PKCS8.replace(b"\n", b"\r\n")}
PUBLICS = {
    "raw": KEY.public.raw,
    "spki": SPKI,
    "crlf": SPKI.replace(b"\n", b"\r\n"),
    "short lines": SPKI.replace(b"MCow", b"MC\now\n"),
    "line": LINE,
    "line with a comment": LINE + b" somebody@somewhere else\n",
}


def never() -> bytes:
    raise AssertionError


@pytest.mark.parametrize("name", SECRETS)
def test_secret_keys_load(name: str, tmp_path: Path) -> None:
    path = place(tmp_path / "key", SECRETS[name])
    assert load_secret_key(path, never).public == KEY.public
    assert load_secret_key(place(tmp_path / "own", SECRETS[name], 0o400)).sign(b"m") == KEY.sign(
        b"m"
    )


def test_an_encrypted_pem_loads(tmp_path: Path) -> None:
    path = place(tmp_path / "key", LOCKED_PKCS8)
    assert load_secret_key(path, lambda: b"word").public == KEY.public
    found = []
    for answer in (lambda: b"wrong", lambda: b"", None):
        with pytest.raises(BadPassphrase) as caught:
            load_secret_key(path, answer)
        found.append(caught.value.found)
    assert found[0] != found[1] == found[2] == "none"  # of the last two nothing was tried


@pytest.mark.parametrize("name", ["synthetic/test-key.pub", "demo/key.pub"])
def test_interop_keys(name: str) -> None:
    assert load_public_key(REFERENCE / name).raw == (REFERENCE / name).read_bytes()


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o601, 0o777])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_others_can_use_is_refused(name: str, mode: int, tmp_path: Path) -> None:
    path = place(tmp_path / "key", SECRETS[name], mode)
    with pytest.raises(UnsafeKeyPermissions) as caught:
        load_secret_key(path, never)
    assert caught.value.found == f"mode {mode:04o}"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("name", PUBLICS)
def test_a_public_key_given_as_a_secret(name: str, mode: int, tmp_path: Path) -> None:
    with pytest.raises(WrongKeyKind):
        load_secret_key(place(tmp_path / "key.pub", PUBLICS[name], mode), never)


def test_a_copy_of_the_raw_public_key_given_as_a_secret(tmp_path: Path) -> None:
    for name in ("key.copy.pub", "key.pub"):  # our naming and the reference's
        path = place(tmp_path / "key.copy", KEY.public.raw)
        place(tmp_path / name, KEY.public.raw)
        with pytest.raises(WrongKeyKind):
            load_secret_key(path, never)
        (tmp_path / name).unlink()
    with pytest.raises(WrongKeyKind):  # without a neighbour: a point of full order
        load_secret_key(path)
    with pytest.raises(WrongKeyKind):  # and what is none is public by its name
        load_secret_key(place(tmp_path / "alone.pub", SEED))
    # The control: it is a seed, too, as its own public key beside it says.
    place(tmp_path / "key.copy.pub", SecretKey.from_seed(KEY.public.raw).public.raw)
    assert load_secret_key(path).public != KEY.public
    place(tmp_path / "key.pub", KEY.public.raw)  # and now they say both
    with pytest.raises(WrongKeyKind):
        load_secret_key(path)


@pytest.mark.parametrize("public", PUBLICS)
@pytest.mark.parametrize(("secret", "beside"), [("key", "key.pub"), ("a.key", "a.pub")])
def test_a_raw_secret_given_as_a_public_key(
    public: str, secret: str, beside: str, tmp_path: Path
) -> None:
    place(tmp_path / beside, PUBLICS[public])
    with pytest.raises(WrongKeyKind):
        load_public_key(place(tmp_path / secret, SEED))
    place(tmp_path / beside, b"garbage")  # a neighbour that cannot be read says nothing
    assert load_public_key(place(tmp_path / secret, KEY.public.raw)) == KEY.public


OTHERS: dict[str, Callable[[], Any]] = {
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed448": ed448.Ed448PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_algorithms_are_refused(name: str, tmp_path: Path) -> None:
    key = OTHERS[name]()
    pem, plain = s.Encoding.PEM, s.NoEncryption()
    secrets = [key.private_bytes(pem, s.PrivateFormat.PKCS8, plain)]
    publics = [key.public_key().public_bytes(pem, s.PublicFormat.SubjectPublicKeyInfo)]
    if name in ("p-256", "rsa"):
        secrets.append(key.private_bytes(pem, s.PrivateFormat.OpenSSH, plain))
        secrets.append(key.private_bytes(pem, s.PrivateFormat.TraditionalOpenSSL, plain))
        publics.append(key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH))
    for data in secrets:
        with pytest.raises(BadKey):
            load_secret_key(place(tmp_path / "key", data), never)
    for data in publics:
        with pytest.raises(BadKey):
            load_public_key(place(tmp_path / "key.pub", data))


@pytest.mark.parametrize("name", ["pkcs8", "openssh"])
def test_truncated_and_changed_secrets_raise_our_errors_only(name: str, tmp_path: Path) -> None:
    data = SECRETS[name].rstrip()
    for end in range(len(data)):
        if end != 32:  # any 32 bytes are a seed
            with pytest.raises(BadKey):
                load_secret_key(place(tmp_path / "key", data[:end]), never)
    for offset in range(0, len(data), 3):
        changed = data[:offset] + b"Z" + data[offset + 1 :]
        try:
            load_secret_key(place(tmp_path / "key", changed), lambda: b"word")
        except GotError as error:
            assert isinstance(error, BadKey | BadPassphrase)  # noqa: PT017 - or it still loads


def test_truncated_public_keys(tmp_path: Path) -> None:
    for data in (SPKI.rstrip(), LINE):
        for end in range(len(data)):
            if end != 32:
                with pytest.raises(BadKey):
                    load_public_key(place(tmp_path / "key", data[:end]))


@pytest.mark.parametrize("load", [load_public_key, load_secret_key])
def test_files_that_cannot_be_keys(load: Callable[[Path], object], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(Unreadable):
            load(path)
    with (tmp_path / "big").open("wb") as handle:
        handle.truncate(2**40)
    with pytest.raises(TooLarge):
        load(tmp_path / "big")
    for size, error in ((65536, BadKey), (65537, TooLarge)):
        with pytest.raises(error):
            load(place(tmp_path / "long", b"x" * size))


def test_a_public_key_in_base64_only(tmp_path: Path) -> None:
    """The library's lenient decoding would pass over what is none."""
    for data in (SPKI, LINE):
        at = data.index(b"AAAA" if data == LINE else b"MCow") + 4
        for more in (b"!", b"\xff", b"-"):
            path = place(tmp_path / "key.pub", data[:at] + more + data[at:])
            with pytest.raises(BadKey) as caught:
                load_public_key(path)
            assert caught.value.where == str(path)


# --- what must not show -----------------------------------------------------------------------


def test_no_secret_shows(tmp_path: Path) -> None:
    seed = bytes(range(60, 92))
    key = SecretKey.from_seed(seed)
    body = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()
    )
    texts = [repr(key), str(key), f"{key}"]
    for data, mode in [(seed, 0o644), (seed + b"\n", 0o600), (body, 0o644), (body[:-9], 0o600)]:
        for load in (load_secret_key, load_public_key):
            with pytest.raises(GotError) as caught:
                load(place(tmp_path / "key.pub", data, mode))
            assert caught.value.__cause__ is None
            texts += [str(caught.value), repr(caught.value)]
            if data == seed:
                break  # as a public key, it is just a point
    told = [seed.hex(), seed.decode(), repr(seed)[2:-1], base64.b64encode(seed)[4:40].decode()]
    told += [body.splitlines()[1].decode()[-30:]]
    assert not [(text, secret) for text in texts for secret in told if secret in text]


def test_checking_a_signature_loads_little(tmp_path: Path) -> None:
    place(tmp_path / "key.pub", SPKI)
    program = (
        "import sys\n"
        "from geometry_of_trust.signing.keys import load_public_key\n"
        "key = load_public_key(sys.argv[1])\n"
        "key.verify(bytes.fromhex(sys.argv[2]), b'message')\n"
        "heavy = ['numpy', 'torch', 'cryptography.hazmat.primitives.serialization']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "key.pub"), SIGNATURE.hex()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"
