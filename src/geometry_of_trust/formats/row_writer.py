"""A row table that is being written, text by text, and the digest of what it says.

Its digest is of its content, not of the file's bytes, which depend on the version of pyarrow.
Columns and digest: docs/formats.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from geometry_of_trust.errors import LimitExceeded
from geometry_of_trust.extras import optional
from geometry_of_trust.formats.parquet_table import UNPACKED_BYTES, text_bytes

if TYPE_CHECKING:
    import pyarrow as pa

LABEL_PREFIX = "label."
"""What the names of label columns begin with."""

NONE = -1
"""In the digest and in the arrays of a `RowTable`: no such number.

A mean has no token, a start token has no span.
"""

MAX_ROWS = 2**26
"""What a reader takes."""

KEPT_TIMES = 64
"""How many bytes of a reader's memory may come of one of a row table's, beyond `UNPACKED_BYTES`."""

ROW_BYTES, _LIST_BYTES, _NUMBER_BYTES, _ENTRY_BYTES = 96, 56, 8, 160
_HINT = "Extract the corpus in parts, or fewer tokens of each text (--position)."

_FLUSH_ROWS = 2**14

Cell = int | str | bool | Sequence[int] | None
"""What stands in one row of one column."""


def arrow() -> tuple[ModuleType, ModuleType]:
    """The modules `pyarrow` and `pyarrow.parquet`, imported when first used.

    Raises:
        MissingExtra: they are heavy, and not in the base installation.
    """
    with optional():
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    return pa, pq


def fields(*, placed: bool = False) -> tuple[pa.Field, ...]:
    """The columns of a row table, before those of labels; with `PLACES`, or without."""
    pa, _ = arrow()
    places = (pa.field("turn", pa.int32()), pa.field("role", pa.string()))
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
        *(places if placed else ()),
    )


PLACES = ("turn", "role")
"""Columns of a table whose rows are of chosen tokens, beside those that every table has."""


@dataclass(frozen=True)
class Places:
    """Where the rows of one text stand, if its tokens were chosen; labels are then of each row.

    Attributes:
        turn: the message of a chat that each row is of, from 0, or None.
        role: that message's role, or None.
        labels: 0 or 1 for each row, by the name of the dimension.
    """

    turn: Sequence[int | None]
    role: Sequence[str | None]
    labels: Mapping[str, Sequence[int]]


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
        places: of a table of chosen tokens, which then has the labels; else None.
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
    places: Places | None = None


def _string(text: str | None) -> bytes:
    data = b"" if text is None else text.encode()
    return struct.pack("<BI", text is not None, len(data)) + data


def _placed(places: Places) -> Iterator[bytes]:
    turns = [NONE if turn is None else turn for turn in places.turn]
    yield struct.pack(f"<{len(turns)}q", *turns)
    yield from map(_string, places.role)


class RowDigest:
    """SHA-256 of the content of a row table, given text by text. Its bytes: docs/formats.md.

    Args:
        placed: whether the table has `PLACES`.
    """

    def __init__(self, *, placed: bool = False) -> None:
        self._hash = hashlib.sha256(b"GOT-ROWS-V2\0" if placed else b"GOT-ROWS-V1\0")

    def add(self, rows: TextRows) -> None:
        """Take the rows of the next text."""
        numbers = [
            [NONE if index is None else index for index in rows.token_index],
            [NONE if number is None else number for number in rows.token_id],
            [NONE if span is None else span[0] for span in rows.span],
            [NONE if span is None else span[1] for span in rows.span],
            list(map(int, rows.special)),
        ]
        data = np.array(numbers, "<i8").T.tobytes()
        self.add_text(
            rows.text, rows.group, data, token=rows.token, labels=rows.labels, tokens=rows.tokens,
            places=rows.places,
        )  # fmt: skip

    def add_text(
        self,
        text: int,
        group: str | None,
        numbers: bytes,
        *,
        token: Sequence[str | None],
        labels: Mapping[str, int],
        tokens: Sequence[int] | None,
        places: Places | None = None,
    ) -> None:
        """Take the rows of the next text.

        Args:
            text, group, token, labels, tokens, places: as of `TextRows`.
            numbers: token_index, token_id, start, end and special of each row, int64 little-endian.
        """
        ids = () if tokens is None else tokens
        if places is None:
            of_labels = {name: bytes([label]) for name, label in labels.items()}
        else:
            of_labels = {name: bytes(column) for name, column in places.labels.items()}
        self._hash.update(
            b"".join(
                [
                    struct.pack("<qI", text, len(token)),
                    _string(group),
                    numbers,
                    *map(_string, token),
                    *([] if places is None else _placed(places)),
                    struct.pack("<I", len(of_labels)),
                    *(_string(name) + of_labels[name] for name in sorted(of_labels)),
                    struct.pack("<BI", tokens is not None, len(ids)),
                    struct.pack(f"<{len(ids)}q", *ids),
                ]
            )
        )

    def hexdigest(self) -> str:
        """64 lower-case hex digits."""
        return self._hash.hexdigest()


class Kept:
    """What the rows of a table take in memory once they are read, as Python keeps them, added up.

    Attributes:
        words, ids: the texts and the numbers in lists so far; equal ones are kept once.
        bytes: the sum.
    """

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self.ids: dict[int, int] = {}
        self.bytes = 0

    def add(self, batch: pa.RecordBatch) -> int:
        """Take these rows; returns how many bytes they add."""
        before, known = self.bytes, len(self.words) + len(self.ids)
        for name in {"group", "token", "role"} & set(batch.schema.names):
            column = batch.column(name)
            self.bytes += text_bytes(column)
            self.words |= {word: word for word in column.unique().to_pylist() if word is not None}
        tokens = batch.column("tokens")
        numbers = tokens.flatten()
        self.ids |= {number: number for number in numbers.unique().to_pylist()}
        self.bytes += _ENTRY_BYTES * (len(self.words) + len(self.ids) - known)
        self.bytes += _NUMBER_BYTES * len(numbers)
        self.bytes += _LIST_BYTES * (len(tokens) - tokens.null_count)
        self.bytes += (ROW_BYTES + batch.num_columns) * batch.num_rows
        return self.bytes - before


class RowWriter:
    """Writes a row table text by text. It is complete when the block ends.

    The block then ends with LimitExceeded if no reader would take the table: its rows are so many
    and so much alike that its file is far smaller than what is to be made of it.

    Args:
        handle: where the Parquet file goes.
        label_columns: names of the dimensions that every text has a label of.
        placed: whether every text has `places`.

    Attributes:
        digest: of what was added so far.
        rows: how many were added so far.
    """

    def __init__(
        self, handle: BinaryIO, label_columns: Sequence[str] = (), *, placed: bool = False
    ) -> None:
        pa, pq = arrow()
        self.digest = RowDigest(placed=placed)
        self.rows = 0
        self._handle = handle
        self._kept = Kept()
        self._labels = tuple(label_columns)
        labels = [pa.field(LABEL_PREFIX + name, pa.int8(), nullable=False) for name in self._labels]
        self._schema = pa.schema([*fields(placed=placed), *labels])
        self._writer = pq.ParquetWriter(handle, self._schema, compression="zstd")
        self._columns: list[list[Cell]] = [[] for _ in self._schema]

    def add(self, rows: TextRows) -> None:
        """Write the rows of the next text.

        Raises:
            LimitExceeded: more rows than a reader takes.
            KeyError: a text without a label of one of the columns.
            OSError: the disk is full.
        """
        count = len(rows.special)
        if self.rows + count > MAX_ROWS:
            raise LimitExceeded(
                "row table", expected=f"at most {MAX_ROWS} rows", found="more",
                hint=_HINT,
            )  # fmt: skip
        spans = [(None, None) if span is None else span for span in rows.span]
        columns: list[Sequence[Cell]] = [
            [rows.text] * count, [rows.group] * count, rows.token_index, rows.token_id,
            rows.token, [a for a, _ in spans], [b for _, b in spans], rows.special,
            [rows.tokens, *[None] * (count - 1)],
        ]  # fmt: skip
        if (places := rows.places) is None:
            columns += ([rows.labels[name]] * count for name in self._labels)
        else:
            columns += [places.turn, places.role, *(places.labels[name] for name in self._labels)]
        for column, values in zip(self._columns, columns, strict=True):
            column.extend(values)
        self.digest.add(rows)
        self.rows += count
        if len(self._columns[0]) >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._columns[0]:
            pa, _ = arrow()
            arrays = [
                pa.array(column, kind.type)
                for column, kind in zip(self._columns, self._schema, strict=True)
            ]
            batch = pa.record_batch(arrays, schema=self._schema)
            self._kept.add(batch)
            self._writer.write_batch(batch)
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
        most = UNPACKED_BYTES + KEPT_TIMES * self._handle.tell()
        if kind is None and self._kept.bytes > most:
            found = f"{self._kept.bytes}, as most of its rows are alike"
            raise LimitExceeded(
                "row table", expected=f"at most {most} bytes to read", found=found, hint=_HINT
            )
