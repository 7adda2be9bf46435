"""Parquet files that unpack to more than they may, and those that are malformed before pyarrow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust.errors import BadTable, GotError, TooLarge
from geometry_of_trust.formats import parquet_layout
from geometry_of_trust.formats.parquet_layout import read_layout
from geometry_of_trust.formats.parquet_table import open_parquet, python_bytes, text_bytes

MB = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.parquet"


def read(path: Path, *names: str, coded: bool = False) -> list[Any]:
    with open_parquet(path, BadTable) as table:
        batches = list(table.batches(names or table.names, 1000, coded=coded))
    return [row for batch in batches for row in batch.to_pylist()]


def refused(kind: type[GotError], path: Path, *names: str) -> GotError:
    before = pa.default_memory_pool().bytes_allocated()
    with pytest.raises(GotError) as caught:
        _go_through(path, names, before + 100 * MB)
    assert type(caught.value) is kind
    assert caught.value.where.startswith(str(path))
    assert caught.value.exit_code == 3
    return caught.value


def _go_through(path: Path, names: tuple[str, ...], most: int) -> None:
    with open_parquet(path, BadTable) as table:
        for _ in table.batches(names or table.names, 1000):
            assert pa.default_memory_pool().bytes_allocated() < most


def rebuilt(path: Path, change: Any) -> None:
    """The file again, its footer's bytes changed by a function of them."""
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = change(data[-8 - length : -8])
    path.write_bytes(data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("rows", [9, 1000])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "none"}],
    ids=str,
)
def test_what_pyarrow_wrote(path: Path, options: dict[str, Any], rows: int, coded: bool) -> None:
    table = pa.table(
        {
            "number": range(300),
            "text": [None if n % 7 == 0 else f"text {n % 30}" for n in range(300)],
            "list": [[{"role": f"r{k}", "n": k} for k in range(n % 4)] for n in range(300)],
            "a.b": [n % 2 == 0 for n in range(300)],
        }
    )
    pq.write_table(table, path, row_group_size=rows, **options)
    assert read(path, coded=coded) == table.to_pylist()
    assert read(path, "a.b", "text", coded=coded) == table.select(["a.b", "text"]).to_pylist()


def test_texts_in_a_dictionary_of_a_megabyte_come_a_few_at_a_time(path: Path) -> None:
    texts = [f"{n:04}" * 1000 for n in range(250)] * 4
    pq.write_table(pa.table({"text": texts}), path)
    with open_parquet(path, BadTable) as table:
        sizes = [batch.num_rows for batch in table.batches(["text"], 1000)]
    assert sum(sizes) == 1000
    assert max(sizes) < 100


# --- what would unpack to too much ------------------------------------------------------------


def _texts(count: int) -> pa.Array:
    return pa.array(["x" * count])


def _zeros(count: int = 10_000_000) -> pa.Array:
    return pa.array(np.zeros(count, np.int64))


def _long_list(numbers: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)


BOMBS: dict[str, tuple[Callable[[], pa.Array], bool]] = {
    "a packed text": (lambda: _texts(200 * MB), False),
    "a packed dictionary": (lambda: _texts(200 * MB), True),
    "packed numbers": (_zeros, False),
    "a long list": (lambda: _long_list(_zeros()), True),
    "a list of nulls": (lambda: _long_list(pa.nulls(10_000_000, pa.int8())), True),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, path: Path) -> None:
    make, dictionary = BOMBS[name]
    column = make()
    table = pa.table({"x": column, "y": np.ones(len(column), bool)})
    pq.write_table(
        table, path, compression="zstd", use_dictionary=dictionary, write_statistics=False,
        row_group_size=2**26,
    )  # fmt: skip
    assert path.stat().st_size < MB
    del table, column
    error = refused(TooLarge, path)
    assert str(path.stat().st_size) in error.expected
    assert error.hint
    with open_parquet(path, BadTable) as opened:  # what is not asked for does not matter
        assert next(opened.batches(["y"], 1)).to_pylist() == [{"y": True}]


def test_many_columns_that_each_unpack_to_little(path: Path) -> None:
    columns = {f"c{n}": _texts(8 * MB) for n in range(20)}
    pq.write_table(pa.table(columns), path, compression="zstd", write_statistics=False)
    refused(TooLarge, path)
    assert len(read(path, "c1", "c7")) == 1


def test_texts_that_repeat_the_one_before(path: Path) -> None:
    table = pa.table({"x": ["x" * MB] * 200})
    encoding = {"x": "DELTA_BYTE_ARRAY"}
    pq.write_table(table, path, use_dictionary=False, column_encoding=encoding)
    assert "DELTA_BYTE_ARRAY" in refused(BadTable, path).found
    pq.write_table(pa.table({"x": pa.array([b"xx"] * 9, pa.binary(2))}), path,
                   use_dictionary=False, column_encoding=encoding)  # fmt: skip
    refused(BadTable, path)


def test_memory_of_values_is_counted_before_they_are_made() -> None:
    texts = pa.array(["ab", None, "cde"])
    assert text_bytes(texts) == text_bytes(texts.dictionary_encode()) == 5
    assert text_bytes(pa.array([], pa.string()).dictionary_encode()) == 0
    assert text_bytes(pa.array([1, 2])) == 0
    assert python_bytes(texts) == 3 * 64 + 5
    assert python_bytes(pa.array([["ab"], None, ["c", "d"]])) == 6 * 64 + 4
    assert python_bytes(pa.array([{"a": 1, "b": "xy"}])) == 3 * 64 + 2
    maps = pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8()))
    assert python_bytes(maps) == 4 * 64 + 1
    assert python_bytes(pa.array([[None] * 1000])) == 1001 * 64


# --- what is malformed ------------------------------------------------------------------------


def test_other_rows_than_the_footer_says(path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([1, 0, 1], pa.int8())}), path, compression="none")
    data = path.read_bytes()
    page = data[4:].index(bytes([0x15, 6])) + 4  # three values, in the header of the data page
    path.write_bytes(data[: page + 1] + bytes([2]) + data[page + 2 :])
    refused(BadTable, path)


def test_columns_nested_beyond_any_use(path: Path) -> None:
    column = pa.array([1])
    for _ in range(40):
        column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), column)
    pq.write_table(pa.table({"x": column}), path)
    refused(BadTable, path)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PAR1", b"PAR1PAR1", b"PAR1\0\0\0\0PAR1", b"PAR1\0\1\0\0\0PAR1",
        b"PAR1" + b"\xff" * 20 + b"\x14\0\0\0PAR1", b"PAR1\xff\xff\xff\x7fPAR1",
        b"PAR1" + bytes([0x19, 0xFC, 255, 255, 255, 255, 7]) + b"\x07\0\0\0PAR1",
        b"XXXX\0\1\0\0\0PAR1",
    ],
)  # fmt: skip
def test_what_is_no_parquet(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    refused(BadTable, path)


def test_a_footer_of_more_than_16_mib_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"x": [1]}), path)
    monkeypatch.setattr(parquet_layout, "MAX_DOCUMENT_BYTES", 100)
    assert "100" in refused(BadTable, path).found


def test_a_file_that_is_little_more_than_a_footer_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({f"x{n}": [1] for n in range(20)}), path)
    monkeypatch.setattr(parquet_layout, "_SMALL_FOOTER", 100)
    assert "footer" in refused(BadTable, path).found
    numbers = np.random.default_rng(0).integers(0, 2**60, 30_000)
    pq.write_table(pa.table({"x": numbers}), path)  # where it is in proportion
    assert len(read(path)) == 30_000


def test_changed_and_cut_footers(path: Path) -> None:
    chats = [[{"role": "user", "content": "x"}], None]
    pq.write_table(pa.table({"x": ["a", "b"], "m": chats}), path, write_statistics=False)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    found = set()
    for place in range(len(whole) - 8 - length, len(whole) - 8, 5):
        for value in (0, 0x7F, whole[place] ^ 0x10):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                read(path)
                found.add("read")
            except GotError as error:
                found.add(type(error).__name__)
    assert found == {"read", "BadTable"}
    for size in range(0, length, 40):
        path.write_bytes(whole)
        rebuilt(path, lambda footer, size=size: footer[:size])
        refused(BadTable, path)


def layout_of(footer: bytes, body: bytes = b"") -> Any:
    data = b"PAR1" + body + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    return read_layout(io.BufferedReader(io.BytesIO(data)))


def field(step: int, kind: int, value: bytes) -> bytes:
    return bytes([step << 4 | kind]) + value


def number(step: int, value: int) -> bytes:
    data = b""
    value *= 2
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return field(step, 5, data + bytes([value]))


def text(step: int, value: bytes) -> bytes:
    return field(step, 8, bytes([len(value)]) + value)


def structs(step: int, *values: bytes) -> bytes:
    return field(step, 9, bytes([len(values) << 4 | 12]) + b"".join(v + b"\0" for v in values))


ROOT = text(4, b"r") + number(1, 1)
LEAF = number(1, 2) + text(3, b"x")


def chunk(start: int, size: int) -> bytes:
    return field(3, 12, number(5, 1) + number(2, size) + number(2, start) + b"\0")


def footer(*schema: bytes, groups: tuple[bytes, ...] = (), after: bytes = b"") -> bytes:
    return number(1, 1) + structs(1, *schema) + number(1, 1) + structs(1, *groups) + after + b"\0"


def group(*chunks: bytes) -> bytes:
    return structs(1, *chunks) + number(2, 1)


def test_a_footer_made_by_hand() -> None:
    layout = layout_of(footer(ROOT, LEAF, groups=(group(chunk(4, 10)),)), bytes(10))
    assert layout.columns == ("x",)
    assert layout.rows == 1
    assert layout.leaves == (parquet_layout.Leaf(("x",), False, False, 0),)
    assert layout.groups == ((1, (parquet_layout.Chunk(4, 10, 1),)),)


@pytest.mark.parametrize(
    "data",
    [
        footer(),  # without a root
        footer(text(4, b"r") + number(1, 2), LEAF),  # a child that is missing
        footer(ROOT, LEAF, LEAF),  # one too many
        footer(ROOT, text(4, b"x")),  # without a type
        footer(ROOT, number(1, 2) + text(3, b"\xff")),  # not UTF-8
        footer(ROOT, number(1, 2) + number(3, 1)),  # a number for a name
        footer(ROOT, LEAF, groups=(group(),)),  # a group without the column
        footer(ROOT, LEAF, groups=(group(chunk(4, 1000)),)),  # outside the file
        footer(
            ROOT, LEAF, groups=tuple(group(chunk(4, 100)) for _ in range(12))
        ),  # one over another
        footer(ROOT, LEAF, groups=(group(text(1, b"other file") + chunk(4, 1)),)),
        footer(ROOT, LEAF, groups=(group(number(1, 5)),)),  # no metadata
        footer(ROOT, LEAF, after=field(4, 12, b"\0")),  # encrypted
        number(1, 1) + field(1, 9, bytes([1 << 4 | 5, 2])) + b"\0",  # a list of numbers
        number(1, 1) + number(15, 1) + field(0, 5, b"\2\2") + b"\0",  # a field twice
        field(1, 11, b"\0") + b"\0",  # a map
        field(1, 12, b"\x1c" * 40),  # structures in structures
        field(1, 9, b"\x19" * 40),  # lists in lists
        field(1, 5, b"\xff" * 11),  # a number without end
        field(1, 9, b"\xfc\xff\xff\xff\x07") + bytes(2000),  # more structures than bytes
        field(1, 9, b"\xfc\xd0\x0f") + bytes(2000),  # empty structures
    ],
)
def test_footers_that_are_none(data: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        layout_of(data, bytes(20))


def test_values_of_thrift_that_parquet_hardly_uses() -> None:
    odd = field(1, 7, bytes(8)) + field(1, 1, b"") + field(1, 2, b"") + field(1, 3, b"\5")
    odd += field(1, 10, b"\x21\1\2") + b"\x05\xc8\x01\2"  # a set; field 100, its number written out
    data = footer(ROOT, LEAF, after=field(5, 12, odd + b"\0"))
    assert layout_of(data).columns == ("x",)
