"""The attestation and its binding: strict JSON in, the same JSON out, limits, signing.

Knows nothing of activations or models, and imports no numpy: an auditor with a document and a
public key needs no more than this room and `verification`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geometry_of_trust.documents import schema
from geometry_of_trust.documents.schema import (
    DIGEST,
    SIGNED_MEMBERS,
    ByteLayout,
    InnerProductTag,
    Member,
)
from geometry_of_trust.documents.strictjson import dumps, loads, shortest_float32
from geometry_of_trust.errors import (
    BindingMismatch,
    GotError,
    Inconsistent,
    LegacyDocument,
    LimitExceeded,
    NotOurSpelling,
    TimestampInFuture,
    WrongType,
)
from geometry_of_trust.files import PathLike, read_bounded, write_file
from geometry_of_trust.signing.binding import (
    BINDING,
    BINDING_VERSION,
    binding_digest,
    position_index,
)
from geometry_of_trust.signing.keys import PublicKey, SecretKey

SCHEMA_VERSION = 1
CLOCK_TOLERANCE_S = 300
MAX_NAME_BYTES = 256
MAX_ROWS = 1024
MAX_READINGS = 65536

MEMBERS: tuple[Member, ...] = (
    *SIGNED_MEMBERS,
    Member("binding", BINDING, "absent", None),
    Member("signature", schema.hexadecimal(64)),
)


@dataclass(frozen=True)
class Attestation:
    """Signed probe readings; the attributes are the members of reference.md 3, plus `binding`.

    Floats are float32 values. `layer_readings` has a row a probe set; `confidence` and
    `coverage_flags` run over all rows. `signature` is 128 hex digits, or empty before signing.
    """

    model_id: str
    precision: str
    inner_product: InnerProductTag
    input_hash: str
    timestamp: int
    corpus_version: str
    probe_version: str
    layer_readings: tuple[tuple[float, ...], ...]
    confidence: tuple[float, ...]
    coverage_flags: tuple[bool, ...]
    divergence_flag: bool
    schema_version: int = SCHEMA_VERSION
    model_hash: str | None = None
    parent_attestation_hash: str | None = None
    geometry_hash: str | None = None
    geometry_drift: float | None = None
    causal_scores: tuple[Mapping[str, Any], ...] = ()
    intervention_delta: float | None = None
    causal_flag: bool | None = None
    sequence_number: int = 0
    directional_drifts: tuple[Mapping[str, Any], ...] = ()
    probe_commitment: str | None = None
    density_reading: Mapping[str, Any] | None = None
    curvature_reading: Mapping[str, Any] | None = None
    domain_scope_declaration: Mapping[str, Any] | None = None
    binding: Mapping[str, Any] | None = None
    signature: str = ""

    def signed_bytes(self, layout: ByteLayout = "full") -> bytes:
        """What the signature is over (reference.md 4)."""
        return schema.signed_bytes(self.__dict__, layout)

    @property
    def digest(self) -> str:
        """Attestation hash: SHA-256 of the signed bytes, without the signature (5.1)."""
        return hashlib.sha256(self.signed_bytes()).hexdigest()

    def to_json(self) -> bytes:
        """The one text of this attestation: pretty-printed, no trailing newline."""
        return dumps(schema.write_members(self.__dict__, MEMBERS))

    @property
    def not_made_here(self) -> tuple[str, ...]:
        """Members that are signed and that this package neither makes nor can recompute."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        made = {"schema_version", "geometry_hash", "probe_commitment"}
        return tuple(
            member.name
            for member in SIGNED_MEMBERS
            if defaults[member.name] is not dataclasses.MISSING
            and member.name not in made
            and getattr(self, member.name) != defaults[member.name]
        )

    @property
    def insufficient(self) -> tuple[str, ...]:
        """Names of the probes that are INSUFFICIENT by their own cards, as bound."""
        return tuple(
            dimension
            for bound in (self.binding or {}).get("probe_sets", ())
            for dimension, verdict in zip(bound["dimensions"], bound["verdicts"], strict=False)
            if verdict == "INSUFFICIENT"
        )

    def signed_by(self, key: SecretKey) -> Attestation:
        """This attestation with the signature of `key`.

        Raises:
            LimitExceeded, Inconsistent, TimestampInFuture: it must not be signed.
        """
        check_structure(self, "attestation")
        return dataclasses.replace(self, signature=key.sign(self.signed_bytes()).hex())


@dataclass(frozen=True)
class Document:
    """What a file held: the attestation, and the key of the reference's outer object if any."""

    attestation: Attestation
    wrapped_key: str | None = None


def parse_document(
    data: bytes, where: PathLike, *, reformatted: bool = False, wrapped: bool = False
) -> Document:
    """Read an attestation strictly (step 1 of a verification).

    Args:
        reformatted: accept another spelling of the same content.
        wrapped: accept the reference's outer object, `{"attestation": …, "verifying_key_hex": …}`.

    Raises:
        BadJson and its kinds, BadText, TooLarge: not an attestation.
        NotOurSpelling: the bytes are not the text written for this content.
    """
    tree = loads(data, where)
    wrapped_key = None
    inside = str(where)
    if isinstance(tree, dict) and "attestation" in tree:
        if not wrapped:
            raise LegacyDocument(
                where,
                expected="an attestation",
                found="an outer object around one",
                hint="--allow-legacy accepts it; the key in it is never trusted by itself.",
            )
        outer = (Member("attestation", _ANYTHING), Member("verifying_key_hex", DIGEST))
        wrapper = schema.read_members(tree, outer, inside)
        tree, wrapped_key = wrapper["attestation"], wrapper["verifying_key_hex"]
        inside = f"{inside}.attestation"
    members = schema.read_members(tree, MEMBERS, inside)
    if members["schema_version"] != SCHEMA_VERSION:
        raise WrongType(
            f"{inside}.schema_version", expected=SCHEMA_VERSION, found=members["schema_version"]
        )
    attestation = Attestation(**members)
    if not reformatted and (ours := attestation.to_json()) != data:
        raise NotOurSpelling(
            where,
            expected="the text that is written for its content",
            found=f"another spelling at byte {_first_difference(data, ours)}",
            hint="--allow-reformatted accepts documents that a program has re-spelled.",
        )
    return Document(attestation, wrapped_key)


_ANYTHING = schema.Kind(lambda value, where: value, lambda value: value, lambda value: b"")


def _first_difference(a: bytes, b: bytes) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def read_attestation(path: PathLike) -> Attestation:
    """Read an attestation file, without verifying anything but its form (`parse_document`)."""
    return parse_document(read_bounded(path), path).attestation


def write_attestation(path: PathLike, attestation: Attestation) -> None:
    """Write an attestation file: staged, synced and renamed."""
    write_file(path, attestation.to_json())


def check_structure(attestation: Attestation, where: PathLike, now: float | None = None) -> None:
    """Limits and inner agreement (step 2 of a verification; also before signing).

    Args:
        now: the clock, in Unix seconds; default the real one.

    Raises:
        LimitExceeded: a limit of reference.md 6.1.
        TimestampInFuture: more than 300 s ahead of the clock.
        Inconsistent: lengths disagree, or a flag does not follow from the others.
    """
    for name in ("model_id", "corpus_version", "probe_version"):
        size = len(getattr(attestation, name).encode("utf-8"))
        if size > MAX_NAME_BYTES:
            raise LimitExceeded(
                f"{where}.{name}", expected=f"at most {MAX_NAME_BYTES} bytes", found=size
            )
    rows = attestation.layer_readings
    if len(rows) > MAX_ROWS:
        raise LimitExceeded(
            f"{where}.layer_readings", expected=f"at most {MAX_ROWS} rows", found=len(rows)
        )
    count = sum(map(len, rows))
    if count > MAX_READINGS:
        raise LimitExceeded(
            f"{where}.layer_readings", expected=f"at most {MAX_READINGS} readings", found=count
        )
    latest = int(time.time() if now is None else now) + CLOCK_TOLERANCE_S
    if attestation.timestamp > latest:
        raise TimestampInFuture(
            f"{where}.timestamp", expected=f"at most {latest}", found=attestation.timestamp
        )
    for name in ("confidence", "coverage_flags"):
        length = len(getattr(attestation, name))
        if length != count:
            raise Inconsistent(
                f"{where}.{name}", expected=f"{count} values, one a reading", found=length
            )
    if attestation.divergence_flag != any(attestation.coverage_flags):
        raise Inconsistent(
            f"{where}.divergence_flag",
            expected=f"{any(attestation.coverage_flags)}, from the coverage flags",
            found=attestation.divergence_flag,
        )
    for i, value in enumerate(attestation.confidence):
        if not 0 <= value <= 1:
            raise Inconsistent(f"{where}.confidence[{i}]", expected="0 to 1", found=value)
    _check_causal(attestation, where)


def _check_causal(attestation: Attestation, where: PathLike) -> None:
    """The causal members are all there or all absent (reference.md 6.3)."""
    scores = attestation.causal_scores
    expected = all(score["is_causal"] for score in scores) if scores else None
    delta_missing = (attestation.intervention_delta is None) == bool(scores)
    if attestation.causal_flag != expected or delta_missing:
        raise Inconsistent(
            f"{where}.causal_flag",
            expected="causal_scores, intervention_delta and causal_flag that agree",
            found=f"{len(scores)} scores, delta {attestation.intervention_delta}, "
            f"flag {attestation.causal_flag}",
        )


def check_binding(attestation: Attestation, key: PublicKey, where: PathLike) -> None:
    """The binding is the signed one, and says what the attestation says (step 4).

    Raises:
        BindingMismatch: naming the member, what the attestation holds and what the binding says.
    """
    binding = attestation.binding
    if binding is None:
        raise BindingMismatch(f"{where}.binding", expected="a binding", found="none")
    acts, unembedding, geometry = (
        binding["activations"],
        binding["unembedding"],
        binding["geometry"],
    )
    tag = attestation.inner_product
    agreements = (
        ("probe_commitment", attestation.probe_commitment, binding_digest(binding)),
        ("binding.version", BINDING_VERSION, binding["version"]),
        ("binding.activations.sha256", attestation.input_hash, acts["sha256"]),
        ("binding.activations.model_id", attestation.model_id, acts["model_id"]),
        ("binding.activations.precision", attestation.precision, acts["precision"]),
        ("binding.unembedding.hidden_dim", acts["hidden_dim"], unembedding["hidden_dim"]),
        ("binding.geometry.inner_product", tag.name, geometry["inner_product"]),
        ("binding.geometry.epsilon", shortest_float32(tag.epsilon or 0.0), geometry["epsilon"]),
        ("binding.geometry.sha256", attestation.geometry_hash, geometry["sha256"]),
        ("binding.key_id", key.key_id, binding["key_id"]),
        ("binding.probe_sets", len(attestation.layer_readings), len(binding["probe_sets"])),
    )
    for name, expected, found in agreements:
        if expected != found:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=found)
    layers = set(acts["layers"])
    if (tag.epsilon or 0.0) < 0:
        raise BindingMismatch(f"{where}.inner_product", expected="0 or more", found=tag.epsilon)
    for before, after in itertools.pairwise(acts["layers"]):
        if before >= after:
            raise BindingMismatch(
                f"{where}.binding.activations.layers",
                expected=f"a layer above {before}", found=after,
            )  # fmt: skip
    for i, bound in enumerate(binding["probe_sets"]):
        here = f"{where}.binding.probe_sets[{i}]"
        try:
            index = position_index(bound["position"], acts["positions"], f"{here}.position")
        except GotError as error:
            raise BindingMismatch(error.where, expected=error.expected, found=error.found) from None
        checks = (
            ("dimensions", len(attestation.layer_readings[i]), len(bound["dimensions"])),
            ("verdicts", len(bound["dimensions"]), len(bound["verdicts"])),
            ("position_index", index, bound["position_index"]),
        )
        for name, expected, found in checks:
            if expected != found:
                raise BindingMismatch(f"{here}.{name}", expected=expected, found=found)
        if bound["layer"] not in layers:
            raise BindingMismatch(
                f"{here}.layer", expected=f"one of {list(acts['layers'])}", found=bound["layer"]
            )
