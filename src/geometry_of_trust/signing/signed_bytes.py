"""What is under the signature of an attestation, and how it is encoded (reference.md 0 and 4).

One table of members, from which both the JSON and the signed bytes follow: a `SignedKind` is a
`Kind` that is also encoded. The two byte layouts that exist are prefixes of the table: `full` is
members 1 to 25, `short` (before 2026-04-11) members 1 to 13 only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from geometry_of_trust.documents import schema
from geometry_of_trust.documents.codes import (
    INNER_PRODUCT_CODES,
    PRECISION_CODES,
    InnerProduct,
)
from geometry_of_trust.documents.schema import Kind, Member
from geometry_of_trust.errors import NonFinite
from geometry_of_trust.signing.reference_members import (
    CausalScore,
    CurvaturePoint,
    CurvatureReading,
    DensityPoint,
    DensityReading,
    DirectionalDrift,
    DomainScope,
    PermittedDomain,
    ScopeMode,
)

T = TypeVar("T")
Name = TypeVar("Name", bound=str)
ByteLayout = Literal["full", "short"]
MODE_CODES: dict[ScopeMode, int] = {
    "read-only": 1,
    "advisory": 2,
    "cooperative": 3,
    "supervised": 4,
}


@dataclass(frozen=True)
class InnerProductTag:
    """Which inner product was used; `epsilon` is what was added to the diagonal of Φ, or None.

    A float32 value, and there exactly if the name is `CausalRegularised`.
    """

    name: InnerProduct
    epsilon: float | None = None


@dataclass(frozen=True)
class SignedKind(Kind[T]):
    """A kind whose values have bytes under a signature."""

    encode: Callable[[T], bytes]


@dataclass(frozen=True, kw_only=True)
class SignedMember(Member):
    """A member that is under a signature; `encode` takes the dataclass whose attribute it is."""

    encode: Callable[[object], bytes]


def _member(
    name: str, kind: SignedKind[T], *, default: object = schema.REQUIRED, omitted: bool = False
) -> SignedMember:
    plain = schema.member(name, kind)
    return SignedMember(
        name, name, plain.read, plain.write, default, omitted,
        encode=lambda owner: kind.encode(getattr(owner, name)),
    )  # fmt: skip


def _absent(name: str, kind: SignedKind[T]) -> SignedMember:
    """A member that is None where it is absent, and then left out of the text."""
    return _member(name, _optional(kind), default=None, omitted=True)


def _signed(kind: Kind[T], encode: Callable[[T], bytes]) -> SignedKind[T]:
    return SignedKind(kind.read, kind.write, encode)


# --- encodings --------------------------------------------------------------------------------


def _integer(bits: int) -> SignedKind[int]:
    return _signed(schema.integer(bits), lambda value: value.to_bytes(bits // 8, "little"))


def _encode_string(value: str) -> bytes:
    data = value.encode("utf-8")
    return len(data).to_bytes(4, "little") + data


def _encode_float(value: float) -> bytes:
    if not math.isfinite(value):
        raise NonFinite("signed bytes", expected="a finite float32", found=value)
    return struct.pack("<f", value + 0.0)  # -0.0 as +0.0


def _choice(codes: Mapping[Name, int]) -> SignedKind[Name]:
    return _signed(schema.choice(codes), lambda value: bytes([codes[value]]))


def _vector(kind: SignedKind[T]) -> SignedKind[tuple[T, ...]]:
    return _signed(
        schema.vector(kind),
        lambda values: len(values).to_bytes(4, "little") + b"".join(map(kind.encode, values)),
    )


def _optional(kind: SignedKind[T]) -> SignedKind[T | None]:
    return _signed(
        schema.optional(kind),
        lambda value: b"\x00" if value is None else b"\x01" + kind.encode(value),
    )


def _record(make: Callable[..., T], *members: SignedMember) -> SignedKind[T]:
    return _signed(
        schema.record(make, *members),
        lambda value: b"".join(member.encode(value) for member in members),
    )


_UNREGULARISED: tuple[InnerProduct, ...] = ("Causal", "Euclidean")
_PLAIN_NAME = schema.choice(_UNREGULARISED)


def _read_inner_product(value: object, where: str) -> InnerProductTag:
    if type(value) is str and value in _UNREGULARISED:
        return InnerProductTag(_PLAIN_NAME.read(value, where))
    if type(value) is dict and list(value) == ["CausalRegularised"]:
        inner = f"{where}.CausalRegularised"
        amount = schema.mapping(("epsilon",), schema.FLOAT).read(value["CausalRegularised"], inner)
        return InnerProductTag("CausalRegularised", amount["epsilon"])
    raise schema.wrong_type(where, "Causal, Euclidean or {CausalRegularised: {epsilon}}", value)


def _write_inner_product(tag: InnerProductTag) -> object:
    return tag.name if tag.epsilon is None else {tag.name: {"epsilon": tag.epsilon}}


def _encode_inner_product(tag: InnerProductTag) -> bytes:
    code = bytes([INNER_PRODUCT_CODES[tag.name]])
    return code if tag.epsilon is None else code + _encode_float(tag.epsilon)


_U16, _U32, _U64 = _integer(16), _integer(32), _integer(64)
_STRING = _signed(schema.STRING, _encode_string)
_DIGEST = _signed(schema.DIGEST, bytes.fromhex)
_FLOAT = _signed(schema.FLOAT, _encode_float)
_BOOL = _signed(schema.BOOL, lambda value: bytes([value]))


# --- the table --------------------------------------------------------------------------------

_CAUSAL_SCORE = _record(
    CausalScore,
    _member("delta_plus", _FLOAT),
    _member("delta_minus", _FLOAT),
    _member("consistency", _FLOAT),
    _member("is_causal", _BOOL),
)
_DRIFT = _record(DirectionalDrift, _member("probe_name", _STRING), _member("drift", _FLOAT))
_DENSITY_POINT = _record(
    DensityPoint, _member("log_density", _FLOAT), _member("intrinsic_dim", _FLOAT)
)
_DENSITY = _record(
    DensityReading,
    _member("points", _vector(_DENSITY_POINT)),
    _member("mean_intrinsic_dim", _FLOAT),
    _member("std_intrinsic_dim", _FLOAT),
    _member("mean_log_density", _FLOAT),
    _member("k", _U32),
    _member("num_degenerate", _U32),
)
_CURVATURE_POINT = _record(
    CurvaturePoint, _member("sectional_curvature", _FLOAT), _member("num_triangles", _U32)
)
_CURVATURE = _record(
    CurvatureReading,
    _member("points", _vector(_CURVATURE_POINT)),
    _member("mean_curvature", _FLOAT),
    _member("std_curvature", _FLOAT),
    _member("curvature_uncertainty_correlation", _optional(_FLOAT), default=None),
    _member("k", _U32),
    _member("num_degenerate", _U32),
)
_PERMITTED = _record(
    PermittedDomain, _member("pattern", _STRING), _member("mode", _choice(MODE_CODES))
)
_SCOPE = _record(
    DomainScope,
    _member("primary", _STRING),
    _member("permitted", _vector(_PERMITTED)),
    _member("exclusions", _vector(_STRING)),
)

SIGNED_MEMBERS: tuple[SignedMember, ...] = (
    _member("schema_version", _U16),
    _member("model_id", _STRING),
    _absent("model_hash", _DIGEST),
    _member("precision", _choice(PRECISION_CODES)),
    _member(
        "inner_product",
        SignedKind(_read_inner_product, _write_inner_product, _encode_inner_product),
    ),
    _member("input_hash", _DIGEST),
    _member("timestamp", _U64),
    _member("corpus_version", _STRING),
    _member("probe_version", _STRING),
    _member("layer_readings", _vector(_vector(_FLOAT))),
    _member("confidence", _vector(_FLOAT)),
    _member("coverage_flags", _vector(_BOOL)),
    _member("divergence_flag", _BOOL),
    _absent("parent_attestation_hash", _DIGEST),
    _absent("geometry_hash", _DIGEST),
    _absent("geometry_drift", _FLOAT),
    _member("causal_scores", _vector(_CAUSAL_SCORE), default=(), omitted=True),
    _absent("intervention_delta", _FLOAT),
    _absent("causal_flag", _BOOL),
    _member("sequence_number", _U64, default=0),
    _member("directional_drifts", _vector(_DRIFT), default=(), omitted=True),
    _absent("probe_commitment", _DIGEST),
    _absent("density_reading", _DENSITY),
    _absent("curvature_reading", _CURVATURE),
    _absent("domain_scope_declaration", _SCOPE),
)
"""Members 1 to 25 of reference.md 4, in signing order, which is also their order in the file."""

LAYOUT_MEMBERS: dict[ByteLayout, tuple[SignedMember, ...]] = {
    "full": SIGNED_MEMBERS,
    "short": SIGNED_MEMBERS[:13],
}


def signed_bytes(attestation: object, layout: ByteLayout = "full") -> bytes:
    """The bytes under the signature of an `Attestation` (reference.md 4; `short`: 4.1).

    Raises:
        NonFinite: a float is NaN or infinite.
    """
    return b"".join(member.encode(attestation) for member in LAYOUT_MEMBERS[layout])
