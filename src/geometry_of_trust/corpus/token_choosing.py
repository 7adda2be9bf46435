"""From which tokens are asked for to those of one text: their turns, and labels of their own."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from geometry_of_trust.corpus.chats import ChatTemplate
from geometry_of_trust.corpus.entries import Entry
from geometry_of_trust.corpus.turns import Chat
from geometry_of_trust.documents.token_choice import TokenChoice
from geometry_of_trust.errors import AmbiguousTurns, BadLabel, TokensMissing
from geometry_of_trust.extraction.tokenizing import Encoded


@dataclass(frozen=True)
class Origin:
    """What a chosen token is of.

    Attributes:
        turn: the message of a chat, from 0; None if it was not chosen by its turn.
        role: that message's role, or None. labels: of its own, by name.
    """

    turn: int | None = None
    role: str | None = None
    labels: Mapping[str, int] = field(default_factory=dict)


Stretch = tuple[int, int, Origin]
"""Characters of a text, from start to before end, and what tokens in it are of."""


def chosen_tokens(
    choice: TokenChoice,
    entry: Entry,
    template: ChatTemplate,
    encode: Callable[[str], list[int]],
    *,
    text: str,
    encoded: Encoded,
) -> dict[int, Origin]:
    """The indices of the tokens chosen, ascending: those with a character in what is asked for.

    Args:
        choice: other than all. encode: the ids of a text's tokens, without any added.
        text: of the entry, with its tokens.

    Raises:
        TokensMissing: there are none.
        AmbiguousTurns: as `Chat.turns`; or a token has characters of a turn and of the template.
        BadLabel: a token has two labels.
    """
    if choice.of_chats:
        stretches = _of_turns(choice, entry, template, encode, text=text, encoded=encoded)
    elif choice.kind == "chars":
        stretches = _of_spans(entry, text)
    else:
        stretches = _of_strings(choice, text, entry.where)
    chosen: dict[int, Origin] = {}
    covering = [(t, span) for t, span in enumerate(encoded.spans) if span is not None]
    ends = [end for _, (_, end) in covering]  # ascending, as a tokenizer reads from left to right
    for start, end, origin in stretches:
        if start == end:
            continue  # nothing stands there, though a token may reach from before it to after it
        for t, span in covering[bisect.bisect_right(ends, start) :]:
            if span[0] >= end:
                break
            if choice.of_chats:
                _check_of_one(text, span, (start, end), other=t in chosen, where=entry.where)
            if chosen.setdefault(t, origin) != origin:
                raise BadLabel(
                    f"{entry.where}, token {t}", expected="one label for a token",
                    found=f"{dict(chosen[t].labels)} and {dict(origin.labels)}",
                )  # fmt: skip
    if not chosen:
        raise TokensMissing(
            entry.where,
            expected=f"tokens of --tokens {choice.kind}",
            found="none",
            hint="Leave such texts out, or choose other tokens.",
        )
    return dict(sorted(chosen.items()))


def _of_turns(
    choice: TokenChoice,
    entry: Entry,
    template: ChatTemplate,
    encode: Callable[[str], list[int]],
    *,
    text: str,
    encoded: Encoded,
) -> Iterator[Stretch]:
    if entry.messages is None:
        raise TokensMissing(
            entry.where,
            expected=f"a chat, for --tokens {choice.kind}",
            found="a text",
            hint="Give chats as lists of messages, or --tokens after:STRING or between:A:B.",
        )
    chat = Chat(template, entry.messages, text, encoded, encode, entry.where)
    for turn in chat.turns(choice.kind):
        yield turn.start, turn.end, Origin(turn.number, turn.role)


def _check_of_one(
    text: str, span: tuple[int, int], turn: tuple[int, int], *, other: bool, where: str
) -> None:
    """A token is of one turn alone, but for white space around it."""
    outside = text[span[0] : max(span[0], turn[0])] + text[min(span[1], turn[1]) : span[1]]
    if other or outside.strip():
        raise AmbiguousTurns(
            where,
            expected="tokens that are of one turn alone",
            found=f"{text[slice(*span)]!r}, which has characters of a turn and others",
        )


def _of_spans(entry: Entry, text: str) -> Iterator[Stretch]:
    if entry.messages is not None:  # of which message, or of what the template makes of them?
        raise TokensMissing(
            entry.where, expected="a text, whose characters --tokens chars counts", found="a chat",
            hint="Give texts, or choose tokens of chats by role, after:STRING or between:A:B.",
        )  # fmt: skip
    for start, end, labels in entry.spans:
        if end > len(text):
            raise TokensMissing(
                entry.where, expected=f"characters up to {len(text)}", found=f"{start} to {end}"
            )
        yield start, end, Origin(labels=labels)


def _of_strings(choice: TokenChoice, text: str, where: str) -> Iterator[Stretch]:
    """What comes after the first `after`; or what stands between each A and the next B."""
    opening, *closing = choice.strings
    at = text.find(opening)
    while at >= 0:
        start = at + len(opening)
        if not closing:
            yield start, len(text), Origin()
            return
        end = text.find(closing[0], start)
        if end < 0:
            raise TokensMissing(
                where, expected=f"{closing[0]!r} after {opening!r}", found="the end of the text"
            )
        yield start, end, Origin()
        at = text.find(opening, end + len(closing[0]))
