"""What supplied files say of themselves, held against what was signed of them (step 5).

Each file alone, whatever else is missing: what `attest` would bind of it must be what is bound. The
numbers beside the checks are those of docs/verification.md. Needs numpy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from geometry_of_trust.attesting.assemble import (
    bound_activations,
    bound_probe_set,
    bound_unembedding,
    joined_version,
    read_at,
    version_of_each,
)
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.model_names import same_model
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import ContentMismatch, ProvenanceMissing
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile, open_activations
from geometry_of_trust.formats.row_table import read_own_rows
from geometry_of_trust.formats.unembedding_file import UnembeddingFile, open_unembedding
from geometry_of_trust.geometry.checkpoints import Checkpoint, open_checkpoint
from geometry_of_trust.identity.matrix import check_matrix
from geometry_of_trust.identity.tensor_tree import TensorEntry, TensorProof
from geometry_of_trust.probing.row_origins import RowOrigins
from geometry_of_trust.probing.sources import (
    ProbeSetFile,
    Sources,
    open_probe_set,
    same_weights,
)
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import (
    Binding,
    BoundActivations,
    BoundGeometry,
    BoundProbeSet,
)
from geometry_of_trust.verifying.supplied_files import Supplied, needs_rows

Compared = Iterator[tuple[str, object, object]]
"""Of each thing compared its name, what was signed, and what was found."""


@dataclass(frozen=True)
class Contents:
    """The supplied files, parsed; None or empty for what is missing."""

    activations: ActivationsFile | None
    unembedding: UnembeddingFile | None
    probes: tuple[ProbeSetFile, ...]
    reference: Checkpoint | None = None
    record: Record | None = None
    rows: PathLike | None = None
    labels: PathLike | None = None
    bar: PathLike | None = None
    readings: PathLike | None = None

    @classmethod
    def of(cls, supplied: Supplied) -> Contents:
        """Parse what was supplied.

        Raises:
            MalformedInput and its kinds, FileChanged, DimensionMismatch, Inconsistent, NonFinite:
                a file is not of its format. The geometry reference is one whose digest is bound.
        """
        activations, unembedding = supplied.activations, supplied.unembedding
        reference = supplied.geometry_reference
        return cls(
            None if activations is None else open_activations(activations),
            None if unembedding is None else open_unembedding(unembedding),
            tuple(open_probe_set(path) for path in supplied.probes),
            None if reference is None else open_checkpoint(reference, epsilon=None),
            None if supplied.record is None else read_record(supplied.record),
            supplied.rows,
            supplied.labels,
            supplied.bar,
            supplied.readings,
        )

    def by_name(self, binding: Binding) -> str:
        """Probe sets that are of the model that is bound by what they call it alone, in words."""
        if binding.model is None:
            return ""
        pairs = enumerate(zip(self.probes, binding.probe_sets, strict=False))
        return ", ".join(
            f"probe set {n}"
            for n, (file, bound) in pairs
            if (training := file.probe_set.training) is not None
            and training.weights is None
            and not bound.other_weights
        )

    @property
    def sources(self) -> Sources | None:
        """What readings can be computed from, if all of it is there."""
        if self.activations is None or self.unembedding is None or not self.probes:
            return None
        return Sources(self.activations, self.unembedding, self.probes)

    @property
    def origins(self) -> RowOrigins | None:
        """Which tokens the rows of the activations are, if record and activations are there."""
        if self.record is None or self.activations is None:
            return None
        return RowOrigins(self.record, self.rows or rows_path(self.activations.file))


def check_contents(attestation: Attestation, contents: Contents) -> str:
    """What the files say is what was signed of them; of a legacy document, what there is of that.

    Returns:
        What else was seen, in words.

    Raises:
        NotTheMatrix, OtherModel: the unembedding is not the tensor that the record says it is.
        ContentMismatch: naming the file, what was signed and what it says.
        ProvenanceMissing: a probe set does not say what it was trained on.
    """
    binding, activations = attestation.binding, contents.activations
    # 5.6 The activations' header.
    if activations is not None:
        path = activations.file
        found = bound_activations(activations.activations, path.sha256)
        if binding is None:
            _hold(path, _unbound_activations(attestation, found))
        else:
            _hold(path, _fields(binding.activations, found))
    if binding is None:
        # 5.11 Without a binding: each probe set is of the model, precision and geometry signed.
        for file in contents.probes:
            _hold(file.path, _unbound_probe_set(attestation, file))
        return ""
    # 5.7 The unembedding's shape.
    if (opened := contents.unembedding) is not None:
        shape = bound_unembedding(opened.unembedding, opened.sha256)
        _hold(opened.file, _fields(binding.unembedding, shape))
    for bound, file in zip(binding.probe_sets, contents.probes, strict=False):
        _hold(file.path, _probe_set(binding, bound, file))
    # 5.9 The versions of the probe sets.
    if contents.probes:
        sets = [file.probe_set for file in contents.probes]
        if attestation.probe_version != version_of_each(sets):
            versions = [("probe_version", attestation.probe_version, joined_version(sets))]
            _hold("--probes", iter(versions))

    return _check_matrix(binding, contents)


def check_evaluated(attestation: Attestation, contents: Contents) -> str:
    """The labels, the groups of the row table and the bar are what is bound of them.

    Returns:
        What was seen, in words.

    Raises:
        ContentMismatch, ReadingsMismatch: they are not; and as `check_evaluation`, `check_bar`.
        MissingExtra: it cannot be computed with the libraries that are installed.
    """
    evaluation, labels = attestation.bound().evaluation, contents.labels
    if labels is not None and (evaluation is None or not evaluation.from_file):
        raise ContentMismatch(labels, expected="no labels, as none of a file are bound",
                              found="some")  # fmt: skip
    if evaluation is None and contents.bar is None:
        return ""
    with optional():
        from geometry_of_trust.attesting.evaluations import (  # noqa: PLC0415
            KeptReadings,
            Labelled,
            check_bar,
            check_evaluation,
            check_trained_on,
        )

    if contents.probes:
        check_trained_on(attestation, [file.probe_set for file in contents.probes])
    if contents.bar is not None:
        check_bar(attestation, contents.bar)
    beside = contents.readings
    if evaluation is None or (labels is None and evaluation.from_file):
        return ""
    if beside is None and attestation.bound().readings is not None:
        return ""
    rows = None
    if needs_rows(attestation.bound()):
        if contents.rows is None or contents.record is None:
            return ""
        rows = read_own_rows(contents.rows, contents.record)
    kept = None if beside is None else KeptReadings.of(attestation, beside)
    check_evaluation(attestation, Labelled(labels, rows, kept))
    return "; the evaluation is that of the readings with these labels, bit for bit"


def _check_matrix(binding: Binding, contents: Contents) -> str:
    # 5.14 The unembedding is the tensor of the bound model that the record says it is.
    root = None if binding.model is None else binding.model.tensor_root
    identity = None if contents.record is None else contents.record.identity
    place = None if identity is None else identity.unembedding
    if root is None or place is None or contents.unembedding is None:
        return ""
    entry = TensorEntry(place.name, place.dtype, place.shape, place.sha256)
    proof = TensorProof(entry, place.index, place.count, place.path)
    check_matrix(proof, root, contents.unembedding.unembedding)
    return f"; the unembedding is the model's {place.name!r}"


def _unbound_activations(attestation: Attestation, found: BoundActivations) -> Compared:
    """Model and precision, which are signed without a binding, too."""
    if attestation.named_model is not None:
        yield "model_id", attestation.named_model, found.model_id
    yield "precision", attestation.precision, found.precision


def _unbound_probe_set(attestation: Attestation, file: ProbeSetFile) -> Compared:
    signed, training = attestation.named_model, file.probe_set.training
    if training is not None:
        if signed is not None and not same_model(signed, training.model_id):
            yield "training.model_id", signed, training.model_id
        yield "training.precision", attestation.precision, training.precision
        tag = attestation.inner_product.name
        yield "training.inner_product", tag, training.inner_product
    if None not in (attestation.geometry_hash, file.probe_set.geometry_hash):
        yield "geometry_hash", attestation.geometry_hash, file.probe_set.geometry_hash


def _probe_set(binding: Binding, bound: BoundProbeSet, file: ProbeSetFile) -> Compared:
    # 5.8 Each probe set: what is bound of it, what it was trained on, and under which geometry.
    probe_set, training = file.probe_set, file.probe_set.training
    if training is None and not bound.unknown_training:
        raise ProvenanceMissing(
            file.path, expected="a training member, with the verdicts that are bound", found="none"
        )
    activations = binding.activations
    weights = binding.weights
    ours = training is None or same_weights(training, activations.model_id, weights)
    if training is not None and not ours and not bound.other_weights:
        names = activations.model_id, training.model_id
        signed, found = (weights, training.weights) if names[0] == names[1] else names
        yield "training.model_id", signed, found
    again = bound_probe_set(file, read_at(bound), activations, weights, bound.outside)
    for i, (said, own) in enumerate(zip(bound.thresholds, again.thresholds, strict=False)):
        for name, signed_, found_ in _fields(said, own):
            yield f"thresholds[{i}].{name}", signed_, found_
    yield from _fields(bound, again)
    for probe in probe_set.probes:
        yield f"weights of {probe.name!r}", activations.hidden_dim, probe.weights.size
    if training is None:
        return
    yield "training.precision", activations.precision, training.precision
    geometry = BoundGeometry(
        training.inner_product, shortest_float32(training.epsilon), probe_set.geometry_hash or ""
    )
    yield from _fields(binding.geometry, geometry)


def _fields(signed: object, found: object) -> Compared:
    """The attributes of two values of one frozen dataclass."""
    for field in dataclasses.fields(signed):  # type: ignore[arg-type]
        yield field.name, getattr(signed, field.name), getattr(found, field.name)


def _hold(path: PathLike, compared: Compared) -> None:
    for name, signed, found in compared:
        if signed != found:
            raise ContentMismatch(f"{path}, {name}", expected=f"{signed}, as signed", found=found)
