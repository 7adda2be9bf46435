"""Which tokens `--tokens` means: one grammar for every command, and for what is recorded.

`--position` (`documents.positions`) picks among the tokens that this chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, cast

from geometry_of_trust.errors import BadOption

Kind = Literal[
    "all", "assistant", "user", "system", "last-assistant", "thinking", "chars", "after", "between"
]
ALL = "all"
CHATS = ("assistant", "user", "system", "last-assistant", "thinking")
"""Words for tokens that only a chat has."""

WORDS = (ALL, *CHATS, "chars")
"""Words that are a choice by themselves."""

MAX_CHARACTERS = 1024
_SEPARATORS = (":", "|", "/", "#")


@dataclass(frozen=True)
class TokenChoice:
    """Which tokens of a text are chosen.

    Attributes:
        kind: one of `WORDS`, `after` or `between`.
        strings: of `after` the one that the tokens come after, of `between` the two; else none.
    """

    kind: Kind
    strings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str, where: str = "--tokens") -> Self:
        """The choice of this name: a word, `after:STRING` or `between:A:B`.

        The two strings of `between` are parted by the character that follows the word: a colon,
        or one of `|`, `/`, `#` where a string has a colon in it. It stands in neither string.

        Raises:
            BadOption: none of these, or longer than `MAX_CHARACTERS`.
        """
        found = _parsed(name) if len(name) <= MAX_CHARACTERS else None
        if found is None:
            expected = f"{', '.join(WORDS)}, after:STRING or between:A:B"
            raise BadOption(where, expected=expected, found=name[:80])
        kind, strings = found
        return cls(kind, strings)

    @property
    def of_chats(self) -> bool:
        """Whether only a chat has such tokens."""
        return self.kind in CHATS


def _parsed(name: str) -> tuple[Kind, tuple[str, ...]] | None:
    """The kind and the strings of a name; None if it is none."""
    if name in WORDS:
        return cast("Kind", name), ()
    if name.startswith("after:") and name != "after:":
        return "after", (name.removeprefix("after:"),)
    rest = name.removeprefix("between")
    if rest != name and rest[:1] in _SEPARATORS:
        strings = tuple(rest[1:].split(rest[0]))
        if len(strings) == 2 and all(strings):
            return "between", strings
    return None
