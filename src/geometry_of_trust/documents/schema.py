"""How values of this package are read from JSON and written to it: strictly, by tables.

A `Kind` reads one value from JSON and writes it. A `Member` is a named one of an object, and
`record` makes the kind of a frozen dataclass from its members, so that one table is both the
encoder and the decoder. What stands in a document until it is read is an `object`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from geometry_of_trust.documents.codes import INNER_PRODUCT_CODES, PRECISION_CODES
from geometry_of_trust.documents.strictjson import float32, shortest_float32
from geometry_of_trust.errors import MissingMember, NonFinite, UnknownMember, WrongType

T = TypeVar("T")
Name = TypeVar("Name", bound=str)
_HEX = re.compile("[0-9a-f]*")
REQUIRED = object()


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How a value is read from JSON (`read(value, where)`) and written to it.

    `read` raises WrongType, and NonFinite, UnknownMember or MissingMember where the kind has
    numbers or members, naming the place.
    """

    read: Callable[[object, str], T]
    write: Callable[[T], object]


@dataclass(frozen=True)
class Member:
    """A named value of an object, which is an attribute of a frozen dataclass.

    Attributes:
        name: as it is written. attribute: the dataclass's name for it.
        read: of its kind. write: takes the dataclass, and writes this attribute of it.
        default: the value where the member may be missing.
        omitted: whether it is left out of the text where it is the default.
    """

    name: str
    attribute: str
    read: Callable[[object, str], object]
    write: Callable[[object], object]
    default: object
    omitted: bool

    @property
    def required(self) -> bool:
        """Whether the object must have it."""
        return self.default is REQUIRED


def member(
    attribute: str,
    kind: Kind[T],
    *,
    written: str | None = None,
    default: object = REQUIRED,
    omitted: bool = False,
) -> Member:
    """A member of this kind; `written` is its name in the text, if that is another one."""
    return Member(
        name=written or attribute,
        attribute=attribute,
        read=kind.read,
        write=lambda owner: kind.write(getattr(owner, attribute)),
        default=default,
        omitted=omitted,
    )


def wrong_type(where: str, expected: object, value: object) -> WrongType:
    """The error for a JSON value of another type than its member takes."""
    return WrongType(where, expected=expected, found=f"{type(value).__name__} {value!r}"[:80])


# --- plain values -----------------------------------------------------------------------------


def integer(bits: int) -> Kind[int]:
    """An unsigned integer of `bits` bits."""

    def read(value: object, where: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise wrong_type(where, f"an integer from 0 to {(1 << bits) - 1}", value)
        return value

    return Kind(read, int)


def _read_string(value: object, where: str) -> str:
    if type(value) is not str:
        raise wrong_type(where, "a string", value)
    return value


def hexadecimal(length: int) -> Kind[str]:
    """`length` bytes, as lower-case hex digits."""

    def read(value: object, where: str) -> str:
        if type(value) is not str or len(value) != 2 * length or not _HEX.fullmatch(value):
            raise wrong_type(where, f"{2 * length} lower-case hex digits", value)
        return value

    return Kind(read, str)


def real(least: float = -math.inf, most: float = math.inf) -> Kind[float]:
    """A float32 value from `least` to `most`."""

    def read(value: object, where: str) -> float:
        if type(value) is not int and type(value) is not float:
            raise wrong_type(where, "a number", value)
        try:
            number = float32(float(value))
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise NonFinite(where, expected="a finite float32", found=value)
        if not least <= number <= most:
            raise wrong_type(where, f"a number from {least:g} to {most:g}", value)
        return number + 0.0  # -0.0 and 0.0 sign alike, so they are one value

    return Kind(read, float)


def decimal(kind: Kind[float]) -> Kind[float]:
    """A float32 value of this kind, as its shortest decimal in a string."""

    def read(value: object, where: str) -> float:
        text = _read_string(value, where)
        try:
            number = float32(float(text))
            fits = shortest_float32(number) == text
        except (ValueError, OverflowError):
            fits = False
        if not fits:
            raise wrong_type(where, "a float32 as its shortest decimal", value)
        return kind.read(number, where)

    return Kind(read, shortest_float32)


def _read_bool(value: object, where: str) -> bool:
    if type(value) is not bool:
        raise wrong_type(where, "true or false", value)
    return value


def choice(names: Iterable[Name]) -> Kind[Name]:
    """One of a few names."""
    known: dict[object, Name] = {name: name for name in names}

    def read(value: object, where: str) -> Name:
        if type(value) is not str or value not in known:
            raise wrong_type(where, " or ".join(known.values()), value)
        return known[value]

    return Kind(read, str)


U16, U32, U64 = integer(16), integer(32), integer(64)
STRING = Kind(_read_string, str)
DIGEST = hexadecimal(32)
FLOAT = real()
BOOL = Kind(_read_bool, bool)
PRECISION = choice(PRECISION_CODES)
INNER_PRODUCT = choice(INNER_PRODUCT_CODES)


# --- values of values -------------------------------------------------------------------------


def vector(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """Any number of values of one kind; a tuple."""

    def read(value: object, where: str) -> tuple[T, ...]:
        if type(value) is not list:
            raise wrong_type(where, "an array", value)
        return tuple(kind.read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return Kind(read, lambda values: [kind.write(value) for value in values])


def optional(kind: Kind[T]) -> Kind[T | None]:
    """A value or null, which is None."""
    return Kind(
        lambda value, where: None if value is None else kind.read(value, where),
        lambda value: None if value is None else kind.write(value),
    )


def mapping(names: Sequence[str], kind: Kind[T]) -> Kind[Mapping[str, T]]:
    """An object with exactly these members, all of one kind; a mapping."""

    def read(value: object, where: str) -> Mapping[str, T]:
        found = _object(value, names, where)
        return {name: kind.read(_member(found, name, where), f"{where}.{name}") for name in names}

    return Kind(read, lambda value: {name: kind.write(value[name]) for name in names})


def record(make: Callable[..., T], *members: Member) -> Kind[T]:
    """A frozen dataclass, as an object with these members."""
    return Kind(
        lambda value, where: make(**read_members(value, members, where)),
        lambda value: write_members(value, members),
    )


def read_members(value: object, members: Sequence[Member], where: str) -> dict[str, object]:
    """The attributes that the members of a JSON object give, each of its kind.

    Raises:
        WrongType, NonFinite, UnknownMember, MissingMember: naming the member by its path.
    """
    found = _object(value, [member.name for member in members], where)
    result: dict[str, object] = {}
    for member in members:
        name, value = member.name, member.default
        if name in found or member.required:
            value = member.read(_member(found, name, where), f"{where}.{name}")
        result[member.attribute] = value
    return result


def write_members(owner: object, members: Sequence[Member]) -> dict[str, object]:
    """The JSON object of a frozen dataclass: members in table order, omitted ones left out."""
    return {
        member.name: member.write(owner)
        for member in members
        if not (member.omitted and getattr(owner, member.attribute) == member.default)
    }


def _object(value: object, known: Sequence[str], where: str) -> dict[str, object]:
    """`value`, which must be an object without unknown members."""
    if type(value) is not dict:
        raise wrong_type(where, "an object", value)
    for name in value:
        if name not in known:
            raise UnknownMember(where, expected="only members of the format", found=repr(name))
    return value


def _member(found: Mapping[str, object], name: str, where: str) -> object:
    if name not in found:
        raise MissingMember(where, expected=f"a member {name!r}", found="none")
    return found[name]
