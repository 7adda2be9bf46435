"""From a corpus to tokens on disk: read once, in bounded memory, before any weight is loaded."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from geometry_of_trust.corpus.chats import ChatTemplate
from geometry_of_trust.corpus.entries import Entry
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.corpus.token_choosing import Origin, chosen_tokens
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import BadLabel, BadOption, EmptyText
from geometry_of_trust.extraction.options import utf8
from geometry_of_trust.extraction.tokenizing import (
    MAX_CHARACTERS,
    Encoded,
    begins_twice,
    check_characters,
    encode,
    ids_alone,
    token_text,
)
from geometry_of_trust.formats.row_writer import PLACES, Places, RowWriter, TextRows

if TYPE_CHECKING:
    from geometry_of_trust.extraction.running import Opened
    from geometry_of_trust.extraction.tokenizing import Tokenizer

_CHUNK = 256
"""Texts that the tokenizer gets at a time; it runs them in parallel."""


@dataclass(eq=False)
class Plan:
    """What is to be run: counted, and its tokens in a file.

    Attributes:
        lengths: number of tokens of each text. rows: number of rows that each gives.
        tokens_path: the file of all token ids, u32, one text after the other; the highest bit of
            a token that is kept is set.
        corpus_sha256: of the texts, each with its length before it.
        rows_sha256: of the row table.
        chats: whether any text is a chat put through the template.
        begun_twice: how many texts begin with the same special token twice.
        dated: in how many chats the template writes the date.
    """

    tokens_path: Path
    lengths: array[int] = field(default_factory=lambda: array("I"))
    rows: array[int] = field(default_factory=lambda: array("I"))
    corpus_sha256: str = ""
    rows_sha256: str = ""
    chats: bool = False
    begun_twice: int = 0
    dated: int = 0

    @property
    def total_rows(self) -> int:
        """Rows of the activations."""
        return sum(self.rows)

    @property
    def total_tokens(self) -> int:
        """Tokens of all texts."""
        return sum(self.lengths)

    def tokens(self) -> Tokens:
        """The token ids, for looking up."""
        return Tokens(self)


KEPT = 1 << 31
"""Set in the token file for a token that gives a row, or is part of a mean."""


class Tokens:
    """Token ids of a plan, by text."""

    def __init__(self, plan: Plan) -> None:
        starts = np.zeros(len(plan.lengths) + 1, np.int64)
        np.cumsum(np.array(plan.lengths, np.int64), out=starts[1:])
        self._starts = starts
        self._ids = np.memmap(plan.tokens_path, "<u4", "r")

    def text(self, n: int) -> tuple[list[int], list[int]]:
        """Token ids of the n-th text, and the indices of those kept."""
        words = np.array(self._ids[self._starts[n] : self._starts[n + 1]])
        return (words & ~np.uint32(KEPT)).tolist(), np.flatnonzero(words & KEPT).tolist()


class CorpusDigest:
    """`Record.prompt_sha256` of texts that are given one by one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"GOT-CORPUS-V1\0")

    def add(self, text: str, where: str) -> None:
        """Take the next text; raises BadText, as `utf8`."""
        data = utf8(text, where)
        self._hash.update(len(data).to_bytes(8, "little") + data)

    def hexdigest(self) -> str:
        """Of all of them, 64 hex digits."""
        return self._hash.hexdigest()


def make_plan(
    entries: Iterable[Entry],
    opened: Opened,
    options: RowOptions,
    *,
    tokens_path: Path,
    rows_file: BinaryIO,
    labels_file: BinaryIO,
) -> Plan:
    """Read a corpus once, tokenize it and write its row table.

    Args:
        opened: the tokenizer, and what the model takes.
        options: which tokens give rows, and with which labels.
        tokens_path, rows_file: where the tokens go, and the row table.
        labels_file: gets a label a line, from the first label column, or 0 if there is none.

    Raises:
        EmptyText, TextTooLong, NoTokenizer, PositionMissing, BadText: naming the text.
        BadChat: a chat that the tokenizer's template does not take, or no template.
        BadOption: as `ChatTemplate.text`; tokens chosen by a tokenizer that does not tell what of
            a text each covers.
        TokensMissing, AmbiguousTurns, BadLabel: as `chosen_tokens`.
        and what reading the corpus raises.
    """
    plan = Plan(tokens_path)
    corpus = CorpusDigest()
    template = ChatTemplate(
        opened.tokenizer,
        add_generation_prompt=options.add_generation_prompt,
        date=options.date,
        reproducible=opened.request.reproducible,
    )
    texts = _Texts(opened.tokenizer, template)
    choice = None if options.choice.kind == ALL else options.choice
    if choice is not None and not opened.tokenizer.is_fast:
        expected = "a tokenizer that tells which characters each token covers"
        raise BadOption("--tokens", expected=expected, found="a slow one")
    position, label_columns, placed = options.place, options.label_columns, choice is not None
    with (
        tokens_path.open("wb") as tokens,
        RowWriter(rows_file, label_columns, placed=placed) as writer,
    ):
        for n, (entry, text, encoded) in enumerate(texts.encoded(entries)):
            corpus.add(text, entry.where)
            if not encoded.ids:
                raise EmptyText(entry.where, expected="at least one token", found="none")
            opened.check(encoded.ids, entry.where)
            origins = None
            if choice is not None:
                origins = chosen_tokens(
                    choice, entry, template, texts.ids, text=text, encoded=encoded
                )
            kept = position.kept(encoded.special, entry.where, origins)
            words = np.array(encoded.ids, "<u4")
            words[kept] |= KEPT
            tokens.write(words.tobytes())
            rows = _rows(n, entry, encoded, kept, texts, mean=position.mean)
            if origins is not None:
                of_rows = [origins[t] for t in kept]
                rows = replace(rows, places=_places(of_rows, entry, label_columns, position.mean))
            writer.add(rows)
            labels_file.writelines(b"%d\n" % label for label in _labels(rows, label_columns))
            plan.lengths.append(len(encoded.ids))
            plan.rows.append(len(rows.special))
            plan.chats |= entry.messages is not None
            start = list(zip(encoded.ids[:2], encoded.special[:2], strict=True))
            plan.begun_twice += begins_twice(start)
    if not plan.lengths:
        raise EmptyText("corpus", expected="at least one text", found="none")
    plan.corpus_sha256 = corpus.hexdigest()
    plan.rows_sha256 = writer.digest.hexdigest()
    plan.dated = template.dated
    return plan


def _places(
    origins: Sequence[Origin], entry: Entry, label_columns: Sequence[str], mean: bool
) -> Places:
    """Where the rows of one text stand.

    Raises:
        BadLabel: the mean of tokens whose labels differ.
    """
    if mean:
        turns, roles = ({getattr(origin, name) for origin in origins} for name in PLACES)
        labels = {tuple(origin.labels.items()) for origin in origins}
        if len(labels) > 1:
            raise BadLabel(entry.where, expected="one label for all tokens of a mean", found="both")
        one = [*turns], [*roles]  # of several turns or roles a mean is of none
        turn, role = (values[0] if len(values) == 1 else None for values in one)
        origins = [Origin(turn, role, origins[0].labels)]
    return Places(
        turn=[origin.turn for origin in origins],
        role=[origin.role for origin in origins],
        labels={
            name: [{**entry.labels, **origin.labels}[name] for origin in origins]
            for name in label_columns
        },
    )


def _labels(rows: TextRows, label_columns: Sequence[str]) -> Sequence[int]:
    """The label of each row in the first column, 0 if there is none."""
    if not label_columns:
        return [0] * len(rows.special)
    if rows.places is not None:
        return rows.places.labels[label_columns[0]]
    return [rows.labels[label_columns[0]]] * len(rows.special)


def _rows(
    n: int, entry: Entry, encoded: Encoded, kept: Sequence[int], texts: _Texts, *, mean: bool
) -> TextRows:
    """The rows of one text."""
    if mean:
        none: list[None] = [None]
        return TextRows(n, entry.group, none, none, none, none, [False], entry.labels, encoded.ids)
    return TextRows(
        text=n,
        group=entry.group,
        token_index=kept,
        token_id=[encoded.ids[t] for t in kept],
        token=[texts.token(encoded.ids[t]) for t in kept],
        span=[encoded.spans[t] for t in kept],
        special=[encoded.special[t] for t in kept],
        labels=entry.labels,
        tokens=encoded.ids,
    )


class _Texts:
    """Entries as texts and tokens."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._token_texts: dict[int, str] = {}

    def encoded(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, str, Encoded]]:
        """Each entry with its text and its tokens, some hundred at a time, fewer if long.

        Raises:
            TextTooLong: as `check_characters`. BadChat, TokenizerFailed.
        """
        for chunk, texts in self._chunks(entries):
            # A template writes the special tokens itself.
            chats = [entry.messages is not None for entry in chunk]
            encoded: dict[int, Encoded] = {}
            for chat in (False, True):
                chosen = [k for k, is_chat in enumerate(chats) if is_chat is chat]
                if chosen:
                    some = [texts[k] for k in chosen]
                    many = encode(self._tokenizer, some, add_special=not chat)
                    encoded |= dict(zip(chosen, many, strict=True))
            for k, entry in enumerate(chunk):
                yield entry, texts[k], encoded[k]

    def _chunks(self, entries: Iterable[Entry]) -> Iterator[tuple[list[Entry], list[str]]]:
        """Entries with their texts: a number of them, or one beyond `MAX_CHARACTERS` in all."""
        chunk: list[Entry] = []
        texts: list[str] = []
        characters = 0
        for entry in entries:
            text = self._text(entry)
            check_characters(text, entry.where)
            chunk.append(entry)
            texts.append(text)
            characters += len(text)
            if len(chunk) == _CHUNK or characters > MAX_CHARACTERS:
                yield chunk, texts
                chunk, texts, characters = [], [], 0
        if chunk:
            yield chunk, texts

    def _text(self, entry: Entry) -> str:
        if entry.messages is None:
            assert entry.text is not None  # noqa: S101 - one of the two
            return entry.text
        return self._template.text(entry.messages, entry.where)

    def ids(self, text: str) -> list[int]:
        """The ids of a text's tokens, with no special ones added."""
        return ids_alone(self._tokenizer, text)

    def token(self, number: int) -> str:
        """A token's text; each is decoded once."""
        if number not in self._token_texts:
            self._token_texts[number] = token_text(self._tokenizer, number)
        return self._token_texts[number]
