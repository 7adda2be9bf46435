"""Strict JSON in, and one spelling out: the text rules of probe sets and attestations.

Reading refuses what makes two readers see different documents: duplicate members, NaN, excessive
depth or size, lone surrogates. Writing gives exactly one text for a value: members in the order
given, two spaces of indent, no trailing newline, and every float as the shortest decimal that
reads back to the same float32 (reference.md 0 and 3).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

from geometry_of_trust.errors import BadJson, BadText, DuplicateMember, TooLarge
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike

MAX_DEPTH = 16
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_FLOAT32 = struct.Struct("<f")


def loads(data: bytes, where: PathLike) -> object:
    """Parse UTF-8 JSON strictly into dicts, lists, str, int, float, bool and None.

    Raises:
        TooLarge: more than 16 MiB. BadText: not UTF-8, or a lone surrogate.
        BadJson: a syntax error, NaN or infinity, a byte-order mark, nesting beyond 16.
        DuplicateMember: a member that appears twice in one object.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise TooLarge(where, expected=f"at most {MAX_DOCUMENT_BYTES} bytes", found=len(data))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadText(where, expected="UTF-8", found=f"byte {error.start}: not UTF-8") from None
    _check_depth(text, where)

    def constant(name: str) -> NoReturn:
        raise BadJson(where, expected="finite numbers", found=name)

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        tree = dict(pairs)
        if len(tree) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DuplicateMember(where, expected="each member once", found=repr(twice))
        return tree

    try:
        tree: object = json.loads(text, parse_constant=constant, object_pairs_hook=members)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise BadJson(where, expected="a JSON document", found=place) from None
    except ValueError as error:  # an integer of thousands of digits
        raise BadJson(where, expected="numbers of ordinary length", found=error) from None
    if "\\u" in text:  # the only way in for a lone surrogate, once the bytes are UTF-8
        try:
            json.dumps(tree, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise BadText(where, expected="Unicode text", found="a lone surrogate") from None
    return tree


def _check_depth(text: str, where: PathLike) -> None:
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise BadJson(where, expected=f"nesting of at most {MAX_DEPTH}", found="more")


def dumps(tree: object) -> bytes:
    """The one text of `tree`, as UTF-8.

    Raises:
        ValueError: a float in it is not a float32 value.
    """
    return _text(tree, "\n", shortest_float32).encode("utf-8")


def dumps_sorted(tree: object) -> bytes:
    """`tree` as the reference spells an outer object: members sorted, floats as doubles."""
    return _text(_sorted(tree), "\n", shortest_float64).encode("utf-8")


def _sorted(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: _sorted(tree[name]) for name in sorted(tree)}
    return [_sorted(value) for value in tree] if isinstance(tree, list) else tree


def _text(value: object, newline: str, number: Callable[[float], str]) -> str:
    if isinstance(value, dict):
        inner = [f"{json.dumps(k, ensure_ascii=False)}: {_text(v, newline + '  ', number)}"
                 for k, v in value.items()]  # fmt: skip
        brackets = "{}"
    elif isinstance(value, list | tuple):
        inner = [_text(v, newline + "  ", number) for v in value]
        brackets = "[]"
    elif isinstance(value, float):
        return number(value)
    else:
        return json.dumps(value, ensure_ascii=False)
    if not inner:
        return brackets
    body = f",{newline}  ".join(inner)
    return f"{brackets[0]}{newline}  {body}{newline}{brackets[1]}"


def float32(x: float) -> float:
    """The float32 nearest to `x`, as a float; an infinity where it overflows."""
    try:
        value: float = _FLOAT32.unpack(_FLOAT32.pack(x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)
    return value


def shortest_float32(x: float) -> str:
    """The shortest decimal that reads back to the float32 `x` through a double; -0.0 is `0.0`.

    Reading goes through a double because the reference's reader does; for a few values (bits
    0x15ae43fd, for one) the shortest decimal of the float32 alone then lands one unit off.
    Layout as the reference's writer: plain up to 13 digits before and 5 zeros after the point.

    Raises:
        ValueError: `x` is not a float32 value.
    """
    if x == 0:
        return "0.0"
    return ("-" if x < 0 else "") + _laid_out(*_digits(abs(x)), before=13, zeros=5)


def shortest_float64(x: float) -> str:
    """The shortest decimal that reads back to the finite double `x`; -0.0 is `0.0`.

    Layout as the reference's writer: plain up to 16 digits before and 4 zeros after the point.
    """
    if x == 0:
        return "0.0"
    mantissa, _, power = f"{Decimal(repr(abs(x))):e}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).rstrip("0")
    exponent = int(power) + 1 - len(digits)
    return ("-" if x < 0 else "") + _laid_out(digits, exponent, before=16, zeros=4)


def _laid_out(digits: str, exponent: int, *, before: int, zeros: int) -> str:
    """Digits times a power of ten, with at most so many digits before and zeros after the point."""
    point = len(digits) + exponent  # where the decimal point stands in the digits
    if exponent >= 0 and point <= before:
        return f"{digits}{'0' * exponent}.0"
    if 0 < point <= before:
        return f"{digits[:point]}.{digits[point:]}"
    if -zeros <= point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1}"


def _digits(x: float) -> tuple[str, int]:
    """Fewest decimal digits, nearest to `x` among these, and the power of ten of the last."""
    at_power_of_two = math.frexp(x)[0] == 0.5
    for precision in range(1, 18):
        mantissa, _, power = f"{x:.{precision - 1}e}".partition("e")
        nearest = int(mantissa.replace(".", ""))
        exponent = int(power) - precision + 1
        # Below a power of two the float32 lie twice as close, so that of two decimals of this
        # length the farther one, above, may be the only one that reads back.
        for number in (nearest, nearest + 1) if at_power_of_two else (nearest,):
            if float32(float(f"{number}e{exponent}")) == x:
                digits = str(number)
                stripped = digits.rstrip("0")
                return stripped, exponent + len(digits) - len(stripped)
    raise ValueError(f"{x!r} is not a float32")
