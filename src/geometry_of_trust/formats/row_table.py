"""The row table: which text, group and token each row of an activations file comes from.

It stands beside the activations (`files.rows_path`), as Parquet, so that pandas, DuckDB and others
read it as it is. Its digest is of what it says, not of the file's bytes, which depend on the
version of pyarrow. Columns and digest: docs/formats.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import (
    BadRowTable,
    LimitExceeded,
    MissingMember,
    RecordMismatch,
    TooLarge,
)
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike, opened

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LABEL_PREFIX = "label."
"""What the names of label columns begin with."""

NONE = -1
"""In the arrays of a `RowTable`: no such number (a mean has no token, a start token no span)."""

MAX_ROWS, MAX_BYTES = 2**26, 2**34
"""What a reader takes: rows, and bytes of all columns unpacked, as the file's own footer says."""

_FLUSH_ROWS = 2**14
_INTEGERS = ("text", "token_index", "token_id", "start", "end")


def _libraries() -> tuple[Any, Any]:
    """The two modules of pyarrow, imported when first used: they are of an extra.

    Raises:
        MissingExtra.
    """
    with optional():
        import pyarrow as pa  # noqa: PLC0415 - heavy, and of an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above
    return pa, pq


def _fields() -> tuple[Any, ...]:
    pa, _ = _libraries()
    return (
        pa.field("text", pa.int64(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("token_index", pa.int32()),
        pa.field("token_id", pa.int32()),
        pa.field("token", pa.string()),
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("special", pa.bool_(), nullable=False),
        pa.field("tokens", pa.list_(pa.int32())),
    )


@dataclass(frozen=True)
class TextRows:
    """The rows of one text.

    Attributes:
        text: its index in the corpus.
        group: what it belongs with, or None.
        token_index, token_id: of each row's token; None for a mean of several.
        token: text of each row's token, or None.
        span: characters of the text that it covers, or None.
        special: whether it is a special token.
        labels: 0 or 1 by the name of the dimension; the same for all rows of the text.
        tokens: ids of all tokens of the text, those that give no row too; None: not known.
    """

    text: int
    group: str | None
    token_index: Sequence[int | None]
    token_id: Sequence[int | None]
    token: Sequence[str | None]
    span: Sequence[tuple[int, int] | None]
    special: Sequence[bool]
    labels: dict[str, int] = field(default_factory=dict)
    tokens: Sequence[int] | None = None


class RowDigest:
    """SHA-256 of the content of a row table, given text by text."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"GOT-ROWS-V1\0")

    def add(self, rows: TextRows) -> None:
        """Take the rows of the next text."""
        numbers = [
            [NONE if index is None else index for index in rows.token_index],
            [NONE if number is None else number for number in rows.token_id],
            [NONE if span is None else span[0] for span in rows.span],
            [NONE if span is None else span[1] for span in rows.span],
            list(map(int, rows.special)),
        ]
        self._hash.update(struct.pack("<qI", rows.text, len(rows.special)))
        self._string(rows.group)
        self._hash.update(np.array(numbers, "<i8").T.tobytes())
        for token in rows.token:
            self._string(token)
        self._hash.update(struct.pack("<I", len(rows.labels)))
        for name, label in sorted(rows.labels.items()):
            self._string(name)
            self._hash.update(bytes([label]))
        tokens = () if rows.tokens is None else rows.tokens
        self._hash.update(struct.pack("<BI", rows.tokens is not None, len(tokens)))
        self._hash.update(np.array(tokens, "<i8").tobytes())

    def _string(self, text: str | None) -> None:
        data = b"" if text is None else text.encode()
        self._hash.update(struct.pack("<BI", text is not None, len(data)) + data)

    def hexdigest(self) -> str:
        """64 lower-case hex digits."""
        return self._hash.hexdigest()


class RowWriter:
    """Writes a row table text by text, in bounded memory; `digest` is that of what was written."""

    def __init__(self, handle: BinaryIO, label_columns: Sequence[str] = ()) -> None:
        pa, pq = _libraries()
        self.digest = RowDigest()
        self.rows = 0
        self._labels = tuple(label_columns)
        labels = [pa.field(LABEL_PREFIX + name, pa.int8(), nullable=False) for name in self._labels]
        self._schema = pa.schema([*_fields(), *labels])
        self._writer = pq.ParquetWriter(handle, self._schema, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in self._schema]

    def add(self, rows: TextRows) -> None:
        """Write the rows of the next text.

        Raises:
            LimitExceeded: more rows than a reader takes.
        """
        count = len(rows.special)
        if self.rows + count > MAX_ROWS:
            raise LimitExceeded(
                "row table", expected=f"at most {MAX_ROWS} rows", found="more",
                hint="Extract the corpus in parts, or fewer tokens of each text (--position).",
            )  # fmt: skip
        spans = [(None, None) if span is None else span for span in rows.span]
        columns: list[Sequence[Any]] = [
            [rows.text] * count, [rows.group] * count, rows.token_index, rows.token_id,
            rows.token, [a for a, _ in spans], [b for _, b in spans], rows.special,
            [rows.tokens, *[None] * (count - 1)],
            *([rows.labels[name]] * count for name in self._labels),
        ]  # fmt: skip
        for column, values in zip(self._columns, columns, strict=True):
            column.extend(values)
        self.digest.add(rows)
        self.rows += count
        if len(self._columns[0]) >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._columns[0]:
            pa, _ = _libraries()
            arrays = [
                pa.array(column, kind.type)
                for column, kind in zip(self._columns, self._schema, strict=True)
            ]
            self._writer.write_table(pa.table(arrays, schema=self._schema))
            self._columns = [[] for _ in self._schema]

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


@dataclass(frozen=True, eq=False)
class RowTable:
    """A row table in memory; each array has one entry a row of the activations, `NONE` for none.

    Attributes:
        text: index of the row's text in the corpus, int64, ascending.
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
        Unreadable: the file cannot be opened.
        TooLarge: it says that it holds more than `MAX_ROWS` rows or `MAX_BYTES`.
        BadRowTable: it is not Parquet, or not of a row table's columns.
        MissingExtra: pyarrow is not installed.
    """
    pa, pq = _libraries()
    with opened(path) as handle:
        try:
            file = pq.ParquetFile(handle)
            _bounded(file.metadata, path)
            held = _parsed(file.read(), path)
        except (pa.ArrowException, ValueError, OSError) as error:
            found = f"{error}".partition("\n")[0]
            raise BadRowTable(path, expected="a Parquet file", found=found) from None
    _check(held, path)
    return held


def _bounded(said: pq.FileMetaData, path: PathLike) -> None:
    """Refuse a table for which there would be no memory, before any of it is read."""
    size = sum(said.row_group(i).total_byte_size for i in range(said.num_row_groups))
    for found, limit, what in (
        (said.num_rows, MAX_ROWS, "rows"), (size, MAX_BYTES, "bytes, unpacked"),
    ):  # fmt: skip
        if found > limit:
            raise TooLarge(path, expected=f"at most {limit} {what}", found=f"{found}")


def _parsed(table: Any, path: PathLike) -> RowTable:
    """The columns as arrays; BadRowTable for other columns than a row table's."""
    pa, _ = _libraries()
    fields = _fields()
    names = [kind.name for kind in fields]
    labels = [name for name in table.column_names if name.startswith(LABEL_PREFIX)]
    types = {kind.name: kind.type for kind in fields} | dict.fromkeys(labels, pa.int8())
    if table.column_names != names + labels or any(
        table.schema.field(name).type != kind for name, kind in types.items()
    ):
        raise BadRowTable(
            path, expected=f"the columns {', '.join(names)}", found=", ".join(table.column_names)
        )

    def numbers(name: str) -> NDArray[np.int64]:
        column: Any = table.column(name).cast(pa.int64()).fill_null(NONE)
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


def _check(held: RowTable, path: PathLike) -> None:
    """Refuse what no row table says; what belongs to a text is the same in all of its rows.

    The digest takes that from the first row of each text.
    """
    same = np.diff(held.text) == 0
    inner = (np.flatnonzero(same) + 1).tolist()
    for fine, expected in (
        (len(held) > 0, "at least one row"),
        (not (held.text < 0).any() and not (np.diff(held.text) < 0).any(), "texts in order"),
        (all(np.isin(column, (0, 1)).all() for column in held.labels.values()), "labels 0 and 1"),
        (
            not any((np.diff(column)[same] != 0).any() for column in held.labels.values()),
            "one label for all rows of a text",
        ),
        (all(held.group[i] == held.group[i - 1] for i in inner), "one group for a text"),
        (all(held.tokens[i] is None for i in inner), "a text's tokens in its first row alone"),
        (
            all(tokens is None or None not in tokens for tokens in held.tokens),
            "token numbers without gaps",
        ),
    ):
        if not fine:
            raise BadRowTable(path, expected=expected, found="others")


def row_table(activations: PathLike, record: Record | None = None) -> RowTable | None:
    """The row table beside activations, None if there is none of theirs.

    Beside activations of one text, as their record says, a table is left from others.

    Args:
        record: their extraction record, if it was read already; else the one beside them, if
            there is one.

    Raises:
        BadRowTable, Unreadable, TooLarge: it cannot be read. MissingExtra: as `read_rows`.
        RecordMismatch: it is not the table that the record names.
    """
    path = rows_path(activations)
    if not path.exists():
        return None
    if record is None and record_path(activations).exists():
        record = read_record(record_path(activations))
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
