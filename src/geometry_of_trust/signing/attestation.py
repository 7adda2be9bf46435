"""The attestation: strict JSON in, the same JSON out.

Knows nothing of activations or models, and imports no numpy: an auditor with a document and a
public key needs no more than this room and `verifying.verify`.
"""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass

from geometry_of_trust.documents.schema import DIGEST, Member, hexadecimal, member, record
from geometry_of_trust.documents.strictjson import dumps, dumps_sorted, loads
from geometry_of_trust.errors import LegacyDocument, NotOurSpelling, WrongType
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.signing.binding import BINDING, Binding
from geometry_of_trust.signing.reference_members import (
    CausalScore,
    CurvatureReading,
    DensityReading,
    DirectionalDrift,
    DomainScope,
)
from geometry_of_trust.signing.signed_bytes import (
    SIGNED_MEMBERS,
    ByteLayout,
    InnerProductTag,
    signed_bytes,
)

SCHEMA_VERSION = 1
MAX_VALUES = 400_000
"""Most values in an attestation: more than it has with as many readings as step 2 allows."""
LEGACY_HINT = "--allow-legacy accepts it, and says what no signature covers."

MEMBERS: tuple[Member, ...] = (
    *SIGNED_MEMBERS,
    member("binding", BINDING, default=None, omitted=True),
    member("signature", hexadecimal(64)),
)
_MADE_HERE: tuple[str, ...] = ("geometry_hash", "probe_commitment")
_DRIFT = ("geometry_drift", "directional_drifts")
_CAUSAL = ("causal_scores", "intervention_delta", "causal_flag")


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
    causal_scores: tuple[CausalScore, ...] = ()
    intervention_delta: float | None = None
    causal_flag: bool | None = None
    sequence_number: int = 0
    directional_drifts: tuple[DirectionalDrift, ...] = ()
    probe_commitment: str | None = None
    density_reading: DensityReading | None = None
    curvature_reading: CurvatureReading | None = None
    domain_scope_declaration: DomainScope | None = None
    binding: Binding | None = None
    signature: str = ""

    def signed_bytes(self, layout: ByteLayout = "full") -> bytes:
        """What the signature is over (reference.md 4).

        Raises:
            NonFinite: a float is NaN or infinite.
        """
        return signed_bytes(self, layout)

    @property
    def digest(self) -> str:
        """Attestation hash (reference.md 5.1): SHA-256 of the signed bytes, without the signature.

        Raises:
            NonFinite: as `signed_bytes`.
        """
        return hashlib.sha256(self.signed_bytes()).hexdigest()

    def to_json(self) -> bytes:
        """The one text of this attestation: pretty-printed, no trailing newline.

        Raises:
            ValueError: a float is not a float32 value.
        """
        return dumps(_ATTESTATION.write(self))

    def bound(self, where: PathLike = "attestation") -> Binding:
        """The binding.

        Raises:
            LegacyDocument: there is none.
        """
        if self.binding is None:
            raise LegacyDocument(
                f"{where}.binding", expected="a binding", found="none", hint=LEGACY_HINT
            )
        return self.binding

    @property
    def named_model(self) -> str | None:
        """The model, or None for what the reference writes where none is named."""
        return None if self.model_id == "unknown-model" else self.model_id

    @property
    def follows(self) -> bool:
        """Whether it is bound, and one of a history that comes after another."""
        return self.binding is not None and self.parent_attestation_hash is not None

    @property
    def not_made_here(self) -> tuple[str, ...]:
        """Members that are signed and that nothing here makes from the files that are bound."""
        made = _MADE_HERE
        if self.binding is not None and self.binding.geometry_reference is not None:
            made += _DRIFT
        if self.binding is not None and self.binding.model is not None:
            made += ("model_hash",)
        if self.binding is not None and self.binding.interventions:
            made += _CAUSAL
        return tuple(
            signed.name
            for signed in SIGNED_MEMBERS
            if not signed.required
            and signed.name not in made
            and getattr(self, signed.name) != signed.default
        )

    @property
    def insufficient(self) -> tuple[str, ...]:
        """Names of the probes that are INSUFFICIENT by their own cards, as bound."""
        return tuple(
            dimension
            for bound in (() if self.binding is None else self.binding.probe_sets)
            for dimension, verdict in zip(bound.dimensions, bound.verdicts, strict=False)
            if verdict == "INSUFFICIENT"
        )


@dataclass(frozen=True)
class Document:
    """What a file held: the attestation, and the key of the reference's outer object if any."""

    attestation: Attestation
    wrapped_key: str | None = None

    def to_json(self) -> bytes:
        """The one text of this document: of the outer object, the reference's spelling."""
        if self.wrapped_key is None:
            return self.attestation.to_json()
        return dumps_sorted(_OUTER.write(self))


_ATTESTATION = record(Attestation, *MEMBERS)
_OUTER = record(
    Document,
    member("wrapped_key", DIGEST, written="verifying_key_hex"),
    member("attestation", _ATTESTATION),
)


def parse_document(
    data: bytes, where: PathLike, *, reformatted: bool = False, wrapped: bool = False
) -> Document:
    """Read an attestation strictly (step 1 of a verification).

    Args:
        reformatted: accept another spelling of the same content.
        wrapped: accept the reference's outer object, `{"attestation": …, "verifying_key_hex": …}`.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember: not strict JSON.
        LegacyDocument: the reference's outer object.
        WrongType, NonFinite, UnknownMember, MissingMember: not the members of an attestation.
        NotOurSpelling: the bytes are not the text written for this content.
    """
    # 1.1 Strict JSON, within its bounds.
    tree = loads(data, where, MAX_VALUES)
    inside = str(where)
    # 1.2 No outer object, unless that is allowed.
    if isinstance(tree, dict) and "attestation" in tree:
        if not wrapped:
            raise LegacyDocument(
                where,
                expected="an attestation",
                found="an outer object around one",
                hint="--allow-legacy accepts it; the key in it is never trusted by itself.",
            )
        # 1.3 The members of an attestation and no others, each of its type.
        document = _OUTER.read(tree, inside)
        inside = f"{inside}.attestation"
    else:
        document = Document(_ATTESTATION.read(tree, inside))
    # 1.4 This version of the schema.
    version = document.attestation.schema_version
    if version != SCHEMA_VERSION:
        raise WrongType(f"{inside}.schema_version", expected=SCHEMA_VERSION, found=version)
    # 1.5 The one spelling, unless another one is allowed.
    if not reformatted and (ours := document.to_json()) != data:
        raise NotOurSpelling(
            f"{where}, byte {_first_difference(data, ours)}",
            expected="the text that is written for its content",
            found="another spelling",
            hint="--allow-reformatted accepts documents that a program has re-spelled.",
        )
    return document


def _first_difference(a: bytes, b: bytes) -> int:
    """How many bytes are equal from the beginning."""
    shorter = min(len(a), len(b))
    return bisect.bisect_left(range(shorter), True, key=lambda n: a[: n + 1] != b[: n + 1])


def read_attestation(path: PathLike) -> Attestation:
    """Read an attestation file, without verifying anything but its form.

    Raises:
        Unreadable, and as `parse_document`.
    """
    return parse_document(read_bounded(path), path).attestation


def write_attestation(path: PathLike, attestation: Attestation) -> None:
    """Write an attestation file: staged, synced and renamed.

    Raises:
        Unwritable: it cannot be written.
    """
    write_file(path, attestation.to_json())
