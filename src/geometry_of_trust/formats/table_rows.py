"""Rows of tables, one at a time: CSV, tab-separated and Parquet, for corpora and for labels.

A row comes with where it is, as people count: the line of the file on which it begins, where there
are lines (the number that a spreadsheet shows, unless a cell has line breaks); else the row from 1.
Memory depends on the longest row, never on the number of rows; of lists in Parquet, on the largest
row group.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from geometry_of_trust.errors import BadText, MalformedInput, TooLarge, Unreadable, brief
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike, opened, reason
from geometry_of_trust.formats.labels import WHITE_SPACE
from geometry_of_trust.formats.parquet_table import (
    check_distinct,
    open_parquet,
    parquet_errors,
    python_bytes,
    refusing,
)

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[str, Mapping[str, object]]
"""Where the row is, for errors, and its values by column."""

Choose = Callable[[Collection[str], str], Sequence[str]]
"""Given all column names and where they stand: those that are needed; it raises if one is not."""

MAX_COLUMNS, MAX_BLANK_LINES = 2**17, 2**20
"""Of a file of separated values."""

_PARQUET_ROWS = 1024
_BOM = b"\xef\xbb\xbf"


# --- files of lines ---------------------------------------------------------------------------


def lines(path: PathLike) -> Iterator[tuple[str, bytes]]:
    """Where each line is, counted from 1, and its bytes with their end; no byte-order mark.

    Raises:
        Unreadable: the file cannot be read. TooLarge: a line of more than `MAX_DOCUMENT_BYTES`.
    """
    with opened(path) as handle:
        number = 0
        while True:
            number += 1
            where = f"{path}, line {number}"
            try:
                line = handle.readline(MAX_DOCUMENT_BYTES + 1)
            except OSError as error:
                raise Unreadable(path, expected="a readable file", found=reason(error)) from None
            if len(line) > MAX_DOCUMENT_BYTES:
                raise TooLarge(where, expected=f"at most {MAX_DOCUMENT_BYTES} bytes", found="more")
            if not line:
                return
            yield where, line.removeprefix(_BOM) if number == 1 else line


def decoded(where: str, line: bytes) -> str:
    """A line as text.

    Raises:
        BadText: it is not UTF-8; the error names the byte.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line"
        raise BadText(where, expected="UTF-8", found=found) from None


def csv_rows(
    path: PathLike, choose: Choose, refused: type[MalformedInput], *, delimiter: str = ","
) -> Iterator[Row]:
    """The rows of a file of separated values, as of RFC 4180; every cell is text.

    The first line that is not blank names the columns. Blank lines are skipped, except in a table
    of one column, where each is an empty cell.

    Args:
        choose: asked once, with the header.
        refused: the class of error for a file that is no table.

    Raises:
        Unreadable, TooLarge, BadText: as `lines` and `decoded`.
        TooLarge: more than `MAX_COLUMNS` columns, or `MAX_BLANK_LINES` that are skipped.
        refused: not CSV, a column twice, or a row of another length than the header.
    """
    texts = (decoded(where, line) for where, line in lines(path))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    blank = 0
    while True:
        where = f"{path}, line {reader.line_num + 1}"  # where the row begins
        before = csv.field_size_limit(MAX_DOCUMENT_BYTES)  # for all readers; else 128 KiB
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise refused(where, expected="CSV as of RFC 4180", found=error) from None
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        if not cells and header is not None and len(header) == 1:
            cells = [""]
        if not cells:
            blank += 1
            if blank > MAX_BLANK_LINES:
                expected = f"at most {MAX_BLANK_LINES} blank lines"
                raise TooLarge(where, expected=expected, found="more")
            continue
        if header is None:
            if len(cells) > MAX_COLUMNS:
                found = len(cells)
                raise TooLarge(where, expected=f"at most {MAX_COLUMNS} columns", found=found)
            header = [name.strip(WHITE_SPACE) for name in cells]
            check_distinct(header, where, refused)
            choose(header, where)
        elif len(cells) != len(header):
            raise refused(where, expected=f"{len(header)} cells", found=len(cells))
        else:
            yield where, dict(zip(header, cells, strict=True))


def separators(names: Collection[str]) -> str:
    """A hint where a header of one name seems to be several, separated by something else."""
    if len(names) == 1 and set(";,\t") & set(*names):
        return "Columns of a .csv are separated by commas, of a .tsv by tabs: save it again so."
    return ""


# --- Parquet ----------------------------------------------------------------------------------


def parquet_rows(path: PathLike, choose: Choose, refused: type[MalformedInput]) -> Iterator[Row]:
    """The rows of a Parquet file, of the columns needed, as Python values.

    Args:
        choose: asked once, with the names of all columns; only those that it returns are read.
        refused: the class of error for a file that is no table.

    Raises:
        Unreadable: the file cannot be opened.
        TooLarge: the values of its rows, or its pages, are more than a file of this size may hold.
        BadText: text that is not UTF-8, naming row and column.
        refused: not Parquet, damaged, a column twice, or a value that Python does not have.
        MissingExtra: pyarrow is not installed.
    """
    with open_parquet(path, refused) as table:
        names = list(choose(table.names, table.where))
        unpacked = table.unpacked()
        number = 0
        for batch in table.batches(names, _PARQUET_ROWS):
            with refusing(f"{path}, after row {number}", "Parquet data", refused):
                needed = sum(map(python_bytes, batch.columns))
            unpacked.add(needed)
            columns = dict(zip(names, batch.columns, strict=True))
            for index in range(batch.num_rows):
                number += 1
                where = f"{path}, row {number}"
                yield (
                    where,
                    {
                        name: cell(column, index, (where, name), refused)
                        for name, column in columns.items()
                    },
                )


def cell(
    column: pa.Array, index: int, place: tuple[str, str], refused: type[MalformedInput]
) -> object:
    """One value of a column, shape (n,), as Python's.

    Raises:
        BadText: text that is not UTF-8; `place` names row and column.
        refused: a value that Python does not have.
    """
    try:
        value: object = column[index].as_py()
    except parquet_errors() as error:
        where = "{}, column {!r}".format(*place)
        if isinstance(error, UnicodeDecodeError):  # pyarrow believes what says it is UTF-8
            raise BadText(where, expected="UTF-8", found="other bytes") from None
        raise refused(where, expected="a value known to Python", found=brief(error)) from None
    return value
