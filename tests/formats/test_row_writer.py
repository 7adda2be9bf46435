"""A row table that is being written: bytes of its digest, its columns, its end."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats import row_writer
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import LABEL_PREFIX, RowDigest, RowWriter, TextRows

FIRST = TextRows(
    text=3, group="g", token_index=[0, 1], token_id=[1, 300], token=[None, "né"],
    span=[None, (0, 2)], special=[True, False], labels={"b": 1, "a": 0}, tokens=[1, 300, 2],
)  # fmt: skip


def test_the_digest_is_of_the_bytes_that_the_page_names() -> None:
    """The bytes of docs/formats.md, written the slow way."""

    def string(text: str | None) -> bytes:
        data = (text or "").encode()
        return bytes([text is not None]) + struct.pack("<I", len(data)) + data

    content = b"GOT-ROWS-V1\0" + struct.pack("<qI", 3, 2) + string("g")
    content += struct.pack("<5q", 0, 1, -1, -1, 1) + struct.pack("<5q", 1, 300, 0, 2, 0)
    content += string(None) + string("né")
    content += struct.pack("<I", 2) + string("a") + b"\0" + string("b") + b"\1"
    content += b"\1" + struct.pack("<I", 3) + struct.pack("<3q", 1, 300, 2)
    digest = RowDigest()
    digest.add(FIRST)
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


def test_what_the_writer_knows(tmp_path: Path) -> None:
    with (tmp_path / "r").open("wb") as handle, RowWriter(handle, ["a", "b"]) as writer:
        assert writer.rows == 0
        writer.add(FIRST)
        assert writer.rows == 2
    table = pq.read_table(tmp_path / "r")
    assert table.column_names[-2:] == [f"{LABEL_PREFIX}a", f"{LABEL_PREFIX}b"]
    assert table["tokens"].to_pylist() == [[1, 300, 2], None]
    assert table["start"].to_pylist() == [None, 0]


def test_a_text_without_a_label_of_a_column(tmp_path: Path) -> None:
    with (
        (tmp_path / "r").open("wb") as handle,
        pytest.raises(KeyError),
        RowWriter(handle, ["c"]) as writer,
    ):
        writer.add(FIRST)
    assert pq.read_table(tmp_path / "r").num_rows == 0  # what is not complete is not flushed


def test_no_more_rows_than_a_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "MAX_ROWS", 3)
    with RowWriter(io.BytesIO()) as writer:
        writer.add(FIRST)
        with pytest.raises(errors.LimitExceeded):
            writer.add(FIRST)


def test_a_table_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    count = 700_000
    rows = TextRows(
        text=0, group=None, token_index=[None] * count, token_id=[None] * count,
        token=[None] * count, span=[None] * count, special=[False] * count,
    )  # fmt: skip
    path = tmp_path / "r.parquet"
    with pytest.raises(errors.LimitExceeded), path.open("wb") as handle:  # noqa: SIM117
        with RowWriter(handle) as writer:
            writer.add(rows)
    with pytest.raises(errors.TooLarge):
        read_rows(path)
