"""Signatures of OpenSSF Model Signing: made by the real tool, read here, each change refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from model_signing import hashing, signing, verifying

from geometry_of_trust import errors
from geometry_of_trust.identity.model_identity import identity_of
from geometry_of_trust.identity.model_signature import (
    SignedModel,
    check_model_signature,
    check_signed_files,
)
from gguf_files import write_gguf
from model_folders import flip, sharded, single
from model_signatures import FILES, SECRET, Tree, bundle, statement, write_keys

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def sign_with_the_tool(model: Path, secret: Path, signature: Path, **hashing_options: Any) -> None:
    config = signing.Config().use_elliptic_key_signer(private_key=secret)
    if hashing_options:
        config.set_hashing_config(hashing.Config(**hashing_options))
    config.sign(model, signature)


# --- the tool's root and ours -----------------------------------------------------------------


@pytest.mark.parametrize("build", [single, sharded])
def test_the_tool_has_the_same_root(build: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool.jinja").write_bytes(b"x")
    (folder / "vocab.json").write_bytes(b"{}")
    found = identity_of(folder)
    items = list(hashing.Config().hash(folder).resource_descriptors())
    assert [(item.identifier, item.digest.digest_hex) for item in items] == [
        (file.name, file.sha256) for file in found.files
    ]
    secret, public = write_keys(tmp_path, "k", ec.generate_private_key(ec.SECP256R1()))
    sign_with_the_tool(folder, secret, tmp_path / "model.sig")
    signed = check_model_signature(tmp_path / "model.sig", public)
    assert signed.root == found.manifest_root
    assert signed.name == "m"
    assert check_signed_files(found, signed, folder) == {}


# --- signatures of the tool -------------------------------------------------------------------


@pytest.mark.parametrize("curve", CURVES)
def test_a_signature_of_the_tool_on_each_curve(curve: str, tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "README.md").write_bytes(b"x")
    secret, public = write_keys(tmp_path, "k", ec.generate_private_key(CURVES[curve]))
    sign_with_the_tool(folder, secret, tmp_path / "model.sig")
    signed = check_model_signature(tmp_path / "model.sig", public)
    assert check_signed_files(identity_of(folder), signed, folder) == {"README.md": True}
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(folder, tmp_path / "model.sig")


def test_a_changed_or_unsigned_file_is_named(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    secret, public = write_keys(tmp_path, "k", ec.generate_private_key(ec.SECP256R1()))
    sign_with_the_tool(folder, secret, tmp_path / "model.sig")
    signed = check_model_signature(tmp_path / "model.sig", public)
    (folder / "vocab.json").write_bytes(b"{}")
    with pytest.raises(errors.OtherModel) as caught:
        check_signed_files(identity_of(folder), signed, folder, "m")
    assert caught.value.where == "m, vocab.json"
    (folder / "vocab.json").unlink()
    flip(folder / "model.safetensors")
    with pytest.raises(errors.OtherModel) as caught:
        check_signed_files(identity_of(folder), signed, folder, "m")
    assert caught.value.where == "m, model.safetensors"


@pytest.fixture
def signed_folder(tmp_path: Path) -> tuple[Path, SignedModel]:
    """A model with more in its folder than is covered, all of it signed."""
    folder = single(tmp_path / "m")
    for name in ("README.md", "modeling_x.py", "inner/part.py", "pytorch_model.bin", "a.gguf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    secret, public = write_keys(tmp_path, "k", ec.generate_private_key(ec.SECP256R1()))
    sign_with_the_tool(folder, secret, tmp_path / "model.sig")
    return folder, check_model_signature(tmp_path / "model.sig", public)


@pytest.mark.parametrize("name", ["README.md", "modeling_x.py", "inner/part.py"])
def test_a_signed_file_that_is_not_covered_is_compared_too(
    name: str, signed_folder: tuple[Path, SignedModel], tmp_path: Path
) -> None:
    folder, signed = signed_folder
    found = identity_of(folder)
    assert check_signed_files(found, signed, folder)[name]
    flip(folder / name)
    with pytest.raises(errors.OtherModel) as caught:
        check_signed_files(found, signed, folder, "m")
    assert caught.value.where == f"m, {name}"
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "model.sig")
    with pytest.raises(errors.OtherModel):
        check_signed_files(found, signed, folder)


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "model.safetensors"])
def test_a_signed_file_that_would_be_covered_is_there(
    name: str, signed_folder: tuple[Path, SignedModel]
) -> None:
    folder, signed = signed_folder
    (folder / name).unlink()
    with pytest.raises(errors.OtherModel) as caught:
        check_signed_files(identity_of(folder), signed, folder, "m")
    assert caught.value.where == f"m, {name}"


def test_another_signed_file_may_be_missing(signed_folder: tuple[Path, SignedModel]) -> None:
    folder, signed = signed_folder
    for name in ("README.md", "modeling_x.py", "pytorch_model.bin"):
        (folder / name).unlink()
        assert not check_signed_files(identity_of(folder), signed, folder)[name]
    with pytest.raises(errors.OtherModel):
        check_signed_files(identity_of(folder, code=True), signed, folder)
    (folder / "model.safetensors").unlink()
    write_gguf(folder / "a.gguf")
    digest = hashlib.sha256((folder / "a.gguf").read_bytes()).hexdigest()
    signed = replace(signed, files={**signed.files, "a.gguf": digest})
    found = check_signed_files(identity_of(folder, gguf="a.gguf"), signed, folder)
    assert not found["model.safetensors"]
    assert found["config.json"]


def test_a_signature_by_shards_is_refused(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    secret, public = write_keys(tmp_path, "k", ec.generate_private_key(ec.SECP256R1()))
    config = hashing.Config().use_shard_serialization(
        hashing_algorithm="sha256", shard_size=1000, allow_symlinks=False
    )
    signing.Config().use_elliptic_key_signer(private_key=secret).set_hashing_config(config).sign(
        folder, tmp_path / "model.sig"
    )
    with pytest.raises(errors.BadBundle) as caught:
        check_model_signature(tmp_path / "model.sig", public)
    assert caught.value.where.endswith("serialization, method")


# --- signatures that are changed --------------------------------------------------------------


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Any], object]:
    _, public = write_keys(tmp_path, "k", SECRET)

    def run(tree: Any) -> object:
        path = tmp_path / "model.sig"
        path.write_bytes(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
        return check_model_signature(path, public).files

    return run


def put(tree: Tree, path: str, value: object) -> Tree:
    """The tree with one member changed, or dropped if it is to be `...`."""
    *way, last = path.split(".")
    node: Any = tree
    for name in way:
        node = node[int(name) if name.isdigit() else name]
    key: Any = int(last) if last.isdigit() else last
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return tree


def test_what_is_made_here_is_accepted(check: Callable[[Any], object]) -> None:
    assert check(bundle(statement())) == FILES
    for path, value in (
        ("verificationMaterial.publicKey.hint", ...),
        ("verificationMaterial.publicKey.hint", ""),
        ("verificationMaterial.publicKey.hint", None),
        ("verificationMaterial.tlogEntries", ...),
        ("dsseEnvelope.signatures.0.keyid", ...),
        ("dsseEnvelope.signatures.0.keyid", None),
    ):
        assert check(put(bundle(statement()), path, value)) == FILES


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2", errors.BadBundle),
        ("mediaType", ..., errors.BadBundle),
        ("verificationMaterial", ..., errors.BadBundle),
        ("verificationMaterial.publicKey", [], errors.BadBundle),
        ("verificationMaterial.publicKey", ..., errors.BadBundle),
        ("verificationMaterial", {"certificate": {"rawBytes": "AA=="}}, errors.BadBundle),
        ("verificationMaterial.publicKey.hint", "00" * 32, errors.BadSignature),
        ("verificationMaterial.publicKey.hint", 1, errors.BadBundle),
        ("dsseEnvelope", ..., errors.BadBundle),
        ("dsseEnvelope.payload", "e30=", errors.BadSignature),
        ("dsseEnvelope.payload", "e30", errors.BadBundle),
        ("dsseEnvelope.payload", "e3\n0=", errors.BadBundle),
        ("dsseEnvelope.payload", "é", errors.BadBundle),
        ("dsseEnvelope.payload", 1, errors.BadBundle),
        ("dsseEnvelope.payloadType", "application/json", errors.BadBundle),
        ("dsseEnvelope.signatures", [], errors.BadBundle),
        ("dsseEnvelope.signatures", {}, errors.BadBundle),
        ("dsseEnvelope.signatures.0", "x", errors.BadBundle),
        ("dsseEnvelope.signatures.0.sig", "", errors.BadSignature),
        ("dsseEnvelope.signatures.0.sig", "AAAA", errors.BadSignature),
        ("dsseEnvelope.signatures.0.sig", None, errors.BadBundle),
        ("dsseEnvelope.signatures.0.keyid", "x", errors.BadBundle),
        ("messageSignature", {}, errors.BadBundle),
    ],
)
def test_a_changed_bundle_is_refused(
    path: str, value: object, error: type[errors.GotError], check: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        check(put(bundle(statement()), path, value))


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("bundle", "mediaType"),
        ("bundle", "dsseEnvelope.payloadType"),
        ("bundle", "dsseEnvelope.signatures"),
        ("payload", "_type"),
        ("payload", "predicateType"),
        ("payload", "predicate.serialization.method"),
        ("payload", "predicate.serialization.hash_type"),
        ("payload", "predicate.resources.0.algorithm"),
    ],
)
def test_a_refusal_says_where(
    part: str, path: str, check: Callable[[Any], object], tmp_path: Path
) -> None:
    made = bundle(statement())
    tree = put(made, path, "x") if part == "bundle" else bundle(put(statement(), path, "x"))
    with pytest.raises(errors.BadBundle) as caught:
        check(tree)
    assert caught.value.where.startswith(str(tmp_path / "model.sig"))
    assert caught.value.where.endswith(path.rpartition(".")[2])


def test_what_is_returned(tmp_path: Path) -> None:
    _, public = write_keys(tmp_path, "k", SECRET)
    for tree, name in ((statement(), "m"), (put(statement(), "subject.0.name", ...), "")):
        (tmp_path / "model.sig").write_text(json.dumps(bundle(tree)))
        signed = check_model_signature(tmp_path / "model.sig", public)
        key = hashlib.sha256(public.read_bytes()).hexdigest()
        assert (signed.name, signed.key, signed.files) == (name, key, FILES)
    with pytest.raises(errors.OtherModel) as caught:
        check_signed_files(identity_of(single(tmp_path / "m")), signed, tmp_path / "m")
    assert caught.value.where == "model, chat_template.jinja"


def test_a_key_file_is_small(tmp_path: Path) -> None:
    _, public = write_keys(tmp_path, "k", SECRET)
    (tmp_path / "model.sig").write_text(json.dumps(bundle(statement())))
    public.write_bytes(public.read_bytes().ljust(65536, b"\n"))
    check_model_signature(tmp_path / "model.sig", public)
    public.write_bytes(public.read_bytes() + b"\n")
    with pytest.raises(errors.TooLarge):
        check_model_signature(tmp_path / "model.sig", public)


def test_more_than_one_signature_is_refused(check: Callable[[Any], object]) -> None:
    tree = bundle(statement())
    tree["dsseEnvelope"]["signatures"] *= 2
    with pytest.raises(errors.BadBundle):
        check(tree)


def test_the_envelope_of_another_blob_is_refused(check: Callable[[Any], object]) -> None:
    """A signature over one statement, beside another one."""
    one, other = bundle(statement()), bundle(put(statement(), "subject.0.name", "other"))
    one["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    with pytest.raises(errors.BadSignature):
        check(one)


def test_another_key_is_refused_also_if_the_bundle_brings_it(
    check: Callable[[Any], object],
) -> None:
    tree = bundle(statement(), ec.derive_private_key(8, ec.SECP256R1()))
    with pytest.raises(errors.BadSignature):
        check(tree)
    secret = ec.derive_private_key(8, ec.SECP256R1())
    pem = secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = {"rawBytes": base64.b64encode(pem).decode()}
    with pytest.raises(errors.BadSignature):
        check(put(tree, "verificationMaterial.publicKey", key))


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", errors.BadBundle),
        ("predicateType", "https://in-toto.io/attestation/svr/v0.2", errors.BadBundle),
        ("predicateType", "https://model_signing/Digests/v0.1", errors.BadBundle),
        ("predicate", ..., errors.BadBundle),
        ("predicate.serialization", ..., errors.BadBundle),
        ("predicate.serialization.method", "shards", errors.BadBundle),
        ("predicate.serialization.hash_type", "blake2", errors.BadBundle),
        ("predicate.resources", ..., errors.BadBundle),
        ("predicate.resources.0", [], errors.BadBundle),
        ("predicate.resources.0.algorithm", "blake2", errors.BadBundle),
        ("predicate.resources.0.digest", "1A" * 32, errors.BadBundle),
        ("predicate.resources.0.digest", "1a" * 31, errors.BadBundle),
        ("predicate.resources.0.digest", None, errors.BadBundle),
        ("predicate.resources.0.digest", "00" * 32, errors.Inconsistent),
        ("predicate.resources.0", ..., errors.Inconsistent),
        ("predicate.resources.0.name", "model.safetensors", errors.BadBundle),
        ("predicate.resources.0.name", "../a.json", errors.BadBundle),
        ("predicate.resources.0.name", "./a.json", errors.BadBundle),
        ("predicate.resources.0.name", "a//b", errors.BadBundle),
        ("predicate.resources.0.name", "a/", errors.BadBundle),
        ("predicate.resources.0.name", "/a", errors.BadBundle),
        ("predicate.resources.0.name", "a\0b", errors.BadBundle),
        ("predicate.resources.0.name", "", errors.BadBundle),
        ("predicate.resources.0.name", ".", errors.BadBundle),
        ("predicate.resources.0.name", 1, errors.BadBundle),
        ("subject", [], errors.BadBundle),
        ("subject", ..., errors.BadBundle),
        ("subject.0", 1, errors.BadBundle),
        ("subject.0.digest", ..., errors.BadBundle),
        ("subject.0.digest.sha256", "00" * 32, errors.Inconsistent),
        ("subject.0.digest.sha256", ..., errors.Inconsistent),
    ],
)
def test_a_signed_statement_of_another_kind_is_refused(
    path: str, value: object, error: type[errors.GotError], check: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        check(bundle(put(statement(), path, value)))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.BadJson),
        (b"{", errors.BadJson),
        (b"[]", errors.BadBundle),
        (b"\xff", errors.BadText),
        (b'{"mediaType": 1, "mediaType": 2}', errors.DuplicateMember),
        (b"[" * 100, errors.BadJson),
        (b" " * (16 * 2**20 + 1), errors.TooLarge),
    ],
)
def test_what_is_no_bundle_is_refused(
    data: bytes, error: type[errors.GotError], check: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        check(data)


def test_a_payload_with_a_member_twice_is_refused(check: Callable[[Any], object]) -> None:
    text = json.dumps(statement())
    with pytest.raises(errors.DuplicateMember):
        check(bundle(f'{{"_type": "x", {text[1:]}'.encode()))
    with pytest.raises(errors.BadBundle):
        check(bundle(b"[]"))


@pytest.mark.parametrize(
    ("secret", "error"),
    [
        (ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), errors.WrongKeyKind),
        (rsa.generate_private_key(65537, 1024), errors.WrongKeyKind),  # noqa: S505 - refused
        (ec.derive_private_key(7, ec.SECP256K1()), errors.WrongKeyKind),
    ],
)
def test_keys_of_other_kinds_are_refused(
    secret: Any, error: type[errors.GotError], tmp_path: Path
) -> None:
    _, public = write_keys(tmp_path, "k", secret)
    (tmp_path / "model.sig").write_text(json.dumps(bundle(statement())))
    with pytest.raises(error):
        check_model_signature(tmp_path / "model.sig", public)


def test_a_secret_key_and_no_key_are_refused(tmp_path: Path) -> None:
    secret, _ = write_keys(tmp_path, "k", SECRET)
    with pytest.raises(errors.WrongKeyKind):
        check_model_signature(tmp_path / "model.sig", secret)
    for data in (b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        (tmp_path / "none.pub").write_bytes(data)
        with pytest.raises(errors.BadKey):
            check_model_signature(tmp_path / "model.sig", tmp_path / "none.pub")
