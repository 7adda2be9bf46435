"""What others' verifiers say of evidence and of verification results: accepted, changed refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.json_format import Parse
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from geometry_of_trust.evidence.attested import make_evidence
from geometry_of_trust.evidence.verification_results import make_verification_result
from geometry_of_trust.signing.attestation import Attestation
from pipeline import KEY, OTHER_KEY, build
from places import ROOT
from signed_documents import HEAD, payload_of, with_payload

NODE = ROOT / ".venv-node"
Written = tuple[bytes, bytes, bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Evidence of an attestation, in an envelope and in a bundle, and a verdict on it."""
    attestation: Attestation = build(tmp_path_factory.mktemp("others")).attest()
    verdict = make_verification_result(
        hashlib.sha256(attestation.to_json()).hexdigest(), ["GOT_SIGNATURE"], KEY
    )
    return make_evidence(attestation, KEY), make_evidence(attestation, KEY, bundle=True), verdict


def pem(raw: bytes) -> str:
    key = Ed25519PublicKey.from_public_bytes(raw)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def changed(text: bytes) -> bytes:
    """With one letter of the payload changed, and the signature as it was."""
    payload = payload_of(text)
    return with_payload(text, payload.replace(b'"attestation"', b'"Attestation"', 1), None)


# --- securesystemslib and in-toto-attestation -------------------------------------------------


def securesystemslib_verifies(text: bytes, raw: bytes = KEY.public.raw) -> bytes:
    key_id = KEY.public.key_id
    key = SSlibKey(key_id, "ed25519", "ed25519", {"public": raw.hex()})
    tree = json.loads(text)
    envelope = Envelope.from_dict(tree.get("dsseEnvelope", tree))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert list(envelope.verify([key], 1)) == [key_id]
    payload: bytes = envelope.payload
    return payload


def test_securesystemslib(written: Written) -> None:
    for text in written:
        assert securesystemslib_verifies(text) == payload_of(text)
        with pytest.raises(VerificationError):
            securesystemslib_verifies(changed(text))
        with pytest.raises(VerificationError):
            securesystemslib_verifies(text, OTHER_KEY.public.raw)


def test_in_toto_attestation(written: Written) -> None:
    def validate(payload: bytes) -> StatementMessage:
        message = Parse(payload, StatementMessage())
        Statement.copy_from_pb(message).validate()
        return message

    types = set()
    for text in written:
        message = validate(payload_of(text))
        assert message.subject[0].name == "attestation"
        types.add(message.predicate_type)
        for member in ("subject", "predicateType", "_type"):
            tree = json.loads(payload_of(text))
            del tree[member]
            with pytest.raises(ValueError, match=r"[Ss]ubject|type"):
                validate(json.dumps(tree).encode())
    assert types == {
        "https://geometry-of-trust/attestation/v1", "https://in-toto.io/attestation/svr/v0.2",
    }  # fmt: skip


# --- openssl ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl(written: Written, tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text(pem(KEY.public.raw))

    def verifies(text: bytes) -> bool:
        payload = payload_of(text)
        (tmp_path / "message").write_bytes(HEAD + b"%d %b" % (len(payload), payload))
        tree = json.loads(text)
        signature = tree.get("dsseEnvelope", tree)["signatures"][0]["sig"]
        (tmp_path / "sig").write_bytes(base64.b64decode(signature))
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "k.pem",
                   "-in", "message", "-sigfile", "sig"]  # fmt: skip
        return subprocess.run(command, cwd=tmp_path, check=False).returncode == 0

    for text in written:
        assert verifies(text)
        assert not verifies(changed(text))


# --- npm's @sigstore/verify -------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.skipif(not (NODE / "node_modules").is_dir(), reason="needs make sigstore")
def test_sigstore_verify(written: Written, tmp_path: Path) -> None:
    _, bundle, _ = written

    def run(hint: str, *texts: bytes, raw: bytes = KEY.public.raw) -> list[str]:
        (tmp_path / "k.pem").write_text(pem(raw))
        paths = [tmp_path / f"{i}.json" for i in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text)
        script = Path(__file__).parent / "node" / "verify.cjs"
        return subprocess.run(
            ["node", script, tmp_path / "k.pem", hint, *paths],
            env=os.environ | {"NODE_FOLDER": str(NODE)}, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip

    digest = hashlib.sha256(payload_of(bundle)).hexdigest()
    assert run(KEY.public.key_id, bundle, changed(bundle)) == [
        f"application/vnd.in-toto+json {digest}",
        "refused SIGNATURE_ERROR",
    ]
    assert run("another", bundle) == ["refused PUBLIC_KEY_ERROR"]
    of_another = run(KEY.public.key_id, bundle, raw=OTHER_KEY.public.raw)
    assert of_another == ["refused SIGNATURE_ERROR"]
