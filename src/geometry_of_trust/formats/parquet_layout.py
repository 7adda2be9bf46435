"""What a Parquet file says of itself, read before pyarrow is given it: columns, chunks, pages.

pyarrow reserves what a header promises, and a few bytes promise gigabytes. Here nothing is reserved
and nothing unpacked: the footer and the header of each page are read, and added up. The format:
parquet.thrift of Apache Parquet; numbers of fields are its.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from geometry_of_trust.files import MAX_DOCUMENT_BYTES, Handle
from geometry_of_trust.formats.thrift_compact import CompactReader, Struct, Value

_MAGIC = b"PAR1"
_MAX_NODES = 2**16
_SMALL_FOOTER = 2**21
"""Bytes that any file may have; to read them takes a second."""

_MAX_DEPTH = 32
_BYTES, _FIXED = 6, 7  # of Type
_REPEATED = 2  # of FieldRepetitionType
_DELTA_BYTES = 7  # of Encoding: each text says how much of the one before it begins with
_DECIMAL = 5  # of ConvertedType
_DICTIONARY_ENTRY, _NESTED_VALUE = 16, 16
"""Bytes that pyarrow needs for an entry of a dictionary, and for a value that is in a list."""

T = TypeVar("T")


@dataclass(frozen=True)
class Leaf:
    """A column as it is stored; a column of lists or structures has several.

    Attributes:
        path: names from the column down. text: whether it holds strings of bytes.
        repeated: whether it is inside a list. width: bytes of a value of fixed size, else 0.
    """

    path: tuple[str, ...]
    text: bool
    repeated: bool
    width: int


@dataclass(frozen=True)
class Chunk:
    """The pages of one leaf in one row group: where they are, and how many values they hold."""

    start: int
    size: int
    values: int


@dataclass(frozen=True)
class Layout:
    """The columns of a file, and its row groups: of each the rows, and a chunk for each leaf."""

    columns: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    groups: tuple[tuple[int, tuple[Chunk, ...]], ...]

    @property
    def rows(self) -> int:
        """Rows of all row groups."""
        return sum(rows for rows, _ in self.groups)


def _of(kind: type[T], struct: Struct, number: int, default: T | None = None) -> T:
    value = struct.get(number, default)
    if not isinstance(value, kind):
        raise ValueError(  # noqa: TRY004 - of the data, not of the caller
            "a field that is missing, or of another type"
        )
    return value


def _count(struct: Struct, number: int, default: int | None = None) -> int:
    value = _of(int, struct, number, default)
    if not 0 <= value < 2**63:
        raise ValueError("a number that is out of range")
    return value


def _structs(values: Iterable[Value]) -> Iterator[Struct]:
    for value in values:
        if not isinstance(value, dict):
            raise ValueError("a list of something else")  # noqa: TRY004 - of the data
        yield value


# --- the footer -------------------------------------------------------------------------------


def read_layout(handle: Handle) -> Layout:
    """The layout that the footer of a Parquet file describes.

    Raises:
        ValueError: it is not a Parquet file, is encrypted, or has more than 65,536 columns, or a
            footer of more than 16 MiB, or more than both 2 MiB and a sixteenth of the file.
        EOFError: its footer is cut off. OSError: as of reading.
    """
    size = handle.seek(0, 2)
    end = _at(handle, max(size - 8, 0), 8)
    length = int.from_bytes(end[:4], "little")
    if _at(handle, 0, 4) != _MAGIC or end[4:] != _MAGIC or length > size - 12:
        raise ValueError("no Parquet magic bytes, or no footer")
    if length > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a footer of {length} bytes, more than {MAX_DOCUMENT_BYTES}")
    if length > max(_SMALL_FOOTER, size // 16):
        raise ValueError(f"a footer of {length} bytes in a file of {size}")
    footer = CompactReader(_at(handle, size - 8 - length, length)).struct()
    if 8 in footer:
        raise ValueError("encrypted")
    columns, leaves = _schema(list(_structs(_of(list, footer, 2))))
    groups = tuple(_group(group, len(leaves)) for group in _structs(_of(list, footer, 4)))
    chunks = [chunk for _, group in groups for chunk in group]
    # Chunks that overlap would be read more often than they are in the file.
    if sum(chunk.size for chunk in chunks) > size or any(
        chunk.start + chunk.size > size for chunk in chunks
    ):
        raise ValueError("columns that are not in the file")
    return Layout(columns, leaves, groups)


def _at(handle: Handle, offset: int, size: int) -> bytes:
    handle.seek(offset)
    return handle.read(size)


def _schema(elements: Sequence[Struct]) -> tuple[tuple[str, ...], tuple[Leaf, ...]]:
    """The names of the columns and all leaves; the elements stand depth first, from the root."""
    if not 1 <= len(elements) <= _MAX_NODES:
        raise ValueError(f"{len(elements)} columns, more than {_MAX_NODES}")
    columns: list[str] = []
    leaves: list[Leaf] = []
    # Of each element above the present one: children to come, path, whether in a list.
    above: list[tuple[int, tuple[str, ...], bool]] = [(_count(elements[0], 5, 0), (), False)]
    for element in elements[1:]:
        while above and not above[-1][0]:
            above.pop()
        if not above or len(above) > _MAX_DEPTH:
            raise ValueError("columns that do not make a tree, or nested too deeply")
        left, path, repeated = above[-1]
        above[-1] = (left - 1, path, repeated)
        path = (*path, _of(bytes, element, 4).decode())
        repeated = repeated or element.get(3) == _REPEATED
        if len(path) == 1:
            columns.append(path[0])
        if children := _count(element, 5, 0):
            above.append((children, path, repeated))
        else:
            kind = _count(element, 1)
            width = _count(element, 2) if kind == _FIXED else 0
            leaves.append(
                Leaf(path, kind == _BYTES and element.get(6) != _DECIMAL, repeated, width)
            )
    if any(left for left, _, _ in above):
        raise ValueError("columns that do not make a tree")
    return tuple(columns), tuple(leaves)


def _group(group: Struct, leaves: int) -> tuple[int, tuple[Chunk, ...]]:
    chunks = tuple(_chunk(chunk) for chunk in _structs(_of(list, group, 1)))
    if len(chunks) != leaves:
        raise ValueError("a row group without some of the columns")
    return _count(group, 3), chunks


def _chunk(chunk: Struct) -> Chunk:
    if not {1, 8, 9}.isdisjoint(chunk):
        raise ValueError("a column in another file, or encrypted")
    said = _of(dict, chunk, 3)
    data, dictionary = _count(said, 9), _count(said, 11, 0)
    start = dictionary if 0 < dictionary < data else data
    return Chunk(start, _count(said, 7), _count(said, 5))


# --- pages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needed:
    """Bytes of memory: for all pages of a leaf in a row group, and for its dictionary alone."""

    pages: int
    dictionary: int


def needed(handle: Handle, leaf: Leaf, chunk: Chunk) -> Needed:
    """What one leaf of one row group needs in memory, as the headers of its pages say.

    Raises:
        ValueError: a header is malformed, or texts are stored as what they add to the one before,
            of which a few bytes make any number. EOFError, OSError: as `read_layout`.
    """
    at, end, values = chunk.start, chunk.start + chunk.size, 0
    pages = dictionary = 0
    while at < end and values < chunk.values:
        header, at = _page_header(handle, at, end)
        at += _count(header, 3)
        pages += _count(header, 2)
        if 7 in header:
            dictionary += _count(header, 2)
            pages += _DICTIONARY_ENTRY * _count(_of(dict, header, 7), 1)
            continue
        page = _of(dict, header, 5 if 5 in header else 8)
        values += _count(page, 1)
        if (leaf.text or leaf.width) and page.get(2 if 5 in header else 4) == _DELTA_BYTES:
            raise ValueError("texts in DELTA_BYTE_ARRAY encoding; write it again without that")
    if leaf.repeated:
        pages += (_NESTED_VALUE + leaf.width) * values
    return Needed(pages, dictionary)


def _page_header(handle: Handle, at: int, end: int) -> tuple[Struct, int]:
    """The header that begins at byte `at`, and where its page begins."""
    window = 256
    while True:
        reader = CompactReader(_at(handle, at, min(window, end - at)))
        try:
            return reader.struct(), at + reader.at
        except EOFError:
            if window >= min(end - at, MAX_DOCUMENT_BYTES):
                raise
            window *= 16
