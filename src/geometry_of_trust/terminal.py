"""Text of others made safe to read: nothing in it moves, hides or reorders what stands around it.

Control and direction characters become escapes, and so do letters that are read from right to
left, marks that combine with their neighbours, and blanks that are no space.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_NAME_BYTES = 256
"""Longest name, in UTF-8, that is signed, and that is shown whole."""

_BLANK = "\u115f\u1160\u2800\u3164\uffa0\ufffc\U0001d159"
"""What Unicode takes for letters and symbols, and a terminal shows as nothing."""

_JOINING = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff\U0001f3fb-\U0001f3ff]")
"""Letters and symbols that a terminal draws onto the one before: Hangul vowels, shades of skin."""

_FROM_RIGHT = {"R", "AL", "AN"}
_ISOLATE, _END = "\u2068", "\u2069"
_MARKS = 3
_MARK, _RIGHT, _HARMLESS, _OTHER = range(4)
_BARE = re.compile(r"[\w.+/:@%~#-]+")


def escaped(text: object, limit: int = 200) -> str:
    """A part of a line, made safe for a terminal.

    Of several blanks all but the first are escaped, too: they could push text to where another line
    seems to begin.

    Args:
        limit: how many of its characters are shown, with `...` for the rest.
    """
    return re.sub("(?<= ) ", r"\\x20", escaped_line(_cut(str(text), limit)))


def escaped_line(text: str) -> str:
    """A whole line, made safe for a terminal; its blanks are ours."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([_shown(c) for c in text])


def escaped_prose(text: str, limit: int = 100) -> str:
    """The same for what a model reads, which may be of any script.

    A few marks stay on the letter that they belong to, and text with letters from right to left
    is isolated from what stands around it, instead of escaped.
    """
    raw = _cut(text, limit)
    shown, marks, isolated = [], _MARKS, False
    for c in raw:
        kind = _kind(c)
        mark = kind == _MARK
        marks = marks + 1 if mark else 0 if c.isalpha() else _MARKS
        isolated |= kind == _RIGHT
        keep = marks <= _MARKS if mark else kind != _OTHER
        shown.append(c if keep else _escape(c))
    return f"{_ISOLATE}{''.join(shown)}{_END}" if isolated else "".join(shown)


def quoted(name: str) -> str:
    """A name between quotes that it cannot close: whole, or cut at 256 bytes and said to be."""
    size = len(name.encode("utf-8", "surrogatepass"))
    rest = ""
    if size > MAX_NAME_BYTES:
        start = name[:MAX_NAME_BYTES].encode("utf-8", "surrogatepass")[:MAX_NAME_BYTES]
        name, rest = start.decode("utf-8", "ignore"), f"... (cut: {size} bytes)"
    inner = _without_quotes(name)
    return f"'{escaped(inner, len(inner))}'{rest}"


def quoted_prose(text: str) -> str:
    """What a model reads, between quotes that it cannot close; as `escaped_prose`."""
    return f"'{escaped_prose(_without_quotes(text))}'"


def bare_or_quoted(name: str) -> str:
    """A name as it is, where that is one plain word; else as `quoted`."""
    shown = quoted(name)
    return name if _BARE.fullmatch(name) and shown == f"'{name}'" else shown


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def _without_quotes(text: str) -> str:
    return text.replace("\\", r"\\").replace("'", r"\'")


@lru_cache(2**16)
def _shown(c: str) -> str:
    """One character in a line of ours; asked once for each, as a file may have millions."""
    return c if _harmless(c) else _escape(c)


@lru_cache(2**16)
def _kind(c: str) -> int:
    """What a character is to `escaped_prose`: a mark, from right to left, harmless, or neither."""
    if _joins(c) and c not in _BLANK and not _is_selector(c):
        return _MARK
    if unicodedata.bidirectional(c) in _FROM_RIGHT and c.isprintable():
        return _RIGHT
    return _HARMLESS if _harmless(c) else _OTHER


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode()


def _harmless(c: str) -> bool:
    return (
        c.isprintable()
        and c not in _BLANK
        and not _joins(c)
        and unicodedata.bidirectional(c) not in _FROM_RIGHT
    )


def _joins(c: str) -> bool:
    return unicodedata.category(c).startswith("M") or _JOINING.match(c) is not None


def _is_selector(c: str) -> bool:
    return "VARIATION SELECTOR" in unicodedata.name(c, "") or c in "\u034f\u17b4\u17b5"
