"""Training from files: labels from wherever they are, one inner product for several layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadOption,
    BadRowTable,
    NonFinite,
    NotPositiveDefinite,
    RepeatedLayers,
)
from geometry_of_trust.files import PathLike, sha256_file
from geometry_of_trust.formats.binary import read_activations, read_labels, read_unembedding
from geometry_of_trust.formats.label_tables import is_label_table, read_label_table
from geometry_of_trust.formats.row_table import RowTable, row_table
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import spectrum
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.training import TrainingContext, TrainingResult, check, train

Labels = NDArray[np.int8]
Progress = Callable[[str], None]


def train_files(
    *,
    activations: PathLike,
    unembedding: PathLike,
    layer: int,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    options: TrainingOptions = TrainingOptions(),
    progress: Progress | None = None,
) -> TrainingResult:
    """`train_layers` for one layer."""
    return train_layers(
        activations=activations,
        unembedding=unembedding,
        layers=(layer,),
        labels=labels,
        label_columns=label_columns,
        options=options,
        progress=progress,
    )[0]


def train_layers(
    *,
    activations: PathLike,
    unembedding: PathLike,
    layers: Sequence[int],
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    options: TrainingOptions = TrainingOptions(),
    progress: Progress | None = None,
) -> list[TrainingResult]:
    """Read the files, build the geometry once, and train at each layer.

    Groups come from the row table beside the activations, if there is one.

    Args:
        labels: a `.labels` file, or a CSV or Parquet table with a column a dimension.
        label_columns: instead, label columns of the row table.
        options: how the probes are fitted, and what the probe sets say of their data.
        progress: called with what is being done.

    Returns:
        One result a layer; the files' digests are in the probe sets.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        Refusal and its kinds, BadOption: as `Geometry.from_unembedding` and `train`.
        RepeatedLayers: a layer twice.
    """
    if not layers or len(set(layers)) < len(layers):
        raise RepeatedLayers("--layers", expected="each layer once", found=list(layers))
    states = read_activations(activations)
    rows = row_table(activations)
    columns = named_labels(labels, label_columns, options.dimension, rows)
    matrix = read_unembedding(unembedding)
    for layer in layers:  # before the long arithmetic
        check(states, columns, matrix.hidden_dim, layer=layer, l2=options.l2, rows=rows)
    if progress is not None:
        progress("Inner product")
    geometry = Geometry.from_unembedding(
        matrix, options.epsilon, options.inner_product, progress=progress
    )
    beside = None
    if options.inner_product == "euclidean":
        try:
            beside = Geometry.from_unembedding(matrix, options.epsilon, progress=progress)
        except (NotPositiveDefinite, NonFinite):
            beside = None  # the card then says that it was not measured
    digests = {"activations": sha256_file(activations), "unembedding": sha256_file(unembedding)}
    if labels is not None:
        digests["labels"] = sha256_file(labels)
    context = TrainingContext(options.corpus_version, digests, beside, spectrum(geometry, matrix))
    return [
        train(
            states,
            columns,
            geometry,
            layer=layer,
            l2=options.l2,
            rows=rows,
            context=context,
            progress=_at(layer, progress) if len(layers) > 1 else progress,
        )
        for layer in layers
    ]


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

    Raises:
        BadOption: none or both are named, a column twice, or one name for several dimensions.
        BadRowTable: no row table to take columns from. MissingMember: no such column.
        MalformedInput and its kinds: the file cannot be read.
    """
    if (labels is None) == (not label_columns):
        raise BadOption(
            "--labels",
            expected="either it or --label-column",
            found="none" if labels is None else "both",
        )
    columns: dict[str, Labels]
    if labels is None:
        if rows is None:
            raise BadRowTable("--label-column", expected="a row table beside the activations",
                              found="none")  # fmt: skip
        if len(set(label_columns)) < len(label_columns):
            raise BadOption("--label-column", expected="each once", found=list(label_columns))
        columns = {name: rows.label(name) for name in label_columns}
    elif is_label_table(labels):
        columns = read_label_table(labels)
    else:
        return {dimension or "unnamed": read_labels(labels)}
    if dimension is not None:
        if len(columns) > 1:
            raise BadOption("--dimension", expected="one column of labels", found=list(columns))
        return {dimension: next(iter(columns.values()))}
    return columns
