"""The row table: written, read back, digested by content."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats import row_table, row_writer
from geometry_of_trust.formats.row_table import RowTable, groups_of, read_rows
from geometry_of_trust.formats.row_writer import NONE, Places, RowWriter, TextRows

FIRST = TextRows(
    text=0, group="g", token_index=[0, 1], token_id=[1, 300], token=["<s>", "né"],
    span=[None, (0, 2)], special=[True, False], labels={"b": 1, "a": 0}, tokens=[1, 300, 2],
)  # fmt: skip
MEAN = TextRows(
    text=2, group=None, token_index=[None], token_id=[None], token=[None], span=[None],
    special=[False], labels={"b": 0, "a": 1},
)  # fmt: skip


PLACES = Places(turn=[1, None], role=["user", None], labels={"b": [1, 0], "a": [0, 0]})


def written(path: Path, *texts: TextRows, labels: tuple[str, ...] = ("b", "a")) -> str:
    placed = texts[0].places is not None
    with path.open("wb") as handle, RowWriter(handle, labels, placed=placed) as writer:
        for text in texts:
            writer.add(text)
    return writer.digest.hexdigest()


@pytest.fixture
def table(tmp_path: Path) -> RowTable:
    written(tmp_path / "r.parquet", FIRST, MEAN)
    return read_rows(tmp_path / "r.parquet")


def test_what_was_written_is_read(table: RowTable) -> None:
    assert table.text.tolist() == [0, 0, 2]
    assert table.group == ("g", "g", None)
    assert table.token_index.tolist() == [0, 1, NONE]
    assert table.token_id.tolist() == [1, 300, NONE]
    assert table.token == ("<s>", "né", None)
    assert list(zip(table.start, table.end, strict=True)) == [(NONE, NONE), (0, 2), (NONE, NONE)]
    assert table.special.tolist() == [True, False, False]
    assert {name: column.tolist() for name, column in table.labels.items()} == {
        "b": [1, 1, 0],
        "a": [0, 0, 1],
    }
    assert table.tokens == ((1, 300, 2), None, None)
    assert table.text_rows() == [slice(0, 2), slice(2, 3)]


def test_groups_are_numbered_and_texts_without_one_stand_alone(table: RowTable) -> None:
    assert table.groups.tolist() == [0, 0, 1]
    alone = dataclasses.replace(table, group=(None, None, None))
    assert alone.groups.tolist() == [0, 0, 1]
    together = dataclasses.replace(table, group=("g", "g", "g"))
    assert together.groups.tolist() == [0, 0, 0]


def test_the_digest_is_of_the_content(tmp_path: Path, table: RowTable) -> None:
    digest = written(tmp_path / "r.parquet", FIRST, MEAN)
    assert table.digest() == digest
    content = pq.read_table(tmp_path / "r.parquet")
    pq.write_table(content, tmp_path / "other.parquet", compression="none", row_group_size=1)
    assert (tmp_path / "other.parquet").read_bytes() != (tmp_path / "r.parquet").read_bytes()
    assert read_rows(tmp_path / "other.parquet").digest() == digest
    assert written(tmp_path / "x", FIRST, MEAN, labels=("a", "b")) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"text": 1}, {"group": None}, {"group": ""}, {"token_index": [0, 2]},
        {"token_id": [1, 301]}, {"token": ["<s>", "ne"]}, {"token": ["<s>", None]},
        {"span": [None, (0, 3)]}, {"span": [(0, 1), (0, 2)]}, {"special": [False, False]},
        {"labels": {"b": 1, "a": 1}}, {"tokens": [1, 300]}, {"tokens": None}, {"tokens": []},
    ],
    ids=str,
)  # fmt: skip
def test_every_change_of_content_changes_the_digest(change: dict[str, Any], tmp_path: Path) -> None:
    other = dataclasses.replace(FIRST, **change)
    assert written(tmp_path / "a", FIRST, MEAN) != written(tmp_path / "b", other, MEAN)
    assert read_rows(tmp_path / "b").digest() == written(tmp_path / "b", other, MEAN)


@pytest.mark.parametrize(
    "change",
    [
        {"turn": [0, None]}, {"turn": [1, 0]}, {"role": ["system", None]}, {"role": ["user", ""]},
        {"labels": {"b": [1, 1], "a": [0, 0]}}, {"labels": {"b": [0, 1], "a": [0, 0]}}, None,
    ],
    ids=str,
)  # fmt: skip
def test_chosen_tokens_have_places_and_labels_of_their_own(
    change: dict[str, Any] | None, tmp_path: Path
) -> None:
    placed = dataclasses.replace(FIRST, places=PLACES)
    digest = written(tmp_path / "a", placed)
    table = read_rows(tmp_path / "a")
    assert table.turn is not None
    assert (table.turn.tolist(), table.role) == ([1, NONE], ("user", None))
    assert {name: column.tolist() for name, column in table.labels.items()} == PLACES.labels
    assert table.digest() == digest
    changed = None if change is None else dataclasses.replace(PLACES, **change)
    other = written(tmp_path / "b", dataclasses.replace(FIRST, places=changed))
    assert other == read_rows(tmp_path / "b").digest() != digest


def test_many_rows_are_written_in_parts(tmp_path: Path) -> None:
    count = 40_000
    one = dataclasses.replace(
        FIRST, token_index=range(count), token_id=[7] * count, token=["x"] * count,
        span=[(k, k + 1) for k in range(count)], special=[False] * count,
    )  # fmt: skip
    digest = written(tmp_path / "r", *(dataclasses.replace(one, text=n) for n in range(3)))
    table = read_rows(tmp_path / "r")
    assert len(table) == 3 * count
    assert table.digest() == digest
    assert pq.ParquetFile(tmp_path / "r").num_row_groups == 3
    assert np.array_equal(table.start, np.tile(np.arange(count), 3))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"PAR1 and then nothing of the kind PAR1")
    with pytest.raises(errors.BadRowTable):
        read_rows(tmp_path / "r")
    with pytest.raises(errors.Unreadable):
        read_rows(tmp_path / "none")


def test_a_table_beyond_the_limit_of_rows_is_not_read(
    tmp_path: Path, table: RowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(row_table, "MAX_ROWS", len(table) - 1)
    monkeypatch.setattr(row_table, "_Rows", None)
    with pytest.raises(errors.TooLarge) as refused:
        read_rows(path)
    assert refused.value.found == str(len(table))


def test_more_rows_than_a_reader_takes_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "MAX_ROWS", 3)
    written(tmp_path / "r.parquet", FIRST, MEAN)
    assert len(read_rows(tmp_path / "r.parquet")) == 3
    with pytest.raises(errors.LimitExceeded):
        written(tmp_path / "more.parquet", FIRST, FIRST)


def _dropped(table: Any) -> Any:
    return table.drop_columns(["group"])


def _wide(table: Any) -> Any:
    return table.set_column(3, "token_id", table["token_id"].cast(pa.int64()))


def _more(table: Any) -> Any:
    return table.append_column("more", table["text"])


def _half_placed(table: Any) -> Any:
    return table.add_column(9, "turn", table["token_id"])


def _unordered(table: Any) -> Any:
    return table.take([2, 0, 1])


def _negative(table: Any) -> Any:
    return table.set_column(0, table.schema.field("text"), pa.array([-1, 0, 1]))


def _two(table: Any) -> Any:
    labels = pa.array([2, 0, 1], pa.int8())
    return table.set_column(9, table.schema.field("label.b"), labels)


def _column(table: Any, name: str, values: Any) -> Any:
    index = table.column_names.index(name)
    return table.set_column(index, name, values)


def _another_label(table: Any) -> Any:
    return _column(table, "label.b", pa.array([1, 0, 0], pa.int8()))


def _another_group(table: Any) -> Any:
    return _column(table, "group", pa.array(["g", "h", None]))


def _more_tokens(table: Any) -> Any:
    return _column(table, "tokens", pa.array([[1], [2], None], pa.list_(pa.int32())))


def _token_gaps(table: Any) -> Any:
    return _column(table, "tokens", pa.array([[1, None], None, None], pa.list_(pa.int32())))


def _wide_labels(table: Any) -> Any:
    return _column(table, "label.b", pa.array([257, 257, 0], pa.int64()))


def _words(table: Any) -> Any:
    return _column(table, "label.b", pa.array(["1", "1", "0"]))


def _not_utf8(table: Any) -> Any:
    bad = pa.array([b"\xff", b"x", b"y"]).view(pa.string())
    return _column(table, "token", bad)


def _none(table: Any) -> Any:
    return table.slice(0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        _dropped, _wide, _more, _half_placed, _unordered, _negative, _two, _another_label,
        _another_group, _more_tokens, _token_gaps, _wide_labels, _words, _not_utf8, _none,
    ],
)  # fmt: skip
def test_another_table(damage: Any, tmp_path: Path) -> None:
    written(tmp_path / "r", FIRST, MEAN)
    pq.write_table(damage(pq.read_table(tmp_path / "r")), tmp_path / "other")
    with pytest.raises(errors.BadRowTable):
        read_rows(tmp_path / "other")


def test_groups_that_hold_nothing_apart(table: RowTable) -> None:
    assert groups_of(None) is None
    alone = dataclasses.replace(table, text=np.zeros(3, np.int64), group=(None,) * 3)
    assert groups_of(alone) is None
    found = groups_of(table)
    assert found is not None
    assert found.tolist() == [0, 0, 1]
    named = groups_of(dataclasses.replace(table, group=("g", "g", "g")))
    assert named is not None
    assert named.tolist() == [0, 0, 0]
