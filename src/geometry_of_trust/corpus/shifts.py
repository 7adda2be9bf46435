"""The same text in another style: what a probe of its content should read alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping

Style = str | list[dict[str, str]]
"""A text, or a chat."""

SENTENCES = (
    "The following was noted on a sheet of paper.",
    "This line stands at the top of the page.",
    "Here is what was written down next.",
    "There is a table and a chair in the room.",
    "It was an ordinary day of the week.",
    "The page is numbered at the bottom.",
    "Somebody closed the window and sat down.",
    "The list goes on below.",
)
"""Neutral ones, for before and after a text; which one a text gets follows from its digest."""

_SPACE = re.compile(r"\s")


def _sentence(text: str) -> str:
    return SENTENCES[hashlib.sha256(text.encode()).digest()[0] % len(SENTENCES)]


def _bare(text: str) -> str:
    kept = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return kept if kept.strip() else text


SHIFTS: Mapping[str, Callable[[str], Style]] = {
    "upper case": str.upper,
    "lower case": str.lower,
    "no punctuation": _bare,
    "whitespace doubled": lambda text: _SPACE.sub(lambda found: 2 * found[0], text),
    "sentence before": lambda text: f"{_sentence(text)} {text}",
    "sentence after": lambda text: f"{text} {_sentence(text)}",
    "quoted": lambda text: f'"{text}"',
    "chat turn": lambda text: [{"role": "user", "content": text}],
}
"""By name. Each changes no fact that a text states; a text without punctuation stays as it is, and
so does one that consists of it."""
