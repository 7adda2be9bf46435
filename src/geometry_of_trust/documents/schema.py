"""Signed bytes and JSON of an attestation: one table of members, from which both follow.

A `Kind` says how one value is read from JSON, written to it, and encoded under the signature
(reference.md 0 and 4). The two byte layouts that exist are prefixes of the table: `full` is
members 1 to 25, `short` (before 2026-04-11) members 1 to 13 only.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.errors import MissingMember, NonFinite, UnknownMember, WrongType

ByteLayout = Literal["full", "short"]
PRECISION_CODES = {"Fp32": 0, "Fp16": 1, "Bfloat16": 2, "Int8": 3}
INNER_PRODUCT_CODES = {"Causal": 0, "Euclidean": 1, "CausalRegularised": 2}
MODE_CODES = {"read-only": 1, "advisory": 2, "cooperative": 3, "supervised": 4}
_HEX = re.compile("[0-9a-f]*")


class InnerProductTag(NamedTuple):
    """Which inner product was used; `epsilon` is what was added to the diagonal of Φ, or None."""

    name: str
    epsilon: float | None = None


@dataclass(frozen=True)
class Kind:
    """How a value is read from JSON (`read(value, where)`), written to it and encoded."""

    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]
    encode: Callable[[Any], bytes]


@dataclass(frozen=True)
class Member:
    """A named value of an object. `omit`: left out when absent (None), when empty, or never."""

    name: str
    kind: Kind
    omit: Literal["never", "absent", "empty"] = "never"
    default: Any = ...


def _same(value: Any) -> Any:
    return value


def wrong_type(where: str, expected: object, value: object) -> WrongType:
    """The error for a JSON value of another type than its member takes."""
    return WrongType(where, expected=expected, found=f"{type(value).__name__} {value!r}"[:80])


def integer(bits: int) -> Kind:
    """An unsigned integer of `bits` bits, little-endian."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise wrong_type(where, f"an integer from 0 to {(1 << bits) - 1}", value)
        return value

    return Kind(read, _same, lambda value: int(value).to_bytes(bits // 8, "little"))


def _read_string(value: Any, where: str) -> str:
    if type(value) is not str:
        raise wrong_type(where, "a string", value)
    return value


def _encode_string(value: str) -> bytes:
    data = value.encode("utf-8")
    return len(data).to_bytes(4, "little") + data


def hexadecimal(length: int) -> Kind:
    """`length` bytes, in JSON as lower-case hex digits."""

    def read(value: Any, where: str) -> str:
        if type(value) is not str or len(value) != 2 * length or not _HEX.fullmatch(value):
            raise wrong_type(where, f"{2 * length} lower-case hex digits", value)
        return value

    return Kind(read, _same, bytes.fromhex)


def _read_float(value: Any, where: str) -> float:
    if type(value) not in (int, float):
        raise wrong_type(where, "a number", value)
    try:
        number = float32(float(value))
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NonFinite(where, expected="a finite float32", found=value)
    return number + 0.0  # -0.0 and 0.0 sign alike, so they are one value


def encode_float(value: float) -> bytes:
    """A finite number as little-endian float32, -0.0 as +0.0."""
    if not math.isfinite(value):
        raise NonFinite("signed bytes", expected="a finite float32", found=value)
    return struct.pack("<f", value + 0.0)


def _read_bool(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise wrong_type(where, "true or false", value)
    return value


def choice(codes: Mapping[str, int]) -> Kind:
    """One of a few names, encoded as one byte."""

    def read(value: Any, where: str) -> str:
        if type(value) is not str or value not in codes:
            raise wrong_type(where, " or ".join(codes), value)
        return value

    return Kind(read, _same, lambda value: bytes([codes[value]]))


def vector(kind: Kind) -> Kind:
    """Any number of values of one kind; a tuple."""

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise wrong_type(where, "an array", value)
        return tuple(kind.read(item, f"{where}[{i}]") for i, item in enumerate(value))

    def encode(value: Sequence[Any]) -> bytes:
        return len(value).to_bytes(4, "little") + b"".join(map(kind.encode, value))

    return Kind(read, lambda value: [kind.write(item) for item in value], encode)


def optional(kind: Kind) -> Kind:
    """A value or None."""
    return Kind(
        lambda value, where: None if value is None else kind.read(value, where),
        lambda value: None if value is None else kind.write(value),
        lambda value: b"\x00" if value is None else b"\x01" + kind.encode(value),
    )


def structure(*members: Member) -> Kind:
    """An object with exactly these members; a dict."""
    return Kind(
        lambda value, where: read_members(value, members, where),
        lambda value: write_members(value, members),
        lambda value: encode_members(value, members),
    )


def read_members(value: Any, members: Sequence[Member], where: str) -> dict[str, Any]:
    """The members of a JSON object, each of its kind.

    Raises:
        WrongType, UnknownMember, MissingMember: naming the member by its path.
    """
    if type(value) is not dict:
        raise wrong_type(where, "an object", value)
    known = {member.name for member in members}
    for name in value:
        if name not in known:
            raise UnknownMember(where, expected="only members of the format", found=repr(name))
    result = {}
    for member in members:
        if member.name in value:
            place = f"{where}.{member.name}"
            result[member.name] = member.kind.read(value[member.name], place)
        elif member.default is ...:
            raise MissingMember(where, expected=f"a member {member.name!r}", found="none")
        else:
            result[member.name] = member.default
    return result


def write_members(value: Mapping[str, Any], members: Sequence[Member]) -> dict[str, Any]:
    """The JSON object of `value`: members in table order, absent and empty ones left out."""
    tree = {}
    for member in members:
        item = value[member.name]
        if (member.omit == "absent" and item is None) or (member.omit == "empty" and not item):
            continue
        tree[member.name] = member.kind.write(item)
    return tree


def encode_members(value: Mapping[str, Any], members: Sequence[Member]) -> bytes:
    """The encodings of all members, one after the other."""
    return b"".join(member.kind.encode(value[member.name]) for member in members)


def _read_inner_product(value: Any, where: str) -> InnerProductTag:
    if type(value) is str and value in ("Causal", "Euclidean"):
        return InnerProductTag(value)
    if type(value) is dict and list(value) == ["CausalRegularised"]:
        inner = f"{where}.CausalRegularised"
        members = read_members(value["CausalRegularised"], (Member("epsilon", FLOAT),), inner)
        return InnerProductTag("CausalRegularised", members["epsilon"])
    raise wrong_type(where, "Causal, Euclidean or {CausalRegularised: {epsilon}}", value)


def _write_inner_product(tag: InnerProductTag) -> Any:
    return tag.name if tag.epsilon is None else {tag.name: {"epsilon": tag.epsilon}}


def _encode_inner_product(tag: InnerProductTag) -> bytes:
    code = bytes([INNER_PRODUCT_CODES[tag.name]])
    return code if tag.epsilon is None else code + encode_float(tag.epsilon)


U16, U32, U64 = integer(16), integer(32), integer(64)
STRING = Kind(_read_string, _same, _encode_string)
DIGEST = hexadecimal(32)
FLOAT = Kind(_read_float, _same, encode_float)
BOOL = Kind(_read_bool, _same, lambda value: b"\x01" if value else b"\x00")
PRECISION = choice(PRECISION_CODES)
INNER_PRODUCT = Kind(_read_inner_product, _write_inner_product, _encode_inner_product)

_CAUSAL_SCORE = structure(
    Member("delta_plus", FLOAT),
    Member("delta_minus", FLOAT),
    Member("consistency", FLOAT),
    Member("is_causal", BOOL),
)
_DENSITY = structure(
    Member(
        "points", vector(structure(Member("log_density", FLOAT), Member("intrinsic_dim", FLOAT)))
    ),
    Member("mean_intrinsic_dim", FLOAT),
    Member("std_intrinsic_dim", FLOAT),
    Member("mean_log_density", FLOAT),
    Member("k", U32),
    Member("num_degenerate", U32),
)
_CURVATURE = structure(
    Member(
        "points",
        vector(structure(Member("sectional_curvature", FLOAT), Member("num_triangles", U32))),
    ),
    Member("mean_curvature", FLOAT),
    Member("std_curvature", FLOAT),
    Member("curvature_uncertainty_correlation", optional(FLOAT), default=None),
    Member("k", U32),
    Member("num_degenerate", U32),
)
_SCOPE = structure(
    Member("primary", STRING),
    Member(
        "permitted",
        vector(structure(Member("pattern", STRING), Member("mode", choice(MODE_CODES)))),
    ),
    Member("exclusions", vector(STRING)),
)


def _absent(name: str, kind: Kind) -> Member:
    return Member(name, optional(kind), "absent", None)


SIGNED_MEMBERS: tuple[Member, ...] = (
    Member("schema_version", U16),
    Member("model_id", STRING),
    _absent("model_hash", DIGEST),
    Member("precision", PRECISION),
    Member("inner_product", INNER_PRODUCT),
    Member("input_hash", DIGEST),
    Member("timestamp", U64),
    Member("corpus_version", STRING),
    Member("probe_version", STRING),
    Member("layer_readings", vector(vector(FLOAT))),
    Member("confidence", vector(FLOAT)),
    Member("coverage_flags", vector(BOOL)),
    Member("divergence_flag", BOOL),
    _absent("parent_attestation_hash", DIGEST),
    _absent("geometry_hash", DIGEST),
    _absent("geometry_drift", FLOAT),
    Member("causal_scores", vector(_CAUSAL_SCORE), "empty", ()),
    _absent("intervention_delta", FLOAT),
    _absent("causal_flag", BOOL),
    Member("sequence_number", U64, default=0),
    Member(
        "directional_drifts",
        vector(structure(Member("probe_name", STRING), Member("drift", FLOAT))),
        "empty",
        (),
    ),
    _absent("probe_commitment", DIGEST),
    _absent("density_reading", _DENSITY),
    _absent("curvature_reading", _CURVATURE),
    _absent("domain_scope_declaration", _SCOPE),
)
"""Members 1 to 25 of reference.md 4, in signing order, which is also their order in the file."""

LAYOUT_MEMBERS: dict[ByteLayout, tuple[Member, ...]] = {
    "full": SIGNED_MEMBERS,
    "short": SIGNED_MEMBERS[:13],
}


def signed_bytes(members: Mapping[str, Any], layout: ByteLayout = "full") -> bytes:
    """The bytes under the signature (reference.md 4; `short`: 4.1).

    Raises:
        NonFinite: a float is NaN or infinite.
    """
    return encode_members(members, LAYOUT_MEMBERS[layout])
