"""The row table: which text, group and token each row of an activations file comes from.

It stands beside the activations (`names_beside.rows_path`), as Parquet, so that pandas, DuckDB and
others read it as it is. Columns and digest: docs/formats.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.errors import BadRowTable, MissingMember, RecordMismatch, TooLarge
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.row_writer import (
    LABEL_PREFIX,
    MAX_BYTES,
    MAX_ROWS,
    NONE,
    RowDigest,
    TextRows,
    arrow,
    fields,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_INTEGERS = ("text", "token_index", "token_id", "start", "end")


@dataclass(frozen=True, eq=False)
class RowTable:
    """A row table in memory; each array has one entry a row of the activations, `NONE` for none.

    Attributes:
        text: index of the row's text in the corpus, int64, ascending. All arrays: shape (P,).
        group: the text's group, or None.
        token_index, token_id, start, end: int64.
        token: text of the token, or None.
        special: bool.
        tokens: ids of all tokens of the text, at the first of its rows; else None.
        labels: int8, 0 or 1, by the name of the dimension.
    """

    text: NDArray[np.int64]
    group: tuple[str | None, ...]
    token_index: NDArray[np.int64]
    token_id: NDArray[np.int64]
    token: tuple[str | None, ...]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    special: NDArray[np.bool_]
    tokens: tuple[tuple[int, ...] | None, ...]
    labels: dict[str, NDArray[np.int8]]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def groups(self) -> NDArray[np.int64]:
        """A number for each row, shape (P,): equal for rows that must stay together.

        Rows of one group have the same number, and so have rows of one text without a group.
        Numbers count from 0 in the order in which groups first appear.
        """
        seen: dict[str | int, int] = {}
        keys = (
            text if group is None else group
            for group, text in zip(self.group, self.text.tolist(), strict=True)
        )
        return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)

    def label(self, name: str) -> NDArray[np.int8]:
        """The labels of one dimension, 0 or 1, shape (P,).

        Raises:
            MissingMember: there is no such column; the error names those that there are.
        """
        if name not in self.labels:
            known = ", ".join(self.labels) or "none"
            raise MissingMember("row table", expected=f"a label column {name!r}", found=known)
        return self.labels[name]

    def text_rows(self) -> list[slice]:
        """The rows of each text, in order."""
        starts = np.flatnonzero(np.diff(self.text, prepend=-1))
        ends = np.append(starts[1:], len(self))
        return [slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]

    def digest(self) -> str:
        """The digest that stands in the extraction record."""
        digest = RowDigest()
        for rows in self.text_rows():
            first = rows.start

            def optional(values: NDArray[np.int64], rows: slice = rows) -> list[int | None]:
                return [None if value == NONE else value for value in values[rows].tolist()]

            digest.add(
                TextRows(
                    text=int(self.text[first]),
                    group=self.group[first],
                    token_index=optional(self.token_index),
                    token_id=optional(self.token_id),
                    token=self.token[rows],
                    span=[
                        None if a == NONE else (a, b)
                        for a, b in zip(
                            self.start[rows].tolist(), self.end[rows].tolist(), strict=True
                        )
                    ],
                    special=self.special[rows].tolist(),
                    labels={name: int(column[first]) for name, column in self.labels.items()},
                    tokens=self.tokens[first],
                )
            )
        return digest.hexdigest()


def read_rows(path: PathLike) -> RowTable:
    """Read a row table.

    Raises:
        Unreadable, FileChanged: as `FileBytes`.
        TooLarge: it says that it holds more than `MAX_ROWS` rows or `MAX_BYTES`.
        BadRowTable: it is not Parquet, or not of a row table's columns and order.
    """
    pa, pq = arrow()
    try:
        file = pq.ParquetFile(FileBytes.of(path).reader())
        _bounded(file.metadata, path)
        table = _parsed(file.read(), path)
    except (pa.ArrowException, ValueError, OSError) as error:
        found = f"{error}".partition("\n")[0]
        raise BadRowTable(path, expected="a Parquet file", found=found) from None
    _check(table, path)
    return table


def _bounded(said: pq.FileMetaData, path: PathLike) -> None:
    """Refuse a table for which there would be no memory, before any of it is read."""
    size = sum(said.row_group(i).total_byte_size for i in range(said.num_row_groups))
    for found, limit, what in (
        (said.num_rows, MAX_ROWS, "rows"), (size, MAX_BYTES, "bytes, unpacked"),
    ):  # fmt: skip
        if found > limit:
            raise TooLarge(path, expected=f"at most {limit} {what}", found=f"{found}")


def _parsed(table: pa.Table, path: PathLike) -> RowTable:
    """The columns as arrays; BadRowTable for other columns than a row table's."""
    pa, _ = arrow()
    names = [kind.name for kind in fields()]
    labels = [name for name in table.column_names if name.startswith(LABEL_PREFIX)]
    types = {kind.name: kind.type for kind in fields()} | dict.fromkeys(labels, pa.int8())
    if table.column_names != names + labels or any(
        table.schema.field(name).type != kind for name, kind in types.items()
    ):
        raise BadRowTable(
            path, expected=f"the columns {', '.join(names)}", found=", ".join(table.column_names)
        )

    def numbers(name: str) -> NDArray[np.int64]:
        column = table.column(name).cast(pa.int64()).fill_null(NONE)
        return np.asarray(column.to_numpy(), np.int64)

    return RowTable(
        group=tuple(table.column("group").to_pylist()),
        token=tuple(table.column("token").to_pylist()),
        special=table.column("special").fill_null(False).to_numpy().astype(bool),
        tokens=tuple(
            None if tokens is None else tuple(tokens)
            for tokens in table.column("tokens").to_pylist()
        ),
        labels={name.removeprefix(LABEL_PREFIX): numbers(name).astype(np.int8) for name in labels},
        **{name: numbers(name) for name in _INTEGERS},
    )


def _check(table: RowTable, path: PathLike) -> None:
    """Refuse what no row table says; what belongs to a text is the same in all of its rows.

    The digest takes that from the first row of each text.
    """
    same = np.diff(table.text) == 0
    inner = (np.flatnonzero(same) + 1).tolist()
    for fine, expected in (
        (len(table) > 0, "at least one row"),
        (not (table.text < 0).any() and not (np.diff(table.text) < 0).any(), "texts in order"),
        (all(np.isin(column, (0, 1)).all() for column in table.labels.values()), "labels 0 and 1"),
        (
            not any((np.diff(column)[same] != 0).any() for column in table.labels.values()),
            "one label for all rows of a text",
        ),
        (all(table.group[i] == table.group[i - 1] for i in inner), "one group for a text"),
        (all(table.tokens[i] is None for i in inner), "a text's tokens in its first row alone"),
        (
            all(tokens is None or None not in tokens for tokens in table.tokens),
            "token numbers without gaps",
        ),
    ):
        if not fine:
            raise BadRowTable(path, expected=expected, found="others")


def read_own_rows(path: PathLike, record: Record | None) -> RowTable | None:
    """The row table of a run, None if the run wrote none: one of a single text, as its record says.

    A table that lies there all the same is left from another run.

    Args:
        path: where it is.
        record: what the run's extraction record says; None if there is none to hold it against.

    Raises:
        Unreadable, FileChanged, TooLarge, BadRowTable: as `read_rows`.
        RecordMismatch: it is not the table that the record names.
    """
    if record is not None and record.corpus is None:
        return None
    table = read_rows(path)
    if record is not None and record.corpus is not None:
        digest = table.digest()
        if digest != record.corpus.rows_sha256:
            raise RecordMismatch(
                path,
                expected=f"the row table with digest {record.corpus.rows_sha256}",
                found=digest,
                hint="Extract again, or bring the table of this run back.",
            )
    return table


def groups_of(rows: RowTable | None) -> NDArray[np.int64] | None:
    """The groups of a table's rows, as `RowTable.groups`; None where nothing is to be held apart.

    That is where there is no table, and where all rows are of one text that names no group. All
    rows in one group that was named is an answer, and none that a split can live with.
    """
    if rows is None:
        return None
    groups = rows.groups
    return groups if groups.any() or rows.group[0] is not None else None
