"""Evidence of attestations: one text for each, and whatever is changed in it is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.evidence import attested
from geometry_of_trust.evidence.attested import make_evidence, parse_evidence, subjects_of
from geometry_of_trust.evidence.envelopes import is_envelope
from geometry_of_trust.evidence.verification_results import make_verification_result, read_result
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
from model_signatures import bundle as model_signature
from model_signatures import statement as model_statement
from pipeline import KEY, OTHER_KEY, Files, build, signed_anew
from signed_documents import payload_of, put, spelt, with_payload


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def attestation(files: Files) -> Attestation:
    return files.attest()


@pytest.fixture(scope="module")
def envelope(attestation: Attestation) -> bytes:
    return make_evidence(attestation, KEY)


@pytest.fixture(scope="module")
def bundle(attestation: Attestation) -> bytes:
    return make_evidence(attestation, KEY, bundle=True)


def refused(step: int, cause: type[errors.GotError], *args: Any, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        verify(*args, **options)
    assert (caught.value.step, type(caught.value.cause)) == (step, cause), caught.value
    return caught.value


# --- what is made -----------------------------------------------------------------------------


def test_subjects_are_what_the_attestation_binds(
    files: Files, attestation: Attestation, envelope: bytes
) -> None:
    statement = json.loads(payload_of(envelope))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicate"] == json.loads(attestation.to_json())
    found = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    paths = {
        "activations": files.activations, "unembedding": files.unembedding,
        "probe set 0": files.probes[0], "probe set 1": files.probes[1],
    }  # fmt: skip
    digests = {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in paths.items()}
    own = hashlib.sha256(attestation.to_json()).hexdigest()
    assert found == digests | {"attestation": own}
    with_model = replace(attestation, model_hash="ab" * 32)
    assert list(subjects_of(with_model))[-1] == ("model tiny", "ab" * 32)


def test_the_same_attestation_gives_the_same_bytes(
    attestation: Attestation, envelope: bytes, bundle: bytes
) -> None:
    assert make_evidence(attestation, KEY) == envelope
    assert payload_of(bundle) == payload_of(envelope)
    assert json.loads(bundle)["dsseEnvelope"] == json.loads(envelope)


def test_what_does_not_verify_is_not_exported(attestation: Attestation) -> None:
    def with_signature(made: Attestation) -> Attestation:
        return replace(made, signature=KEY.sign(made.signed_bytes()).hex())

    unbound = replace(attestation, probe_commitment=None)
    with_other_flag = replace(attestation, divergence_flag=not attestation.divergence_flag)
    for error, where, lie, key in (
        (errors.UnknownSigner, "x.binding.key_id", attestation, OTHER_KEY),
        (errors.BadSignature, "x.signature", replace(attestation, timestamp=1), KEY),
        (errors.LegacyDocument, "x.binding", replace(attestation, binding=None), KEY),
        (errors.BindingMismatch, "x.probe_commitment", unbound, KEY),
        (errors.Inconsistent, "x.divergence_flag", with_other_flag, KEY),
    ):
        with pytest.raises(error) as caught:
            make_evidence(
                lie if error is errors.BadSignature else with_signature(lie), key, where="x"
            )
        assert caught.value.where == where


def test_what_would_be_too_long_to_be_read_is_not_written(
    attestation: Attestation, envelope: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attested, "MAX_DOCUMENT_BYTES", len(envelope))
    assert make_evidence(attestation, KEY) == envelope
    with pytest.raises(errors.LimitExceeded):
        make_evidence(attestation, KEY, bundle=True)


# --- what is verified -------------------------------------------------------------------------


def test_evidence_stands_in_the_place_of_an_attestation(
    files: Files, attestation: Attestation, envelope: bytes, bundle: bytes
) -> None:
    own = hashlib.sha256(attestation.to_json()).hexdigest()
    for text, kind in ((envelope, "a DSSE envelope"), (bundle, "a Sigstore bundle")):
        verdict = verify(
            text, KEY.public,
            activations=files.activations, unembedding=files.unembedding, probes=files.probes,
        )  # fmt: skip
        assert verdict.line == "VERIFIED"
        assert (verdict.attestation, verdict.sha256) == (attestation, own)
        assert all(kind in verdict.steps[i].detail for i in (0, 2))
        refused(3, errors.BadSignature, text, OTHER_KEY.public)
        assert verify(text, [OTHER_KEY.public, KEY.public]).signer == KEY.public


def test_evidence_beside_an_attestation_is_of_that_one(
    files: Files, attestation: Attestation, envelope: bytes, bundle: bytes, tmp_path: Path
) -> None:
    """The classic mistake: a bundle that verifies by itself, and is tied to something else."""
    path = tmp_path / "e.json"
    other = files.attest(timestamp=1_600_000_000)
    for text in (envelope, bundle):
        path.write_bytes(text)
        verdict = verify(attestation.to_json(), KEY.public, evidence=path)
        assert "too" in verdict.steps[2].detail
        verify(text, KEY.public, evidence=path)
        error = refused(1, errors.DigestMismatch, other.to_json(), KEY.public, evidence=path)
        assert (error.where, error.exit_code) == (str(path), 1)
        refused(1, errors.DigestMismatch, make_evidence(other, KEY), KEY.public, evidence=path)
    path.write_bytes(attestation.to_json())
    refused(1, errors.BadBundle, attestation.to_json(), KEY.public, evidence=path)
    with pytest.raises(errors.Unreadable):
        verify(attestation.to_json(), KEY.public, evidence=tmp_path / "none")


def test_a_changed_bit_is_refused(envelope: bytes, bundle: bytes) -> None:
    for text in (envelope, bundle):
        for index in range(0, 8 * len(text), 37):
            flipped = bytearray(text)
            flipped[index // 8] ^= 1 << index % 8
            with pytest.raises(Refused):
                verify(bytes(flipped), KEY.public)


def test_other_spellings_need_the_option(attestation: Attestation, bundle: bytes) -> None:
    tree = json.loads(bundle)
    statement = json.loads(payload_of(bundle))
    statement["predicate"]["confidence"][0] *= 1 + 1e-12  # the same float32, as a double of others
    for text in (
        json.dumps(tree).encode(),
        json.dumps(tree, indent=2, sort_keys=True).encode(),
        bundle + b"\n",
        spelt(put(tree, "verificationMaterial.tlogEntries", [])),
        with_payload(bundle, json.dumps(statement).encode()),
        with_payload(bundle, statement),
    ):
        refused(1, errors.NotOurSpelling, text, KEY.public)
        assert verify(text, KEY.public, allow_reformatted=True).attestation == attestation


@pytest.mark.parametrize(
    ("path", "value", "step", "error"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2", 1, errors.BadBundle),
        ("verificationMaterial.publicKey.hint", OTHER_KEY.public.key_id, 3, errors.UnknownSigner),
        ("verificationMaterial.publicKey.hint", "", 3, errors.UnknownSigner),
        ("verificationMaterial.publicKey.hint", 1, 1, errors.BadBundle),
        ("verificationMaterial", {"certificate": {"rawBytes": "AA=="}}, 1, errors.BadBundle),
        ("messageSignature", {}, 1, errors.BadBundle),
        ("dsseEnvelope", [], 1, errors.BadBundle),
        ("dsseEnvelope.payloadType", "application/json", 1, errors.BadBundle),
        ("dsseEnvelope.payload", "e30", 1, errors.BadBundle),
        ("dsseEnvelope.payload", "e31=", 1, errors.BadBundle),  # bits beyond the last byte
        ("dsseEnvelope.payload", "e30=", 1, errors.BadBundle),
        ("dsseEnvelope.signatures", [], 1, errors.BadBundle),
        ("dsseEnvelope.signatures", {}, 1, errors.BadBundle),
        ("dsseEnvelope.signatures.0.keyid", OTHER_KEY.public.key_id, 3, errors.UnknownSigner),
        ("dsseEnvelope.signatures.0.keyid", "", 3, errors.UnknownSigner),
        ("dsseEnvelope.signatures.0.sig", "AAAA", 3, errors.BadSignature),
        ("dsseEnvelope.signatures.0.sig", None, 1, errors.BadBundle),
    ],
)
def test_a_changed_bundle_is_refused(
    path: str, value: object, step: int, error: type[errors.GotError], bundle: bytes
) -> None:
    refused(step, error, spelt(put(json.loads(bundle), path, value)), KEY.public)


def test_several_signatures_are_refused(envelope: bytes) -> None:
    tree = json.loads(envelope)
    tree["signatures"] *= 2
    refused(1, errors.BadBundle, spelt(tree), KEY.public)


def test_a_key_that_a_bundle_brings_is_not_trusted(bundle: bytes) -> None:
    tree = json.loads(with_payload(bundle, payload_of(bundle), OTHER_KEY))
    key = {"hint": KEY.public.key_id, "rawBytes": OTHER_KEY.public.raw.hex()}
    text = spelt(put(tree, "verificationMaterial.publicKey", key))
    refused(3, errors.BadSignature, text, KEY.public, allow_reformatted=True)
    text = spelt(put(tree, "dsseEnvelope.signatures.0.keyid", OTHER_KEY.public.key_id))
    both = [KEY.public, OTHER_KEY.public]
    refused(3, errors.UnknownSigner, text, both, allow_reformatted=True)


@pytest.mark.parametrize(
    ("path", "value", "step", "error"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", 1, errors.BadBundle),
        ("predicateType", "https://slsa.dev/provenance/v1", 1, errors.BadBundle),
        ("predicateType", ..., 1, errors.BadBundle),
        ("predicate", ..., 1, errors.WrongType),
        ("predicate.binding", ..., 1, errors.LegacyDocument),
        ("predicate.schema_version", 2, 1, errors.WrongType),
        ("predicate.more", 1, 1, errors.UnknownMember),
        ("predicate.timestamp", 1, 1, errors.Inconsistent),
        ("subject.0.digest.sha256", "00" * 32, 1, errors.Inconsistent),
        ("subject.1.digest.sha256", "00" * 32, 1, errors.Inconsistent),
        ("subject.1.name", "other", 1, errors.Inconsistent),
        ("subject.3", ..., 1, errors.Inconsistent),
        ("subject", [], 1, errors.Inconsistent),
        ("subject", 1, 1, errors.Inconsistent),
        ("more", 1, 1, errors.UnknownMember),
    ],
)
def test_a_signed_statement_of_something_else_is_refused(
    path: str, value: object, step: int, error: type[errors.GotError], envelope: bytes
) -> None:
    """Also if other spellings are allowed: what is said is another thing."""
    text = with_payload(envelope, put(json.loads(payload_of(envelope)), path, value))
    for reformatted in (False, True):
        refused(step, error, text, KEY.public, allow_reformatted=reformatted)


def test_both_signatures_count(attestation: Attestation, envelope: bytes) -> None:
    """An attestation that nobody signed, in an envelope that its signer did; and the reverse."""
    unsigned = replace(attestation, signature="00" * 64)
    tree = json.loads(payload_of(envelope))
    tree["predicate"]["signature"] = unsigned.signature
    tree["subject"][0]["digest"]["sha256"] = hashlib.sha256(unsigned.to_json()).hexdigest()
    text = with_payload(envelope, tree)
    refused(3, errors.BadSignature, text, KEY.public, allow_reformatted=True)
    text = with_payload(envelope, payload_of(envelope), OTHER_KEY)
    error = refused(3, errors.BadSignature, text, KEY.public)
    assert error.where == "attestation, sig"


def test_a_lie_that_its_signer_tells_twice_is_refused_as_in_the_document(
    attestation: Attestation, envelope: bytes
) -> None:
    """All the steps of a document are those of evidence, too."""
    lie = signed_anew(attestation, input_hash="00" * 32)
    tree = json.loads(payload_of(envelope))
    tree["predicate"] = json.loads(lie)
    tree["subject"][0]["digest"]["sha256"] = hashlib.sha256(lie).hexdigest()
    text = with_payload(envelope, tree)
    refused(4, errors.BindingMismatch, text, KEY.public, allow_reformatted=True)


def test_statements_of_other_kinds_are_refused(attestation: Attestation) -> None:
    for text in (
        spelt(model_signature(model_statement())),
        make_verification_result(attestation.digest, ("GOT_SIGNATURE",), KEY, 0),
    ):
        assert is_envelope(text)
        error = refused(1, errors.BadBundle, text, KEY.public)
        assert error.where.endswith("predicateType")
        assert error.exit_code == 3


def test_what_only_mentions_the_members_is_no_envelope(files: Files) -> None:
    named = files.attest(corpus_version="payloadType").to_json()
    assert b'"payloadType"' in named
    assert not is_envelope(named)
    assert verify(named, KEY.public).attestation.corpus_version == "payloadType"
    assert not is_envelope(b'{"payloadType": ')
    assert not is_envelope(b'["mediaType"]')


def test_memory_is_bounded(envelope: bytes) -> None:
    for text in (b'{"payloadType": ' + b"[" * 100, envelope + b" " * 2**24):
        with pytest.raises((errors.BadJson, errors.TooLarge)):
            parse_evidence(text, "x")


# --- verdicts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supply(files: Files, attestation: Attestation) -> Callable[..., Verdict]:
    def run(**supplied: Any) -> Verdict:
        return verify(attestation.to_json(), KEY.public, **supplied)

    return run


def test_properties_are_those_of_steps_that_passed(
    supply: Callable[..., Verdict], files: Files
) -> None:
    """A verdict on a part says less than one on everything."""
    alone = ("GOT_SIGNATURE", "GOT_BINDING")
    everything: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
    }  # fmt: skip
    assert supply().properties == alone
    assert supply(activations=files.activations).properties == alone
    full = (*alone, "GOT_READINGS_RECOMPUTED", "GOT_COMPLETE")
    assert supply(**everything).properties == full
    second = signed_anew(files.attest(), parent_attestation_hash="00" * 32, sequence_number=1)
    verdict = verify(second, KEY.public, **everything)
    assert verdict.properties == full[:-1]


def test_a_result_has_the_members_of_svr(attestation: Attestation) -> None:
    own = hashlib.sha256(attestation.to_json()).hexdigest()
    tree = json.loads(
        payload_of(make_verification_result(own, ("GOT_SIGNATURE",), KEY, 1_700_000_000))
    )
    assert tree["subject"] == [{"name": "attestation", "digest": {"sha256": own}}]
    assert tree["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    verifier = tree["predicate"].pop("verifier")
    assert verifier["id"].startswith("https://")
    assert verifier["policies"] == []
    assert tree["predicate"] == {
        "timeCreated": "2023-11-14T22:13:20Z", "properties": ["GOT_SIGNATURE"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("subject", []),
        ("subject.0.digest.sha256", 1),
        ("predicate.properties", "GOT_SIGNATURE"),
        ("predicate.properties.0", None),
        ("predicate.timeCreated", 0),
        ("predicate.verifier.id", ...),
        ("predicate.verifier", ...),
        ("predicate", []),
        ("predicateType", "x"),
    ],
)
def test_a_malformed_result_is_not_read(path: str, value: object) -> None:
    tree = json.loads(payload_of(make_verification_result("00" * 32, ["GOT_SIGNATURE"], KEY, 0)))
    assert read_result(spelt(tree), "x").properties == ("GOT_SIGNATURE",)
    with pytest.raises(errors.BadBundle):
        read_result(spelt(put(tree, path, value)), "x")


def test_of_a_document_without_a_binding_no_properties_are_said(attestation: Attestation) -> None:
    bare = signed_anew(attestation, binding=None, probe_commitment=None)
    verdict = verify(bare, KEY.public, allow_legacy=True)
    with pytest.raises(errors.LegacyDocument):
        _ = verdict.properties
