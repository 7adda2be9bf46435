"""Labels of several dimensions at once: a CSV or Parquet table with a column for each.

A row per position, in the order of the activations; the first line of a CSV names the columns.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geometry_of_trust.errors import BadLabel, BadLabelTable, BadText
from geometry_of_trust.files import PathLike, opened, read_bounded
from geometry_of_trust.formats.labels import LABELS, WHITE_SPACE

Labels = NDArray[np.int8]

MAX_CSV_BYTES = 256 * 2**20
SUFFIXES = (".csv", ".parquet")


def is_label_table(path: PathLike) -> bool:
    """Whether the name says that a file is a table, and not a `.labels` file."""
    return Path(path).suffix.lower() in SUFFIXES


def read_label_table(path: PathLike) -> dict[str, Labels]:
    """Labels 0 or 1 by the name of the dimension, each of shape (n,).

    Raises:
        Unreadable, TooLarge: as `read_bounded`. BadText: a CSV that is not UTF-8.
        BadLabelTable: no columns, a repeated or empty name, or a line of another length.
        BadLabel: a value other than 0, 1, true or false; the error names its place.
    """
    if Path(path).suffix.lower() == ".csv":
        return _read_csv(path)
    with opened(path) as handle:
        try:
            table = pq.read_table(handle)
        except (pa.ArrowException, OSError) as error:
            found = f"{error}".partition("\n")[0]
            raise BadLabelTable(path, expected="a Parquet file", found=found) from None
    _check_names(table.column_names, path)
    return {
        name: _codes([str(value).lower() for value in table.column(name).to_pylist()], name, path)
        for name in table.column_names
    }


def _read_csv(path: PathLike) -> dict[str, Labels]:
    try:
        text = read_bounded(path, MAX_CSV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadText(path, expected="UTF-8", found=f"byte at offset {error.start}") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise BadLabelTable(path, expected="CSV", found=error) from None
    names = [name.strip(WHITE_SPACE) for name in lines[0]] if lines else []
    _check_names(names, path)
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(names):
            raise BadLabelTable(
                f"{path}, row {number}", expected=f"{len(names)} values", found=len(line)
            )
    columns = zip(*lines[1:], strict=True) if len(lines) > 1 else ([] for _ in names)
    return {
        name: _codes([value.strip(WHITE_SPACE) for value in column], name, path)
        for name, column in zip(names, columns, strict=True)
    }


def _check_names(names: list[str], path: PathLike) -> None:
    if not names or "" in names or len(set(names)) < len(names):
        raise BadLabelTable(path, expected="columns, each with a name of its own", found=names)


def _codes(words: list[str], name: str, path: PathLike) -> Labels:
    for number, word in enumerate(words):
        if word not in LABELS:
            raise BadLabel(
                f"{path}, column {name!r}, position {number}",
                expected="0, 1, true or false",
                found=word,
            )
    return np.array([LABELS[word] for word in words], np.int8)
