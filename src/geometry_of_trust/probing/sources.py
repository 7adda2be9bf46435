"""The files that probes are read from, opened and digested, and seen to belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.model_names import same_model
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GeometryMismatch,
    ModelMismatch,
    PrecisionMismatch,
    ProvenanceMissing,
)
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile, open_activations
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.unembedding_file import UnembeddingFile, open_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import ProbeSet, Training, read_probe_set
from geometry_of_trust.progress import Progress


@dataclass(frozen=True)
class ProbeSetFile:
    """A probe set with what its file was called and the SHA-256 of the bytes that were parsed."""

    path: str
    sha256: str
    probe_set: ProbeSet


@dataclass(frozen=True)
class Sources:
    """The files that probes are read from, each opened once. `open_sources` makes it.

    Attributes:
        activations_file, unembedding_file: with their digests, and what lies beside them.
        probe_files: one a probe set, at least one.
    """

    activations_file: ActivationsFile
    unembedding_file: UnembeddingFile
    probe_files: tuple[ProbeSetFile, ...]

    @property
    def activations(self) -> Activations:
        """What the activations file holds."""
        return self.activations_file.activations

    @property
    def unembedding(self) -> Unembedding:
        """What the unembedding file holds."""
        return self.unembedding_file.unembedding

    @property
    def probe_sets(self) -> tuple[ProbeSet, ...]:
        """What the probe files hold."""
        return tuple(file.probe_set for file in self.probe_files)

    @property
    def training(self) -> Training | None:
        """What the first of the probe sets that say so was trained on; None if none says it."""
        return next((x.training for x in self.probe_sets if x.training is not None), None)

    def own_record(self) -> Record | None:
        """The extraction record beside the activations, once it is seen to be of these files.

        Raises:
            RecordMismatch and others: as `ActivationsFile.own_record`.
        """
        return self.activations_file.own_record(self.unembedding_file.sha256)

    def check_unchanged(self) -> None:
        """What was computed from the files is of the bytes that were digested.

        Raises:
            FileChanged: one is mapped, and was written to since it was opened.
        """
        self.activations_file.file.check_unchanged()
        self.unembedding_file.file.check_unchanged()


def open_sources(
    activations: PathLike, probes: Sequence[PathLike], unembedding: PathLike
) -> Sources:
    """Open the files.

    Raises:
        BadOption: no probe set.
        MalformedInput and its kinds, FileChanged, NotOurSpelling: a file cannot be read.
    """
    if not probes:
        raise BadOption("--probes", expected="at least one probe set", found="none")
    return Sources(
        activations_file=open_activations(activations),
        unembedding_file=open_unembedding(unembedding),
        probe_files=tuple(open_probe_set(path) for path in probes),
    )


def open_probe_set(path: PathLike) -> ProbeSetFile:
    """Open a probe-set file.

    Raises:
        FileChanged, and as `read_probe_set`.
    """
    file = FileBytes.of(path)
    probe_set = read_probe_set(file)  # first, as it bounds the length
    return ProbeSetFile(file.path, file.sha256, probe_set)


def same_weights(training: Training, model_id: str, weights: Weights | None) -> bool:
    """Whether probes were trained on the model of these states: by its weights, else by its name.

    Args:
        weights: of the states; None if that is not recorded.
    """
    if training.weights is not None and weights is not None:
        return training.weights.are(weights)
    return same_model(training.model_id, model_id)


def check_agreement(
    sources: Sources,
    model_id: str | None = None,
    *,
    weights: Weights | None = None,
    other_weights: bool = False,
    unknown_training: bool = False,
) -> None:
    """Model, precision and dimensions of all files are the same ones (before any arithmetic).

    Args:
        sources: the files.
        model_id: what the model is expected to be called; None: what the activations say.
        weights: of the activations, if these are known.
        other_weights: whether the probes may have been trained on another model.
        unknown_training: accept probe sets without `training` member, as the reference makes them.
            They are read under the causal inner product; only dimensions can be held against it.

    Raises:
        LayerMissing, NonFinite: of the layer of a probe set the activations hold nothing, or no
            numbers.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch: naming the file.
        ProvenanceMissing: a probe set without `training` member, if that is not accepted.
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
    first = sources.training
    for file in sources.probe_files:
        path, probe_set = file.path, file.probe_set
        training = probe_set.training
        if training is None and not unknown_training:
            raise ProvenanceMissing(
                path,
                expected="a training member, which says model, precision and inner product",
                found="none",
                hint="Train the probe again with got-cli train; --unknown-training takes it as it "
                "is, under the causal inner product, and says so.",
            )
        if training is not None:
            if not (other_weights or same_weights(training, acts.model_id, weights)):
                raise _of_other_weights(path, training, acts.model_id, weights)
            if training.precision != acts.precision:
                raise PrecisionMismatch(path, expected=acts.precision, found=training.precision)
        for probe in probe_set.probes:
            if probe.weights.size != acts.hidden_dim:
                raise DimensionMismatch(
                    f"{path}, probe {probe.name!r}",
                    expected=f"{acts.hidden_dim} weights",
                    found=probe.weights.size,
                )
        if training is None and first is not None and first.inner_product == "Euclidean":
            raise GeometryMismatch(
                path,
                expected="Euclidean, as of the others",
                found="no training member: read under the causal inner product",
                hint="Use it apart from the others.",
            )
        if training is not None and first is not None:
            inner_product = training.inner_product
            if inner_product != first.inner_product:
                raise GeometryMismatch(path, expected=first.inner_product, found=inner_product)
        acts.row(probe_set.layer, 0)  # LayerMissing before the long arithmetic


def _of_other_weights(
    path: str, training: Training, model_id: str, weights: Weights | None
) -> ModelMismatch:
    allow = "--other-weights"
    if training.inner_product == "Causal":
        allow += ", if the unembedding is the same one, as their inner product is made of it"
    if weights is not None and training.weights is not None:
        return ModelMismatch(
            path, expected=f"probes trained on the model of these activations, {weights}",
            found=f"ones trained on {training.weights}, of the model called {training.model_id!r}",
            hint="A probe is valid for the weights that it was trained on: train on these, or say "
            f"{allow}.",
        )  # fmt: skip
    return ModelMismatch(
        path, expected=f"probes trained on the model called {model_id!r}, as these activations are",
        found=f"ones trained on the model called {training.model_id!r}",
        hint="Not both files say which weights they are of, so the model's name decides: extract "
        f"again with --model-id if it is one model, or say {allow}.",
    )  # fmt: skip


def check_geometry(sources: Sources, geometry: Geometry) -> None:
    """All probe sets that say what they were trained on were trained under this geometry.

    The digest in one of the reference is of its own Φ, which only its own build makes again.

    Raises:
        GeometryMismatch: naming the file of one that was not.
        FileChanged: a file was written to meanwhile, which would explain it.
    """
    for file in sources.probe_files:
        training = file.probe_set.training
        if training is None:
            continue
        if file.probe_set.geometry_hash != geometry.digest:
            sources.check_unchanged()
            raise GeometryMismatch(
                file.path,
                expected=f"geometry {geometry.digest}, that of the unembedding",
                found=file.probe_set.geometry_hash,
                hint="Use the unembedding and the --epsilon that the probe was trained with.",
            )
        named = (training.inner_product, training.epsilon)
        if named != (geometry.inner_product, geometry.epsilon):
            raise GeometryMismatch(
                f"{file.path}.training",
                expected=f"{geometry.inner_product}, {geometry.epsilon} added, as its digest says",
                found=named,
            )


def trained_geometry(sources: Sources, progress: Progress | None) -> Geometry:
    """The inner product that the first probe set was trained under; the causal one if none says.

    Raises:
        GeometryMismatch: the unembedding gives another one.
        NonFinite, NotPositiveDefinite: as `Geometry.from_unembedding`.
    """
    training = sources.training
    euclidean = training is not None and training.inner_product == "Euclidean"
    geometry = Geometry.from_unembedding(
        sources.unembedding,
        inner_product="euclidean" if euclidean else "causal",
        added=None if training is None else training.epsilon,
        progress=progress,
    )
    check_geometry(sources, geometry)
    return geometry
