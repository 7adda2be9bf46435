"""What a corpus may be: every kind of source, and every way in which a row can be wrong."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust.corpus.entries import Columns, Entry, read_corpus
from geometry_of_trust.errors import (
    BadCorpus,
    BadJson,
    BadLabel,
    BadOption,
    BadText,
    EmptyText,
    GotError,
    MissingColumn,
    MissingExtra,
    TooLarge,
    UnknownCorpus,
    Unreadable,
)
from geometry_of_trust.formats import table_rows

COLUMNS = Columns(labels=("true",), group="topic")
ROWS: list[dict[str, Any]] = [
    {"text": "Paris is in France.", "true": 1, "topic": "cities", "other": 1.5},
    {"text": 'He said "no",\nand left — 走了', "true": 0, "topic": None, "other": None},
    {"text": " spaces kept ", "true": 1, "topic": "odd", "other": 2.5},
]
CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi — 你好"}]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def json_lines(path: Path, rows: list[Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def delimited(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder as `Dataset.save_to_disk` leaves it."""
    import datasets

    datasets.disable_progress_bars()
    try:
        datasets.Dataset.from_list(rows).save_to_disk(path)
    finally:
        datasets.enable_progress_bars()
    return path


def folder_of_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.mkdir()
    json_lines(path / "a.jsonl", rows[:1])
    json_lines(path / "b.jsonl", rows[1:])
    return path


def folder_of_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.mkdir()
    parquet(path / "part-0.parquet", rows)
    return path


KINDS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "a.jsonl": json_lines,
    "a.ndjson": json_lines,
    "A.JSONL": json_lines,
    "a.csv": delimited,
    "a.tsv": lambda path, rows: delimited(path, rows, "\t"),
    "a.parquet": parquet,
    "saved": saved,
    "json": folder_of_json,
    "parquet": folder_of_parquet,
    "folder.parquet": folder_of_parquet,
}
LINES = ("a.jsonl", "a.csv", "a.tsv")


def entries(source: Path | str, columns: Columns = COLUMNS, **options: Any) -> list[Entry]:
    return list(read_corpus(source, columns=columns, **options))


def refused(
    kind: type[GotError], source: Path | str, columns: Columns = COLUMNS, **options: Any
) -> GotError:
    with pytest.raises(GotError) as caught:
        entries(source, columns, **options)
    assert type(caught.value) is kind or (kind is BadJson and isinstance(caught.value, kind))
    assert caught.value.expected
    assert caught.value.found
    return caught.value


# --- every kind of source ---------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_entries(name: str, tmp_path: Path) -> None:
    source = KINDS[name](tmp_path / name, ROWS)
    found = entries(source)
    assert [entry.text for entry in found] == [row["text"] for row in ROWS]
    assert [entry.labels for entry in found] == [{"true": 1}, {"true": 0}, {"true": 1}]
    assert [entry.group for entry in found] == ["cities", None, "odd"]
    assert {entry.messages for entry in found} == {None}
    assert all(type(entry.labels["true"]) is int for entry in found)


def test_where_names_lines_and_rows(tmp_path: Path) -> None:
    for name, places in {
        "a.jsonl": ["line 1", "line 2", "line 3"],
        "a.csv": ["line 2", "line 3", "line 5"],  # the second text has two lines
        "a.parquet": ["row 1", "row 2", "row 3"],
        "saved": ["row 1", "row 2", "row 3"],
    }.items():
        source = KINDS[name](tmp_path / name, ROWS)
        assert [e.where for e in entries(source)] == [f"{source}, {place}" for place in places]


def test_a_text_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufefffirst\r\n\n  second \n \t\nthird\u2028with\fodd ends")
    found = entries(path, Columns())
    assert [e.text for e in found] == ["first", "  second ", "third\u2028with\fodd ends"]
    assert [e.where.rpartition(", ")[2] for e in found] == ["line 1", "line 3", "line 5"]
    assert {(e.group, e.messages, len(e.labels)) for e in found} == {(None, None, 0)}


@pytest.mark.parametrize(
    "columns", [Columns(labels=("true",)), Columns(group="topic"), Columns(text="statement")]
)
def test_a_text_file_has_no_columns(columns: Columns, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "first\n")
    assert refused(BadOption, path, columns).exit_code == 2


def test_a_path_as_text_is_taken_too(tmp_path: Path) -> None:
    assert len(entries(str(json_lines(tmp_path / "a.jsonl", ROWS)))) == 3


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    for name in LINES:
        path = KINDS[name](tmp_path / name, ROWS)
        write(path, b"\xef\xbb\xbf" + path.read_bytes())
        assert entries(path)[0].text == ROWS[0]["text"]


def test_blank_lines_of_tables_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\n{"text": "a"}\n\n  \n{"text": "b"}')
    assert [e.text for e in entries(path, Columns())] == ["a", "b"]
    path = write(tmp_path / "a.csv", "text,true\r\na,1\r\n\r\nb,0")
    assert [e.text for e in entries(path, Columns())] == ["a", "b"]


def test_blank_lines_of_tables_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "MAX_BLANK_LINES", 3)
    path = write(tmp_path / "a.csv", "\ntext,true\na,1\n\n\nb,0\n")
    assert len(entries(path, Columns())) == 2
    write(path, path.read_text() + "\n")
    assert refused(TooLarge, path, Columns()).where == f"{path}, line 7"


def test_a_blank_line_of_a_table_of_one_column_is_an_empty_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\na\n\nb\n")
    assert refused(EmptyText, path, Columns()).where == f"{path}, line 3"


@pytest.mark.parametrize("name", KINDS)
def test_other_columns_may_hold_the_text(name: str, tmp_path: Path) -> None:
    rows = [{"statement": row["text"], "text": "wrong", "a": 1, "b": 0} for row in ROWS]
    columns = Columns(text="statement", labels=("b", "a"))
    found = entries(KINDS[name](tmp_path / name, rows), columns)
    assert [e.text for e in found] == [row["text"] for row in ROWS]
    assert list(found[0].labels.items()) == [("b", 0), ("a", 1)]


def test_a_long_cell_of_csv(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = delimited(tmp_path / "a.csv", [{"text": "long " * 100_000}])
    for entry in read_corpus(path, columns=Columns()):
        assert entry.text == "long " * 100_000
        assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", KINDS)
def test_limit(name: str, tmp_path: Path) -> None:
    source = KINDS[name](tmp_path / name, ROWS)
    assert len(entries(source, limit=2)) == 2
    assert len(entries(source, limit=9)) == 3
    with pytest.raises(BadOption):
        read_corpus(source, columns=COLUMNS, limit=0)


def test_rows_after_the_limit_are_not_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\nnot JSON\n')
    assert len(entries(path, Columns(), limit=1)) == 1
    assert refused(BadJson, path, Columns()).where == f"{path}, line 2"


# --- chats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in KINDS if name not in LINES[1:]])
def test_messages_stand_in_for_a_text(name: str, tmp_path: Path) -> None:
    rows = [{"messages": CHAT, "true": True}, {"messages": CHAT[:1], "true": False}]
    found = entries(KINDS[name](tmp_path / name, rows), Columns(labels=("true",)))
    assert [entry.messages for entry in found] == [tuple(CHAT), tuple(CHAT[:1])]
    assert [entry.text for entry in found] == [None, None]
    assert [entry.labels for entry in found] == [{"true": 1}, {"true": 0}]


def test_a_named_column_of_chats_and_texts(tmp_path: Path) -> None:
    path = json_lines(
        tmp_path / "a.jsonl", [{"x": CHAT, "messages": []}, {"x": "plain", "messages": []}]
    )
    assert [(e.text, e.messages) for e in entries(path, Columns(text="x"))] == [
        (None, tuple(CHAT)),
        ("plain", None),
    ]


def test_a_text_comes_before_messages(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"messages": CHAT, "text": "a"}])
    assert [e.text for e in entries(path, Columns())] == ["a"]
    # Only the default stands back: a name that was asked for has to be there.
    assert refused(MissingColumn, path, Columns(text="prompt")).found == "messages, text"


def test_messages_as_one_cell_of_text_are_no_chat(tmp_path: Path) -> None:
    path = delimited(tmp_path / "a.csv", [{"messages": json.dumps(CHAT)}])
    assert refused(BadCorpus, path, Columns()).where == f"{path}, line 2"


def test_null_members_of_messages_are_left_out(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "tool", "content": "", "name": "t"}]
    read = [entries(KINDS[n](tmp_path / n, [{"messages": chat}]), Columns())[0].messages
            for n in ("a.jsonl", "a.parquet", "saved")]  # fmt: skip
    assert read == [tuple(chat)] * 3


@pytest.mark.parametrize(
    "message",
    ["Hello", None, {"role": "user"}, {"role": 1, "content": "a"}, {"role": "a", "content": None},
     {"content": "a"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}],
)  # fmt: skip
def test_messages_without_role_and_content(message: object, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"messages": [*CHAT, message]}])
    assert refused(BadCorpus, path, Columns()).where == f"{path}, line 1, message 3"


def test_a_chat_without_messages(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"messages": CHAT}, {"messages": []}])
    assert refused(EmptyText, path, Columns()).where == f"{path}, line 2"


def test_messages_that_json_cannot_hold(tmp_path: Path) -> None:
    message = {"role": "user", "content": "a", "raw": b"bytes"}
    path = parquet(tmp_path / "a.parquet", [{"messages": [message]}])
    assert refused(BadCorpus, path, Columns()).where == f"{path}, row 1"


# --- rows that are refused --------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, 3, True, {"a": "b"}])
def test_a_text_that_is_no_text(text: object, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet", "saved"):
        source = KINDS[name](tmp_path / name, [{"text": text}])
        error = refused(BadCorpus, source, Columns())
        assert (error.exit_code, error.where) == (3, entry_place(source, name))


def entry_place(source: Path, name: str) -> str:
    return f"{source}, {'line' if name in LINES else 'row'} 1"


def test_bytes_are_no_text(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"text": b"a"}])
    assert refused(BadCorpus, path, Columns()).where == f"{path}, row 1"


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_text(name: str, tmp_path: Path) -> None:
    source = KINDS[name](tmp_path / name, [{"text": "a", "b": 1}, {"text": "", "b": 1}])
    error = refused(EmptyText, source, Columns())
    assert error.exit_code == 2
    assert error.where.startswith(f"{source}, ")
    assert error.where[-1] == ("3" if name in LINES[1:] else "2")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "columns",
    [Columns(text="none"), Columns(labels=("true", "none")), Columns(group="none")],
    ids=["text", "label", "group"],
)
def test_a_missing_column(name: str, columns: Columns, tmp_path: Path) -> None:
    source = KINDS[name](tmp_path / name, ROWS)
    error = refused(MissingColumn, source, columns)
    assert error.exit_code == 3
    assert "'none'" in error.expected
    assert error.found == "text, true, topic, other"
    assert error.where.startswith(str(source))


def test_a_row_without_the_column(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [ROWS[0], {"true": 1, "topic": "a"}])
    error = refused(MissingColumn, path)
    assert (error.where, error.found) == (f"{path}, line 2", "true, topic")
    path = json_lines(tmp_path / "b.jsonl", [{}])
    assert refused(MissingColumn, path, Columns()).found == "none"


@pytest.mark.parametrize("line", ["{", '{"a": NaN, "text": "a"}', '{"text": "a"} {"text": "b"}',
                                  '{"text": "a", "text": "b"}', "plain"])  # fmt: skip
def test_a_line_that_is_not_json(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "a"}}\n{line}\n')
    assert refused(BadJson, path, Columns()).where == f"{path}, line 2"


@pytest.mark.parametrize("line", ["[1]", '"text"', "null", "3"])
def test_a_line_that_is_no_object(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "a"}}\n{line}\n')
    assert refused(BadCorpus, path, Columns()).where == f"{path}, line 2"


@pytest.mark.parametrize(
    ("content", "line"),
    [("text,b\na,1\nb\n", 3),
     ("text,b\na,1,2\n", 2),
     ('text,b\na,1\n"open,1\nb,0\n', 3),
     ('text,b\n"a"x,1\n', 2),
     ("text,b\na\rb,1\n", 2),
     ("text,b,text\na,1,2\n", 1)],
)  # fmt: skip
def test_csv_that_is_no_table(content: str, line: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", content)
    assert refused(BadCorpus, path, Columns()).where == f"{path}, line {line}"


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", ",")])
def test_other_separators_are_told(name: str, separator: str, tmp_path: Path) -> None:
    path = delimited(tmp_path / name, ROWS[:1], separator)
    error = refused(MissingColumn, path, Columns())
    assert (error.where, error.found) == (f"{path}, line 1", separator.join(ROWS[0]))
    assert error.hint
    assert not refused(MissingColumn, delimited(tmp_path / "b.csv", [{"a": 1}]), Columns()).hint


def test_a_header_of_a_hundred_thousand_columns(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    path = write(tmp_path / "a.csv", names + "\n")
    assert refused(MissingColumn, path, Columns()).where == f"{path}, line 1"
    write(path, f"text,{names}\n" + "," * 100_000 + "\n")
    assert refused(EmptyText, path, Columns()).where == f"{path}, line 2"
    write(path, f"text,{names},c99999,c7\n")
    assert refused(BadCorpus, path, Columns()).found == "'c7', 'c99999'"


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "a.parquet")
    assert refused(BadCorpus, tmp_path / "a.parquet", Columns()).found == "'text'"


def test_parquet_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", "text")
    assert refused(BadCorpus, path, Columns()).where == str(path)


def test_parquet_with_damaged_data(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"text": f"text {i}"} for i in range(1000)])
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    write(path, bytes(data))
    assert refused(BadCorpus, path, Columns()).where.startswith(str(path))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_bytes_that_are_not_utf8(name: str, tmp_path: Path) -> None:
    first, second = {"a.txt": (b"a", b"caf\xe9"),
                     "a.jsonl": (b'{"text": "a"}', b'{"text": "caf\xe9"}'),
                     "a.csv": (b"text,b", b"caf\xe9,1")}[name]  # fmt: skip
    path = write(tmp_path / name, first + b"\n" + second + b"\n")
    error = refused(BadText, path, Columns())
    assert (error.exit_code, error.where) == (3, f"{path}, line 2")


def test_parquet_that_only_says_it_is_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    error = refused(BadText, tmp_path / "a.parquet", Columns())
    assert error.where == f"{tmp_path / 'a.parquet'}, row 2, column 'text'"


@pytest.mark.parametrize("row", ['{"text": "a\\ud800"}',
                                 '{"messages": [{"role": "a", "content": "\\udfff"}]}',
                                 '{"text": "a", "topic": "\\ud800"}'])  # fmt: skip
def test_lone_surrogates(row: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row)
    assert refused(BadText, path, Columns()).where == f"{path}, line 1"


def test_a_lone_surrogate_in_an_archive(tmp_path: Path) -> None:
    # Rows of such a dataset are not checked by the library, but for the first five.
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(8):
            content = "\ud800" if number == 6 else "a"
            data = json.dumps([{"role": "user", "content": content}]).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert refused(BadText, tmp_path, Columns(text="json")).where == f"{tmp_path}, row 7"


def test_surrogates_that_come_in_pairs_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "\\ud83d\\ude00"}')
    assert entries(path, Columns())[0].text == "\U0001f600"


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="Linux")
def test_a_file_that_fails_when_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("/proc/self/mem")
    assert refused(Unreadable, tmp_path / "a.txt", Columns()).where == str(tmp_path / "a.txt")


def test_a_line_without_end_is_not_read_whole(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl", "a.csv"):
        with (tmp_path / name).open("wb") as handle:
            handle.truncate(2**36)
        assert refused(TooLarge, tmp_path / name, Columns()).where.endswith("line 1")


# --- labels and groups ------------------------------------------------------------------------

GOOD = [(0, 0), (1, 1), (True, 1), (False, 0), (0.0, 0), (1.0, 1), ("0", 0), ("1", 1),
        ("true", 1), ("false", 0), ("True", 1), ("FALSE", 0), (" 1 ", 1), ("1.0", 1)]  # fmt: skip
BAD = [None, 2, -1, 0.5, "", "yes", "10", [1], {"a": 1}]


@pytest.mark.parametrize(("value", "label"), GOOD)
def test_labels(value: object, label: int, tmp_path: Path) -> None:
    columns = Columns(labels=("b",))
    for name in ("a.jsonl", "a.csv", "a.parquet", "saved"):
        source = KINDS[name](tmp_path / name, [{"text": "a", "b": value}])
        assert entries(source, columns)[0].labels == {"b": label}


@pytest.mark.parametrize("value", BAD)
def test_bad_labels(value: object, tmp_path: Path) -> None:
    columns = Columns(labels=("a", "b"))
    for name in ("a.jsonl", "a.parquet", "saved"):
        source = KINDS[name](tmp_path / name, [{"text": "a", "a": 1, "b": value}])
        error = refused(BadLabel, source, columns)
        assert (error.exit_code, error.where) == (3, f"{entry_place(source, name)}, column 'b'")


def test_a_missing_label_in_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,b\na,1\nb,\n")
    error = refused(BadLabel, path, Columns(labels=("b",)))
    assert (error.where, error.found) == (f"{path}, line 3, column 'b'", "an empty cell")


@pytest.mark.parametrize("labels", [("b", "b"), ("text",)])
def test_label_columns_are_distinct(labels: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(BadOption):
        read_corpus(tmp_path / "a.csv", columns=Columns(labels=labels))


def test_groups_are_text(tmp_path: Path) -> None:
    values = [7, 1.5, True, "x", None, ""]
    rows = [{"text": "a", "topic": value} for value in values]
    found = entries(json_lines(tmp_path / "a.jsonl", rows), Columns(group="topic"))
    assert [entry.group for entry in found] == ["7", "1.5", "True", "x", None, None]
    path = write(tmp_path / "a.csv", "text,topic\na,\nb,3\n")
    assert [entry.group for entry in entries(path, Columns(group="topic"))] == [None, "3"]
    table = pa.table({"text": ["a", "b"], "topic": [float("nan"), 2.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = entries(tmp_path / "a.parquet", Columns(group="topic"))
    assert [entry.group for entry in found] == [None, "2.0"]


@pytest.mark.parametrize("value", [["a"], {"a": 1}])
def test_a_group_that_is_no_name(value: object, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"text": "a", "topic": value}])
    assert refused(BadCorpus, path, Columns(group="topic")).where == f"{path}, line 1"


def test_a_value_that_python_does_not_have(tmp_path: Path) -> None:
    times = pa.array([2**62], pa.timestamp("ms"))  # a year far beyond 9999
    pq.write_table(pa.table({"text": ["a"], "topic": times}), tmp_path / "a.parquet")
    refused(BadCorpus, tmp_path / "a.parquet", Columns(group="topic"))


# --- sources that are refused -----------------------------------------------------------------


def test_an_empty_corpus(tmp_path: Path) -> None:
    for name, content in {"a.txt": "\n \n", "a.jsonl": "", "a.csv": "text,b\n"}.items():
        for text in (content, "", "\ufeff", "\ufeff\n"):
            error = refused(EmptyText, write(tmp_path / name, text), Columns())
            assert (error.exit_code, error.where) == (2, str(tmp_path / name))
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    refused(EmptyText, tmp_path / "a.parquet", Columns())


@pytest.mark.parametrize("name", ["none.txt", "none.jsonl", "none.csv", "none.parquet"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    assert refused(Unreadable, tmp_path / name, Columns()).where == str(tmp_path / name)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz", "text"])
def test_a_file_of_another_kind(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, "a\n")
    assert refused(BadOption, path, Columns()).where == str(path)


def test_a_split_of_a_file(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(BadOption):
        read_corpus(path, columns=COLUMNS, split="train")


# --- datasets ---------------------------------------------------------------------------------


def with_splits(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for name in names:
        json_lines(path / f"{name}.jsonl", [{"text": name}])
    return path


def saved_with_splits(path: Path, names: list[str]) -> Path:
    import datasets

    parts = {name: datasets.Dataset.from_dict({"text": [name]}) for name in names}
    datasets.disable_progress_bars()
    datasets.DatasetDict(parts).save_to_disk(path)
    datasets.enable_progress_bars()
    return path


@pytest.mark.parametrize("make", [with_splits, saved_with_splits])
def test_splits(make: Callable[[Path, list[str]], Path], tmp_path: Path) -> None:
    source = make(tmp_path / "a", ["test", "train", "validation"])
    assert [e.text for e in entries(source, Columns())] == ["train"]
    assert [e.text for e in entries(source, Columns(), split="test")] == ["test"]
    error = refused(BadOption, source, Columns(), split="dev")
    assert (error.where, error.found) == ("split", "dev")
    one = make(tmp_path / "b", ["test"])
    assert [e.text for e in entries(one, Columns())] == ["test"]
    two = make(tmp_path / "c", ["test", "validation"])
    assert refused(BadOption, two, Columns()).where == "split"


def test_a_split_of_a_dataset_with_one_part(tmp_path: Path) -> None:
    source = saved(tmp_path / "a", ROWS)
    assert refused(BadOption, source, split="train").where == "split"


@pytest.mark.parametrize("name", ["nobody/no-such-dataset", "no_such_dataset", "./no/such/folder"])
def test_an_unknown_dataset(name: str, tmp_path: Path) -> None:
    error = refused(UnknownCorpus, name, Columns())
    assert (error.exit_code, error.where) == (1, name)
    assert "\n" not in str(error)
    assert error.__suppress_context__


def test_a_folder_without_data(tmp_path: Path) -> None:
    assert refused(UnknownCorpus, tmp_path, Columns()).where == str(tmp_path)
    write(tmp_path / "state.json", "{")
    assert refused(UnknownCorpus, tmp_path, Columns()).where == str(tmp_path)


def test_a_folder_of_csv_or_text(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    delimited(tmp_path / "csv" / "a.csv", ROWS)
    assert [entry.labels["true"] for entry in entries(tmp_path / "csv")] == [1, 0, 1]
    assert refused(MissingColumn, tmp_path / "csv", Columns(text="none")).where.endswith("row 1")
    (tmp_path / "txt").mkdir()
    write(tmp_path / "txt" / "a.txt", "a\nb\n")
    assert [entry.text for entry in entries(tmp_path / "txt", Columns())] == ["a", "b"]


def test_no_file_of_a_folder_stays_open(tmp_path: Path) -> None:
    """Also where the reader stops early; a file left open would warn, which is an error here."""
    (tmp_path / "csv").mkdir()
    delimited(tmp_path / "csv" / "a.csv", ROWS)
    refused(MissingColumn, tmp_path / "csv", Columns(text="none"))
    next(iter(read_corpus(tmp_path / "csv", columns=Columns())))
    assert "a.csv" not in [Path(link).name for link in _open_files()]


def _open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


def test_a_damaged_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text":\n')
    error = refused(BadCorpus, tmp_path, Columns())
    assert error.where.startswith(f"{tmp_path}, row ")
    assert capfd.readouterr() == ("", "")


def test_columns_not_asked_for_are_not_decoded(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "image": datasets.Image()})
    rows = {"text": ["a"], "image": [{"bytes": b"no image", "path": None}]}
    source = tmp_path / "a"
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(source)
    datasets.enable_progress_bars()
    assert [entry.text for entry in entries(source, Columns())] == ["a"]


def test_datasets_is_left_as_it_was_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets
    import huggingface_hub.utils

    hub: Any = huggingface_hub.utils
    source = folder_of_json(tmp_path / "a", ROWS)
    capfd.readouterr()
    for _ in read_corpus(source, columns=COLUMNS):
        assert datasets.logging.get_verbosity() == datasets.logging.WARNING
        assert not datasets.are_progress_bars_disabled()
        assert not hub.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


def test_datasets_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = json_lines(tmp_path / "a.jsonl", ROWS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert len(entries(path)) == 3
    assert refused(MissingExtra, tmp_path).exit_code == 2


def test_datasets_is_imported_only_when_needed(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", ROWS)
    code = (
        "import sys\n"
        "from geometry_of_trust.corpus.entries import Columns, read_corpus\n"
        "assert len(list(read_corpus(sys.argv[1], columns=Columns()))) == 3\n"
        "assert not {'datasets', 'torch', 'transformers', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, os.fspath(path)], check=True)


def test_datasets_warns_nobody(tmp_path: Path) -> None:
    source = folder_of_json(tmp_path / "a", ROWS)
    code = (
        "import sys\n"
        "from geometry_of_trust.corpus.entries import Columns, read_corpus\n"
        "assert len(list(read_corpus(sys.argv[1], columns=Columns()))) == 3\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, os.fspath(source)]
    done = subprocess.run(command, check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")


# --- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    row = {"a.txt": "{0}\n", "a.jsonl": '{{"text": "{0}"}}\n', "a.csv": "{0}\n"}[name]
    path = write(tmp_path / name, "text\n" * (name == "a.csv") + row.format("word " * 400) * 4000)
    assert path.stat().st_size > 8_000_000
    count = 0
    tracemalloc.start()
    try:
        for _ in read_corpus(path, columns=Columns()):
            count += 1
        assert tracemalloc.get_traced_memory()[1] < 2**19
    finally:
        tracemalloc.stop()
    assert count == 4000


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    peaks = []
    for count in (2000, 4000):
        texts = [f"{number:05} {os.urandom(4000).hex()}" for number in range(count)]
        table = pa.table({"text": texts, "other": texts})
        pq.write_table(table, path, use_dictionary=False)
        del table
        assert pq.ParquetFile(path).num_row_groups == 1
        before, peak = pa.total_allocated_bytes(), 0
        for entry, text in zip(read_corpus(path, columns=Columns()), texts, strict=True):
            peak = max(peak, pa.total_allocated_bytes() - before)
            assert entry.text == text
        peaks.append(peak)
    assert 0 < peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < path.stat().st_size / 2


def test_a_log_of_inspect_without_inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.eval").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(MissingExtra) as caught:
        entries(tmp_path / "run.eval", Columns())
    assert caught.value.where == "geometry-of-trust[inspect]"
