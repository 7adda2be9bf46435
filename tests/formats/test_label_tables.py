"""Tables of labels: CSV and Parquet, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust.errors import BadLabel, BadLabelTable, BadText, GotError, Unreadable
from geometry_of_trust.formats.label_tables import is_label_table, read_label_table


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfwarm, "tall, or big"\r\n1,0\r\n\r\n true ,false\r\n')
    with pytest.raises(BadLabelTable):  # a quote after a space is no quote
        read_label_table(path)
    path.write_bytes(b'\xef\xbb\xbfwarm,"tall, or big"\r\n1,0\r\n\r\n true ,false\r\n')
    held = read_label_table(path)
    assert {name: column.tolist() for name, column in held.items()} == {
        "warm": [1, 1],
        "tall, or big": [0, 0],
    }


@pytest.mark.parametrize("kind", [pa.int64(), pa.bool_(), pa.int8(), pa.string()])
def test_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    values: list[Any] = ["1", "0", "true"] if kind == pa.string() else [1, 0, 1]
    values = [bool(v) for v in values] if kind == pa.bool_() else values
    pq.write_table(pa.table({"warm": pa.array(values, kind)}), tmp_path / "t.parquet")
    assert read_label_table(tmp_path / "t.parquet")["warm"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadLabelTable),
        (b"a,a\n1,1\n", BadLabelTable),
        (b"a,\n1,1\n", BadLabelTable),
        (b"a,b\n1\n", BadLabelTable),
        (b'a\n"1\n', BadLabelTable),
        (b"a\n2\n", BadLabel),
        (b"a\n1.0\n", BadLabel),
        (b"a\nTrue\n", BadLabel),
        (b"a\n\xff\n", BadText),
    ],
)
def test_refused(tmp_path: Path, data: bytes, error: type[GotError]) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(error) as refused:
        read_label_table(tmp_path / "t.csv")
    assert refused.value.where.startswith(str(tmp_path))


def test_a_wrong_value_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,0\n1,x\n")
    with pytest.raises(BadLabel) as refused:
        read_label_table(tmp_path / "t.csv")
    assert "'b', position 1" in refused.value.where
    assert refused.value.found == "x"


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"junk")
    with pytest.raises(BadLabelTable):
        read_label_table(tmp_path / "t.parquet")
    with pytest.raises(Unreadable):
        read_label_table(tmp_path / "none.csv")
    pq.write_table(pa.table({"a": [1, None]}), tmp_path / "n.parquet")
    with pytest.raises(BadLabel):
        read_label_table(tmp_path / "n.parquet")
    assert [is_label_table(name) for name in ("a.csv", "a.CSV", "a.parquet", "a.labels")] == [
        True, True, True, False,
    ]  # fmt: skip
