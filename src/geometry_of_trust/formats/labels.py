"""The labels file: one 0 or 1 per position, as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadLabel, BadText
from geometry_of_trust.files import PathLike, read_bounded

# What Unicode calls White_Space, which the reference trims; str.strip() alone takes more.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
LABELS = {"1": 1, "true": 1, "0": 0, "false": 0}


def read_labels(path: PathLike) -> NDArray[np.int8]:
    """The labels of a `.labels` file: 0 or 1, shape (n,), blank lines skipped.

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
        if word and word not in LABELS:
            raise BadLabel(f"{path}, line {number}", expected="0, 1, true or false", found=word)
        if word:
            labels.append(LABELS[word])
    return np.array(labels, np.int8)


def labels_stub(count: int) -> bytes:
    """A labels file to be filled in: `count` lines of 0."""
    return b"0\n" * count
