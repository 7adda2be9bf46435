"""Training from files: labels from wherever they are, one inner product for several layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.extraction_record import NO_NORM, TRANSFORMED
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import BadOption, BadRowTable, NonFinite, NotPositiveDefinite
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.formats.label_tables import SUFFIXES, is_label_table, read_label_table
from geometry_of_trust.formats.labels import read_labels
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.unembedding_file import open_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import spectrum
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.other_files import OtherFiles
from geometry_of_trust.probing.other_rows import TrainedRows, check_groups
from geometry_of_trust.probing.shift_falls import Shifting, check_texts
from geometry_of_trust.probing.training import (
    TrainingContext,
    TrainingResult,
    check_inputs,
    train,
)
from geometry_of_trust.progress import Progress


def train_files(
    *,
    activations: PathLike,
    unembedding: PathLike,
    layer: int,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    ood: Sequence[PathLike] = (),
    benign: PathLike | None = None,
    shifting: Shifting | None = None,
    options: TrainingOptions = TrainingOptions(),
    progress: Progress | None = None,
) -> TrainingResult:
    """`train_layers` for one layer; arguments and errors as there."""
    return train_layers(
        activations=activations,
        unembedding=unembedding,
        layers=(layer,),
        labels=labels,
        label_columns=label_columns,
        ood=ood,
        benign=benign,
        shifting=shifting,
        options=options,
        progress=progress,
    )[0]


def train_layers(
    *,
    activations: PathLike,
    unembedding: PathLike,
    layers: Sequence[int] | None,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    ood: Sequence[PathLike] = (),
    benign: PathLike | None = None,
    shifting: Shifting | None = None,
    options: TrainingOptions = TrainingOptions(),
    progress: Progress | None = None,
) -> list[TrainingResult]:
    """Read the files, build the geometry once, and train at each layer.

    Groups come from the row table beside the activations, if there is one.

    Args:
        layers: in any order; below 0: counted from the last in the file; None: all in the file.
        labels: a `.labels` file, or a CSV or Parquet table with a column a dimension.
        label_columns: which columns of that table count; without `labels`, of the row table.
        ood: other activations of the same model, which the probes are judged on as they are. Labels
            are columns of the row table beside them, named as those trained on; of one dimension
            the labels file beside them serves, too.
        benign: such without the property, to set thresholds on; if they have labels these are 0.
        shifting: extracts all texts of the activations in other styles, to see how far the
            held-out AUROC falls.
        options: how the probes are fitted, and what the probe sets say of their data.
        progress: called with what is being done.

    Returns:
        One result a layer; the files' digests are in the probe sets.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        RecordMismatch: the extraction record beside the activations is of other files.
        Refusal and its kinds, BadOption: as `Geometry.from_unembedding` and `train`.
        BadOption, BadRowTable, MissingMember: as `named_labels`.
        RepeatedLayers: no layer, or one twice.
        ModelMismatch, OtherTokens: `ood` or `benign` are of another model, or of other tokens.
        MissingMember, TooFewGroups, and as `Others.check`: they cannot be used.
        FileChanged: a file was written to meanwhile.
    """
    activations_file = open_activations(activations)
    states, rows = activations_file.activations, activations_file.rows
    labels_file = None if labels is None else FileBytes.of(labels)
    columns = named_labels(labels_file, label_columns, options.dimension, rows)
    unembedding_file = open_unembedding(unembedding)
    matrix = unembedding_file.unembedding
    record = activations_file.own_record(unembedding_file.sha256)
    chosen = states.chosen(layers)
    aggregate = None if options.aggregate is None else Aggregate.parse(options.aggregate)
    # A dimension with a name of its own has the one column that was asked for, if one was.
    named = dict(zip(columns, label_columns or columns, strict=True))
    others, other_files = OtherFiles(
        activations_file, unembedding_file.sha256, named, aggregate
    ).open(ood, benign)
    # Before the long arithmetic:
    check_inputs(states, columns, matrix.hidden_dim, layers=chosen, l2=options.l2, rows=rows)
    others.check(states, list(columns), chosen, aggregate)
    if shifting is not None:
        check_texts(rows, columns)
    if progress is not None:
        progress("Inner product")
    geometry = Geometry.from_unembedding(
        matrix, options.epsilon, options.inner_product, progress=progress
    )
    if shifting is not None:
        for layer in chosen:  # before the run of the model
            check_groups(others, TrainedRows(states.layer(layer), rows, layer, geometry, aggregate))
        if progress is not None:
            progress("Texts in other styles")
        texts = [] if rows is None else sorted(set(rows.text.tolist()))
        others = replace(others, shifted=shifting(texts, chosen))
    beside = None
    if options.inner_product == "euclidean":
        try:
            beside = Geometry.from_unembedding(matrix, options.epsilon, progress=progress)
        except (NotPositiveDefinite, NonFinite):
            beside = None  # the card then says that it was not measured
    digests = {"activations": activations_file.sha256, "unembedding": unembedding_file.sha256}
    if labels_file is not None:
        digests["labels"] = labels_file.sha256
    context = TrainingContext(
        options.corpus_version,
        digests,
        beside,
        spectrum(geometry, matrix),
        record is not None,
        record is not None and record.unembedding_reads in (TRANSFORMED, NO_NORM),
        None if record is None else record.weights,
        None if record is None else TrainedTokens.of(record),
        None if record is None or record.corpus is None else record.prompt_sha256,
    )
    results = [
        train(
            states,
            columns,
            geometry,
            layer=layer,
            l2=options.l2,
            rows=rows,
            aggregate=aggregate,
            others=others,
            context=context,
            progress=_at(layer, progress) if len(chosen) > 1 else progress,
        )
        for layer in chosen
    ]
    activations_file.file.check_unchanged()
    unembedding_file.file.check_unchanged()
    for file in other_files:
        file.file.check_unchanged()
    return results


def _at(layer: int, progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    tell = progress
    return lambda text: tell(f"layer {layer}, {text}")


def named_labels(
    labels: PathLike | None,
    label_columns: Sequence[str],
    dimension: str | None,
    rows: RowTable | None,
) -> Mapping[str, Labels]:
    """Labels by the name of the dimension, from a labels file, a table or the row table.

    Args:
        labels: a `.labels` file, or a table (`formats.label_tables`); None: the row table.
        label_columns: which columns of the table, or of the row table; of a table, none: all.
        dimension: another name for the one dimension there is.
        rows: the row table beside the activations, if there is one.

    Returns:
        Labels 0 or 1, shape (n,), int8, in the order of the columns named or of the table.

    Raises:
        BadOption: neither labels nor columns, a column twice, columns of a `.labels` file, or one
            name for several dimensions.
        BadRowTable: no row table to take columns from. MissingMember: it has no such column.
        Unreadable, TooLarge, BadText, BadLabel, BadLabelTable, MissingColumn: as `read_labels` and
            `read_label_table`.
    """
    if labels is None and not label_columns:
        raise BadOption("--labels", expected="it, --label-column, or both", found="neither")
    if len(set(label_columns)) < len(label_columns):
        raise BadOption("--label-column", expected="each once", found=", ".join(label_columns))
    columns: Mapping[str, Labels]
    if labels is None:
        if rows is None:
            raise BadRowTable("--label-column", expected="a row table beside the activations",
                              found="none")  # fmt: skip
        columns = {name: rows.label(name) for name in label_columns}
    elif is_label_table(labels):
        columns = read_label_table(labels, label_columns)
    elif label_columns:
        expected = f"none, as only a table ({', '.join(SUFFIXES)}) has columns"
        raise BadOption("--label-column", expected=expected, found=", ".join(label_columns))
    else:
        return {dimension or "unnamed": read_labels(labels)}
    if dimension is not None:
        if len(columns) > 1:
            raise BadOption(
                "--dimension", expected="one column of labels", found=", ".join(columns)
            )
        return {dimension: next(iter(columns.values()))}
    return columns
