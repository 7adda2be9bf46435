"""The entries of a corpus: a text or a chat, with its labels and its group."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeGuard

from geometry_of_trust.corpus import inspect_logs
from geometry_of_trust.corpus.sources import kind_of, rows_of
from geometry_of_trust.documents import strictjson
from geometry_of_trust.errors import (
    BadCorpus,
    BadLabel,
    BadOption,
    BadText,
    EmptyText,
    MissingColumn,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.labels import label_of
from geometry_of_trust.formats.table_rows import Row, separators

TEXT = "text"
MESSAGES = "messages"


@dataclass(frozen=True)
class Columns:
    """Which columns of a corpus mean what.

    Attributes:
        text: the texts, or the chats; if there is no column `text`, the column `messages`.
        labels: columns of 0 and 1.
        group: what a row belongs with, or None.
        spans: stretches of characters, or None. Labels may be theirs, and then need no column.
    """

    text: str = TEXT
    labels: tuple[str, ...] = ()
    group: str | None = None
    spans: str | None = None

    def chosen(self, names: Collection[str], where: str) -> list[str]:
        """The columns needed among `names`; the first is that of the texts.

        Raises:
            MissingColumn: one is not there; the error names those that there are, and the place.
        """
        text = self.text
        if text == TEXT and TEXT not in names and MESSAGES in names:
            text = MESSAGES
        others = [name for name in (self.group, self.spans) if name is not None]
        labels = [name for name in self.labels if self.spans is None or name in names]
        needed = list(dict.fromkeys([text, *labels, *others]))
        for name in needed:
            if name not in names:
                there = ", ".join(names) or "none"
                raise MissingColumn(
                    where, expected=f"a column {name!r}", found=there, hint=separators(names)
                )
        return needed


Span = tuple[int, int, Mapping[str, int]]
"""Characters of a text, from start to before end, and their labels: one for each column."""


@dataclass(frozen=True)
class Entry:
    """One row of a corpus.

    Attributes:
        text: plain text; None if the row is a chat.
        messages: the chat, for the tokenizer's chat template; each with `role` and `content`, and
            without members that are null. None if the row is plain text.
        labels: 0 or 1 by label column.
        group: what the row belongs with, or None.
        where: file and line, or source and row, for errors.
        spans: stretches of the text, with their labels.
    """

    text: str | None
    messages: tuple[Mapping[str, object], ...] | None
    labels: dict[str, int]
    group: str | None
    where: str
    spans: tuple[Span, ...] = ()


def read_corpus(
    source: PathLike, *, columns: Columns, split: str | None = None, limit: int | None = None
) -> Iterator[Entry]:
    """The entries of a corpus, in order, one at a time.

    Options are checked at once; the source is opened when the first entry is asked for.

    Args:
        source: a file (.txt, .jsonl, .ndjson, .csv, .tsv, .parquet, .eval), a folder, or the name
            of a dataset.
        columns: which columns mean what.
        split: part of a dataset; by default the only one, or `train`.
        limit: how many entries to read at most.

    Raises:
        UsageError: BadOption; EmptyText for an empty text or a corpus without a row; MissingExtra.
        UnknownCorpus: there is no such folder or dataset.
        MalformedInput: Unreadable, TooLarge, BadText, BadJson and its kinds, BadLabel, BadCorpus,
            MissingColumn; each names the row.
    """
    _check_options(columns, limit)
    if kind_of(source) == inspect_logs.ENDING and columns.group is None:
        columns = replace(columns, group=inspect_logs.GROUP)
    if kind_of(source) == ".txt" and columns != Columns():
        raise BadOption(source, expected="no columns for a text file", found="columns asked for")
    return _entries(source, rows_of(source, columns.chosen, split), columns, limit)


def _check_options(columns: Columns, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise BadOption("limit", expected="at least 1", found=limit)
    if len(set(columns.labels)) < len(columns.labels) or columns.text in columns.labels:
        expected = "each column once, and not that of the texts"
        raise BadOption("label column", expected=expected, found=", ".join(columns.labels))


def _entries(
    source: PathLike, rows: Iterator[Row], columns: Columns, limit: int | None
) -> Iterator[Entry]:
    empty = True
    for where, row in islice(rows, limit):
        empty = False
        yield _entry(where, row, columns)
    if empty:
        raise EmptyText(source, expected="at least one row", found="none")


def _entry(where: str, row: Mapping[str, object], columns: Columns) -> Entry:
    name, *_ = columns.chosen(row, where)
    value = row[name]
    text = messages = None
    if isinstance(value, str) and name == columns.text:
        text = _text(value, where)
    elif isinstance(value, list):
        messages = _messages(value, where)
    else:
        expected = f"a text or a list of messages in {name!r}"
        raise BadCorpus(where, expected=expected, found=reprlib.repr(value))
    labels = {
        name: label_of(row[name], f"{where}, column {name!r}")
        for name in columns.labels
        if columns.spans is None or name in row
    }
    group = None if columns.group is None else _group(row[columns.group], where)
    spans: tuple[Span, ...] = ()
    if columns.spans is not None:
        there = f"{where}, column {columns.spans!r}"
        spans = tuple(_spans(row[columns.spans], columns.labels, labels, there))
    return Entry(text, messages, labels, group, where, spans)


def _spans(
    value: object, names: Sequence[str], labels: Mapping[str, int], where: str
) -> Iterator[Span]:
    """The stretches of a cell: a list of [start, end], or of objects with these and labels.

    Args:
        names: of all label columns. labels: those of the row, for stretches without their own.

    Raises:
        BadCorpus, BadJson: it is no such list. BadLabel: a label that is none, or is missing.
    """
    if isinstance(value, str):  # as a cell of CSV has it
        value = strictjson.loads(value.encode(), where)
    if not isinstance(value, list):
        expected = "a list of stretches, each [start, end] or {start, end}"
        raise BadCorpus(where, expected=expected, found=reprlib.repr(value))
    for number, item in enumerate(value, start=1):
        there = f"{where}, stretch {number}"
        span = item if isinstance(item, Mapping) else {}
        ends = (span.get("start"), span.get("end")) if span else item
        if not _is_stretch(ends):
            expected = "start and end, characters of the text, start < end"
            raise BadCorpus(there, expected=expected, found=reprlib.repr(item))
        own = {
            name: label_of(span[name], f"{there}, {name!r}")
            for name in names
            if span.get(name) is not None
        }
        both = {**labels, **own}
        if missing := [name for name in names if name not in both]:
            raise BadLabel(there, expected=f"a label {missing[0]!r}, 0 or 1", found="none")
        yield int(ends[0]), int(ends[1]), both


def _is_stretch(ends: object) -> TypeGuard[tuple[int, int]]:
    return (
        isinstance(ends, list | tuple)
        and len(ends) == 2
        and all(type(end) is int for end in ends)
        and 0 <= ends[0] < ends[1]
    )


def _text(value: str, where: str) -> str:
    if not value:
        raise EmptyText(where, expected="at least one character", found="none")
    _check_unicode(value, where)
    return value


def _messages(value: Sequence[object], where: str) -> tuple[Mapping[str, object], ...]:
    if not value:
        raise EmptyText(where, expected="at least one message", found="none")
    chat: list[Mapping[str, object]] = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(member), str) for member in ("role", "content")
        ):
            raise BadCorpus(
                f"{where}, message {number}",
                expected="an object with a role and a content, both text",
                found=reprlib.repr(message),
            )
        # In Parquet a member that one message has is there, as null, in all of them.
        chat.append({name: item for name, item in message.items() if item is not None})
    try:
        _check_unicode(json.dumps(chat, ensure_ascii=False), where)
    except TypeError as error:
        raise BadCorpus(where, expected="messages that JSON can hold", found=error) from None
    return tuple(chat)


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"a lone surrogate at character {error.start + 1}"
        raise BadText(where, expected="Unicode text", found=found) from None


def _group(value: object, where: str) -> str | None:
    """The group's name; an empty cell of CSV, null and NaN are none."""
    if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, list | Mapping | bytes):
        expected = "a group that is a text or a number"
        raise BadCorpus(where, expected=expected, found=reprlib.repr(value))
    _check_unicode(str(value), where)
    return str(value)
