"""Tables that read JSON and write it: each kind, both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from geometry_of_trust.documents.schema import (
    FLOAT,
    STRING,
    U16,
    U32,
    U64,
    Kind,
    mapping,
    member,
    record,
)
from geometry_of_trust.errors import MissingMember, UnknownMember, WrongType


@dataclass(frozen=True)
class Pair:
    """Something with a member that may be missing, and one that is left out."""

    first: int
    second: int = 2
    third: int = 3


PAIR = record(
    Pair,
    member("first", U16),
    member("second", U16, written="zweites", default=2),
    member("third", U16, default=3, omitted=True),
)


@pytest.mark.parametrize(("kind", "bits"), [(U16, 16), (U32, 32), (U64, 64)])
def test_an_integer_has_its_bits(kind: Kind[int], bits: int) -> None:
    for number in (0, 2**bits - 1):
        assert kind.write(kind.read(number, "n")) == number
    for number in (-1, 2**bits):
        with pytest.raises(WrongType) as caught:
            kind.read(number, "n")
        assert caught.value.where == "n"


def test_zero_has_one_sign() -> None:
    assert math.copysign(1, FLOAT.read(-0.0, "x")) == 1


def test_what_is_written_where_a_member_is_its_default() -> None:
    assert PAIR.write(Pair(1)) == {"first": 1, "zweites": 2}
    assert PAIR.write(Pair(1, 4, 5)) == {"first": 1, "zweites": 4, "third": 5}
    for pair in (Pair(1), Pair(1, 4, 5)):
        assert PAIR.read(PAIR.write(pair), "p") == pair
    assert PAIR.read({"first": 1}, "p") == Pair(1)
    with pytest.raises(MissingMember):
        PAIR.read({"zweites": 2}, "p")


def test_a_mapping_has_its_names_and_no_others() -> None:
    kind = mapping(("a", "b"), STRING)
    value = {"a": "x", "b": "y"}
    assert kind.read(value, "m") == kind.write(value) == value
    with pytest.raises(MissingMember):
        kind.read({"a": "x"}, "m")
    with pytest.raises(UnknownMember):
        kind.read(value | {"c": "z"}, "m")
    with pytest.raises(WrongType) as caught:
        kind.read({"a": "x", "b": 1}, "m")
    assert caught.value.where == "m.b"
