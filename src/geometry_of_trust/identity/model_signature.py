"""A signature of a model as OpenSSF Model Signing v1.0 has it: read, checked, and compared.

A Sigstore bundle v0.3 with a DSSE envelope, in it an in-toto Statement v1 whose predicate lists
files and digests; signed by a plain ECDSA key. Certificates, and what logs keep, are not checked
here: a bundle that needs them is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from geometry_of_trust.documents.recorded_identity import RecordedFile, manifest_root
from geometry_of_trust.errors import (
    BadBundle,
    BadKey,
    BadSignature,
    Inconsistent,
    OtherModel,
    WrongKeyKind,
)
from geometry_of_trust.evidence.envelopes import Envelope, read_envelope
from geometry_of_trust.evidence.reading import brief, expect, json_object
from geometry_of_trust.evidence.statements import read_statement
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.identity.digesting import digest_files
from geometry_of_trust.identity.model_folder import find_named, would_be_covered
from geometry_of_trust.identity.model_identity import CoveredFile, ModelIdentity

PREDICATE_TYPE = "https://model_signing/signature/v1.0"

_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512(),
}  # fmt: skip
"""What is signed with a key on each curve; keys on others are refused."""

_KEYS = "an ECDSA public key on P-256, P-384 or P-521, as PEM"
_MAX_KEY_BYTES = 65536
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SignedModel:
    """What a signature says of a model, once it is verified.

    Attributes:
        name: what the signer called it; informative only.
        files: digests by name: 64 lower-case hex digits each.
        root: SHA-256 over them, in the order listed.
        key: fingerprint of the key: SHA-256 of its PEM, 64 hex digits, as in `openssl dgst`.
    """

    name: str
    files: Mapping[str, str]
    root: str
    key: str


def check_model_signature(signature: PathLike, key: PathLike) -> SignedModel:
    """Read a signature, and verify it with a key that is trusted.

    A key in the bundle counts for nothing: its fingerprint there must be that of this key.

    Raises:
        BadKey, WrongKeyKind: `key` is not an ECDSA key in PEM on one of the three curves.
        BadBundle: not a bundle with a statement about a model, signed by a key.
        BadSignature: the signature does not verify, or is another key's.
        Inconsistent: the digests do not lead to the root that the statement has.
        Unreadable, TooLarge, BadJson, BadText: a file cannot be read, or is not strict JSON.
    """
    public = _load_key(key)
    where = str(signature)
    envelope = read_envelope(read_bounded(signature), where)
    fingerprint = _fingerprint(public)
    _check_hints(envelope, fingerprint, where)
    try:
        algorithm = ec.ECDSA(_HASHES[public.curve.name])
        public.verify(envelope.signature, envelope.signed_bytes, algorithm)
    except InvalidSignature:
        raise BadSignature(
            where,
            expected=f"a signature by key {fingerprint[:16]}",
            found="one that does not verify",
        ) from None
    return _signed_model(envelope.payload, f"{where}, payload", fingerprint)


def check_signed_files(
    identity: ModelIdentity, signed: SignedModel, folder: PathLike, where: str = "model"
) -> dict[str, bool]:
    """Each file of a model is signed, with its digest; and each that is signed is that, if there.

    Args:
        folder: the model's.

    Returns:
        What is signed and not covered by the identity, by name: whether it is there.

    Raises:
        OtherModel: a file is not signed, or another one is; or one is missing that the identity
            would cover.
        UnknownModel, IncompleteModel, OutsideOfModel, LimitExceeded, Unreadable, FileChanged,
            AlteredDownload: as `identity_of`.
    """
    check_covered(identity.files, signed, where)
    covered = {file.name for file in identity.files}
    others = sorted(signed.files.keys() - covered)
    present = find_named(folder, others)
    for other, digested in zip(
        present, digest_files(present, rehash=True, cache=None, threads=1), strict=True
    ):
        if digested.sha256 != signed.files[other.name]:
            raise OtherModel(
                f"{where}, {other.name}",
                expected=f"SHA-256 {signed.files[other.name]}, as signed",
                found=digested.sha256,
            )
    found_names = {file.name for file in present}
    return {name: name in found_names for name in others}


def check_covered(
    files: Iterable[CoveredFile | RecordedFile], signed: SignedModel, where: str
) -> None:
    """Each of these files is signed, with its digest, and none is missing.

    Raises:
        OtherModel: one is not, or another one is; or one is signed that would be among them.
    """
    files = tuple(files)
    for file in files:
        found = signed.files.get(file.name)
        if found != file.sha256:
            raise OtherModel(
                f"{where}, {file.name}",
                expected=f"SHA-256 {found}, as signed" if found else "a file that is signed",
                found=file.sha256 if found else "one that the signature does not name",
            )
    covered = {file.name for file in files}
    for name in sorted(signed.files.keys() - covered):
        if would_be_covered(name, covered):
            raise OtherModel(
                f"{where}, {name}", expected="a file that is there, as signed", found="none"
            )


def _load_key(path: PathLike) -> ec.EllipticCurvePublicKey:
    data = read_bounded(path, _MAX_KEY_BYTES)
    if b"PRIVATE KEY-----" in data:
        raise WrongKeyKind(path, expected=_KEYS, found="a secret key")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey(path, expected=_KEYS, found="something else") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise WrongKeyKind(path, expected=_KEYS, found=type(key).__name__)
    if key.curve.name not in _HASHES:
        raise WrongKeyKind(path, expected=_KEYS, found=f"a key on {key.curve.name}")
    return key


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()


# --- the parts of a bundle --------------------------------------------------------------------


def _check_hints(envelope: Envelope, fingerprint: str, where: str) -> None:
    """It is a bundle, and its hints lead to no other key."""
    if envelope.hint is None:
        raise BadBundle(where, expected="a Sigstore bundle", found="an envelope without one")
    if envelope.hint not in ("", fingerprint):
        raise BadSignature(
            where, expected=f"one by key {fingerprint}", found=f"one by {brief(envelope.hint)}"
        )
    if envelope.key_id:
        raise BadBundle(f"{where}, keyid", expected="none", found=brief(envelope.key_id))


def _signed_model(payload: bytes, where: str, key: str) -> SignedModel:
    statement = read_statement(payload, where, PREDICATE_TYPE)
    predicate = json_object(statement.get("predicate"), f"{where}, predicate")
    method = json_object(predicate.get("serialization"), f"{where}, serialization")
    expect(method, "method", "files", f"{where}, serialization")
    expect(method, "hash_type", "sha256", f"{where}, serialization")
    files = _read_resources(predicate.get("resources"), f"{where}, resources")
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise BadBundle(f"{where}, subject", expected="one subject", found=brief(subjects))
    subject = json_object(subjects[0], f"{where}, subject")
    stated = json_object(subject.get("digest"), f"{where}, subject").get("sha256")
    root = manifest_root(files.values())
    if stated != root:
        raise Inconsistent(f"{where}, subject", expected=f"root {root}", found=brief(stated))
    return SignedModel(str(subject.get("name", "")), files, root, key)


def _read_resources(tree: object, where: str) -> dict[str, str]:
    if not isinstance(tree, list):
        raise BadBundle(where, expected="a list", found=brief(tree))
    files: dict[str, str] = {}
    for entry in tree:
        resource = json_object(entry, where)
        name, digest = resource.get("name"), resource.get("digest")
        expect(resource, "algorithm", "sha256", where)
        if not isinstance(name, str) or not _is_relative(name) or name in files:
            raise BadBundle(where, expected="a relative path, each once", found=brief(name))
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise BadBundle(where, expected="64 lower-case hex digits", found=brief(digest))
        files[name] = digest
    return files


def _is_relative(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name not in ("", ".") and "\0" not in name and str(path) == name
    return plain and not path.is_absolute() and ".." not in path.parts
