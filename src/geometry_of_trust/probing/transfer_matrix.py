"""How far probes carry from corpus to corpus: trained on each, tested on each. docs/transfer.md."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import (
    BadOption,
    BadRowTable,
    MissingMember,
    ModelMismatch,
    OneClass,
    OtherTokens,
    PrecisionMismatch,
    TooFewOfClass,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile, open_activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.unembedding_file import open_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe, as_probe
from geometry_of_trust.probing.cross_validation import cross_validate, nested_scores
from geometry_of_trust.probing.equal_rows import standing_in, text_groups
from geometry_of_trust.probing.fresh_rows import score_fresh_rows
from geometry_of_trust.probing.held_out_figures import figure_with_interval
from geometry_of_trust.probing.metrics import WithinFoldAuroc
from geometry_of_trust.probing.options import FittingOptions
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.training import check_inputs
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.progress import Progress


@dataclass(frozen=True)
class ComparedCorpus:
    """One corpus: its name, and how many rows and groups of rows it has."""

    name: str
    rows: int
    groups: int


@dataclass(frozen=True)
class TransferCell:
    """A probe of one corpus on rows of another, or held out on its own.

    Attributes:
        auroc: None where no rows of both classes, in two groups or more, are left.
        rows: how many were tested on. left_out: how many more stand among those trained on, too.
    """

    auroc: Figure | None
    rows: int
    left_out: int


@dataclass(frozen=True)
class LayerTransfer:
    """All corpora against all, of one dimension at one layer.

    Attributes:
        cells: for each corpus that was trained on, one a corpus tested on.
    """

    dimension: str
    layer: int
    cells: tuple[tuple[TransferCell, ...], ...]


@dataclass(frozen=True)
class TransferMatrix:
    """How far probes carry from corpus to corpus.

    Attributes:
        model_id, precision: of all states. corpora: in the order given.
        matrices: for each layer, one a dimension.
    """

    model_id: str
    precision: str
    corpora: tuple[ComparedCorpus, ...]
    matrices: tuple[LayerTransfer, ...]


def transfer_matrix(
    *,
    corpora: Sequence[PathLike],
    unembedding: PathLike,
    label_columns: Sequence[str],
    layers: Sequence[int] | None,
    options: FittingOptions = FittingOptions(),
    progress: Progress | None = None,
) -> TransferMatrix:
    """Train on each corpus as `train` does, and test on each.

    On its own corpus a probe is held out, by group (nested cross-validation). On the others it is
    tested as it is, without the rows that stand in its own corpus, too.

    Args:
        corpora: two activations files or more, of one model, each with a row table beside it.
        label_columns: of the row tables; a matrix each. layers: as of `train_layers`.
        options: how probes are fitted.

    Raises:
        BadOption: fewer than two corpora, or one twice.
        ModelMismatch, PrecisionMismatch, OtherTokens: corpora that are not alike.
        Others: as `train_layers`.
    """
    if len(corpora) < 2:
        raise BadOption("--corpora", expected="two activations files or more", found=len(corpora))
    files = [open_activations(path) for path in corpora]
    matrix_file = open_unembedding(unembedding)
    _check_alike(files, matrix_file.sha256)
    chosen = files[0].activations.chosen(layers)
    d, columns = matrix_file.unembedding.hidden_dim, []
    for file in files:
        with _named(file):
            labels = named_labels(None, label_columns, options.dimension, file.rows)
            check_inputs(file.activations, labels, d, layers=chosen, l2=options.l2, rows=file.rows)
        columns.append(labels)
    geometry = Geometry.from_unembedding(
        matrix_file.unembedding, options.epsilon, options.inner_product, progress=progress
    )
    matrices = []
    for layer in chosen:
        states = [file.activations.layer(layer) for file in files]
        for name in columns[0]:
            if progress is not None:
                progress(f"layer {layer}, {name}")
            labelled = [
                _Labelled(H, labels[name], file.rows)
                for H, labels, file in zip(states, columns, files, strict=True)
            ]
            cells = (_tested(one, labelled, geometry, options.l2) for one in labelled)
            matrices.append(LayerTransfer(name, layer, tuple(cells)))
    for file in files:
        file.file.check_unchanged()
    matrix_file.file.check_unchanged()
    return TransferMatrix(
        model_id=files[0].activations.model_id,
        precision=files[0].activations.precision,
        corpora=tuple(map(_compared, names_of(corpora), files)),
        matrices=tuple(matrices),
    )


@contextlib.contextmanager
def _named(file: ActivationsFile) -> Iterator[None]:
    """What is wrong with labels or a row table is said of the corpus that has them."""
    try:
        yield
    except (MissingMember, BadRowTable, OneClass) as error:
        raise type(error)(
            f"{file.activations.source}, {error.where}", expected=error.expected,
            found=error.found, hint=error.hint,
        ) from None  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The rows of a corpus at one layer, with the labels of one dimension."""

    H: Array
    y: Labels
    rows: RowTable | None

    @property
    def groups(self) -> Indices | None:
        """As of `text_groups`."""
        return text_groups(self.rows)


def _tested(
    own: _Labelled, corpora: Sequence[_Labelled], geometry: Geometry, l2: float | None
) -> tuple[TransferCell, ...]:
    """A probe of one corpus, tested on each of them."""
    classifier = CausalProbe(gram=geometry, l2=l2)
    split = SplitRows.of(own.H, own.y, geometry, own.groups)
    cross = cross_validate(split.X, split.y, split.fold, classifier.strengths(), nested=True)
    classifier.fit_split(split, cross)
    probe = as_probe("", classifier)
    held_out = nested_scores(cross, split.y, split.fold).logits
    sample = Sample(split.y, split.groups, split.fold)
    diagonal = TransferCell(
        figure_with_interval(sample, WithinFoldAuroc(sample, held_out)), len(own.y), 0
    )
    return tuple(
        diagonal if other is own else _elsewhere(probe, geometry, own, other) for other in corpora
    )


def _elsewhere(probe: Probe, geometry: Geometry, own: _Labelled, other: _Labelled) -> TransferCell:
    """A probe as it is, on the rows of another corpus that do not stand in its own."""
    fresh = ~standing_in(other.H, other.rows, own.H, own.rows)
    left_out, y, groups = int((~fresh).sum()), other.y[fresh], other.groups
    if len(set(y.tolist())) < 2:
        return TransferCell(None, len(y), left_out)
    try:
        kept = None if groups is None else groups[fresh]
        scores = score_fresh_rows(probe, geometry, other.H[fresh], y, kept)
    except TooFewOfClass:  # what is left is of one group
        return TransferCell(None, len(y), left_out)
    auroc = figure_with_interval(scores.sample, WithinFoldAuroc(scores.sample, scores.logits))
    return TransferCell(auroc, len(y), left_out)


def _check_alike(files: Sequence[ActivationsFile], unembedding_sha256: str) -> None:
    """The states are of one model, in one precision, of tokens chosen alike, and of files apart.

    Raises:
        BadOption, ModelMismatch, PrecisionMismatch, OtherTokens: they are not.
        RecordMismatch and others: as `ActivationsFile.own_record`.
    """
    first = files[0]
    ours = first.own_record(unembedding_sha256)
    for i, file in enumerate(files[1:], 1):
        if file.sha256 in {one.sha256 for one in files[:i]}:
            raise BadOption(file.activations.source, expected="each corpus once", found="it twice")
        theirs, where = file.own_record(unembedding_sha256), file.activations.source
        same = file.activations.model_id == first.activations.model_id
        if ours is not None and theirs is not None and ours.weights and theirs.weights:
            same = ours.weights.are(theirs.weights)
        if not same:
            raise ModelMismatch(
                where, expected=f"states of the model of {first.activations.source}",
                found=f"model {file.activations.model_id!r}",
            )  # fmt: skip
        precision = first.activations.precision
        if file.activations.precision != precision:
            raise PrecisionMismatch(where, expected=precision, found=file.activations.precision)
        if ours is not None and theirs is not None:
            tokens, found = TrainedTokens.of(ours), TrainedTokens.of(theirs)
            if tokens != found:
                raise OtherTokens(
                    where, expected=f"rows of the same tokens as the first corpus ({tokens})",
                    found=found, hint="Extract all with the same options for rows.",
                )  # fmt: skip


def names_of(paths: Sequence[PathLike]) -> list[str]:
    """What corpora are called: by their files, or by whole paths where two have one name."""
    stems = [Path(path).stem for path in paths]
    return [stem if stems.count(stem) == 1 else str(path)
            for stem, path in zip(stems, paths, strict=True)]  # fmt: skip


def _compared(name: str, file: ActivationsFile) -> ComparedCorpus:
    groups, count = text_groups(file.rows), len(file.activations.positions)
    return ComparedCorpus(name, count, count if groups is None else len(set(groups.tolist())))
