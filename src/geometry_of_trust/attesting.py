"""From files to a signed attestation, and from an attestation back to its readings.

`assemble` is the one way from files to readings: `attest` signs what it returns, and step 6 of a
verification compares what it returns with what was signed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geometry_of_trust import __version__
from geometry_of_trust.attestation import Attestation
from geometry_of_trust.binding import BINDING_VERSION, binding_digest, position_index
from geometry_of_trust.canonical import InnerProductTag
from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GeometryMismatch,
    ModelMismatch,
    PrecisionMismatch,
    ProvenanceMissing,
    ReadingsMismatch,
    RecordMismatch,
)
from geometry_of_trust.extraction.record_reading import read_record
from geometry_of_trust.files import PathLike, record_path, sha256_file
from geometry_of_trust.formats import Activations, Unembedding, read_activations, read_unembedding
from geometry_of_trust.geometry import Geometry
from geometry_of_trust.keys import SecretKey, load_secret_key
from geometry_of_trust.probes import ProbeSet, Reading, read_probe, read_probe_set
from geometry_of_trust.strictjson import shortest_float32


@dataclass(frozen=True)
class Sources:
    """The files of an attestation, opened, with their SHA-256 digests."""

    activations: Activations
    unembedding: Unembedding
    probe_sets: tuple[ProbeSet, ...]
    probe_paths: tuple[str, ...]
    activations_sha256: str
    unembedding_sha256: str
    probes_sha256: tuple[str, ...]


def open_sources(
    activations: PathLike, probes: Sequence[PathLike], unembedding: PathLike
) -> Sources:
    """Open and digest the files.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
    """
    if not probes:
        raise BadOption("--probes", expected="at least one probe set", found="none")
    return Sources(
        activations=read_activations(activations),
        unembedding=read_unembedding(unembedding),
        probe_sets=tuple(read_probe_set(path) for path in probes),
        probe_paths=tuple(os.fspath(path) for path in probes),
        activations_sha256=sha256_file(activations),
        unembedding_sha256=sha256_file(unembedding),
        probes_sha256=tuple(sha256_file(path) for path in probes),
    )


def _bound_record(sources: Sources, activations: PathLike) -> dict[str, str] | None:
    """What is bound of the record beside the activations, once it is seen to be theirs."""
    path = record_path(activations)
    if not path.exists():
        return None
    record = read_record(path)
    for what, ours, recorded in (
        ("activations", sources.activations_sha256, record.activations.sha256),
        ("unembedding", sources.unembedding_sha256, record.unembedding.sha256),
    ):
        if ours != recorded:
            raise RecordMismatch(
                path,
                expected=f"a record of {what} with sha256 {ours}",
                found=recorded,
                hint="Extract again, or move the record of the other run away.",
            )
    return {"sha256": record.digest, "mode": record.mode}


def check_agreement(sources: Sources, model_id: str | None = None) -> None:
    """Model, precision and dimensions of all files are the same ones (before any arithmetic).

    Raises:
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch: naming the file.
        ProvenanceMissing: a probe set without `training` member.
    """
    acts = sources.activations
    if model_id not in (None, acts.model_id):
        raise ModelMismatch("--model-id", expected=acts.model_id, found=model_id)
    if sources.unembedding.hidden_dim != acts.hidden_dim:
        raise DimensionMismatch(
            sources.unembedding.source,
            expected=f"hidden dimension {acts.hidden_dim}, as in the activations",
            found=sources.unembedding.hidden_dim,
        )
    first = sources.probe_sets[0].training
    for path, probe_set in zip(sources.probe_paths, sources.probe_sets, strict=True):
        training = probe_set.training
        if training is None or first is None:
            raise ProvenanceMissing(
                path,
                expected="a training member, which says model, precision and inner product",
                found="none",
                hint="Train the probe again with got-cli train.",
            )
        if training.model_id != acts.model_id:
            raise ModelMismatch(path, expected=acts.model_id, found=training.model_id)
        if training.precision != acts.precision:
            raise PrecisionMismatch(path, expected=acts.precision, found=training.precision)
        for probe in probe_set.probes:
            if probe.weights.size != acts.hidden_dim:
                raise DimensionMismatch(
                    f"{path}, probe {probe.name!r}",
                    expected=f"{acts.hidden_dim} weights",
                    found=probe.weights.size,
                )
        if training.inner_product != first.inner_product:
            raise GeometryMismatch(path, expected=first.inner_product, found=training.inner_product)
        acts.row(probe_set.layer, 0)  # LayerMissing before the long arithmetic


def check_geometry(sources: Sources, geometry: Geometry) -> None:
    """All probe sets were trained under this geometry.

    Raises:
        GeometryMismatch: naming the file of one that was not.
    """
    for path, probe_set in zip(sources.probe_paths, sources.probe_sets, strict=True):
        if probe_set.geometry_hash != geometry.digest:
            raise GeometryMismatch(
                path,
                expected=f"geometry {geometry.digest}, that of the unembedding",
                found=probe_set.geometry_hash,
                hint="Use the unembedding and the --epsilon that the probe was trained with.",
            )


def described(activations: Activations) -> dict[str, Any]:
    """What a binding says of activations, but for their digest."""
    return {
        "model_id": activations.model_id,
        "precision": activations.precision,
        "hidden_dim": activations.hidden_dim,
        "layout": activations.layout,
        "layers": activations.layers,
        "positions": len(activations.positions),
    }


def assemble(
    sources: Sources, geometry: Geometry, positions: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Readings, and what they were read from: members of the attestation and of its binding.

    Args:
        positions: `last`, `first`, `mean` or a number, one a probe set.

    Raises:
        GeometryMismatch: a probe set was trained under another geometry.
        PositionMissing, LayerMissing, NonFinite: a state cannot be read.
    """
    acts = sources.activations
    check_geometry(sources, geometry)
    rows: list[list[Reading]] = []
    bound_sets: list[dict[str, Any]] = []
    for digest, probe_set, position in zip(
        sources.probes_sha256, sources.probe_sets, positions, strict=True
    ):
        index = position_index(position, len(acts.positions))
        if index is None:
            states = acts.layer(probe_set.layer)
        else:
            states = acts.row(probe_set.layer, index)[None, :]
        rows.append([read_probe(probe, geometry, states) for probe in probe_set.probes])
        bound_sets.append(
            {
                "sha256": digest,
                "layer": probe_set.layer,
                "position": position,
                "position_index": index,
                "dimensions": tuple(probe.name for probe in probe_set.probes),
                "verdicts": tuple(
                    card.verdict for card in (probe_set.training and probe_set.training.cards) or ()
                ),
            }
        )
    readings = [reading for row in rows for reading in row]
    regularised = geometry.inner_product == "CausalRegularised"
    members: dict[str, Any] = {
        "model_id": acts.model_id,
        "precision": acts.precision,
        "inner_product": InnerProductTag(
            geometry.inner_product, geometry.epsilon if regularised else None
        ),
        "input_hash": sources.activations_sha256,
        "probe_version": "+".join(probe_set.version for probe_set in sources.probe_sets),
        "layer_readings": tuple(tuple(reading.raw for reading in row) for row in rows),
        "confidence": tuple(reading.confidence for reading in readings),
        "coverage_flags": tuple(reading.flagged for reading in readings),
        "divergence_flag": any(reading.flagged for reading in readings),
        "geometry_hash": geometry.digest,
    }
    binding: dict[str, Any] = {
        "version": BINDING_VERSION,
        "activations": {"sha256": sources.activations_sha256, **described(acts)},
        "unembedding": {
            "sha256": sources.unembedding_sha256,
            "vocab_size": sources.unembedding.vocab_size,
            "hidden_dim": sources.unembedding.hidden_dim,
        },
        "geometry": {
            "inner_product": geometry.inner_product,
            "epsilon": shortest_float32(geometry.epsilon),
            "sha256": geometry.digest,
        },
        "probe_sets": tuple(bound_sets),
    }
    return members, binding


def attest(
    *,
    activations: PathLike,
    probes: Sequence[PathLike],
    unembedding: PathLike,
    key: PathLike | SecretKey,
    model_id: str | None = None,
    corpus_version: str = "unversioned",
    position: str = "last",
    timestamp: int | None = None,
    epsilon: float = 1e-6,
) -> Attestation:
    """Read the probes and sign the readings, bound to everything they came from.

    Args:
        activations, probes, unembedding: the files; digested, and named in the binding.
        key: the secret key, or its file (not encrypted).
        model_id: None, or the activations' own.
        corpus_version: a name that is signed as it is; at most 256 bytes.
        position: token to read: `last`, `first`, `mean` of all, or a number.
        timestamp: Unix seconds; None: SOURCE_DATE_EPOCH if set, else the clock.
        epsilon: relative regularisation, as given to training; unused if Φ needs none.

    Returns:
        The attestation, signed. Same files, options and timestamp: the same bytes.

    Raises:
        GotError: one of its classes for each way in which the inputs do not fit together.
    """
    secret = key if isinstance(key, SecretKey) else load_secret_key(key)
    sources = open_sources(activations, probes, unembedding)
    check_agreement(sources, model_id)
    position_index(position, len(sources.activations.positions))
    training = sources.probe_sets[0].training
    causal = training is None or training.inner_product != "Euclidean"
    geometry = Geometry.from_unembedding(
        sources.unembedding, epsilon, "causal" if causal else "euclidean"
    )
    members, binding = assemble(sources, geometry, [position] * len(probes))
    binding |= {
        "tool": f"geometry-of-trust {__version__}",
        "extraction_record": _bound_record(sources, activations),
        "key_id": secret.public.key_id,
    }
    return Attestation(
        **members,
        timestamp=_now(timestamp),
        corpus_version=corpus_version,
        binding=binding,
        probe_commitment=binding_digest(binding),
    ).signed_by(secret)


def _now(timestamp: int | None) -> int:
    if timestamp is not None:
        if not 0 <= timestamp < 1 << 64:
            raise BadOption("--timestamp", expected="Unix seconds", found=timestamp)
        return timestamp
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return int(time.time())
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 20):
        raise BadOption("SOURCE_DATE_EPOCH", expected="Unix seconds", found=repr(epoch))
    return int(epoch)


def check_readings(
    held: Attestation,
    *,
    activations: PathLike,
    unembedding: PathLike,
    probes: Sequence[PathLike],
) -> None:
    """Recompute everything that an attestation says of its files (step 6 of a verification).

    Raises:
        ReadingsMismatch: naming the first member that differs, and both values.
        GotError: the files do not fit together.
    """
    members, binding = recomputed(held, open_sources(activations, probes, unembedding))
    for name, ours, theirs in differences(held, members, binding):
        raise ReadingsMismatch(name, expected=f"{ours}, as recomputed", found=theirs)


def recomputed(held: Attestation, sources: Sources) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `assemble` gives for the positions and the inner product that an attestation binds."""
    bound: Mapping[str, Any] = held.binding or {}
    check_agreement(sources, held.model_id)
    geometry = Geometry.from_unembedding(
        sources.unembedding,
        inner_product="euclidean" if held.inner_product.name == "Euclidean" else "causal",
        added=held.inner_product.epsilon or 0.0,
    )
    return assemble(sources, geometry, [entry["position"] for entry in bound["probe_sets"]])


def differences(
    held: Attestation, members: Mapping[str, Any], binding: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Names of members that are not as signed, with the value recomputed and the value signed."""
    bound: Mapping[str, Any] = held.binding or {}
    for place, ours, theirs in (("", members, vars(held)), ("binding.", binding, bound)):
        for name, value in ours.items():
            if value != theirs[name]:
                yield f"{place}{name}", value, theirs[name]
