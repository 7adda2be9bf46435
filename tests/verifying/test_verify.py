"""The six steps: one valid attestation, and one thing changed at a time."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.signing.attestation import Attestation, parse_document, write_attestation
from geometry_of_trust.signing.checks import sign
from geometry_of_trust.signing.keys import PublicKey
from geometry_of_trust.signing.reference_members import CausalScore
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, OTHER_KEY, TIMESTAMP, Files, build, signed_anew


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def attestation(files: Files) -> Attestation:
    return files.attest()


@pytest.fixture(scope="module")
def document(attestation: Attestation) -> bytes:
    return attestation.to_json()


def refused(step: int, cause: type[errors.GotError], *args: Any, **options: Any) -> Refused:
    """Verification of these arguments is refused at this step, for this cause."""
    with pytest.raises(Refused) as caught:
        verify(*args, **options)
    assert (caught.value.step, type(caught.value.__cause__)) == (step, cause)
    assert caught.value.cause is caught.value.__cause__
    last = caught.value.steps[-1]
    assert (last.outcome, last.detail) == ("failed", str(caught.value.cause))
    assert [s.number for s in caught.value.steps] == list(range(1, step + 1))
    return caught.value


def outcomes(verdict: Verdict) -> list[str]:
    return [step.outcome for step in verdict.steps]


# --- what is verified -------------------------------------------------------------------------


def test_everything_supplied_is_verified(files: Files, document: bytes) -> None:
    verdict = verify(
        document, KEY.public,
        activations=files.activations, unembedding=files.unembedding, probes=files.probes,
    )  # fmt: skip
    assert verdict.line == "VERIFIED"
    assert verdict.complete
    assert outcomes(verdict) == ["passed"] * 6


def test_the_document_alone_says_what_was_not_checked(document: bytes) -> None:
    verdict = verify(document, KEY.public)
    assert verdict.line == (
        "VERIFIED, SIGNATURE AND BINDING ONLY: "
        "not checked: activations, unembedding, probes, readings"
    )
    assert outcomes(verdict) == ["passed"] * 4 + ["not run"] * 2
    assert not verdict.complete


def test_a_part_of_the_files_is_checked_as_far_as_it_goes(files: Files, document: bytes) -> None:
    verdict = verify(document, KEY.public, unembedding=files.unembedding)
    assert verdict.not_checked == ("activations", "probes", "readings")
    assert outcomes(verdict)[4:] == ["passed", "not run"]


def test_a_verdict_is_no_boolean(document: bytes) -> None:
    verdict = verify(document, KEY.public)
    with pytest.raises(TypeError):
        bool(verdict)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.legacy = True  # type: ignore[misc]


def test_files_on_disk_verify_like_bytes(tmp_path: Path, attestation: Attestation) -> None:
    write_attestation(tmp_path / "a.json", attestation)
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    assert verify(tmp_path / "a.json", tmp_path / "k.pub").attestation == attestation


def test_steps_have_their_names_and_say_what_was_seen(files: Files, document: bytes) -> None:
    names = ["format", "structure", "signature", "binding", "files", "readings"]
    supplied: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
    }  # fmt: skip
    one = files.attest(probes=files.probes[:1])
    bare = signed_anew(one, binding=None, probe_commitment=None)
    with_a_file: dict[str, Any] = {"activations": files.activations, "allow_legacy": True}
    for text, options in (
        (document, {}),
        (document, supplied),
        (one.to_json(), {}),
        (bare, {"allow_legacy": True}),
        (bare, with_a_file),
    ):
        verdict = verify(text, KEY.public, **options)
        assert [step.name for step in verdict.steps] == names
        assert [step.number for step in verdict.steps] == [1, 2, 3, 4, 5, 6]
        assert all(type(step.detail) is str and step.detail for step in verdict.steps)
        counted = verdict.steps[1].detail.partition(";")[0]
        of_one = "1 reading from 1 probe set"
        assert counted == ("2 readings from 2 probe sets" if text == document else of_one)


def test_a_step_says_what_it_did_not_have(files: Files, document: bytes) -> None:
    def details(**supplied: Any) -> tuple[str, str]:
        *_, five, six = verify(document, KEY.public, **supplied).steps
        return five.detail, six.detail

    everything = "activations, unembedding, probes"
    assert details() == (f"not supplied: {everything}", f"needs {everything}")
    five = "sha256 of unembedding; not supplied: activations, probes"
    of_one = (five, "needs activations, probes")
    assert details(unembedding=files.unembedding) == of_one
    five, _ = details(
        activations=files.activations, unembedding=files.unembedding, probes=files.probes
    )
    assert five == "sha256 of activations, unembedding, probe set 0, probe set 1"


def test_a_refusal_says_in_which_document(attestation: Attestation, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    cut_off: dict[str, Any] = {"binding": None, "probe_commitment": attestation.probe_commitment}
    for where, step, lie in (
        ("model_id", 2, signed_anew(attestation, model_id="x" * 257)),
        ("binding.activations.sha256", 4, signed_anew(attestation, input_hash="00" * 32)),
        ("binding", 4, signed_anew(attestation, **cut_off)),
    ):
        path.write_bytes(lie)
        for document, name in ((lie, "attestation"), (path, str(path))):
            with pytest.raises(Refused) as caught:
                verify(document, KEY.public)
            assert (caught.value.step, caught.value.where) == (step, f"{name}.{where}")


# --- step 1: format ---------------------------------------------------------------------------


def test_every_single_bit_change_is_refused(document: bytes) -> None:
    for index in range(8 * len(document)):
        flipped = bytearray(document)
        flipped[index // 8] ^= 1 << index % 8
        try:
            verify(bytes(flipped), KEY.public)
        except Refused:
            continue
        pytest.fail(f"bit {index} may be changed")


def test_reformatting_allowed_a_bit_may_change_only_the_spelling(
    files: Files,
) -> None:
    # Of these readings some digits can be others of the same float32.
    attestation = files.attest(position="first")
    document = attestation.to_json()
    survivors = 0
    for index in range(8 * len(document)):
        flipped = bytearray(document)
        flipped[index // 8] ^= 1 << index % 8
        try:
            verdict = verify(bytes(flipped), KEY.public, allow_reformatted=True)
        except Refused:
            continue
        survivors += 1
        assert verdict.attestation == attestation
    assert survivors > 0  # else this option relaxes nothing


def test_every_truncation_is_refused(document: bytes) -> None:
    for length in range(len(document)):
        with pytest.raises(Refused):
            verify(document[:length], KEY.public)


def test_other_spellings_need_the_option(document: bytes, attestation: Attestation) -> None:
    compact = json.dumps(json.loads(document)).encode()
    error = refused(1, errors.NotOurSpelling, compact, KEY.public)
    assert error.exit_code == 1
    assert verify(compact, KEY.public, allow_reformatted=True).attestation == attestation
    refused(1, errors.NotOurSpelling, document + b"\n", KEY.public)
    shuffled = json.dumps(json.loads(document), sort_keys=True, indent=2).encode()
    refused(1, errors.NotOurSpelling, shuffled, KEY.public)
    upper = document.replace(attestation.signature.encode(), attestation.signature.upper().encode())
    refused(1, errors.WrongType, upper, KEY.public, allow_reformatted=True)


# --- step 2: structure ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        (errors.LimitExceeded, {"model_id": "é" * 129}),
        (errors.LimitExceeded, {"corpus_version": "x" * 257}),
        (errors.LimitExceeded, {"probe_version": "x" * 257}),
        (errors.LimitExceeded, {"layer_readings": ((),) * 1025}),
        (errors.LimitExceeded, {"layer_readings": ((0.0,) * 65537,)}),
        (errors.Inconsistent, {"confidence": (0.5,)}),
        (errors.Inconsistent, {"coverage_flags": (False,) * 3}),
        (errors.Inconsistent, {"confidence": (0.5, 1.5)}),
        (errors.Inconsistent, {"causal_flag": True}),
        (errors.Inconsistent, {"intervention_delta": 0.5}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_structure(attestation: Attestation, cause: type[errors.GotError], changes: Any) -> None:
    refused(2, cause, signed_anew(attestation, **changes), KEY.public)
    with pytest.raises(cause):
        sign(dataclasses.replace(attestation, **changes), KEY)


def test_the_divergence_flag_follows_from_the_coverage_flags(attestation: Attestation) -> None:
    lie = signed_anew(attestation, divergence_flag=not attestation.divergence_flag)
    refused(2, errors.Inconsistent, lie, KEY.public)


def test_the_limits_themselves_are_allowed(attestation: Attestation) -> None:
    verify(signed_anew(attestation, corpus_version="x" * 256), KEY.public)


def test_causal_members_must_agree(attestation: Attestation) -> None:
    score = CausalScore(1.0, 1.0, 1.0, is_causal=True)
    good: dict[str, Any] = {
        "causal_scores": (score,),
        "intervention_delta": 0.5,
        "causal_flag": True,
    }
    verify(signed_anew(attestation, **good), KEY.public)
    for wrong in ({"causal_flag": False}, {"intervention_delta": None}, {"causal_flag": None}):
        refused(2, errors.Inconsistent, signed_anew(attestation, **(good | wrong)), KEY.public)


def test_a_document_from_the_future_is_refused(document: bytes) -> None:
    verify(document, KEY.public, now=TIMESTAMP - 300)
    refused(2, errors.TimestampInFuture, document, KEY.public, now=TIMESTAMP - 301)


# --- step 3: signature ------------------------------------------------------------------------


def test_another_key_is_refused(document: bytes) -> None:
    refused(3, errors.BadSignature, document, OTHER_KEY.public)


def test_a_low_order_key_verifies_nothing(document: bytes, tmp_path: Path) -> None:
    (tmp_path / "k.pub").write_bytes(bytes([1]) + bytes(31))
    with pytest.raises(errors.LowOrderKey):
        verify(document, tmp_path / "k.pub")
    with pytest.raises(errors.LowOrderKey):
        PublicKey(bytes([1]) + bytes(31))
    forged = json.loads(document) | {"signature": (bytes([1]) + bytes(63)).hex()}
    text = json.dumps(forged).encode()
    refused(3, errors.BadSignature, text, KEY.public, allow_reformatted=True)


# --- step 4: binding --------------------------------------------------------------------------


def test_the_commitment_is_what_the_documents_say(attestation: Attestation) -> None:
    import hashlib

    import rfc8785

    tree = json.loads(attestation.to_json())["binding"]
    expected = hashlib.sha256(b"GOT-BINDING-V1\0" + rfc8785.dumps(tree)).hexdigest()
    assert attestation.probe_commitment == expected

    def only_strings_and_integers(value: Any) -> bool:
        if isinstance(value, dict):
            return all(map(only_strings_and_integers, value.values()))
        if isinstance(value, list):
            return all(map(only_strings_and_integers, value))
        return type(value) in (str, int)

    assert only_strings_and_integers(tree)


# --- steps 5 and 6: files and readings --------------------------------------------------------


def test_another_file_is_refused(files: Files, document: bytes, tmp_path: Path) -> None:
    supplied: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
    }  # fmt: skip
    for name in ("activations", "unembedding"):
        path = tmp_path / name
        path.write_bytes(getattr(files, name).read_bytes() + b"x")
        error = refused(5, errors.DigestMismatch, document, KEY.public, **supplied | {name: path})
        assert error.where == str(path)
    one, two = files.probes
    for wrong in ((two, one), (one,), (one, two, two)):
        refused(5, errors.DigestMismatch, document, KEY.public, **supplied | {"probes": wrong})


@pytest.mark.parametrize(
    ("member", "value", "first"),
    [
        ("layer_readings", ((0.5,), (0.5,)), "layer_readings[0][0]"),
        ("confidence", (0.75, 0.75), "confidence[0]"),
    ],
)
def test_signed_readings_that_the_files_do_not_give(
    files: Files, attestation: Attestation, member: str, value: Any, first: str
) -> None:
    lie = signed_anew(attestation, **{member: value})
    assert verify(lie, KEY.public).line.startswith("VERIFIED, SIGNATURE AND BINDING ONLY")
    error = refused(
        6, errors.ReadingsMismatch, lie, KEY.public,
        activations=files.activations, unembedding=files.unembedding, probes=files.probes,
    )  # fmt: skip
    assert error.where == first


def test_a_reading_one_unit_off_is_refused(files: Files, attestation: Attestation) -> None:
    import numpy as np

    first = attestation.layer_readings[0][0]
    near = float(np.nextafter(np.float32(first), np.float32(np.inf)))
    lie = signed_anew(attestation, layer_readings=((near,), attestation.layer_readings[1]))
    refused(
        6, errors.ReadingsMismatch, lie, KEY.public,
        activations=files.activations, unembedding=files.unembedding, probes=files.probes,
    )  # fmt: skip


@pytest.mark.parametrize(
    "limit",
    [
        ("geometry.inner_product.MAX_DIMENSION", 5, errors.TooLarge),
        ("memory.available", lambda: 32 * 6**2 - 1, errors.NotEnoughMemory),
    ],
)
def test_an_inner_product_that_is_too_large_is_not_made(
    limit: Any, files: Files, document: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value, cause = limit
    monkeypatch.setattr(f"geometry_of_trust.{name}", value)
    error = refused(
        6, cause, document, KEY.public,
        activations=files.activations, unembedding=files.unembedding, probes=files.probes,
    )  # fmt: skip
    assert error.exit_code == 3


# --- documents of the reference ---------------------------------------------------------------


def test_without_binding_only_as_legacy(files: Files, attestation: Attestation) -> None:
    bare = signed_anew(attestation, binding=None, probe_commitment=None)
    refused(4, errors.LegacyDocument, bare, KEY.public)
    verdict = verify(bare, KEY.public, allow_legacy=True)
    assert verdict.legacy
    assert outcomes(verdict) == ["passed"] * 3 + ["not run"] * 3
    some = verify(bare, KEY.public, allow_legacy=True, unembedding=files.unembedding)
    assert outcomes(some) == ["passed"] * 3 + ["not run", "passed", "not run"]
    assert verdict.unsigned == ()
    assert not verdict.complete
    assert verdict.line == (
        "VERIFIED, LEGACY SIGNATURE ONLY: "
        "not checked: binding, activations, unembedding, probes, readings"
    )


def test_a_binding_cannot_hide_behind_the_short_layout(attestation: Attestation) -> None:
    short = dataclasses.replace(
        attestation, signature=KEY.sign(attestation.signed_bytes("short")).hex()
    )
    refused(3, errors.BadSignature, short.to_json(), KEY.public, allow_legacy=True)
    bare = dataclasses.replace(
        attestation, binding=None, signature=KEY.sign(attestation.signed_bytes("short")).hex()
    )
    refused(3, errors.LegacyDocument, bare.to_json(), KEY.public)
    verdict = verify(bare.to_json(), KEY.public, allow_legacy=True)
    assert verdict.unsigned == ("geometry_hash", "sequence_number", "probe_commitment")


def test_the_reference_s_attestation(interop: Path) -> None:
    folder = interop / "synthetic"
    data = (folder / "attestation.json").read_bytes()
    refused(3, errors.LegacyDocument, data, folder / "test-key.pub")
    verdict = verify(data, folder / "test-key.pub", allow_legacy=True)
    assert verdict.unsigned == ("sequence_number", "probe_commitment")
    assert "no signature covers sequence_number, probe_commitment" in verdict.line
    assert verdict.attestation.to_json() == data
    with_file = verify(
        data, folder / "test-key.pub", allow_legacy=True, activations=folder / "synthetic.gotact"
    )
    assert outcomes(with_file) == ["passed"] * 3 + ["not run", "passed", "not run"]
    refused(
        5, errors.DigestMismatch, data, folder / "test-key.pub", allow_legacy=True,
        activations=interop / "demo" / "activations.gotact",
    )  # fmt: skip


def test_the_reference_s_outer_object(interop: Path) -> None:
    folder = interop / "demo"
    data = (folder / "attestation.json").read_bytes()
    refused(1, errors.LegacyDocument, data, folder / "key.pub")
    refused(1, errors.LegacyDocument, data, folder / "key.pub", allow_reformatted=True)
    verdict = verify(data, folder / "key.pub", allow_legacy=True)
    assert verdict.unsigned == ("sequence_number", "probe_commitment", "verifying_key_hex")
    assert verdict.attestation.layer_readings == ((-0.51261782646179199219,),)
    refused(3, errors.WrongKeyKind, data, interop / "synthetic" / "test-key.pub", allow_legacy=True)
    tree = json.loads(data)
    tree["attestation"]["model_id"] = "other"
    forged = json.dumps(tree).encode()
    refused(1, errors.NotOurSpelling, forged, folder / "key.pub", allow_legacy=True)
    options = {"allow_legacy": True, "allow_reformatted": True}
    refused(3, errors.BadSignature, forged, folder / "key.pub", **options)


@pytest.mark.parametrize("name", ["demo/key.pub", "synthetic/test-key.pub"])
def test_legacy_relaxes_no_spelling(interop: Path, name: str) -> None:
    """The reference's own files pass as they are; another spelling of them has its own option."""
    key = interop / name
    data = (key.parent / "attestation.json").read_bytes()
    verdict = verify(data, key, allow_legacy=True)
    compact = json.dumps(json.loads(data)).encode()
    for other in (data + b"\n", compact, data.replace(b"  ", b" ")):
        refused(1, errors.NotOurSpelling, other, key, allow_legacy=True)
        again = verify(other, key, allow_legacy=True, allow_reformatted=True)
        assert again.attestation == verdict.attestation


def test_legacy_relaxes_nothing_of_a_document_with_a_binding(document: bytes) -> None:
    assert verify(document, KEY.public, allow_legacy=True) == verify(document, KEY.public)
    refused(1, errors.NotOurSpelling, document + b"\n", KEY.public, allow_legacy=True)


def test_a_bit_of_the_reference_s_attestation(interop: Path) -> None:
    """No content that the short layout signs changes unnoticed."""
    folder = interop / "synthetic"
    data = (folder / "attestation.json").read_bytes()
    original = parse_document(data, "a").attestation
    unsigned = {"sequence_number", "probe_commitment"}
    survivors = 0
    for index in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[index // 8] ^= 1 << index % 8
        try:
            verdict = verify(bytes(flipped), folder / "test-key.pub", allow_legacy=True)
        except Refused:
            continue
        survivors += 1
        for name, value in vars(original).items():
            if name not in unsigned:
                assert getattr(verdict.attestation, name) == value
    assert survivors > 0  # else the members that are named as unsigned would be signed


# --- the cost of a document alone -------------------------------------------------------------


def test_a_document_is_verified_without_numpy(tmp_path: Path, attestation: Attestation) -> None:
    write_attestation(tmp_path / "a.json", attestation)
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    code = (
        "import sys; from geometry_of_trust.cli import main\n"
        f"code = main(['verify', '--attestation', {str(tmp_path / 'a.json')!r},"
        f" '--pubkey', {str(tmp_path / 'k.pub')!r}])\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'torch', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("not checked: activations, unembedding, probes, readings")
