"""The row table: which text, group and token each row of an activations file comes from.

It stands beside the activations (`names_beside.rows_path`), as Parquet, so that pandas, DuckDB and
others read it as it is. Columns and digest: docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.errors import BadRowTable, MissingMember, RecordMismatch, TooLarge
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.parquet_table import (
    ParquetTable,
    open_parquet,
    refusing,
)
from geometry_of_trust.formats.row_writer import (
    KEPT_TIMES,
    LABEL_PREFIX,
    MAX_ROWS,
    NONE,
    PLACES,
    ROW_BYTES,
    Kept,
    Places,
    RowDigest,
    arrow,
    fields,
)

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 2**14
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
        turn, role: of chosen tokens (`extract --tokens`) the message of a chat that the row is of,
            from 0, int64, and its role, or None; both None of a table of other rows.
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
    turn: NDArray[np.int64] | None = None
    role: tuple[str | None, ...] | None = None

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
        digest = RowDigest(placed=self.turn is not None)
        columns = (self.token_index, self.token_id, self.start, self.end, self.special)
        numbers = np.stack(columns, axis=1).astype("<i8")
        labels = {name: column.tolist() for name, column in self.labels.items()}
        for rows in self.text_rows():
            first = rows.start
            digest.add_text(
                int(self.text[first]),
                self.group[first],
                numbers[rows].tobytes(),
                token=self.token[rows],
                labels={name: column[first] for name, column in labels.items()},
                tokens=self.tokens[first],
                places=self._places(rows, labels),
            )
        return digest.hexdigest()

    def _places(self, rows: slice, labels: Mapping[str, Sequence[int]]) -> Places | None:
        """Where the rows of one text stand."""
        if self.turn is None or self.role is None:
            return None
        own = {name: column[rows] for name, column in labels.items()}
        return Places(self.turn[rows].tolist(), self.role[rows], own)


def read_rows(path: PathLike) -> RowTable:
    """Read a row table, by batches; what it takes in memory is counted.

    Raises:
        Unreadable, FileChanged: as `FileBytes`.
        TooLarge: it holds more than `MAX_ROWS` rows, or more than a file of its size may.
        BadRowTable: it is not Parquet, or not of a row table's columns and order.
        MissingExtra: pyarrow is not installed.
    """
    with open_parquet(FileBytes.of(path), BadRowTable) as table:
        count = table.layout.rows
        if count > MAX_ROWS:
            raise TooLarge(path, expected=f"at most {MAX_ROWS} rows", found=count)
        labels = _label_columns(table)
        table.unpacked(KEPT_TIMES).add(ROW_BYTES * count)  # before room for them is asked for
        rows = _Rows(table, labels)
        for batch in table.batches(table.names, _BATCH_ROWS, coded=True):
            with refusing(table.where, "a Parquet file", BadRowTable):
                rows.add(batch)
    read = rows.table()
    _check(read, path)
    return read


def _label_columns(table: ParquetTable) -> list[str]:
    """The names of the label columns; BadRowTable for other columns than a row table's."""
    pa, _ = arrow()
    columns = fields(placed=set(PLACES) <= set(table.names))
    names = [kind.name for kind in columns]
    labels = [name for name in table.names if name.startswith(LABEL_PREFIX)]
    types = {kind.name: kind.type for kind in columns} | dict.fromkeys(labels, pa.int8())
    if list(table.names) != names + labels or any(
        table.schema.field(name).type != kind for name, kind in types.items()
    ):
        raise BadRowTable(
            table.where, expected=f"the columns {', '.join(names)}", found=", ".join(table.names)
        )
    return labels


class _Rows:
    """The rows of a table while they are read.

    Args:
        table: the file; memory for the rows that it says it has is taken as they come.
        labels: the columns of labels.
    """

    def __init__(self, table: ParquetTable, labels: Sequence[str]) -> None:
        self._where, count = table.where, table.layout.rows
        self._unpacked, self._kept = table.unpacked(KEPT_TIMES), Kept()
        self._placed = set(PLACES) <= set(table.names)
        integers = (*_INTEGERS, "turn") if self._placed else _INTEGERS
        self._numbers = {name: np.empty(count, np.int64) for name in integers}
        self._labels = {name: np.empty(count, np.int8) for name in labels}
        self._special = np.empty(count, np.bool_)
        texts = ("group", "token", "role") if self._placed else ("group", "token")
        self._texts: dict[str, list[str | None]] = {name: [] for name in texts}
        self._tokens: list[tuple[int, ...] | None] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the rows of a batch.

        Raises:
            TooLarge: they take too much memory. BadRowTable: tokens that are null.
            And what pyarrow raises of damaged data.
        """
        batch.validate(full=True)  # places in dictionaries too
        self._unpacked.add(self._kept.add(batch))
        rows = slice(len(self._tokens), len(self._tokens) + batch.num_rows)
        for name, numbers in (self._numbers | self._labels).items():
            numbers[rows] = batch.column(name).fill_null(NONE).to_numpy()
        special = batch.column("special").fill_null(False)
        self._special[rows] = special.to_numpy(zero_copy_only=False)
        for name, texts in self._texts.items():
            column = batch.column(name).dictionary_encode()  # as it is already, mostly
            words = [self._kept.words.get(word) for word in column.dictionary.to_pylist()]
            codes = column.indices.fill_null(len(words)).to_pylist()
            words.append(None)
            texts += [words[code] for code in codes]
        tokens, ids = batch.column("tokens"), self._kept.ids.__getitem__
        if tokens.flatten().null_count:
            raise BadRowTable(self._where, expected="token numbers without gaps", found="others")
        self._tokens += [
            None if row is None else tuple(map(ids, row)) for row in tokens.to_pylist()
        ]

    def table(self) -> RowTable:
        """All of them."""
        prefixed = self._labels.items()
        return RowTable(
            group=tuple(self._texts.pop("group")),
            token=tuple(self._texts.pop("token")),
            role=tuple(self._texts.pop("role")) if self._placed else None,
            special=self._special,
            tokens=tuple(self._tokens),
            labels={name.removeprefix(LABEL_PREFIX): column for name, column in prefixed},
            **self._numbers,
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
        (table.turn is None or not (table.turn < NONE).any(), "turns from 0"),
        (all(np.isin(column, (0, 1)).all() for column in table.labels.values()), "labels 0 and 1"),
        (
            table.turn is not None  # of chosen tokens each has its own
            or not any((np.diff(column)[same] != 0).any() for column in table.labels.values()),
            "one label for all rows of a text",
        ),
        (all(table.group[i] == table.group[i - 1] for i in inner), "one group for a text"),
        (all(table.tokens[i] is None for i in inner), "a text's tokens in its first row alone"),
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
