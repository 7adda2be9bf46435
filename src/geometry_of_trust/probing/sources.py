"""The files that probes are read from, opened and digested, and seen to belong together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GeometryMismatch,
    ModelMismatch,
    PrecisionMismatch,
    ProvenanceMissing,
)
from geometry_of_trust.files import PathLike, sha256_file
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.binary import read_activations, read_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import ProbeSet, read_probe_set
from geometry_of_trust.progress import Progress


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


def trained_geometry(sources: Sources, progress: Progress | None) -> Geometry:
    """The inner product that the first probe set was trained under.

    Raises:
        GeometryMismatch: the unembedding gives another one.
    """
    training = sources.probe_sets[0].training
    euclidean = training is not None and training.inner_product == "Euclidean"
    geometry = Geometry.from_unembedding(
        sources.unembedding,
        inner_product="euclidean" if euclidean else "causal",
        added=training.epsilon if training is not None else 0.0,
        progress=progress,
    )
    check_geometry(sources, geometry)
    return geometry
