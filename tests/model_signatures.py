"""Signatures of models as OpenSSF Model Signing has them, made here, to be changed at will."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from geometry_of_trust.documents.recorded_identity import manifest_root

Tree = dict[str, Any]

SECRET = ec.derive_private_key(7, ec.SECP256R1())
FILES = {"a.json": "1a" * 32, "model.safetensors": "2b" * 32}


def statement(files: Mapping[str, str] = FILES) -> Tree:
    """What the tool signs of these files."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": manifest_root(files.values())}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest}
                for name, digest in files.items()
            ],
        },
    }


def bundle(payload: Tree | bytes, secret: ec.EllipticCurvePrivateKey = SECRET) -> Tree:
    """A bundle as the tool writes it, signed by a key."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(data), data)
    signed = secret.sign(message, ec.ECDSA(hashes.SHA256()))
    pem = secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(pem)
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": digest.finalize().hex()}, "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(data).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
        },
    }  # fmt: skip


def write_keys(folder: Path, name: str, secret: Any) -> tuple[Path, Path]:
    """The secret key and the public one, as PEM."""
    paths = folder / f"{name}.pem", folder / f"{name}.pub"
    paths[0].write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[1].write_bytes(
        secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return paths
