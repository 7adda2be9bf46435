"""From files and what is said of them to an attestation that is not yet signed, and back.

`assemble` is the one way from files to readings: `attest` signs what it returns, and step 6 of a
verification compares what it returns with what was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.attesting.drifts import SignedDrift, measured_drift, signed_drift
from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.bound_interventions import BoundIntervention
from geometry_of_trust.documents.evaluations import Evaluation
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import LimitExceeded, MissingExtra, Unreadable
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.readings_file import ReadingRows, ReadingsDigest
from geometry_of_trust.geometry.checkpoints import Checkpoint
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probe_readings import (
    Reading,
    read_probe_set_at,
    read_probe_set_at_each,
)
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.row_origins import ReadAt, RowOrigins
from geometry_of_trust.probing.sources import (
    ProbeSetFile,
    Sources,
    check_agreement,
    check_geometry,
    same_weights,
)
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import (
    BINDING_VERSION,
    Binding,
    BoundActivations,
    BoundCorpus,
    BoundGeometry,
    BoundModel,
    BoundProbeSet,
    BoundReadings,
    BoundRecord,
    BoundUnembedding,
)
from geometry_of_trust.signing.histories import FIRST, Place, place_of
from geometry_of_trust.signing.intervention_checks import causal_score
from geometry_of_trust.signing.signed_bytes import InnerProductTag

MADE_FROM_FILES: tuple[str, ...] = (
    "model_id",
    "precision",
    "inner_product",
    "input_hash",
    "probe_version",
    "layer_readings",
    "confidence",
    "coverage_flags",
    "divergence_flag",
    "geometry_hash",
)
"""Members of an attestation that follow from the files."""
MADE_FROM_REFERENCE = ("geometry_drift", "directional_drifts")
"""Members that follow from them and from a geometry reference, if one is bound."""
BOUND_FROM_FILES = (
    "version",
    "activations",
    "unembedding",
    "geometry",
    "probe_sets",
    "geometry_reference",
    "readings",
)
"""Members of its binding that do."""

T = TypeVar("T", bound=np.generic)
_Part = tuple[int, int, list[tuple[int, int]] | None]
TakesRows = Callable[[ReadingRows], None]
"""What is given readings beside a document, in parts, in their order."""

PART_ROWS = 4096
"""Rows that are read at a time, more only of a long text."""


@dataclass(frozen=True)
class Statement:
    """What an attestation says that does not follow from activations, unembedding and probes.

    Attributes:
        timestamp: Unix seconds. corpus_version: a name.
        tool: name and version of what signs. key_id: of the key that signs.
        record: what is bound of the extraction record, or None without one.
        place: where it stands in a history.
        model: which model it was, if the record says.
        corpus: whose every row is read, if it is one.
        evaluation: of these readings, as it was signed, if there was one.
        interventions: as they were signed.
    """

    timestamp: int
    corpus_version: str
    tool: str
    key_id: str
    record: BoundRecord | None
    place: Place = FIRST
    model: BoundModel | None = None
    corpus: BoundCorpus | None = None
    evaluation: Evaluation | None = None
    interventions: tuple[BoundIntervention, ...] = ()


def bound_activations(activations: Activations, sha256: str) -> BoundActivations:
    """What a binding says of activations with this digest."""
    return BoundActivations(
        sha256=sha256,
        model_id=activations.model_id,
        precision=activations.precision,
        hidden_dim=activations.hidden_dim,
        layout=activations.layout,
        layers=activations.layers,
        positions=len(activations.positions),
    )


def bound_unembedding(unembedding: Unembedding, sha256: str) -> BoundUnembedding:
    """What a binding says of an unembedding with this digest."""
    return BoundUnembedding(
        sha256=sha256, vocab_size=unembedding.vocab_size, hidden_dim=unembedding.hidden_dim
    )


def bound_probe_set(
    file: ProbeSetFile,
    at: ReadAt,
    bound: BoundActivations,
    weights: Weights | None,
    outside: Sequence[bool] = (),
) -> BoundProbeSet:
    """What a binding says of a probe set that is read at a place of these activations.

    Args:
        weights: of the activations, if these are known.
        outside: of each reading, whether it is far from what its probe was fitted on.

    Raises:
        BadOption, PositionMissing: as `position_index`.
    """
    probe_set = file.probe_set
    training = probe_set.training
    cards = training.cards if training is not None else ()
    return BoundProbeSet(
        sha256=file.sha256,
        layer=probe_set.layer,
        position=at.position,
        position_index=at.index(bound.positions),
        dimensions=tuple(probe.name for probe in probe_set.probes),
        verdicts=tuple(card.verdict for card in cards),
        other_weights=training is not None and not same_weights(training, bound.model_id, weights),
        unknown_training=probe_set.training is None,
        other_tokens=at.other_tokens,
        outside=tuple(outside) if any(outside) else (),
        aggregate=None if at.aggregate is None else str(at.aggregate),
        rows=at.rows,
        thresholds=tuple(card.thresholds for card in cards if card.thresholds is not None),
    )


def joined_version(probe_sets: Sequence[ProbeSet]) -> str:
    """The versions of probe sets, each written once, in order, joined by `+`.

    Where that is longer than what can be signed, how many they are and the SHA-256 of it in UTF-8
    stand in its place: `80 versions, sha256 …`. Each of them is under the digest of its file.

    Raises:
        BadText: one that cannot be written in UTF-8.
    """
    versions = dict.fromkeys(probe_set.version for probe_set in probe_sets)
    joined = "+".join(versions)
    try:
        check_name(joined, "probe_version")
    except LimitExceeded:
        digest = hashlib.sha256(joined.encode()).hexdigest()
        return f"{len(versions)} version{'s'[: len(versions) != 1]}, sha256 {digest}"
    return joined


def version_of_each(probe_sets: Sequence[ProbeSet]) -> str:
    """The versions of probe sets, in order, joined by `+`, as they were signed until 0.1.0."""
    return "+".join(probe_set.version for probe_set in probe_sets)


def assemble(
    sources: Sources,
    geometry: Geometry,
    places: Sequence[ReadAt],
    statement: Statement,
    *,
    drift: SignedDrift | None = None,
    beside: Sequence[TakesRows] | None = None,
) -> Attestation:
    """Read the probes: the attestation of these files, not yet signed.

    Args:
        places: what is read, one a probe set.
        drift: how far the geometry is from a reference, if that was measured.
        beside: if the readings lie beside the document: what each part of them is given to, in
            memory that does not grow with them. All sets then read every row, or every text.

    Raises:
        GeometryMismatch: a probe set was trained under another geometry.
        BadOption, PositionMissing, LayerMissing, NonFinite, ZeroState, DimensionMismatch: a state
            cannot be read.
        FileChanged: a file was written to meanwhile.
    """
    check_geometry(sources, geometry)
    activations = sources.activations
    read: list[tuple[Reading, ...]]
    if beside is None:
        bound_readings = None
        read = [
            _read_set(activations, probe_set, at, geometry)
            for probe_set, at in zip(sources.probe_sets, places, strict=True)
        ]
    else:
        bound_readings = _read_beside(sources, places, geometry, beside)
        read = [() for _ in places]
    sources.check_unchanged()
    readings = [reading for row in read for reading in row]
    regularised = geometry.inner_product == "CausalRegularised"
    bound, model = bound_activations(activations, sources.activations_file.sha256), statement.model
    binding = Binding(
        version=BINDING_VERSION,
        tool=statement.tool,
        activations=bound,
        unembedding=bound_unembedding(sources.unembedding, sources.unembedding_file.sha256),
        geometry=BoundGeometry(
            inner_product=geometry.inner_product,
            epsilon=shortest_float32(geometry.epsilon),
            sha256=geometry.digest,
        ),
        probe_sets=tuple(
            bound_probe_set(
                file,
                at,
                bound,
                None if model is None else model.weights,
                [reading.outside for reading in row],
            )
            for file, at, row in zip(sources.probe_files, places, read, strict=True)
        ),
        extraction_record=statement.record,
        key_id=statement.key_id,
        geometry_reference=None if drift is None else drift.reference,
        model=model,
        corpus=statement.corpus,
        evaluation=statement.evaluation,
        readings=bound_readings,
    )
    unsigned = Attestation(
        model_id=activations.model_id,
        model_hash=None if model is None else model.manifest_root,
        precision=activations.precision,
        inner_product=InnerProductTag(
            geometry.inner_product, geometry.epsilon if regularised else None
        ),
        input_hash=sources.activations_file.sha256,
        timestamp=statement.timestamp,
        corpus_version=statement.corpus_version,
        probe_version=joined_version(sources.probe_sets),
        layer_readings=tuple(tuple(reading.raw for reading in row) for row in read),
        confidence=tuple(reading.confidence for reading in readings),
        coverage_flags=tuple(reading.flagged for reading in readings),
        divergence_flag=any(reading.flagged for reading in readings),
        parent_attestation_hash=statement.place.parent,
        geometry_hash=geometry.digest,
        geometry_drift=None if drift is None else drift.geometry,
        sequence_number=statement.place.number,
        directional_drifts=() if drift is None else drift.directions,
        binding=binding,
        probe_commitment=binding.digest,
    )
    return with_interventions(unsigned, statement.interventions)


def with_interventions(
    attestation: Attestation, interventions: tuple[BoundIntervention, ...]
) -> Attestation:
    """An attestation, not yet signed, with interventions in its binding and its causal members."""
    if not interventions:
        return attestation
    binding = replace(attestation.bound(), interventions=interventions)
    scores = tuple(map(causal_score, interventions))
    return replace(
        attestation,
        causal_scores=scores,
        intervention_delta=interventions[0].delta,
        causal_flag=all(score.is_causal for score in scores),
        binding=binding,
        probe_commitment=binding.digest,
    )


def _read_set(
    activations: Activations, probe_set: ProbeSet, at: ReadAt, geometry: Geometry
) -> tuple[Reading, ...]:
    if at.position == EVERY:
        return tuple(
            reading
            for part in _parts(len(activations.positions), at.texts)
            for reading in _read_part(activations, probe_set, at, geometry, part)
        )
    if at.rows is not None:
        rows = activations.rows(probe_set.layer, *at.rows)
        return read_probe_set_at(probe_set, geometry, rows, at.aggregate)
    index = at.index(len(activations.positions))
    if index is None:
        states = activations.layer(probe_set.layer)
    else:
        states = activations.row(probe_set.layer, index)[None, :]
    return read_probe_set_at(probe_set, geometry, states)


def _read_part(
    activations: Activations, probe_set: ProbeSet, at: ReadAt, geometry: Geometry, part: _Part
) -> tuple[Reading, ...]:
    """The readings of all probes for the first row or text of a part, then for the next."""
    start, stop, texts = part
    rows = activations.rows(probe_set.layer, start, stop)
    return read_probe_set_at_each(probe_set, geometry, rows, texts, at.aggregate)


def _read_beside(
    sources: Sources, places: Sequence[ReadAt], geometry: Geometry, beside: Sequence[TakesRows]
) -> BoundReadings:
    """Read every row, part by part; what is bound of that."""
    digest = ReadingsDigest()
    for part in _parts(len(sources.activations.positions), places[0].texts):
        sets = [
            (len(probe_set.probes), _read_part(sources.activations, probe_set, at, geometry, part))
            for probe_set, at in zip(sources.probe_sets, places, strict=True)
        ]
        rows = _as_rows(sets)
        for take in (digest.add, *beside):
            take(rows)
    return BoundReadings(digest.rows, digest.flagged, digest.outside, digest.root)


def _as_rows(sets: Sequence[tuple[int, Sequence[Reading]]]) -> ReadingRows:
    """Readings of some rows as arrays, from how many probes each set has, and what these say."""

    def joined(value: Callable[[Reading], float], kind: type[T]) -> NDArray[T]:
        columns = [np.array(list(map(value, read)), kind).reshape(-1, n) for n, read in sets]
        return np.hstack(columns)

    return ReadingRows(
        joined(lambda reading: reading.raw + 0.0, np.float32),  # −0 as 0, as it is signed
        joined(lambda reading: reading.confidence, np.float32),
        joined(lambda reading: reading.flagged, np.bool_),
        joined(lambda reading: reading.outside, np.bool_),
    )


def _parts(positions: int, texts: Sequence[tuple[int, int]] | None) -> Iterator[_Part]:
    """All rows in parts, with the texts in each, if these are read, counted from its first row."""
    if texts is None:
        for start in range(0, positions, PART_ROWS):
            yield start, min(start + PART_ROWS, positions), None
        return
    part: list[tuple[int, int]] = []
    for i, text in enumerate(texts):
        part.append(text)
        first = part[0][0]
        if i + 1 == len(texts) or text[1] - first >= PART_ROWS:
            yield first, text[1], [(start - first, stop - first) for start, stop in part]
            part = []


def recomputed(
    attestation: Attestation,
    sources: Sources,
    reference: Checkpoint | None = None,
    origins: RowOrigins | None = None,
    beside: Sequence[TakesRows] = (),
) -> Attestation:
    """What `assemble` gives for what an attestation says: it again, if that is true; unsigned.

    Positions, inner product and `Statement` are the attestation's; so is the drift without the
    reference that it was measured from, and which probes were read at other tokens, without the
    record and the row table that say so. Members that nothing here makes are absent.

    Args:
        origins: what the bound record and its row table say of the rows, if they are there.
        beside: what readings that lie beside the document are given to.

    Raises:
        LegacyDocument: nothing is bound.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, ProvenanceMissing: as
            `check_agreement`.
        NotPositiveDefinite, NonFinite: Φ cannot be made.
        GeometryMismatch, PositionMissing, LayerMissing: as `assemble`.
    """
    binding = attestation.bound()
    # 6.1 The files fit together: model, precision, dimensions, geometry.
    allowed = any(bound.other_weights for bound in binding.probe_sets)
    unknown = any(bound.unknown_training for bound in binding.probe_sets)
    check_agreement(
        sources,
        attestation.model_id,
        weights=binding.weights,
        other_weights=allowed,
        unknown_training=unknown,
    )
    geometry = Geometry.from_unembedding(
        sources.unembedding,
        inner_product="euclidean" if attestation.inner_product.name == "Euclidean" else "causal",
        added=attestation.inner_product.epsilon or 0.0,
    )
    statement = Statement(
        timestamp=attestation.timestamp,
        corpus_version=attestation.corpus_version,
        tool=binding.tool,
        key_id=binding.key_id,
        record=binding.extraction_record,
        place=place_of(attestation),
        model=binding.model,
        corpus=binding.corpus,
        evaluation=binding.evaluation,
        interventions=binding.interventions,
    )
    drift = signed_drift(attestation)
    if drift is not None and reference is not None:
        # 6.3 The drift from the reference is as it was signed.
        drift = measured_drift(reference, geometry, sources.probe_sets)
    # 6.4 The tokens that are read are those trained on, unless it is signed that they are not.
    recorded, positions = binding.extraction_record is not None, binding.activations.positions
    places = [
        _as_signed(bound, probes, origins, positions, recorded=recorded)
        for bound, probes in zip(binding.probe_sets, sources.probe_sets, strict=True)
    ]
    to = None if binding.readings is None else beside
    again = assemble(sources, geometry, places, statement, drift=drift, beside=to)
    # Until 0.1.0 a version was written once a probe set, equal ones too; what was signed so holds.
    each = version_of_each(sources.probe_sets)
    return replace(again, probe_version=each) if attestation.probe_version == each else again


def read_at(bound: BoundProbeSet) -> ReadAt:
    """What was read, as it is bound."""
    aggregate = None if bound.aggregate is None else Aggregate.parse(bound.aggregate)
    rows = None if bound.rows is None else (bound.rows[0], bound.rows[1])
    return ReadAt(bound.position, aggregate, rows, other_tokens=bound.other_tokens)


def tokens_told(bound: BoundProbeSet, probes: ProbeSet, origins: RowOrigins | None) -> bool:
    """Whether the row table is there, if it is needed to tell what tokens were read."""
    try:
        read_at(bound).held_against(probes.trained_tokens, origins)
    except (Unreadable, MissingExtra):
        return False
    return True


def _as_signed(
    bound: BoundProbeSet,
    probes: ProbeSet,
    origins: RowOrigins | None,
    positions: int,
    *,
    recorded: bool,
) -> ReadAt:
    """What is read again; whether that is at other tokens stands as it was signed if nothing tells.

    Args:
        positions: how many rows there are. recorded: whether an extraction record is bound.
    """
    at = read_at(bound)
    if bound.reads_texts:
        # All are one text, unless a corpus is bound, whose row table is needed then.
        at = replace(at, texts=origins.texts if recorded and origins else ((0, positions),))
    untold = recorded and origins is None and probes.trained_tokens is not None
    if untold or not tokens_told(bound, probes, origins):
        return at
    return at.held_against(probes.trained_tokens, origins if recorded else None)


def differences(again: Attestation, signed: Attestation) -> Iterator[tuple[str, object, object]]:
    """Names of members that follow from the files, and that two attestations give other values.

    Raises:
        LegacyDocument: one of them has no binding.
    """
    bound_again, bound = again.bound(), signed.bound()
    made = MADE_FROM_FILES
    if bound.geometry_reference is not None:
        made += MADE_FROM_REFERENCE
    for place, ours, theirs, names in (
        ("", again, signed, made),
        ("binding.", bound_again, bound, BOUND_FROM_FILES),
    ):
        for name in names:
            mine, yours = getattr(ours, name), getattr(theirs, name)
            if mine != yours:
                yield f"{place}{name}", mine, yours
