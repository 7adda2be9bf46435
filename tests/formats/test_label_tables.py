"""Tables of labels, as spreadsheets, pandas and people write them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust.errors import (
    BadLabel,
    BadLabelTable,
    BadText,
    GotError,
    MissingColumn,
    TooLarge,
    Unreadable,
)
from geometry_of_trust.formats import label_tables
from geometry_of_trust.formats.label_tables import is_label_table, read_label_table


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, *columns: str) -> dict[str, list[int]]:
    tables = read_label_table(path, columns)
    assert all(str(labels.dtype) == "int8" for labels in tables.values())
    return {name: labels.tolist() for name, labels in tables.items()}


def refused(kind: type[GotError], path: Path, *columns: str) -> GotError:
    with pytest.raises(GotError) as caught:
        read_label_table(path, columns)
    assert type(caught.value) is kind
    assert caught.value.where.startswith(str(path))
    assert caught.value.expected
    assert caught.value.found
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return caught.value


# --- what is read -----------------------------------------------------------------------------


def test_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", '\ufeffwarm,"tall, or big"\r\n1,0\r\n\r\n true ,false\r\n')
    assert read(path) == {"warm": [1, 1], "tall, or big": [0, 0]}
    # A quote after a space is no quote.
    refused(BadLabelTable, write(path, 'warm, "tall, or big"\r\n1,0\r\n'))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("words", [("0", "1"), ("FALSE", "TRUE"), ("False", "True"),
                                   ("false", "true"), ("0.0", "1.0"), (" 0", "1 ")])  # fmt: skip
def test_as_programs_write_it(
    words: tuple[str, str], mark: str, line_end: str, tmp_path: Path
) -> None:
    rows = ["y,note", *(f'{words[bit]},"a, b"' for bit in (0, 1, 1, 0))]
    path = write(tmp_path / "t.csv", mark + line_end.join(rows))
    assert read(path, "y") == {"y": [0, 1, 1, 0]}
    write(tmp_path / "t.tsv", mark + line_end.join(row.replace(",", "\t", 1) for row in rows))
    assert read(tmp_path / "t.tsv", "y") == {"y": [0, 1, 1, 0]}


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,text,b\n1,x,0\n")
    assert list(read(path, "b", "a").items()) == [("b", [0]), ("a", [1])]
    assert read(write(path, "a,,b\n1,x,0\n"), "b") == {"b": [0]}  # another one without a name


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 0, 1], pa.int64()), pa.array([1, 0, 1], pa.uint8()),
        pa.array([True, False, True]), pa.array([1.0, 0.0, 1.0]),
        pa.array([1.0, -0.0, 1.0], pa.float32()), pa.array(["1", "FALSE", " true"]),
        pa.array(["1.0", "0", "True"], pa.large_string()),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_parquet(column: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"y": column}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == {"y": [1, 0, 1]}
    others = {"when": [datetime.date(2026, 1, day) for day in (1, 2, 3)], "list": [[1], [], None]}
    pq.write_table(pa.table({"y": column, **others}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", "y") == {"y": [1, 0, 1]}


def test_which_files_are_tables() -> None:
    names = ("a.csv", "a.CSV", "a.tsv", "a.parquet", "a.labels", "csv")
    assert [is_label_table(name) for name in names] == [True, True, True, True, False, False]


# --- cells that are no labels -----------------------------------------------------------------


@pytest.mark.parametrize("cell", ["2", "yes", "1.5", "-1", "01", "10", "nan", "1,", "\u0661"])
def test_a_wrong_cell_is_named_by_row_and_column(cell: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f'a,b\n1,0\n\n1,"{cell}"\n1,bad\n')
    for columns in ((), ("b",)):
        error = refused(BadLabel, path, *columns)
        assert (error.where, error.found) == (f"{path}, line 4, column 'b'", repr(cell))
        assert bool(error.hint) == (not columns)
    assert read(path, "a") == {"a": [1, 1, 1]}


@pytest.mark.parametrize("cell", ["", " ", '""', "\u00a0"])
@pytest.mark.parametrize("columns", [(), ("y",)])
def test_an_empty_cell(cell: str, columns: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"y,z\n0,1\n{cell},0\n1,1\n")
    error = refused(BadLabel, path, *columns)
    assert (error.where, error.found) == (f"{path}, line 3, column 'y'", "an empty cell")
    # Of one column such a cell is a blank line, also at the end.
    path = write(tmp_path / "t.csv", f"y\n0\n{cell}\n1\n")
    assert refused(BadLabel, path, *columns).where == f"{path}, line 3, column 'y'"
    path = write(tmp_path / "t.csv", f"y\n0\n1\n{cell}\n")
    assert refused(BadLabel, path, *columns).where == f"{path}, line 4, column 'y'"


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, "an empty cell"), (2, "2"), (0.5, "0.5"), (float("nan"), "nan"), ("x", "'x'"),
     (b"1", "b'1'"), (datetime.date(2026, 1, 1), None)],
)  # fmt: skip
def test_a_wrong_value_of_parquet(value: Any, found: str | None, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    good = None if value is not None else 1
    pq.write_table(pa.table({"a": [1, 0], "y": [good, value]}), path)
    error = refused(BadLabel, path, "y")
    number = 2 if value is None else 1
    assert error.where == f"{path}, row {number}, column 'y'"
    pq.write_table(pa.table({"y": [value]}, pa.schema([("y", pa.array([value]).type)])), path)
    error = refused(BadLabel, path)
    assert error.where == f"{path}, row 1, column 'y'"
    assert found in (None, error.found)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([b"\xff"]).view(pa.string()), BadText),
        (pa.array([2**62], pa.timestamp("ms")), BadLabelTable),
        (pa.array([2**62], pa.duration("s")), BadLabelTable),
        (pa.array([2**30], pa.date32()), BadLabelTable),
    ],
    ids=["text", "time", "duration", "date"],
)
def test_a_value_that_python_does_not_have(
    column: pa.Array, kind: type[GotError], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"y": column}), tmp_path / "t.parquet")
    error = refused(kind, tmp_path / "t.parquet")
    assert error.where == f"{tmp_path / 't.parquet'}, row 1, column 'y'"


def test_null_before_a_wrong_value(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for values, row in (([1, None, 2], 2), ([1, 2, None], 2), ([2, 1, None, 3], 1)):
        pq.write_table(pa.table({"y": values}), path)
        assert refused(BadLabel, path, "y").where == f"{path}, row {row}, column 'y'"
        assert refused(BadLabel, path).where == f"{path}, row {row}, column 'y'"


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "0"]).dictionary_encode(), pa.array([[1], [0]]), pa.array([{"a": 1}, None]),
        pa.array([[1, 0], [0, 0]], pa.list_(pa.int8(), 2)),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_lists_structures_and_categories_are_no_labels(column: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"y": column, "z": [1, 0]}), path)
    for columns in ((), ("y",)):
        error = refused(BadLabelTable, path, *columns)
        assert error.where == f"{path}, column 'y'"
        assert error.found.partition("<")[0] == str(column.type).partition("<")[0]
    assert read(path, "z") == {"z": [1, 0]}


def test_columns_of_millions_of_rows_are_read_and_of_millions_of_values_not(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"y": np.arange(5_000_000) % 2}), path)
    labels = read_label_table(path)["y"]
    assert (len(labels), int(labels.sum())) == (5_000_000, 2_500_000)
    encoding = {"y": "DELTA_BINARY_PACKED"}
    numbers = pa.table({"y": np.arange(2_000_000)})
    pq.write_table(numbers, path, use_dictionary=False, column_encoding=encoding)
    assert path.stat().st_size < 100_000
    refused(TooLarge, path)
    assert refused(BadLabel, path, "y").found == "2"


def test_a_table_of_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "y\n" + "\n" * 200_000)
    assert refused(BadLabel, path).where == f"{path}, line 2, column 'y'"


# --- columns ----------------------------------------------------------------------------------


def test_columns_that_are_no_labels_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "y,note,id\n0,n,7\n1,n,8\n")
    error = refused(BadLabelTable, path)
    assert "'note', 'id'" in error.found
    assert "'y'" not in error.found
    assert "--label-column" in error.hint
    # A column with a label is one, with a mistake.
    error = refused(BadLabel, write(path, "y,z\n0,0\nx,1\n1,y\n"))
    assert error.where == f"{path}, line 3, column 'y'"


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "y,note\n0,n\n")
    error = refused(MissingColumn, path, "y", "cold")
    assert (error.where, error.found, error.hint) == (f"{path}, line 1", "y, note", "")
    pq.write_table(pa.table({"y": [1]}), tmp_path / "t.parquet")
    refused(MissingColumn, tmp_path / "t.parquet", "cold")


@pytest.mark.parametrize("columns", [(), ("y",)])
def test_columns_separated_by_semicolons(columns: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "note;y\r\nn;0\r\nn;1\r\n")
    error = refused(MissingColumn if columns else BadLabelTable, path, *columns)
    assert "note;y" in error.found
    assert "commas" in error.hint
    # Not every semicolon separates.
    assert read(write(path, "warm; or hot\n1\n0\n")) == {"warm; or hot": [1, 0]}


@pytest.mark.parametrize(
    ("data", "kind", "line"),
    [
        (b"a,a\n1,1\n", BadLabelTable, ", line 1"),
        (b"a, a\n1,1\n", BadLabelTable, ", line 1"),
        (b"a,\n1,1\n", BadLabelTable, ", line 1"),
        (b"a,b\n1,0\n1\n", BadLabelTable, ", line 3"),
        (b"a,b\n1,0,1\n", BadLabelTable, ", line 2"),
        (b'a\n"1\n', BadLabelTable, ", line 2"),
        (b"a\n1\n\xff\n", BadText, ", line 3"),
        ("a\n1\n".encode("utf-16"), BadText, ", line 1"),
        (b"", BadLabelTable, ""),
        (b"\xef\xbb\xbf", BadLabelTable, ""),
        (b"\n\n", BadLabelTable, ""),
        (b"a,b\n", BadLabelTable, ""),
        (b"a\n", BadLabelTable, ""),
        (b"\xef\xbb\xbfa", BadLabelTable, ""),
    ],
)
def test_csv_that_is_no_table(tmp_path: Path, data: bytes, kind: type[GotError], line: str) -> None:
    path = write(tmp_path / "t.csv", data)
    assert refused(kind, path).where == f"{path}{line}"


def test_parquet_that_is_no_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", "junk")
    assert refused(BadLabelTable, path).where == str(path)
    pq.write_table(pa.table([[1], [0]], names=["y", "y"]), path)
    assert refused(BadLabelTable, path).found == "'y'"
    pq.write_table(pa.table({"y": pa.array([], pa.int8())}), path)
    refused(BadLabelTable, path)
    pq.write_table(pa.table({}), path)
    refused(BadLabelTable, path)
    pq.write_table(pa.table({"y": [1, 0] * 5000}), path, compression=None, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(36)
    refused(BadLabelTable, write(path, bytes(data)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        refused(Unreadable, tmp_path / name)


def test_more_rows_than_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pa.table({"y": pa.repeat(pa.scalar(1, pa.int8()), label_tables.MAX_ROWS + 1)})
    pq.write_table(bomb, tmp_path / "t.parquet")
    assert refused(TooLarge, tmp_path / "t.parquet").found == f"{label_tables.MAX_ROWS + 1}"
    monkeypatch.setattr(label_tables, "MAX_ROWS", 2)
    assert read(write(tmp_path / "t.csv", "y\n1\n0\n")) == {"y": [1, 0]}
    refused(TooLarge, write(tmp_path / "t.csv", "y\n1\n0\n1\n"))


def test_a_header_of_a_hundred_thousand_columns(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    path = write(tmp_path / "t.csv", names + "\n")
    refused(BadLabelTable, path)
    refused(MissingColumn, path, "y")
    write(path, names + "\n" + ",".join("01" * 50_000) + "\n")
    assert read(path, "c1", "c99998") == {"c1": [1], "c99998": [0]}
    assert len(read(path)) == 100_000


def test_columns_are_counted_before_anything_is_made_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", f"{','.join(map(str, range(2**17 + 1)))}\n")
    assert refused(TooLarge, path).where.endswith("line 1")
