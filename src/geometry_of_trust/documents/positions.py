"""Which tokens `--position` means: one grammar for every command, and for what is signed."""

from __future__ import annotations

import re
from collections.abc import Collection

from geometry_of_trust.errors import BadOption, PositionMissing

ONE_ROW = ("last", "first", "mean")
"""Words for one row of a text."""

MANY_ROWS = (*ONE_ROW, "all")
"""Words for what rows a text gives."""

EVERY = "every"
"""The word for a reading of every row by itself."""

READ = (*ONE_ROW, EVERY)
"""Words for the rows that a probe reads in an attestation."""

_NUMBER = re.compile("0|[1-9][0-9]{0,9}")


def check_position(position: str, words: Collection[str], where: str = "--position") -> None:
    """One of the words, or a number in ASCII digits without leading zeros, at most ten.

    Args:
        position: what was asked for. words: `ONE_ROW` or `MANY_ROWS`.
        where: for the error.

    Raises:
        BadOption: neither.
    """
    if position not in words and not _NUMBER.fullmatch(position):
        expected = f"{', '.join(words)} or a number without leading zeros"
        raise BadOption(where, expected=expected, found=position)


def numbered(index: str, count: int, where: str) -> int:
    """The number of a position that was checked and is no word.

    Raises:
        PositionMissing: there are fewer than `index` + 1.
    """
    if int(index) >= count:
        raise PositionMissing(where, expected=f"a position from 0 to {count - 1}", found=index)
    return int(index)


def position_index(position: str, positions: int, where: str = "--position") -> int | None:
    """The row that a position names: a number, or None for the mean of all, and for every row.

    Args:
        position: `last`, `first`, `mean`, `every` or a number without leading zeros.
        positions: how many rows there are. where: for errors.

    Raises:
        BadOption: another word. PositionMissing: a number beyond the last row.
    """
    check_position(position, READ, where)
    if position in ("mean", EVERY):
        return None
    if position in ("last", "first"):
        return positions - 1 if position == "last" else 0
    return numbered(position, positions, where)
