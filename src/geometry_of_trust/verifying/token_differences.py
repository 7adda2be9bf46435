"""Where the tokens of two runs first differ, and the dates that their texts hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.extraction.options import LoadingOptions
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.terminal import quoted

if TYPE_CHECKING:
    from geometry_of_trust.extraction.tokenizing import Tokenizer

Ids = Sequence[int]
Decode = Callable[[Ids], str]
"""The text of tokens; raises whatever the tokenizer raises."""

_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    rf"\b(?:\d{{4}}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{{4}}"
    rf"|\d\d?(?:st|nd|rd|th)?[ -]{_MONTH}\.?,?[ -]\d{{4}}"
    rf"|{_MONTH}\.? \d\d?(?:st|nd|rd|th)?,? \d{{4}})\b",
    re.IGNORECASE,
)
"""A day with its year: 2026-11-26, 26/11/2026, 26 Nov 2026, November 26th, 2026."""


def decoder_of(model: str, options: LoadingOptions) -> Decode:
    """What makes text of tokens of a model, whose tokenizer is loaded when it is first asked."""

    @cache
    def tokenizer() -> Tokenizer:
        from geometry_of_trust.extraction import loading  # noqa: PLC0415 - heavy

        trust = options.trust_remote_code
        return loading.load_tokenizer(
            loading.find_model(model, revision=options.revision, trust=trust)
        )

    return lambda ids: str(tokenizer().decode(list(ids), clean_up_tokenization_spaces=False))


def tokens_of(record: Record, rows: RowTable | None) -> Mapping[int, Ids] | None:
    """The ids of the tokens of each text, by its index; None of a corpus without its row table."""
    if record.corpus is None:
        return {0: [token.id for token in record.tokens]}
    if rows is None:
        return None
    starts = [of_text.start for of_text in rows.text_rows()]
    return {int(rows.text[start]): rows.tokens[start] or () for start in starts}


def token_difference(
    ours: Mapping[int, Ids], signed: Mapping[int, Ids], decode: Decode
) -> str | None:
    """The first token that two runs give differently, in words; None if there is none.

    Args:
        ours, signed: as of `tokens_of`.
        decode: asked only for tokens that differ, and the dates in their texts.
    """
    number = next((i for i in sorted({*ours, *signed}) if ours.get(i) != signed.get(i)), None)
    if number is None:
        return None
    mine, theirs = ours.get(number), signed.get(number)
    of_text = f"text {number}" if max(len(ours), len(signed)) > 1 else "the text"
    if mine is None or theirs is None:
        found, other = ("has no rows", "has some") if mine is None else ("has rows", "has none")
        return f"{of_text} {found}, and {other} as signed"
    shorter = min(len(mine), len(theirs))
    place = next((i for i in range(shorter) if mine[i] != theirs[i]), shorter)
    words = [_token(ids, place, decode) for ids in (mine, theirs)]
    return (
        f"token {place} of {of_text}: {words[0]}, signed {words[1]}{_dates(mine, theirs, decode)}"
    )


def _token(ids: Ids, place: int, decode: Decode) -> str:
    if place >= len(ids):
        return f"none, after {len(ids)}"
    try:
        return f"{quoted(decode(ids[place : place + 1]))} (id {ids[place]})"
    except Exception:  # of an id that this tokenizer has not: its number must do
        return f"id {ids[place]}"


def _dates(mine: Ids, theirs: Ids, decode: Decode) -> str:
    """What days the texts name, where the texts are not the same."""
    found = [list(_days(ids, decode)) for ids in (mine, theirs)]
    if not any(found):
        return ""
    here, there = (", ".join(map(quoted, dict.fromkeys(days))) or "none" for days in found)
    return (
        f"; the text holds a date ({here}, signed {there}), which differs from day to day where a "
        "program or a chat template writes it"
    )


def _days(ids: Ids, decode: Decode) -> Iterator[str]:
    """The days that a text names, as it writes them."""
    try:
        text = decode(ids)
    except Exception:  # as above
        return
    yield from (match[0] for match in _DATE.finditer(text))
