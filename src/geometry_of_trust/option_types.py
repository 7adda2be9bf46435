"""The values of options are of the types that their fields say, whoever makes them."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin

from geometry_of_trust.errors import BadOption

_KINDS: dict[object, type] = {int: Integral, float: Real}
"""What counts as a number: numpy's, too."""


def check_types(options: Any) -> None:
    """Each field of a frozen dataclass holds what its annotation says.

    Of a `Literal` the type alone is looked at: which values there are is for the options to say.

    Raises:
        BadOption: a field does not; the error names it.
    """
    hints = typing.get_type_hints(type(options))
    for field in fields(options):
        value, hint = getattr(options, field.name), hints[field.name]
        if not _is_a(value, hint):
            raise BadOption(field.name, expected=_spelled(hint), found=repr(value))


def check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """BadOption for a value that is none of those known."""
    if value not in known:
        raise BadOption(name, expected=" or ".join(known), found=value)


def _is_a(value: object, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) for part in parts)
    if origin is tuple:  # of any length
        return isinstance(value, tuple) and all(_is_a(item, parts[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, _KINDS.get(hint, hint))


def _spelled(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_spelled, parts))
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is tuple:
        return f"several of {_spelled(parts[0])}"
    return "None" if hint is type(None) else hint.__name__
