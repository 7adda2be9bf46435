"""Labels: what 0 and 1 are called, and the labels file, which has one a position, as text."""

from __future__ import annotations

import reprlib

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadLabel, BadText
from geometry_of_trust.files import PathLike, read_bounded

# What Unicode calls White_Space, which the reference trims; str.strip() alone takes more.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
EXPECTED = "0, 1, true or false"
_WORDS = {"1": 1, "true": 1, "0": 0, "false": 0}
# In tables, any case and 1.0, too: so spreadsheets write them, and pandas a column with gaps.
_CELLS = _WORDS | {"1.0": 1, "0.0": 0}


def label_of(value: object, where: str, *, hint: str = "") -> int:
    """The label that a cell of a table holds, of whatever kind of file: 0 or 1.

    Args:
        value: a bool, an int or a float equal to 0 or 1; or text, without regard to case and to
            white space around it: 0, 1, 0.0, 1.0, true, false.
        where: row and column, for the error. hint: what to do about it.

    Raises:
        BadLabel: anything else; an empty cell and null among them.
    """
    label = label_or_none(value)
    if label is None:
        raise bad_label(value, where, hint=hint)
    return label


def bad_label(value: object, where: str, *, hint: str = "") -> BadLabel:
    """The error for a cell that holds no label; what each is, as of `label_of`."""
    empty = value is None or (isinstance(value, str) and not value.strip(WHITE_SPACE))
    found = "an empty cell" if empty else reprlib.repr(value)
    return BadLabel(where, expected=EXPECTED, found=found, hint=hint)


def label_or_none(value: object) -> int | None:
    """As `label_of`, but None for what is no label."""
    if isinstance(value, str):
        word = value if value in _CELLS else value.strip(WHITE_SPACE).lower()
        return _CELLS.get(word)
    if isinstance(value, int | float) and value in (0, 1):
        return int(value)
    return None


def read_labels(path: PathLike) -> NDArray[np.int8]:
    """The labels of a `.labels` file: 0 or 1, shape (n,), int8; blank lines are skipped.

    Its words are the reference's, to the letter: `True` and `1.0` are for tables.

    Raises:
        Unreadable, TooLarge: as `read_bounded`.
        BadText: the file is not UTF-8.
        BadLabel: a line other than 0, 1, true or false; the error names the line.
    """
    try:
        text = read_bounded(path).decode()
    except UnicodeDecodeError as error:
        raise BadText(path, expected="UTF-8", found=f"byte at offset {error.start}") from None
    labels = []
    for number, line in enumerate(text.split("\n"), start=1):
        word = line.strip(WHITE_SPACE)
        if word and word not in _WORDS:
            raise BadLabel(f"{path}, line {number}", expected=EXPECTED, found=word)
        if word:
            labels.append(_WORDS[word])
    return np.array(labels, np.int8)


def labels_stub(count: int) -> bytes:
    """A labels file to be filled in: `count` lines of 0."""
    return b"0\n" * count
