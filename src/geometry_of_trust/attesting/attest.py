"""From files to a signed attestation, and from an attestation back to its readings.

`assemble` is the one way from files to readings: `attest` signs what it returns, and step 6 of a
verification compares what it returns with what was signed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geometry_of_trust.documents.positions import position_index
from geometry_of_trust.documents.schema import InnerProductTag
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import BadOption, ReadingsMismatch
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import Reading, read_probe
from geometry_of_trust.probing.sources import Sources, check_agreement, check_geometry, open_sources
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BINDING_VERSION, binding_digest
from geometry_of_trust.signing.keys import SecretKey, load_secret_key
from geometry_of_trust.version import __version__


def _bound_record(sources: Sources) -> dict[str, str] | None:
    """What is bound of the record beside the activations, once it is seen to be theirs."""
    record = sources.activations_file.own_record(sources.unembedding_file.sha256)
    return None if record is None else {"sha256": record.digest, "mode": record.mode}


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
        FileChanged: a file was written to meanwhile.
    """
    acts = sources.activations
    check_geometry(sources, geometry)
    rows: list[list[Reading]] = []
    bound_sets: list[dict[str, Any]] = []
    for file, position in zip(sources.probe_files, positions, strict=True):
        probe_set = file.probe_set
        index = position_index(position, len(acts.positions))
        if index is None:
            states = acts.layer(probe_set.layer)
        else:
            states = acts.row(probe_set.layer, index)[None, :]
        rows.append([read_probe(probe, geometry, states) for probe in probe_set.probes])
        bound_sets.append(
            {
                "sha256": file.sha256,
                "layer": probe_set.layer,
                "position": position,
                "position_index": index,
                "dimensions": tuple(probe.name for probe in probe_set.probes),
                "verdicts": tuple(
                    card.verdict for card in (probe_set.training and probe_set.training.cards) or ()
                ),
            }
        )
    sources.check_unchanged()
    readings = [reading for row in rows for reading in row]
    regularised = geometry.inner_product == "CausalRegularised"
    members: dict[str, Any] = {
        "model_id": acts.model_id,
        "precision": acts.precision,
        "inner_product": InnerProductTag(
            geometry.inner_product, geometry.epsilon if regularised else None
        ),
        "input_hash": sources.activations_file.sha256,
        "probe_version": "+".join(probe_set.version for probe_set in sources.probe_sets),
        "layer_readings": tuple(tuple(reading.raw for reading in row) for row in rows),
        "confidence": tuple(reading.confidence for reading in readings),
        "coverage_flags": tuple(reading.flagged for reading in readings),
        "divergence_flag": any(reading.flagged for reading in readings),
        "geometry_hash": geometry.digest,
    }
    binding: dict[str, Any] = {
        "version": BINDING_VERSION,
        "activations": {"sha256": sources.activations_file.sha256, **described(acts)},
        "unembedding": {
            "sha256": sources.unembedding_file.sha256,
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
        "extraction_record": _bound_record(sources),
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
