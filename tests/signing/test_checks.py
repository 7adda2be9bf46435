"""The checks of steps 2 and 4, each alone: what is refused, where, and that limits are allowed."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.signing.attestation import Attestation, read_attestation
from geometry_of_trust.signing.binding import BoundProbeSet
from geometry_of_trust.signing.checks import (
    check_binding,
    check_no_binding,
    check_structure,
    reference_commitment,
    sign,
)
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.signing.reference_members import CausalScore
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from places import VECTORS

KEY = SecretKey.from_seed(bytes([1]) * 32)
OTHER = "00" * 32


@pytest.fixture(scope="module")
def signed() -> Attestation:
    return read_attestation(VECTORS / "demo" / "attestation.json")


def bound_anew(signed: Attestation, **changes: Any) -> Attestation:
    """With another binding, whose digest is signed; its parts are changed by their attributes."""
    binding = signed.bound()
    for name, change in changes.items():
        old = getattr(binding, name)
        new = dataclasses.replace(old, **change) if isinstance(change, dict) else change
        binding = dataclasses.replace(binding, **{name: new})
    return dataclasses.replace(signed, binding=binding, probe_commitment=binding.digest)


def with_set(signed: Attestation, **changes: Any) -> Attestation:
    """With other attributes of the one bound probe set."""
    bound = dataclasses.replace(signed.bound().probe_sets[0], **changes)
    return bound_anew(signed, probe_sets=(bound,))


# --- step 2 -----------------------------------------------------------------------------------

SCORE = CausalScore(1.0, 1.0, 1.0, is_causal=True)
CAUSAL: dict[str, Any] = {
    "causal_scores": (SCORE,),
    "intervention_delta": 0.5,
    "causal_flag": True,
}


def readings(rows: int, columns: int) -> dict[str, Any]:
    count = rows * columns
    return {
        "layer_readings": ((0.0,) * columns,) * rows,
        "confidence": (0.5,) * count,
        "coverage_flags": (False,) * count,
    }


@pytest.mark.parametrize(
    ("cause", "where", "changes"),
    [
        (errors.LimitExceeded, "model_id", {"model_id": "é" * 129}),
        (errors.LimitExceeded, "corpus_version", {"corpus_version": "x" * 257}),
        (errors.LimitExceeded, "probe_version", {"probe_version": "x" * 257}),
        (errors.LimitExceeded, "layer_readings", readings(1025, 0)),
        (errors.LimitExceeded, "layer_readings", readings(1, 65537)),
        (errors.Inconsistent, "confidence", {"confidence": ()}),
        (errors.Inconsistent, "confidence", {"confidence": (0.5, 0.5)}),
        (errors.Inconsistent, "coverage_flags", {"coverage_flags": ()}),
        (errors.Inconsistent, "coverage_flags", {"coverage_flags": (False, False)}),
        (errors.Inconsistent, "divergence_flag", {"divergence_flag": True}),
        (errors.Inconsistent, "divergence_flag", {"coverage_flags": (True,)}),
        (errors.Inconsistent, "confidence[0]", {"confidence": (1.25,)}),
        (errors.Inconsistent, "confidence[0]", {"confidence": (-0.25,)}),
        (errors.Inconsistent, "confidence[1]", readings(2, 1) | {"confidence": (0.5, 1.25)}),
        (errors.Inconsistent, "causal_flag", {"causal_flag": True}),
        (errors.Inconsistent, "causal_flag", {"causal_flag": False}),
        (errors.Inconsistent, "causal_flag", {"intervention_delta": 0.5}),
        (errors.Inconsistent, "causal_flag", CAUSAL | {"causal_scores": ()}),
        (errors.Inconsistent, "causal_flag", CAUSAL | {"intervention_delta": None}),
        (errors.Inconsistent, "causal_flag", CAUSAL | {"causal_flag": False}),
        (errors.Inconsistent, "causal_flag", CAUSAL | {"causal_flag": None}),
    ],
)
def test_structure(
    signed: Attestation, cause: type[errors.GotError], where: str, changes: dict[str, Any]
) -> None:
    other = dataclasses.replace(signed, **changes)
    with pytest.raises(cause) as caught:
        check_structure(other, "a")
    assert caught.value.where == f"a.{where}"
    with pytest.raises(cause) as caught:
        sign(other, KEY)
    assert caught.value.where == f"attestation.{where}"


def test_bound_names_are_short_too(signed: Attestation) -> None:
    check_structure(bound_anew(signed, tool="x" * 256), "a")
    long = {
        "tool": bound_anew(signed, tool="x" * 257),
        "probe_sets[0].dimensions[1]": with_set(signed, dimensions=("x" * 256, "x" * 257)),
    }
    for where, attestation in long.items():
        with pytest.raises(errors.LimitExceeded) as caught:
            check_structure(attestation, "a")
        assert caught.value.where == f"a.binding.{where}"


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "é" * 128},
        {"corpus_version": "x" * 256, "probe_version": "x" * 256},
        readings(1024, 0),
        readings(1, 65536),
        {"confidence": (0.0,)},
        {"confidence": (1.0,)},
        {"coverage_flags": (True,), "divergence_flag": True},
        CAUSAL,
        CAUSAL | {
            "causal_scores": (SCORE, dataclasses.replace(SCORE, is_causal=False)),
            "causal_flag": False,
        },
    ],
)  # fmt: skip
def test_the_limits_themselves_are_allowed(signed: Attestation, changes: dict[str, Any]) -> None:
    check_structure(dataclasses.replace(signed, **changes), "a")


def test_the_clock_may_be_300_seconds_behind(
    signed: Attestation, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = signed.timestamp
    check_structure(signed, "a", now=at - 300)
    check_structure(signed, "a", now=at - 299.5)
    for clock in (at - 301, 0.0):
        with pytest.raises(errors.TimestampInFuture) as caught:
            check_structure(signed, "a", now=clock)
        assert caught.value.where == "a.timestamp"
    monkeypatch.setattr(time, "time", lambda: at - 301.0)
    with pytest.raises(errors.TimestampInFuture):
        check_structure(signed, "a")
    monkeypatch.setattr(time, "time", lambda: at - 300.0)
    check_structure(signed, "a")


def test_a_name_in_bytes() -> None:
    check_name("é" * 128, "m")
    for hint in ("Shorten it.", ""):
        with pytest.raises(errors.LimitExceeded) as caught:
            check_name("é" * 128 + "x", "m", *filter(None, [hint]))
        assert (caught.value.where, caught.value.hint) == ("m", hint)


def test_signing_adds_the_signature_and_nothing_else(signed: Attestation) -> None:
    assert sign(dataclasses.replace(signed, signature=""), KEY) == signed
    assert sign(dataclasses.replace(signed, signature=OTHER), KEY) == signed


# --- step 4 -----------------------------------------------------------------------------------


def refused(attestation: Attestation, where: str) -> None:
    with pytest.raises(errors.BindingMismatch) as caught:
        check_binding(attestation, KEY.public, "a")
    assert caught.value.where == f"a.{where}"


def test_a_binding_is_that_of_its_attestation(signed: Attestation) -> None:
    check_binding(signed, KEY.public, "a")
    with pytest.raises(errors.LegacyDocument) as caught:
        check_binding(dataclasses.replace(signed, binding=None), KEY.public, "a")
    assert caught.value.where == "a.binding"


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("probe_commitment", {"probe_commitment": OTHER}),
        ("probe_commitment", {"probe_commitment": None}),
        ("binding.activations.sha256", {"input_hash": OTHER}),
        ("binding.activations.model_id", {"model_id": "other"}),
        ("binding.activations.precision", {"precision": "Fp16"}),
        ("binding.geometry.inner_product", {"inner_product": InnerProductTag("Euclidean")}),
        ("binding.geometry.sha256", {"geometry_hash": OTHER}),
        ("binding.geometry.sha256", {"geometry_hash": None}),
        ("binding.probe_sets", {"layer_readings": ()}),
        ("binding.probe_sets", {"layer_readings": ((1.0,), (1.0,))}),
    ],
)
def test_what_is_attested_is_what_is_bound(
    signed: Attestation, where: str, changes: dict[str, Any]
) -> None:
    refused(dataclasses.replace(signed, **changes), where)


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("binding.version", {"version": 2}),
        ("binding.version", {"version": 0}),
        ("binding.unembedding.hidden_dim", {"unembedding": {"hidden_dim": 577}}),
        ("binding.geometry.epsilon", {"geometry": {"epsilon": "0"}}),
        ("binding.key_id", {"key_id": OTHER}),
        ("binding.activations.layers", {"activations": {"layers": (15, 8)}}),
        ("binding.activations.layers", {"activations": {"layers": (15, 15)}}),
        ("binding.activations.layers", {"activations": {"layers": (8, 15, 14)}}),
    ],
)
def test_what_is_bound_is_what_is_attested(
    signed: Attestation, where: str, changes: dict[str, Any]
) -> None:
    refused(bound_anew(signed, **changes), where)


def test_what_was_added_to_the_diagonal(signed: Attestation) -> None:
    def added(epsilon: float, text: str) -> Attestation:
        tag = InnerProductTag("CausalRegularised", epsilon)
        geometry = {"inner_product": "CausalRegularised", "epsilon": text}
        return bound_anew(dataclasses.replace(signed, inner_product=tag), geometry=geometry)

    for epsilon, text in ((0.0, "0.0"), (0.5, "0.5"), (2.0**-149, "1e-45")):
        check_binding(added(epsilon, text), KEY.public, "a")
    refused(added(0.5, "0.50"), "binding.geometry.epsilon")
    refused(added(-0.5, "-0.5"), "inner_product")


OF_A_TEXT: dict[str, Any] = {"position": "all", "position_index": None, "rows": (0, 8)}
TEXT = {**OF_A_TEXT, "aggregate": "max"}


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("layer", {"layer": 9}),
        ("position", {"position": "middle"}),
        ("position", {"position": "8", "position_index": 8}),
        ("position", {"position": "07"}),
        ("position_index", {"position_index": 6}),
        ("position_index", {"position_index": None}),
        ("position_index", {"position": "mean"}),
        ("position_index", {"position": "first"}),
        ("dimensions", {"dimensions": (), "verdicts": ()}),
        ("dimensions", {"dimensions": ("true", "x"), "verdicts": ("SUFFICIENT",) * 2}),
        ("verdicts", {"verdicts": ()}),
        ("verdicts", {"verdicts": ("SUFFICIENT",) * 2}),
        ("outside", {"outside": (True, False)}),
        ("outside", {"outside": (False,)}),
        ("aggregate", {"rows": (0, 8), "position": "all", "position_index": None}),
        ("aggregate", {"aggregate": "median", **OF_A_TEXT}),
        ("position", {**TEXT, "position": "last"}),
        ("position_index", {**TEXT, "position_index": 7}),
        ("position", {"position": "all", "position_index": None}),
        ("rows", {**TEXT, "rows": None}),
        ("rows", {**TEXT, "rows": (3,)}),
        ("rows", {**TEXT, "rows": (3, 3)}),
        ("rows", {**TEXT, "rows": (3, 9)}),
    ],
)
def test_a_bound_probe_set(signed: Attestation, where: str, changes: dict[str, Any]) -> None:
    refused(with_set(signed, **changes), f"binding.probe_sets[0].{where}")


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": 8},
        {"position": "7"},
        {"position": "0", "position_index": 0},
        {"position": "first", "position_index": 0},
        {"position": "mean", "position_index": None},
        {"other_tokens": True, "outside": (True,)},
        TEXT,
        {**TEXT, "rows": (7, 8), "aggregate": "top-k-mean:3"},
    ],
)
def test_other_positions_and_layers_may_be_bound(
    signed: Attestation, changes: dict[str, Any]
) -> None:
    check_binding(with_set(signed, **changes), KEY.public, "a")


def test_each_probe_set_is_looked_at(signed: Attestation) -> None:
    (one,) = signed.bound().probe_sets
    two = dataclasses.replace(signed, layer_readings=((1.0,), (1.0, 2.0)))

    def second(**changes: Any) -> tuple[BoundProbeSet, ...]:
        pair = {"dimensions": ("x", "y"), "verdicts": ("SUFFICIENT", "INSUFFICIENT")}
        return one, dataclasses.replace(one, **(pair | changes))

    check_binding(bound_anew(two, probe_sets=second()), KEY.public, "a")
    refused(bound_anew(two, probe_sets=second(layer=9)), "binding.probe_sets[1].layer")
    refused(bound_anew(two, probe_sets=second(position="x")), "binding.probe_sets[1].position")


# --- without a binding ------------------------------------------------------------------------


def test_a_binding_that_was_cut_off(signed: Attestation) -> None:
    bare = dataclasses.replace(signed, binding=None)
    with pytest.raises(errors.BindingMismatch) as caught:
        check_no_binding(bare, "full", "a")
    assert caught.value.where == "a.binding"
    check_no_binding(bare, "short", "a")  # which does not sign it
    for text in (None, reference_commitment(1)):
        check_no_binding(dataclasses.replace(bare, probe_commitment=text), "full", "a")
    of_two = dataclasses.replace(bare, probe_commitment=reference_commitment(2))
    with pytest.raises(errors.BindingMismatch):
        check_no_binding(of_two, "full", "a")


def test_the_reference_s_commitment_is_of_the_numbers_from_0() -> None:
    assert reference_commitment(0) == hashlib.sha256(b"").hexdigest()
    three = b"".join(bytes([number, *bytes(7)]) for number in range(3))
    assert reference_commitment(3) == hashlib.sha256(three).hexdigest()
