"""Probes, and the JSON file that holds a set of them.

The file is that of reference.md 2, so that the reference reads it, with one more member, last:
`training`, which says what the probes were trained on and how well they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.probe_card import CARD, Card, record
from geometry_of_trust.documents.schema import (
    DIGEST,
    FLOAT,
    INNER_PRODUCT_CODES,
    PRECISION,
    STRING,
    U32,
    Kind,
    Member,
    choice,
    integer,
    optional,
    read_members,
    structure,
    vector,
    write_members,
    wrong_type,
)
from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.errors import DimensionMismatch, Inconsistent
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.geometry.inner_product import InnerProduct
from geometry_of_trust.geometry.spectrum import Spectrum

PROBE_SET_VERSION = "v0.1.0"
RELIABILITY_THRESHOLD = float(np.float32(0.7))


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction w with logit wᵀΦh + b, and its calibration; all numbers are float32 values.

    Attributes:
        name: the dimension that it reads.
        weights: w, shape (d,), float32, finite, read-only.
        bias: b.
        platt_scale, platt_shift: a and c of the confidence σ(a·logit + c).
        reliability_threshold: a reading is flagged if max(p, 1 − p) is below it.
    """

    name: str
    weights: NDArray[np.float32]
    bias: float
    platt_scale: float = 1.0
    platt_shift: float = 0.0
    reliability_threshold: float = RELIABILITY_THRESHOLD

    def __post_init__(self) -> None:
        view = self.weights.view()
        view.flags.writeable = False
        object.__setattr__(self, "weights", view)


@dataclass(frozen=True)
class Training:
    """The `training` member: what a probe set was trained on, how, and with what result.

    Attributes:
        precision: tag of the activations. model_id: their model.
        layer: the layer trained on. rows: how many states.
        activations_sha256, unembedding_sha256, labels_sha256: digests of the files; None where
            the data did not come from a file.
        rows_digest: digest of the content of the row table, or None without one.
        inner_product, epsilon: of the geometry; epsilon is what was added to its diagonal.
        spectrum: of Φ. effective_dimension: of the probes together, from 1 to their number.
        cards: one a probe, in their order. versions: of Python and the libraries, by name.
    """

    precision: str
    model_id: str
    layer: int
    rows: int
    activations_sha256: str | None
    unembedding_sha256: str | None
    labels_sha256: str | None
    rows_digest: str | None
    inner_product: InnerProduct
    epsilon: float
    spectrum: Spectrum
    effective_dimension: float
    cards: tuple[Card, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ProbeSet:
    """The probes of one layer, of equal dimension: what a probe-set file holds.

    Attributes:
        probes: at least one.
        layer: index of the layer that they read.
        version, corpus_version: free text.
        geometry_hash: digest of the geometry trained under, 64 hex digits, or None.
        max_drift, max_directional_drift: limits that the reference applies, or None.
        training: provenance and quality, or None in files of the reference.
    """

    probes: tuple[Probe, ...]
    layer: int
    version: str = PROBE_SET_VERSION
    corpus_version: str = "unversioned"
    geometry_hash: str | None = None
    max_drift: float | None = None
    max_directional_drift: float | None = None
    training: Training | None = None

    @classmethod
    def from_json(cls, data: bytes, where: PathLike) -> ProbeSet:
        """Read a probe set strictly.

        Args:
            data: the bytes of the file. where: what errors call it.

        Raises:
            BadJson and its kinds, BadText, TooLarge: not a probe set.
            NonFinite: a number beyond float32. DimensionMismatch: weights of unequal lengths.
            Inconsistent: cards of other probes, or a verdict that is not that of its figures.
        """
        members = read_members(loads(data, where), _MEMBERS, str(where))
        if not members["probes"]:
            raise wrong_type(f"{where}.probes", "at least one probe", [])
        d = members["probes"][0].weights.size
        for i, probe in enumerate(members["probes"]):
            if probe.weights.size != d:
                raise DimensionMismatch(
                    f"{where}.probes[{i}].weights",
                    expected=f"{d} weights, as in the first probe",
                    found=probe.weights.size,
                )
        probe_set = cls(**members)
        if probe_set.training is not None:
            names = [probe.name for probe in probe_set.probes]
            cards = [card.dimension for card in probe_set.training.cards]
            if cards != names:
                raise Inconsistent(f"{where}.training.cards", expected=names, found=cards)
        return probe_set

    def to_json(self) -> bytes:
        """The one text of this probe set: pretty-printed, no trailing newline."""
        return dumps(write_members(vars(self), _MEMBERS))


def read_probe_set(path: PathLike) -> ProbeSet:
    """Read a probe-set file.

    Raises:
        Unreadable, TooLarge, and as `ProbeSet.from_json`.
    """
    return ProbeSet.from_json(read_bounded(path), path)


# --- members of the file, in order ------------------------------------------------------------


def _no_signed_bytes(value: object) -> bytes:
    raise TypeError("a probe set is digested as a file; it has no signed bytes")


_BYTE = integer(8)


def _read_weights(value: object, where: str) -> NDArray[np.float32]:
    weights = vector(FLOAT).read(value, where)
    if not weights:
        raise wrong_type(where, "at least one weight", value)
    return np.array(weights, np.float32)


def _read_digest_bytes(value: object, where: str) -> str:
    octets = vector(_BYTE).read(value, where)
    if len(octets) != 32:
        raise wrong_type(where, "an array of 32 integers from 0 to 255", value)
    return bytes(octets).hex()


def _read_probe(value: object, where: str) -> Probe:
    members = read_members(value, _PROBE, where)
    return Probe(name=members.pop("dimension_name"), **members)


def _write_probe(probe: Probe) -> dict[str, object]:
    return write_members({"dimension_name": probe.name, **vars(probe)}, _PROBE)


def _read_training(value: object, where: str) -> Training:
    return Training(**read_members(value, _TRAINING, where))


def _write_training(training: Training) -> dict[str, object]:
    return write_members(vars(training), _TRAINING)


_PROBE = (
    Member("dimension_name", STRING),
    Member("weights", Kind(_read_weights, lambda w: w.tolist(), _no_signed_bytes)),
    Member("bias", FLOAT),
    Member("platt_scale", FLOAT),
    Member("platt_shift", FLOAT),
    Member("reliability_threshold", FLOAT),
)
_SPECTRUM = (
    Member("condition", FLOAT),
    Member("effective_rank", FLOAT),
    Member("mean_share", optional(FLOAT)),
)
_VERSIONS = tuple(
    Member(name, STRING)
    for name in ("python", "numpy", "scipy", "scikit-learn", "geometry-of-trust")
)
_TRAINING = (
    Member("precision", PRECISION),
    Member("model_id", STRING),
    Member("layer", U32),
    Member("rows", U32),
    Member("activations_sha256", optional(DIGEST)),
    Member("unembedding_sha256", optional(DIGEST)),
    Member("labels_sha256", optional(DIGEST)),
    Member("rows_digest", optional(DIGEST)),
    Member("inner_product", choice(INNER_PRODUCT_CODES)),
    Member("epsilon", FLOAT),
    Member("spectrum", record(Spectrum, _SPECTRUM)),
    Member("effective_dimension", FLOAT),
    Member("cards", vector(CARD)),
    Member("versions", structure(*_VERSIONS)),
)
_MEMBERS = (
    Member("probes", vector(Kind(_read_probe, _write_probe, _no_signed_bytes))),
    Member("version", STRING),
    Member("corpus_version", STRING),
    Member("layer", U32),
    Member(
        "geometry_hash",
        optional(Kind(_read_digest_bytes, lambda h: list(bytes.fromhex(h)), _no_signed_bytes)),
        default=None,
    ),
    Member("max_drift", optional(FLOAT), default=None),
    Member("max_directional_drift", optional(FLOAT), default=None),
    Member(
        "training",
        optional(Kind(_read_training, _write_training, _no_signed_bytes)),
        omit="absent",
        default=None,
    ),
)
