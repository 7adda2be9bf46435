"""Where in a chat's text each turn stands: by the template's own account, never by a guess.

A template that marks what the model generates is believed. Of another one, a turn of the assistant
begins where the text ends that asks for it, and ends where the text of the messages up to it ends:
both are rendered, and each must begin the whole chat's text, in characters and in tokens. Where one
does not (some templates write the last turn differently), and for what others say, the chat is
rendered with a mark at the edge of the message's content: without the mark it must be the same.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from geometry_of_trust.corpus.chats import ChatTemplate, Messages
from geometry_of_trust.errors import AmbiguousTurns
from geometry_of_trust.extraction.tokenizing import Encoded

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Members of a message that transformers takes for its reasoning, the first that is there."""

_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""What reasoning stands between, where it is part of the content."""


@dataclass(frozen=True)
class Turn:
    """Characters of a chat's text, from start to before end, that are of one message.

    Attributes:
        number: which message, from 0. role: its role.
    """

    number: int
    role: str
    start: int
    end: int


@dataclass(frozen=True)
class Chat:
    """A chat, and what became of it.

    Attributes:
        text: the whole text. encoded: its tokens. encode: gives the ids of another text's.
        where: for errors.
    """

    template: ChatTemplate
    messages: Messages
    text: str
    encoded: Encoded
    encode: Callable[[str], list[int]]
    where: str

    def turns(self, kind: str) -> list[Turn]:
        """The turns, or parts of turns, that a word of `TokenChoice` chooses.

        Of the assistant: what the model wrote or would have written, its reasoning, calls of tools
        and the token that ends the turn with it. Of others: what their messages say.

        Raises:
            AmbiguousTurns: where one begins or ends is not to be told.
        """
        if kind in ("assistant", "last-assistant"):
            return self._answers(last=kind == "last-assistant")
        if kind == "thinking":
            return [turn for n in self._of("assistant") for turn in self._thinking(n)]
        return [turn for n in self._of(kind) for turn in self._said(n)]

    def _of(self, role: str) -> list[int]:
        return [n for n, message in enumerate(self.messages) if message["role"] == role]

    def _ambiguous(self, number: int, why: str) -> AmbiguousTurns:
        return AmbiguousTurns(
            f"{self.where}, message {number + 1}",
            expected="a chat template that shows where it begins and ends",
            found=why,
            hint="Use a template with {% generation %}, or --tokens after:STRING or "
            "between:A:B, which look at the text itself.",
        )

    # --- answers ------------------------------------------------------------------------------

    def _answers(self, *, last: bool) -> list[Turn]:
        numbers = self._of("assistant")
        marked = self.template.generated(self.messages)
        if marked is None:
            return [self._answer(n) for n in (numbers[-1:] if last else numbers)]
        ids, mask = marked
        runs = _runs(mask)
        if ids != self.encoded.ids or len(runs) != len(numbers):
            found = f"{len(runs)} stretches marked as generated, for {len(numbers)} answers"
            raise self._ambiguous(numbers[-1] if numbers else 0, found)
        turns = []
        for n, run in zip(numbers, runs, strict=True):
            spans = [span for t in run if (span := self.encoded.spans[t]) is not None]
            if spans:
                turns.append(Turn(n, "assistant", spans[0][0], spans[-1][1]))
        for turn in turns:
            # A stretch may be of another message, or of a part of one.
            edges = [self._edge(turn.number, ("content",), front=front) for front in (True, False)]
            if any(edge is not None and not turn.start <= edge <= turn.end for edge in edges):
                found = "a stretch marked as generated that does not hold what it says"
                raise self._ambiguous(turn.number, found)
        return turns[-1:] if last else turns

    def _answer(self, n: int) -> Turn:
        """What the model wrote of message n, by prefixes of the chat."""
        message = self.messages[n]
        start = asked = self._asked_at(n)
        if asked is None and not self._reasons(n) and not _thinks(str(message["content"])):
            start = self._edge(n, ("content",), front=True)
        end = self._prefix(n, self.messages[: n + 1], prompt=False)
        if (end is None or asked is None) and not message.get("tool_calls"):
            said = self._edge(n, ("content",), front=False)
            said = None if said is None else self._after_special(said)
            if end is not None and self.text[said:end].strip():
                end = None  # something else than the turn follows, or where it ends is not shown
            elif end is None:
                end = said
        if start is None or end is None:
            edge = "begins" if start is None else "ends"
            raise self._ambiguous(
                n, f"no prefix of the chat, nor its content, shows where it {edge}"
            )
        written = len(self.text[start:end].rstrip())  # what ends a line after it is the template's
        return Turn(n, "assistant", start, start + written)

    def _asked_at(self, n: int) -> int | None:
        """Where the text ends that asks for message n; None if that is not shown."""
        before = self.messages[:n]
        if not before:
            return None
        start = self._prefix(n, before, prompt=True)
        if start is None or self._rendered(before, prompt=False) != self.text[:start]:
            return start
        # The template asks for nothing: so it has no head before an answer, or does not show it.
        members = self._reasons(n) or ("content",)
        begins = self._edge(n, members, front=True)
        if begins is None or self.text[start:begins].strip() not in ("", *dict(_TAGS)):
            return None
        return start

    def _prefix(self, n: int, messages: Messages, *, prompt: bool) -> int | None:
        """The length of these messages' text, None if the whole text does not begin with it.

        Raises:
            AmbiguousTurns: it does, but its tokens are not the whole's first ones.
        """
        text = self._rendered(messages, prompt=prompt)
        if text is None or not self.text.startswith(text):
            return None
        ids = self.encode(text)
        if self.encoded.ids[: len(ids)] != ids:
            raise self._ambiguous(n, "a token that has characters on both sides of its edge")
        return len(text)

    def _rendered(self, messages: Messages, *, prompt: bool | None = None) -> str | None:
        """As of `ChatTemplate.rendered`; None if the template does not take these messages."""
        try:
            return self.template.rendered(messages, prompt=prompt)
        except Exception:  # whatever the template raises of part of a chat
            return None

    def _after_special(self, end: int) -> int:
        """The end of the special token that begins there, which ends the turn; else the same."""
        for span, special in zip(self.encoded.spans, self.encoded.special, strict=True):
            if special and span is not None and span[0] == end:
                return span[1]
        return end

    # --- what messages say --------------------------------------------------------------------

    def _said(self, n: int) -> Iterator[Turn]:
        """The content of message n, as it stands in the text; nothing if it does not."""
        if not str(self.messages[n]["content"]).strip() or not self._shows(n, ("content",)):
            return
        edges = [self._edge(n, ("content",), front=front) for front in (True, False)]
        if edges[0] is None or edges[1] is None:
            raise self._ambiguous(n, "content that the template changes, moves or writes twice")
        yield Turn(n, str(self.messages[n]["role"]), edges[0], edges[1])

    def _thinking(self, n: int) -> Iterator[Turn]:
        """The reasoning of message n, without the tags; nothing if there is none in the text."""
        message = self.messages[n]
        if there := self._reasons(n):
            if not self._shows(n, there):
                return  # templates leave it out of earlier turns
            edges = [self._edge(n, there, front=front) for front in (True, False)]
            if edges[0] is None or edges[1] is None:
                raise self._ambiguous(n, "reasoning that the template changes or writes twice")
            yield Turn(n, "assistant", edges[0], edges[1])
            return
        if not _tagged(str(message["content"])):
            return
        answer = next(turn for turn in self._answers(last=False) if turn.number == n)
        text = self.text[answer.start : answer.end]
        for opening, closing in _TAGS:
            if opening not in text and closing not in text:
                continue
            asked = self.text[: answer.start].rstrip().endswith(opening)
            if text.count(closing) != 1 or text.count(opening) != (0 if asked else 1):
                raise self._ambiguous(n, f"{opening} and {closing} other than once each")
            start = 0 if asked else text.index(opening) + len(opening)
            thought = text[start : text.index(closing)]
            begin = answer.start + start + len(thought) - len(thought.lstrip())
            if thought.strip():
                yield Turn(n, "assistant", begin, begin + len(thought.strip()))

    # --- marks --------------------------------------------------------------------------------

    @property
    def _mark(self) -> str:
        """A word that is not in the text."""
        seed = self.text
        while (word := "mark" + hashlib.sha256(seed.encode()).hexdigest()[:24]) in self.text:
            seed = word
        return word

    def _marked(self, n: int, members: tuple[str, ...], value: str) -> str | None:
        """The chat's text with another value of a message's members; None if it has none."""
        messages = [dict(message) for message in self.messages]
        messages[n] |= dict.fromkeys(members, value)
        return self._rendered(messages)

    def _reasons(self, n: int) -> tuple[str, ...]:
        """The members that hold the reasoning of message n; none if it has none beside content."""
        there = tuple(name for name in _REASONING if name in self.messages[n])
        return there if there and str(self.messages[n][there[0]]).strip() else ()

    def _shows(self, n: int, members: tuple[str, ...]) -> bool:
        """Whether the text depends on these members."""
        return self.text != self._marked(n, members, self._mark)

    def _edge(self, n: int, members: tuple[str, ...], *, front: bool) -> int | None:
        """Where the value of a message's members begins, or ends; None if that is not shown."""
        value, mark = str(self.messages[n][members[0]]), self._mark
        for same in dict.fromkeys((value, value.strip(), value.lstrip(), value.rstrip())):
            # Templates trim, on one side or both; what they trim is then left out here, too.
            text = self._marked(n, members, mark + same if front else same + mark)
            left, found, right = (text or "").partition(mark)
            if same and found and left + right == self.text:
                return len(left)
        return None


def _runs(mask: list[bool]) -> list[list[int]]:
    """The indices of each stretch of True."""
    numbered = itertools.groupby(enumerate(mask), key=lambda pair: pair[1])
    return [[n for n, _ in stretch] for inside, stretch in numbered if inside]


def _thinks(content: str) -> bool:
    """Whether a content has reasoning in it."""
    return any(closing in content for _, closing in _TAGS)


def _tagged(content: str) -> bool:
    """Whether a content has a tag of reasoning in it: an answer that was cut off has but one."""
    return any(tag in content for tags in _TAGS for tag in tags)
