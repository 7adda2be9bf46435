"""Signed bytes: the reference's vectors, and one changed field at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from typing import Any

import pytest

from geometry_of_trust.documents.schema import read_members
from geometry_of_trust.documents.strictjson import dumps
from geometry_of_trust.errors import (
    GotError,
    MissingMember,
    NonFinite,
    UnknownMember,
    WrongType,
)
from geometry_of_trust.signing.attestation import MEMBERS, Attestation, parse_document
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.signing.reference_members import CausalScore, DomainScope, PermittedDomain
from geometry_of_trust.signing.signed_bytes import LAYOUT_MEMBERS, SIGNED_MEMBERS, signed_bytes
from places import VECTORS

SIGNED = json.loads((VECTORS / "attestations.json").read_text("utf-8"))
CASES = SIGNED["cases"]
KEY = SecretKey.from_seed(bytes([1]) * 32)


def parsed(case: dict[str, Any]) -> Attestation:
    tree = case["attestation"] | {"signature": case["signature"]}
    return parse_document(json.dumps(tree).encode(), "v", reformatted=True).attestation


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_vectors(case: dict[str, Any]) -> None:
    attestation = parsed(case)
    assert attestation.signed_bytes().hex() == case["signed_bytes"]
    assert attestation.digest == case["digest"]
    assert KEY.public.raw.hex() == SIGNED["public_key"]
    assert KEY.public.key_id == SIGNED["key_id"]
    assert KEY.sign(attestation.signed_bytes()).hex() == case["signature"]
    KEY.public.verify(bytes.fromhex(case["signature"]), attestation.signed_bytes())


def test_the_short_layout_is_a_prefix_of_the_full_one() -> None:
    case = CASES[0]
    short = parsed(case).signed_bytes("short")
    assert short == bytes.fromhex(case["signed_bytes"])[: case["short_length"]]
    assert hashlib.sha256(short).hexdigest() == case["short_sha256"]
    assert LAYOUT_MEMBERS["full"][:13] == LAYOUT_MEMBERS["short"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_our_text_reads_back_to_the_same_attestation(case: dict[str, Any]) -> None:
    attestation = parsed(case)
    again = parse_document(attestation.to_json(), "v").attestation
    assert again == attestation
    assert again.to_json() == attestation.to_json()


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(tree, dict):
        return [leaf for k, v in tree.items() for leaf in leaves(v, (*path, k))]
    if isinstance(tree, list):
        return [leaf for i, v in enumerate(tree) for leaf in leaves(v, (*path, i))]
    return [path]


def changed(tree: Any, path: tuple[Any, ...], change: Any) -> Any:
    copy = json.loads(json.dumps(tree))
    at = copy
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = change(at[path[-1]]) if callable(change) else change
    return copy


def other(value: Any) -> Any:
    """A different value of the same type that its member accepts."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value + 0.5
    swaps = {"Bfloat16": "Fp16", "advisory": "supervised"}
    if value in swaps:
        return swaps[value]
    if len(value) == 64:
        return "ff" * 32
    return value + "x"


FULL = CASES[1]["attestation"]


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in leaves(FULL)
        if p[0] != "schema_version" and p[-1:] != ("curvature_uncertainty_correlation",)
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_every_leaf_is_under_the_signature(path: tuple[Any, ...]) -> None:
    tree = changed(FULL, path, other)
    document = parse_document(
        json.dumps(tree | {"signature": "00" * 64}).encode(), "v", reformatted=True
    )
    assert document.attestation.signed_bytes().hex() != CASES[1]["signed_bytes"]


@pytest.mark.parametrize("name", [m.name for m in MEMBERS])
@pytest.mark.parametrize("value", [[], {}, "x", -1, 1.5, 2**70, True, [[True]], {"a": 1}])
def test_wrong_types_are_refused_by_path(name: str, value: Any) -> None:
    tree = FULL | {"signature": "00" * 64, name: value}
    member = next(m for m in MEMBERS if m.name == name)
    try:
        member.read(value, "x")
    except GotError:
        with pytest.raises((WrongType, UnknownMember, MissingMember)) as caught:
            parse_document(json.dumps(tree).encode(), "v", reformatted=True)
        assert caught.value.where.startswith(f"v.{name}")
    else:
        parse_document(json.dumps(tree).encode(), "v", reformatted=True)


def test_few_values_are_of_more_than_one_type() -> None:
    """The test above would pass if every value were accepted: say how many are."""
    values: list[Any] = [[], {}, "x", -1, 1.5, 2**70, True, [[True]], {"a": 1}]
    accepted = 0
    for member in MEMBERS:
        for value in values:
            try:
                member.read(value, "x")
            except GotError:
                continue
            accepted += 1
    # 3 strings take "x", 2 booleans True, 2 floats 1.5 and -1 and the huge integer overflows;
    # empty arrays fit the five arrays.
    assert accepted == 3 + 2 + 2 * 3 + 5


@pytest.mark.parametrize("number", [1e39, -1e39, 3.4028236e38, 10**400])
def test_what_overflows_float32_is_refused(number: float) -> None:
    tree = FULL | {"geometry_drift": number, "signature": "00" * 64}
    with pytest.raises(NonFinite) as caught:
        parse_document(json.dumps(tree).encode(), "v", reformatted=True)
    assert caught.value.where == "v.geometry_drift"


def test_minus_zero_signs_as_zero_and_decimals_as_their_float32() -> None:
    def drift(text: str) -> str:
        tree = json.dumps(FULL | {"signature": "00" * 64}).replace("0.125", text)
        attestation = parse_document(tree.encode(), "v", reformatted=True).attestation
        return hashlib.sha256(attestation.signed_bytes()).hexdigest()

    assert drift("-0.0") == drift("0.0") == drift("0")
    assert drift("0.374580055475235") == drift("0.37458006")
    assert drift("0.37458006") != drift("0.3745801")


def test_non_finite_floats_are_not_encoded() -> None:
    attestation = dataclasses.replace(parsed(CASES[0]), confidence=(float("nan"), 0.25))
    with pytest.raises(NonFinite) as caught:
        signed_bytes(attestation)
    assert caught.value.where == "signed bytes"


def test_the_table_is_that_of_the_reference() -> None:
    assert [m.name for m in SIGNED_MEMBERS] == list(FULL)
    assert len(SIGNED_MEMBERS) == 25


def test_structures_keep_their_exact_little_endian_bytes() -> None:
    score = CausalScore(delta_plus=2.0, delta_minus=1.0, consistency=0.5, is_causal=False)
    attestation = dataclasses.replace(parsed(CASES[0]), causal_scores=(score,))
    member = next(m for m in SIGNED_MEMBERS if m.name == "causal_scores")
    assert member.encode(attestation) == struct.pack("<IfffB", 1, 2.0, 1.0, 0.5, 0)


def test_minus_zero_is_encoded_as_zero() -> None:
    case = dataclasses.replace(parsed(CASES[0]), confidence=(-0.0, 0.25))
    zero = dataclasses.replace(case, confidence=(0.0, 0.25))
    assert case.signed_bytes() == zero.signed_bytes()


@pytest.mark.parametrize(
    ("mode", "code"), [("read-only", 1), ("advisory", 2), ("cooperative", 3), ("supervised", 4)]
)
def test_every_mode_has_its_code(mode: Any, code: int) -> None:
    member = next(m for m in SIGNED_MEMBERS if m.name == "domain_scope_declaration")
    scope = DomainScope(primary="", permitted=(PermittedDomain("p", mode),), exclusions=())
    tree = {"primary": "", "permitted": [{"pattern": "p", "mode": mode}], "exclusions": []}
    assert member.read(tree, "x") == scope
    attestation = dataclasses.replace(parsed(CASES[0]), domain_scope_declaration=scope)
    expected = b"\1" + struct.pack("<III", 0, 1, 1) + b"p" + bytes([code]) + bytes(4)
    assert member.encode(attestation) == expected


@pytest.mark.parametrize(
    ("path", "bits"),
    [
        (("schema_version",), 16),
        (("timestamp",), 64),
        (("sequence_number",), 64),
        (("density_reading", "k"), 32),
        (("curvature_reading", "points", 0, "num_triangles"), 32),
    ],
)
def test_an_integer_has_its_bits(path: tuple[Any, ...], bits: int) -> None:
    member = next(m for m in MEMBERS if m.name == path[0])
    member.read(changed(FULL, path, 2**bits - 1)[path[0]], "x")
    with pytest.raises(WrongType):
        member.read(changed(FULL, path, 2**bits)[path[0]], "x")


def test_a_correlation_may_be_missing_or_null() -> None:
    name, inner = "curvature_reading", "curvature_uncertainty_correlation"
    tree = FULL | {"signature": "00" * 64}
    without = {key: value for key, value in FULL[name].items() if key != inner}
    documents = [
        parse_document(json.dumps(tree | {name: reading}).encode(), "v", reformatted=True)
        for reading in (without, without | {inner: None})
    ]
    assert documents[0] == documents[1]


def test_an_object_is_needed() -> None:
    with pytest.raises(WrongType):
        read_members([], MEMBERS, "v")
    assert dumps([]) == b"[]"
