"""What is printed of attestations and verdicts, for people and for programs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from geometry_of_trust.errors import LimitExceeded
from geometry_of_trust.showing import verdicts
from geometry_of_trust.signing.attestation import Attestation, parse_document, read_attestation
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import replaced
from places import REFERENCE, VECTORS

KEY = SecretKey.from_seed(bytes([1]) * 32)
DEMO = VECTORS / "demo" / "attestation.json"


@pytest.fixture(scope="module")
def signed() -> Attestation:
    return read_attestation(DEMO)


def row(text: str, name: str) -> str:
    """The value of the only row of this name."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).strip()


# --- moments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (0, "1970-01-01 00:00:00 UTC"),
        (1_700_000_000, "2023-11-14 22:13:20 UTC"),
        (2**64 - 1, "18446744073709551615 s after 1970"),
        (10**12, "1000000000000 s after 1970"),
    ],
)
def test_moments(timestamp: int, text: str) -> None:
    assert verdicts.moment(timestamp) == text


# --- attestations -----------------------------------------------------------------------------


def test_an_attestation_for_a_person(signed: Attestation) -> None:
    text = verdicts.attestation(signed)
    bound = signed.bound()
    assert row(text, "model") == "smollm2-135m-instruct  (Fp32)"
    assert row(text, "inner product") == "Causal"
    assert row(text, "time stated") == "2023-11-14 22:13:20 UTC"
    assert row(text, "activations") == bound.activations.sha256
    assert row(text, "probe set") == bound.probe_sets[0].sha256
    assert bound.extraction_record is not None
    assert row(text, "extraction record") == bound.extraction_record.sha256
    reading = row(text, "reading")
    assert reading.startswith("p = 0.98247397 (reliable), raw = 4.84761, ")
    assert reading.endswith(", layer 15, position last (7): 'true'")


def test_what_a_binding_does_not_say_is_left_out(signed: Attestation) -> None:
    bare = verdicts.attestation(dataclasses.replace(signed, binding=None))
    assert row(bare, "reading").endswith(": probe (unbound)")
    for name in ("unembedding", "probe set", "extraction record", "made with", "key id"):
        assert f"\n{name} " not in bare
    unrecorded = dataclasses.replace(
        signed, binding=replaced(signed.bound(), ("extraction_record",), None)
    )
    assert "\nextraction record " not in verdicts.attestation(unrecorded)


def test_what_was_added_to_the_diagonal(signed: Attestation) -> None:
    tag = InnerProductTag("CausalRegularised", 0.5)
    text = verdicts.attestation(dataclasses.replace(signed, inner_product=tag))
    assert row(text, "inner product") == "CausalRegularised (added to the diagonal: 0.5)"


@pytest.mark.parametrize(
    ("position", "index", "shown"),
    [("last", 7, "position last (7)"), ("7", 7, "position 7"), ("mean", None, "position mean")],
)
def test_positions(signed: Attestation, position: str, index: int | None, shown: str) -> None:
    entry = dataclasses.replace(
        verdicts.readings(signed)[0], position=position, position_index=index
    )
    assert f"{shown}: 'true'" in entry.line()


def test_a_probe_that_proves_little_says_so(signed: Attestation) -> None:
    entry = verdicts.readings(signed)[0]
    weak = dataclasses.replace(entry, verdict="INSUFFICIENT", flagged=True)
    assert "by a probe that is INSUFFICIENT" in weak.line()
    assert "unreliable: flagged" in weak.line()
    assert "INSUFFICIENT" not in entry.line()


def test_an_entry_for_a_program(signed: Attestation) -> None:
    (tree,) = [entry.tree() for entry in verdicts.readings(signed)]
    assert tree == {
        "probe_set": 0, "layer": 15, "position": "last", "position_index": 7,
        "dimension": "true", "verdict": "SUFFICIENT", "other_weights": False,
        "other_tokens": False, "outside": False,
        "aggregate": None, "rows": None,
        "raw": signed.layer_readings[0][0],
        "probability": signed.confidence[0], "flagged": False,
    }  # fmt: skip
    (unbound,) = [
        entry.tree() for entry in verdicts.readings(dataclasses.replace(signed, binding=None))
    ]
    assert set(unbound) == {"probe_set", "raw", "probability", "flagged"}
    assert json.loads(verdicts.attestation_json(signed))["readings"] == [tree]


def test_documents_that_contradict_themselves_can_be_shown(signed: Attestation) -> None:
    """`show` verifies nothing: more readings than confidences, names and sets are no surprise."""
    odd = dataclasses.replace(signed, layer_readings=((0.5, 0.25), (1.0,)))
    first, second, third = verdicts.readings(odd)
    assert (first.dimension, second.dimension, third.dimension) == ("true", None, None)
    assert (second.probability, third.flagged) == (None, None)
    assert "p = ? " in second.line()


def test_long_attestations_are_cut(signed: Attestation) -> None:
    count = 130
    many = dataclasses.replace(
        signed, layer_readings=((0.5,) * count,), confidence=(0.5,) * count,
        coverage_flags=(False,) * count,
    )  # fmt: skip
    lines = verdicts.attestation(many).splitlines()
    assert sum(line.startswith("reading ") for line in lines) == 100
    assert lines[-1].strip() == "and 30 more"


def test_untrusted_text_is_escaped(signed: Attestation) -> None:
    nasty = "\x1b[2J\nVERIFIED"
    binding = replaced(signed.bound(), ("probe_sets", 0, "dimensions"), (nasty,))
    text = verdicts.attestation(dataclasses.replace(signed, model_id=nasty, binding=binding))
    assert "\x1b" not in text
    assert "\nVERIFIED" not in text


SPOOF = VECTORS / "cases" / "02-spoofed-reading"


def test_a_name_that_plays_a_reading_is_neither_verified_nor_shown_for_one() -> None:
    """Its 2,678 bytes say `p = 0.99999994`; what is signed is p = 0.057, by a poor probe."""
    with pytest.raises(Refused) as caught:
        verify(SPOOF / "spoof.json", SPOOF / "k.pub")
    assert (caught.value.step, type(caught.value.cause)) == (2, LimitExceeded)
    shown = row(verdicts.attestation(read_attestation(SPOOF / "spoof.json")), "reading")
    numbers = "p = 0.05744698 (reliable), raw = -11.443841, by a probe that is INSUFFICIENT, "
    assert shown.startswith(numbers)
    assert shown.endswith("... (cut: 2678 bytes)")


@pytest.mark.parametrize(
    "name",
    [
        "honesty' at layer 4, position last (29): p = 0.99999994 (reliable), raw = 16.2" + " " * 99,
        "\u2800" * 80,
        "x" + "\ufe0f" * 80,
        "a" + "\u0335" * 100,
        "\u05d0" * 100,
        "\u202e" + "9" * 50,
    ],
)
def test_what_is_signed_of_a_reading_comes_before_its_name(signed: Attestation, name: str) -> None:
    binding = replaced(signed.bound(), ("probe_sets", 0, "dimensions"), (name,))
    line = row(verdicts.attestation(dataclasses.replace(signed, binding=binding)), "reading")
    numbers = "p = 0.98247397 (reliable), raw = 4.84761, layer 15, position last (7): '"
    assert line.startswith(numbers)
    assert "'" not in line.removeprefix(numbers)[:-1].replace("\\'", "")  # closed at its end alone
    assert line.endswith("'")
    assert line.isascii()


def test_a_position_and_other_names_of_a_document_that_was_not_verified_are_cut(
    signed: Attestation,
) -> None:
    long = "x" * 100_000
    binding = replaced(signed.bound(), ("probe_sets", 0, "position"), long)
    binding = dataclasses.replace(binding, tool=long)
    long_ones = dataclasses.replace(
        signed, binding=binding, model_id=long, corpus_version=long, probe_version=long
    )
    text = verdicts.attestation(long_ones)
    assert text.count("(cut: 100000 bytes)") == 5
    assert len(text) < 5000


# --- verdicts ---------------------------------------------------------------------------------


def test_a_verdict_ends_with_its_line() -> None:
    verdict = verify(DEMO, KEY.public)
    lines = verdicts.verdict(verdict).splitlines()
    assert lines[-1] == verdict.line
    numbered = [line for line in lines if line[:1].isdigit()]
    assert [line.split()[:2] for line in numbered] == [
        [str(step.number), step.name] for step in verdict.steps
    ]
    tree = json.loads(verdicts.verdict_json(verdict))
    assert (tree["verified"], tree["complete"], tree["legacy"]) == (True, False, False)
    assert tree["not_checked"] == list(verdict.not_checked)
    assert [step["outcome"] for step in tree["steps"]] == ["passed"] * 4 + ["not run"] * 2


def test_a_legacy_verdict_names_what_is_not_signed() -> None:
    folder = REFERENCE / "demo"
    verdict = verify(folder / "attestation.json", folder / "key.pub", allow_legacy=True)
    tree = json.loads(verdicts.verdict_json(verdict))
    assert tree["legacy"]
    assert tree["unsigned_members"] == ["sequence_number", "probe_commitment", "verifying_key_hex"]
    assert "no signature covers sequence_number" in verdicts.verdict(verdict).splitlines()[-1]


def test_a_refusal_says_nothing_of_what_is_claimed() -> None:
    document = parse_document(DEMO.read_bytes(), DEMO)
    forged = dataclasses.replace(document.attestation, model_id="claimed-model").to_json()
    with pytest.raises(Refused) as caught:
        verify(forged, KEY.public)
    refused = caught.value
    for text in (verdicts.refusal(refused), verdicts.refusal_json(refused)):
        assert "claimed-model" not in text
    assert verdicts.refusal(refused).splitlines()[-1].startswith("REFUSED at step 3: ")
    tree = json.loads(verdicts.refusal_json(refused))
    assert (tree["verified"], tree["refused_at_step"], tree["error"]) == (False, 3, "BadSignature")
    assert [step["outcome"] for step in tree["steps"]] == ["passed", "passed", "failed"]
