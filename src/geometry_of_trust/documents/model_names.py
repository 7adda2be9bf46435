"""What a model is called, and whether two names are those of one model."""

from __future__ import annotations

import os
from pathlib import PurePath

_PLACES = ("/", "./", "../", "~", "\\")


def model_name(model: str) -> str:
    """The name that is written of a model if its user gives none.

    Of a folder or file the last part, since a path is the affair of one machine, and may tell
    whose; of the hub the name there.
    """
    if not (os.path.exists(model) or _is_path(model)):
        return model
    return PurePath(os.path.abspath(model)).name or model


def same_model(one: str, other: str) -> bool:
    """Equal names, or of a folder or file, however it was reached: `tiny`, `tiny/`, `/data/tiny`.

    Files written before names were made by `model_name` hold paths as they were typed. Names of the
    hub are compared as they are; what a path ends in is compared with the end of another name.
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
