"""A row table that is being written, text by text, and the digest of what it says.

Its digest is of its content, not of the file's bytes, which depend on the version of pyarrow.
Columns and digest: docs/formats.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
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


def fields() -> tuple[pa.Field, ...]:
    """The columns of every row table, before those of labels."""
    pa, _ = arrow()
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


def _string(text: str | None) -> bytes:
    data = b"" if text is None else text.encode()
    return struct.pack("<BI", text is not None, len(data)) + data


class RowDigest:
    """SHA-256 of the content of a row table, given text by text. Its bytes: docs/formats.md."""

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
        data = np.array(numbers, "<i8").T.tobytes()
        self.add_text(
            rows.text, rows.group, data, token=rows.token, labels=rows.labels, tokens=rows.tokens
        )

    def add_text(
        self,
        text: int,
        group: str | None,
        numbers: bytes,
        *,
        token: Sequence[str | None],
        labels: Mapping[str, int],
        tokens: Sequence[int] | None,
    ) -> None:
        """Take the rows of the next text.

        Args:
            text, group, token, labels, tokens: as of `TextRows`.
            numbers: token_index, token_id, start, end and special of each row, int64 little-endian.
        """
        ids = () if tokens is None else tokens
        self._hash.update(
            b"".join(
                [
                    struct.pack("<qI", text, len(token)),
                    _string(group),
                    numbers,
                    *map(_string, token),
                    struct.pack("<I", len(labels)),
                    *(_string(name) + bytes([labels[name]]) for name in sorted(labels)),
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
        for name in ("group", "token"):
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

    Attributes:
        digest: of what was added so far.
        rows: how many were added so far.
    """

    def __init__(self, handle: BinaryIO, label_columns: Sequence[str] = ()) -> None:
        pa, pq = arrow()
        self.digest = RowDigest()
        self.rows = 0
        self._handle = handle
        self._kept = Kept()
        self._labels = tuple(label_columns)
        labels = [pa.field(LABEL_PREFIX + name, pa.int8(), nullable=False) for name in self._labels]
        self._schema = pa.schema([*fields(), *labels])
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
