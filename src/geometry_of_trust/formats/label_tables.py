"""Labels of several dimensions at once: columns of a CSV, tab-separated or Parquet table.

A row per position, in the order of the activations. Cells are read as those of a corpus are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadLabel, BadLabelTable, MissingColumn, TooLarge
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.labels import bad_label, label_or_none
from geometry_of_trust.formats.parquet_table import (
    open_parquet,
    parquet_errors,
    refusing,
    text_bytes,
)
from geometry_of_trust.formats.table_rows import cell, csv_rows, separators

if TYPE_CHECKING:
    import pyarrow as pa

Labels = NDArray[np.int8]

MAX_ROWS = 2**26
"""What a reader takes; a row table has no more either."""

_BATCH_ROWS = 2**16
_DISTINCT_BYTES = 64
_NONE = -1
_NAMING = "--label-column names those that count."


def is_label_table(path: PathLike) -> bool:
    """Whether the name says that a file is a table, and not a `.labels` file."""
    return Path(path).suffix.lower() in SUFFIXES


def read_label_table(path: PathLike, columns: Sequence[str] = ()) -> dict[str, Labels]:
    """Labels 0 or 1 by the name of the dimension, each of shape (n,), int8; n is at least 1.

    Args:
        path: a table, by its ending one of `SUFFIXES`.
        columns: those that hold labels, in the order wanted; none: all columns of the table.

    Raises:
        Unreadable: the file cannot be read. BadText: bytes that are not UTF-8.
        TooLarge: a line of more than 16 MiB, more than `MAX_ROWS` rows, or of Parquet more than a
            file of its size may hold.
        MissingColumn: one of `columns` is not there.
        BadLabelTable: no table, no row, a column twice or without a name, one of lists, structures
            or categories, or, where none is named, a column without a single label.
        BadLabel: a cell that is no label, an empty one too; the error names row and column.
    """
    found = _READERS[Path(path).suffix.lower()](path, columns)
    if not found or (not found[0].labels and not found[0].bad):
        raise BadLabelTable(path, expected="a header and at least one row", found="none")
    if not columns:
        _check_all(found, path)
    return {column.name: np.frombuffer(column.labels, np.int8) for column in found}


def _of_lines(path: PathLike, columns: Sequence[str], *, delimiter: str) -> list[_Column]:
    """The columns of a file of separated values."""
    chosen = partial(_chosen, columns)
    rows = csv_rows(path, chosen, BadLabelTable, delimiter=delimiter)
    found: list[_Column] = []
    for number, (where, row) in enumerate(rows):
        _check_rows(path, number + 1)
        if number == 0:
            found = [_Column(name) for name in columns or row]
        for column in found:
            column.add(row[column.name], number, where, named=bool(columns))
    return found


def _of_parquet(path: PathLike, columns: Sequence[str]) -> list[_Column]:
    """The columns of a Parquet file."""
    with open_parquet(path, BadLabelTable) as table:
        _check_rows(path, table.layout.rows)
        found = [_Column(name) for name in _chosen(columns, table.names, table.where)]
        for column in found:
            _check_flat(table.schema.field(column.name), table.where)
        unpacked = table.unpacked()
        done = 0
        for batch in table.batches([column.name for column in found], _BATCH_ROWS, coded=True):
            for column, values in zip(found, batch.columns, strict=True):
                with refusing(f"{table.where}, after row {done}", "Parquet data", BadLabelTable):
                    needed = text_bytes(values) or len(values)
                unpacked.add(needed)
                distinct = column.extend(values, done, table.where, named=bool(columns))
                unpacked.add(_DISTINCT_BYTES * distinct)
            done += batch.num_rows
    return found


def _check_rows(path: PathLike, rows: int) -> None:
    if rows > MAX_ROWS:
        raise TooLarge(path, expected=f"at most {MAX_ROWS} rows", found=rows)


def _check_flat(field: pa.Field, where: str) -> None:
    """BadLabelTable for a column of lists, structures or categories."""
    import pyarrow as pa  # noqa: PLC0415 - of an extra

    if pa.types.is_nested(field.type) or pa.types.is_dictionary(field.type):
        raise BadLabelTable(
            f"{where}, column {field.name!r}", expected="a column of numbers, truth values or text",
            found=field.type, hint="Save it again with 0 and 1; --label-column names others.",
        )  # fmt: skip


class _Column:
    """What was read of a column: its labels, and the first cell that is none, with its row."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels = bytearray()
        self.bad: tuple[int, BadLabel] | None = None

    def add(self, value: object, number: int, where: str, *, named: bool) -> None:
        """Take a cell. Of cells that are no labels the first one counts."""
        label = label_or_none(value)
        if label is not None:
            self.labels.append(label)
        elif self.bad is None:
            bad = bad_label(value, f"{where}, column {self.name!r}")
            if named:
                raise bad
            self.bad = (number, bad)

    def extend(self, values: pa.Array, first: int, where: str, *, named: bool) -> int:
        """Take a batch of Parquet, whose rows count from `first`; each distinct value once.

        Returns how many of these there are.
        """
        codes, distinct = _coded(values, f"{where}, after row {first}")
        labels = np.full(len(distinct) + 1, _NONE, np.int8)
        wrong = [len(distinct)] if values.null_count else []
        for code, value in enumerate(distinct):
            try:
                label = label_or_none(value.as_py())
            except parquet_errors():
                row = int((codes == code).argmax())
                place = f"{where}, row {first + row + 1}", self.name
                label = label_or_none(cell(values, row, place, BadLabelTable))  # which says why
            if label is None:
                wrong.append(code)
            else:
                labels[code] = label
        taken = labels[codes]
        self.labels += taken[taken != _NONE].tobytes()
        if wrong and self.bad is None:
            # The distinct values stand in the order of their first rows, but for null.
            row = min(int((codes == code).argmax()) for code in wrong[:2])
            self.add(
                values[row].as_py(), first + row, f"{where}, row {first + row + 1}", named=named
            )
        return len(distinct)


def _coded(values: pa.Array, where: str) -> tuple[NDArray[np.int32], pa.Array]:
    """The number of each row's value, and the values; null has the number after the last."""
    with refusing(where, "Parquet data", BadLabelTable):
        words = getattr(values, "dictionary", None)
        coded = (values if words is None else values.indices).dictionary_encode()
        codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy()
        return codes, coded.dictionary if words is None else words.take(coded.dictionary)


def _check_all(columns: Sequence[_Column], path: PathLike) -> None:
    """All columns hold labels and nothing else.

    Raises:
        BadLabelTable: some hold none; the error names them. BadLabel: the first cell that is none.
    """
    others = [column.name for column in columns if not column.labels]
    if others and (hint := separators(others)) and len(columns) == 1:
        raise BadLabelTable(path, expected="columns", found=f"one, {others[0]!r}", hint=hint)
    if others and len(columns) > 1:
        raise BadLabelTable(
            path, expected="columns of 0 and 1 alone, if none is named",
            found=f"others: {', '.join(map(repr, others))}", hint=_NAMING,
        )  # fmt: skip
    bad = [column.bad for column in columns if column.bad is not None]
    if bad:
        _, first = min(bad, key=lambda entry: entry[0])
        hint = _NAMING if len(columns) > 1 else ""
        raise BadLabel(first.where, expected=first.expected, found=first.found, hint=hint)


def _chosen(columns: Sequence[str], names: Collection[str], where: str) -> Sequence[str]:
    """The columns to read among `names`."""
    for name in columns:
        if name not in names:
            raise MissingColumn(
                where, expected=f"a column {name!r}", found=", ".join(names), hint=separators(names)
            )
    if not columns and "" in names:
        raise BadLabelTable(
            where, expected="a name for each column", found="one without", hint=_NAMING
        )
    return columns or list(names)


_READERS: dict[str, Callable[[PathLike, Sequence[str]], list[_Column]]] = {
    ".csv": partial(_of_lines, delimiter=","),
    ".tsv": partial(_of_lines, delimiter="\t"),
    ".parquet": _of_parquet,
}
SUFFIXES = tuple(_READERS)
