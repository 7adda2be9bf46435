"""Whether two names are those of one model, which is called as it was asked for."""

from __future__ import annotations

from pathlib import PurePath

_PLACES = ("/", "./", "../", "~", "\\")


def same_model(one: str, other: str) -> bool:
    """Equal names, or of a folder or file, however it was reached: `tiny`, `tiny/`, `/data/tiny`.

    Names of the hub are compared as they are; what a path ends in is compared with the end of
    another name.
    """
    if one == other:
        return True
    last = _last_part(one)
    return (_is_path(one) or _is_path(other)) and last != "" and last == _last_part(other)


def _is_path(name: str) -> bool:
    """Not a name that the hub could have: at most an owner, a slash and a name."""
    return name.startswith(_PLACES) or name.endswith("/") or name.count("/") > 1


def _last_part(name: str) -> str:
    part = PurePath(name.replace("\\", "/")).name
    return "" if part == ".." else part
