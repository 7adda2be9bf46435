"""Parquet files as all readers here open them: looked through first, then read in batches.

A few bytes unpack to gigabytes: zeros that were packed, one text that a million rows point to, rows
that are all alike. What its own headers say is added up
before pyarrow unpacks any of it, and what comes out is counted by whoever keeps it; both are held
against what a file of its size may need.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geometry_of_trust.errors import MalformedInput, TooLarge, brief
from geometry_of_trust.extras import optional
from geometry_of_trust.files import Handle, PathLike, opened
from geometry_of_trust.formats.parquet_layout import Layout, needed, read_layout

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

UNPACKED_BYTES, UNPACKED_TIMES = 64 * 2**20, 32
"""A table may unpack to so many bytes, and to so many more for each byte of its file."""

_AT_ONCE = 8 * 2**20
_COPIES = 32 * 2**20
_BUFFER = 2**20
_FOOTER_STRING, _FOOTER_LIST = 16 * 2**20, 2**16


class Unpacked:
    """What is unpacked of one file, added up.

    Args:
        where: what errors call the file. size: its bytes.
        times: how many bytes may come of one of the file's, beyond `UNPACKED_BYTES`.
    """

    def __init__(self, where: str, size: int, times: int = UNPACKED_TIMES) -> None:
        self._where, self._size, self._times = where, size, times
        self._limit = UNPACKED_BYTES + times * size
        self._sum = 0

    def add(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            TooLarge: they are too many by now.
        """
        self._sum += count
        if self._sum > self._limit:
            raise TooLarge(
                self._where,
                expected=f"at most {self._limit} bytes unpacked, of {self._size} in the file",
                found=f"{self._sum} or more",
                hint="It says the same thing very often: split it, or write less of that.",
            )


def parquet_errors() -> tuple[type[Exception], ...]:
    """What damaged files make pyarrow raise, its own classes and others, as fuzzing found."""
    import pyarrow as pa  # noqa: PLC0415 - of an extra

    return (
        pa.ArrowException, OSError, EOFError, ValueError, LookupError, ArithmeticError, TypeError,
        MemoryError,
    )  # fmt: skip


@contextlib.contextmanager
def refusing(where: str, expected: str, refused: type[MalformedInput]) -> Iterator[None]:
    """Around work on damaged files: what pyarrow raises there becomes `refused`."""
    try:
        yield
    except parquet_errors() as error:
        raise refused(where, expected=expected, found=brief(error)) from None


@contextlib.contextmanager
def open_parquet(path: PathLike, refused: type[MalformedInput]) -> Iterator[ParquetTable]:
    """A Parquet file, once what its footer says is possible.

    Args:
        refused: the class of error for a file that is no table.

    Raises:
        Unreadable: the file cannot be opened.
        refused: not Parquet, damaged, or a column twice.
        MissingExtra: pyarrow is not installed.
    """
    with optional():
        import pyarrow.parquet  # noqa: F401, PLC0415 - heavy, and of an extra
    where = str(path)
    with opened(path) as handle:
        with refusing(where, "a Parquet file", refused):
            layout = read_layout(handle)
            file = _opened(handle)
            schema = file.schema_arrow
        if tuple(schema.names) != layout.columns:
            raise refused(where, expected="columns as in its footer", found="others")
        check_distinct(layout.columns, where, refused)
        yield ParquetTable(where, handle, handle.seek(0, 2), layout, schema, file.metadata, refused)


def _opened(
    handle: Handle, metadata: pq.FileMetaData | None = None, texts: Sequence[str] = ()
) -> pq.ParquetFile:
    import pyarrow.parquet as pq  # noqa: PLC0415

    # A buffer for each column, so that a large row group is not read at once.
    return pq.ParquetFile(
        handle,
        metadata=metadata,
        read_dictionary=list(texts),
        buffer_size=_BUFFER,
        pre_buffer=False,
        thrift_string_size_limit=_FOOTER_STRING,
        thrift_container_size_limit=_FOOTER_LIST,
        page_checksum_verification=True,
    )


def check_distinct(names: Sequence[str], where: str, refused: type[MalformedInput]) -> None:
    """`refused` if a column is there twice."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise refused(where, expected="each column once", found=", ".join(map(repr, twice)))


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """An open Parquet file. `open_parquet` makes it.

    Attributes:
        where: what errors call it. size: bytes of the file.
        layout: what its footer says. schema: pyarrow's types of its columns.
    """

    where: str
    handle: Handle
    size: int
    layout: Layout
    schema: pa.Schema
    footer: pq.FileMetaData
    refused: type[MalformedInput]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, each once."""
        return self.layout.columns

    def unpacked(self, times: int = UNPACKED_TIMES) -> Unpacked:
        """To count what is kept of this file."""
        return Unpacked(self.where, self.size, times)

    def batches(
        self, names: Sequence[str], rows: int, *, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """At most `rows` rows at a time of these columns, in this order.

        Args:
            names: of columns, each once. rows: at least 1.
            coded: texts come in dictionaries; the memory then grows with the row groups. Those in
                lists always do.

        Raises:
            TooLarge: the pages of some rows unpack to more than a file of this size may.
            refused: the data are damaged, or are other rows than the footer says.
        """
        leaves, wanted = self.layout.leaves, frozenset(names)
        paths = [".".join(leaf.path) for leaf in leaves]  # pyarrow chooses by these
        chosen = [i for i, path in enumerate(paths) if not wanted.isdisjoint(_beginnings(path))]
        texts = [i for i in chosen if leaves[i].text]
        in_dictionary = [i for i in texts if coded or leaves[i].repeated]
        done = 0
        with refusing(self.where, "a Parquet file", self.refused):
            file = _opened(self.handle, self.footer, [paths[i] for i in in_dictionary])
        for span in self._spans(chosen, set(texts) - set(in_dictionary)):
            batches = file.iter_batches(
                max(1, min(rows, span.rows_at_once)),
                row_groups=span.groups,
                columns=names,
                use_threads=False,
            )
            end = done + span.rows
            while True:
                place = f"{self.where}, after row {done}"
                with refusing(place, "Parquet data", self.refused):
                    batch = next(batches, None)
                    batch = batch if batch is None else batch.select(names)
                if batch is None:
                    break
                yield batch
                done += batch.num_rows
            if done != end:
                raise self.refused(place, expected=f"{end} rows up to here", found=done)

    def _spans(self, chosen: Sequence[int], written_out: Collection[int]) -> Iterator[_Span]:
        """Row groups that are read together; leaves of `written_out` come without dictionary."""
        # pyarrow does not join texts in lists that are in the dictionaries of several row groups.
        leaves = self.layout.leaves
        most = 0 if any(leaves[i].text and leaves[i].repeated for i in chosen) else _AT_ONCE
        span = _Span(max((leaves[i].width for i in chosen), default=0))
        for number, (rows, chunks) in enumerate(self.layout.groups):
            unpacked = self.unpacked()
            dictionaries = 0
            for i in chosen:
                with refusing(self.where, "Parquet data", self.refused):
                    more = needed(self.handle, leaves[i], chunks[i])
                unpacked.add(more.pages)
                span.pages += more.pages
                if i in written_out:
                    dictionaries += more.dictionary
            span.add(number, rows, dictionaries)
            if span.pages >= most:
                yield span
                span = _Span(span.width)
        if span.groups:
            yield span


def _beginnings(path: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of the last."""
    parts = path.split(".")
    return (".".join(parts[: k + 1]) for k in range(len(parts)))


@dataclass
class _Span:
    """Row groups that are read together."""

    width: int
    groups: list[int] = field(default_factory=list)
    rows: int = 0
    pages: int = 0
    dictionaries: int = 0

    def add(self, number: int, rows: int, dictionaries: int) -> None:
        self.groups.append(number)
        self.rows += rows
        self.dictionaries = max(self.dictionaries, dictionaries)

    @property
    def rows_at_once(self) -> int:
        """Rows whose values take little memory, each being all of its dictionary at most."""
        usual = max(self.pages // max(self.rows, 1), self.width, 1)
        return min(_AT_ONCE // usual, _COPIES // max(self.dictionaries, 1))


_OBJECT = 64


def python_bytes(values: pa.Array) -> int:
    """About the memory of values, shape (n,), as Python's: 64 bytes for each, and its text."""
    import pyarrow as pa  # noqa: PLC0415

    kind = values.type
    objects = _OBJECT * len(values)
    if pa.types.is_struct(kind):
        return objects + sum(map(python_bytes, values.flatten()))
    if pa.types.is_map(kind):
        return objects + python_bytes(values.keys) + python_bytes(values.items)
    if pa.types.is_nested(kind):
        return objects + python_bytes(values.flatten())
    return objects + text_bytes(values)


def text_bytes(values: pa.Array) -> int:
    """Bytes of the text of values, shape (n,), one after another; 0 of what is no text."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    words = getattr(values, "dictionary", values)
    if not any(
        is_kind(words.type)
        for is_kind in (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
            pa.types.is_large_binary, pa.types.is_string_view, pa.types.is_binary_view,
        )
    ):  # fmt: skip
        return 0
    lengths = pc.binary_length(words)
    return int(pc.sum(lengths if words is values else lengths.take(values.indices)).as_py() or 0)
