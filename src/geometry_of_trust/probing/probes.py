"""Probes, and the JSON file that holds a set of them.

The file is that of reference.md 2, so that the reference reads it, with one more member, last:
`training`, which says what the probes were trained on and how well they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.codes import InnerProduct
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.documents.probe_card_reading import CARD
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.schema import (
    DIGEST,
    FLOAT,
    INNER_PRODUCT,
    PRECISION,
    STRING,
    U32,
    Kind,
    integer,
    mapping,
    member,
    optional,
    real,
    record,
    vector,
    wrong_type,
)
from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.documents.trained_tokens import TRAINED_TOKENS, TrainedTokens
from geometry_of_trust.errors import DimensionMismatch, Inconsistent
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.geometry.spectrum import Spectrum
from geometry_of_trust.probing.fitted_range import FITTED_RANGE, FittedRange

PROBE_SET_VERSION = "v0.1.0"
RELIABILITY_THRESHOLD = float(np.float32(0.7))
_FOUR_DIGITS = 1e-3
"""How far a figure of four digits may be from what it was rounded from."""


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
        spectrum: of Φ. effective_dimension: of the probes together, from 1 to their number, as the
            reference has it.
        cards: one a probe, in their order. versions: of Python and the libraries, by name.
        weights: which model the states are of, as their extraction record has it; None without.
        tokens: which tokens of their texts the states are of, as that record has it.
        fitted: the range of scores and norms of the states; None in files that were written
            before, and where a norm is beyond float32.
        unit_effective_dimension: of the probes together, each of Φ-length 1; None: nobody looked
            (0.2.0).
        texts_sha256: digest of the texts of the corpus trained on (`Record.prompt_sha256`), however
            its rows were chosen; None where no record of a corpus says it.
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
    weights: Weights | None = None
    tokens: TrainedTokens | None = None
    fitted: FittedRange | None = None
    unit_effective_dimension: float | None = None
    texts_sha256: str | None = None


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

    @property
    def aggregate(self) -> Aggregate | None:
        """What becomes of the readings of a text's tokens, if its probes read texts."""
        trained = self.trained_tokens
        named = None if trained is None else trained.aggregate
        return None if named is None else Aggregate.parse(named)

    @property
    def trained_tokens(self) -> TrainedTokens | None:
        """Which tokens its probes were trained on, if it says so."""
        return None if self.training is None else self.training.tokens

    @classmethod
    def from_json(cls, data: bytes, where: PathLike) -> ProbeSet:
        """Read a probe set strictly.

        Args:
            data: the bytes of the file. where: what errors call it.

        Raises:
            BadJson and its kinds, BadText, TooLarge: not a probe set.
            NonFinite: a number beyond float32. DimensionMismatch: weights of unequal lengths.
            Inconsistent: cards of other probes, or one whose members contradict each other.
        """
        probe_set = _PROBE_SET.read(loads(data, where), str(where))
        if not probe_set.probes:
            raise wrong_type(f"{where}.probes", "at least one probe", [])
        d = probe_set.probes[0].weights.size
        for i, probe in enumerate(probe_set.probes):
            if probe.weights.size != d:
                raise DimensionMismatch(
                    f"{where}.probes[{i}].weights",
                    expected=f"{d} weights, as in the first probe",
                    found=probe.weights.size,
                )
        if probe_set.training is not None:
            names = [probe.name for probe in probe_set.probes]
            cards = [card.dimension for card in probe_set.training.cards]
            if cards != names:
                raise Inconsistent(f"{where}.training.cards", expected=names, found=cards)
            _check_training(probe_set, probe_set.training, f"{where}.training")
        return probe_set

    def to_json(self) -> bytes:
        """The one text of this probe set: pretty-printed, no trailing newline."""
        return dumps(_PROBE_SET.write(self))


def _check_training(probe_set: ProbeSet, training: Training, where: str) -> None:
    """What a probe set says of its training is of its layer, its size and the rows of its cards.

    Raises:
        Inconsistent: it is not.
    """
    if training.layer != probe_set.layer:
        raise Inconsistent(f"{where}.layer", expected=probe_set.layer, found=training.layer)
    for i, card in enumerate(training.cards):
        rows = card.positives + card.negatives
        texts = training.tokens is not None and training.tokens.aggregate is not None
        if rows > training.rows if texts else rows != training.rows:
            raise Inconsistent(f"{where}.cards[{i}]", expected=f"{training.rows} rows", found=rows)
    with_thresholds = {card.thresholds is not None for card in training.cards}
    if len(with_thresholds) > 1:
        raise Inconsistent(f"{where}.cards", expected="thresholds on all, or on none",
                           found="on some")  # fmt: skip
    if training.fitted is not None and len(training.fitted.scores) != len(probe_set.probes):
        raise Inconsistent(
            f"{where}.fitted.scores",
            expected=f"{len(probe_set.probes)}, one a probe", found=len(training.fitted.scores),
        )  # fmt: skip
    for name, most, found in (
        ("effective_dimension", len(probe_set.probes), training.effective_dimension),
        ("unit_effective_dimension", len(probe_set.probes),
         training.unit_effective_dimension or 1.0),
        ("spectrum.effective_rank", probe_set.probes[0].weights.size,
         training.spectrum.effective_rank),
    ):  # fmt: skip
        if found > most * (1 + _FOUR_DIGITS):
            raise Inconsistent(f"{where}.{name}", expected=f"at most {most}", found=found)


def read_probe_set(path: PathLike) -> ProbeSet:
    """Read a probe-set file.

    Raises:
        Unreadable, TooLarge, and as `ProbeSet.from_json`.
    """
    return ProbeSet.from_json(read_bounded(path), path)


# --- members of the file, in order ------------------------------------------------------------


_OCTETS = vector(integer(8))
_NUMBERS = vector(FLOAT)


def _read_weights(value: object, where: str) -> NDArray[np.float32]:
    weights = _NUMBERS.read(value, where)
    if not weights:
        raise wrong_type(where, "at least one weight", value)
    return np.array(weights, np.float32)


def _write_weights(weights: NDArray[np.float32]) -> object:
    return weights.tolist()


def _read_digest_bytes(value: object, where: str) -> str:
    octets = _OCTETS.read(value, where)
    if len(octets) != 32:
        raise wrong_type(where, "an array of 32 integers from 0 to 255", value)
    return bytes(octets).hex()


def _write_digest_bytes(digest: str) -> object:
    return list(bytes.fromhex(digest))


_PROBE = record(
    Probe,
    member("name", STRING, written="dimension_name"),
    member("weights", Kind(_read_weights, _write_weights)),
    member("bias", FLOAT),
    member("platt_scale", FLOAT),
    member("platt_shift", FLOAT),
    member("reliability_threshold", real(0, 1)),
)
_SPECTRUM = record(
    Spectrum,
    member("condition", real(1)),
    member("effective_rank", real(1)),
    member("mean_share", optional(real(0, 1))),
)
_TRAINING = record(
    Training,
    member("precision", PRECISION),
    member("model_id", STRING),
    member(
        "weights",
        record(Weights, member("manifest_root", DIGEST), member("tensor_root", optional(DIGEST))),
        default=None,
        omitted=True,
    ),
    member("tokens", TRAINED_TOKENS, default=None, omitted=True),
    member("layer", U32),
    member("rows", U32),
    member("activations_sha256", optional(DIGEST)),
    member("unembedding_sha256", optional(DIGEST)),
    member("labels_sha256", optional(DIGEST)),
    member("rows_digest", optional(DIGEST)),
    member("texts_sha256", DIGEST, default=None, omitted=True),
    member("inner_product", INNER_PRODUCT),
    member("epsilon", real(0)),
    member("spectrum", _SPECTRUM),
    member("effective_dimension", real(1)),
    member("unit_effective_dimension", optional(real(1)), default=None, omitted=True),
    member("fitted", FITTED_RANGE, default=None, omitted=True),
    member("cards", vector(CARD)),
    member(
        "versions",
        mapping(("python", "numpy", "scipy", "scikit-learn", "geometry-of-trust"), STRING),
    ),
)
_PROBE_SET = record(
    ProbeSet,
    member("probes", vector(_PROBE)),
    member("version", STRING),
    member("corpus_version", STRING),
    member("layer", U32),
    member("geometry_hash", optional(Kind(_read_digest_bytes, _write_digest_bytes)), default=None),
    member("max_drift", optional(FLOAT), default=None),
    member("max_directional_drift", optional(FLOAT), default=None),
    member("training", optional(_TRAINING), default=None, omitted=True),
)
