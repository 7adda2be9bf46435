"""Labels of several dimensions at once: columns of a CSV, tab-separated or Parquet table.

A row per position, in the order of the activations. Cells are read as those of a corpus are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadLabel, BadLabelTable, MissingColumn, TooLarge
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.labels import label_of
from geometry_of_trust.formats.table_rows import Choose, Row, csv_rows, parquet_rows, separators

Labels = NDArray[np.int8]

MAX_ROWS = 2**26
"""What a reader takes; a row table has no more either."""

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
        Unreadable: the file cannot be read. TooLarge: a line of more than 16 MiB, or more than
            `MAX_ROWS` rows. BadText: bytes that are not UTF-8.
        MissingColumn: one of `columns` is not there.
        BadLabelTable: no table, no row, a column twice or without a name, or, where none is named,
            a column without a single label.
        BadLabel: a cell that is no label, an empty one too; the error names row and column.
    """
    rows = _READERS[Path(path).suffix.lower()](path, partial(_chosen, columns))
    found: dict[str, _Column] = {}
    for number, (where, row) in enumerate(rows):
        if number == MAX_ROWS:
            raise TooLarge(path, expected=f"at most {MAX_ROWS} rows", found="more")
        if number == 0:
            found = {name: _Column(name) for name in columns or row}
        for name, column in found.items():
            column.add(row[name], number, where, named=bool(columns))
    if not found:
        raise BadLabelTable(path, expected="a header and at least one row", found="none")
    if not columns:
        _check_all(list(found.values()), path)
    return {name: np.frombuffer(column.labels, np.int8) for name, column in found.items()}


class _Column:
    """What was read of a column: its labels, and the first cell that is none, with its row."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels = bytearray()
        self.bad: tuple[int, BadLabel] | None = None

    def add(self, value: object, number: int, where: str, *, named: bool) -> None:
        try:
            self.labels.append(label_of(value, where))
        except BadLabel as error:
            place = f"{where}, column {self.name!r}"
            bad = BadLabel(place, expected=error.expected, found=error.found)
            if named:
                raise bad from None
            self.bad = self.bad or (number, bad)


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


_READERS: dict[str, Callable[[PathLike, Choose], Iterator[Row]]] = {
    ".csv": partial(csv_rows, refused=BadLabelTable),
    ".tsv": partial(csv_rows, refused=BadLabelTable, delimiter="\t"),
    ".parquet": partial(parquet_rows, refused=BadLabelTable, most=MAX_ROWS),
}
SUFFIXES = tuple(_READERS)
