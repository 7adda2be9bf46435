"""Layers as people type them: `8 15`, `8,15`, `8-15`, `0:3`, `-1`, `all`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from geometry_of_trust.errors import BadOption, LayerOutOfRange

_NUMBER = re.compile(r"-?[0-9]{1,4}")
_FROM_TO = re.compile(r"([0-9]{1,4})([-:])([0-9]{1,4})")
_FORMS = "numbers such as 8 or -1 (the last), 8-15 (both ends), 0:3 (0, 1 and 2), or all"


def layers_of(words: Sequence[str] | None) -> list[int] | None:
    """The layers that `--layers` names, in the order typed; None for all, or where nothing is said.

    A number below 0 counts from the end, as in Python; whoever knows the layers resolves it.

    Raises:
        BadOption: a word of another form, or `all` beside others.
    """
    parts = [part for word in words or () for part in word.split(",")]
    if not parts or parts == ["all"]:
        return None
    return [layer for part in parts for layer in _layers(part)]


@contextlib.contextmanager
def as_typed(words: Sequence[str] | None) -> Iterator[None]:
    """A layer that the model does not have is named by what was typed; until the `with` ends.

    Raises:
        LayerOutOfRange.
    """
    try:
        yield
    except LayerOutOfRange as error:
        raise LayerOutOfRange(
            f"--layers {' '.join(words or ())}",
            expected=error.expected, found=error.found, hint=error.hint,
        ) from error  # fmt: skip


def _layers(part: str) -> Sequence[int]:
    if _NUMBER.fullmatch(part):
        return (int(part),)
    if found := _FROM_TO.fullmatch(part):
        first, last = int(found[1]), int(found[3]) + (found[2] == "-")
        if first < last:
            return range(first, last)
    raise BadOption("--layers", expected=_FORMS, found=repr(part))
