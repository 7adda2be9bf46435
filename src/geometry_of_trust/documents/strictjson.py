"""Strict JSON in, and one spelling out: the text rules of probe sets and attestations.

Reading refuses what makes two readers see different documents: duplicate members, NaN, excessive
depth or size, lone surrogates. Writing gives exactly one text for a value: members in the order
given, two spaces of indent, no trailing newline, and every float as the shortest decimal that
reads back to the same float32 (reference.md 0 and 3).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from decimal import Context, Decimal
from typing import NoReturn

from geometry_of_trust.errors import BadJson, BadText, DuplicateMember, TooLarge
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike

MAX_DEPTH = 16
MAX_VALUES = 2**21
"""Most values in a document, each member's value and each element counted: more than any that is
written, in at most 16 MiB. A short text of brackets alone would take a hundred times its length."""
_NO_MARKS = bytes(set(range(256)) - set(b'",[]{}'))
_FLOAT32 = struct.Struct("<f")
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def loads(
    data: bytes, where: PathLike, most: int = MAX_VALUES, *, limit: int = MAX_DOCUMENT_BYTES
) -> object:
    """Parse UTF-8 JSON strictly into dicts, lists, str, int, float, bool and None.

    Depth and number of values are bounded before anything is made of them, so that work and memory
    follow the length of `data`.

    Args:
        most: how many values there may be.
        limit: how many bytes there may be.

    Raises:
        TooLarge: more bytes or more values. BadText: not UTF-8, or a lone surrogate.
        BadJson: a syntax error, NaN or infinity, a byte-order mark, nesting beyond 16.
        DuplicateMember: a member that appears twice in one object.
    """
    if len(data) > limit:
        raise TooLarge(where, expected=f"at most {limit} bytes", found=len(data))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadText(where, expected="UTF-8", found=f"byte {error.start}: not UTF-8") from None
    _check_size(data, where, most)

    def constant(name: str) -> NoReturn:
        raise BadJson(where, expected="finite numbers", found=name)

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        tree = dict(pairs)
        if len(tree) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
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


def _check_size(data: bytes, where: PathLike, most: int) -> None:
    """Values and depth are within their bounds, of any text: what is no JSON is seen later."""
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS)
    # Of a pair of quotes with nothing between, the second undoes what the first does.
    outside = "".join(marks.replace(b'""', b"").decode("ascii").split('"')[::2])
    # Before each value but the first stands a comma, or the bracket that it is the first one in.
    found = 1 + sum(map(outside.count, ",[{"))
    if found > most:
        raise TooLarge(where, expected=f"at most {most} values", found=f"up to {found}")
    depth = 0
    for bracket in outside.replace(",", ""):
        depth += 1 if bracket in "[{" else -1
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
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return _quoted(value)
    deeper = newline + "  "
    if isinstance(value, dict):
        inner = [f"{_quoted(k)}: {_text(v, deeper, number)}" for k, v in value.items()]
        brackets = "{}"
    elif isinstance(value, list | tuple):
        inner = [_text(v, deeper, number) for v in value]
        brackets = "[]"
    else:
        return json.dumps(value)
    if not inner:
        return brackets
    return f"{brackets[0]}{deeper}{f',{deeper}'.join(inner)}{newline}{brackets[1]}"


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
    return ("-" if x < 0 else "") + _laid_out(*_digits(abs(x)), before=13, zeros=5)


def shortest_float64(x: float) -> str:
    """The shortest decimal that reads back to the finite double `x`; -0.0 is `0.0`.

    Layout as the reference's writer: plain up to 16 digits before and 4 zeros after the point.
    """
    _, digits, exponent = Decimal(repr(abs(x))).as_tuple()
    text = "".join(map(str, digits))
    return ("-" if x < 0 else "") + _laid_out(text, int(exponent), before=16, zeros=4)


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
    # Most float32 need 8 digits. Where some number of digits reads back to x, more do as well.
    found, precision = _reading_back(x, 8), 8
    while found and precision > 1 and (shorter := _reading_back(x, precision - 1)):
        found, precision = shorter, precision - 1
    while not found:
        precision += 1
        if precision > 17:
            raise ValueError(f"{x!r} is not a float32")
        found = _reading_back(x, precision)
    mantissa, _, power = found.partition("e")
    digits = mantissa.replace(".", "")
    return digits, int(power) + 1 - len(digits)


def _reading_back(x: float, precision: int) -> str | None:
    """So many decimal digits with an exponent, nearest to `x`, that read back to it."""
    nearest = f"{x:.{precision - 1}e}"
    if float32(float(nearest)) == x:
        return nearest
    # Below a power of two the float32 lie twice as close, so that of two decimals of this
    # length the farther one, above, may be the only one that reads back.
    if math.frexp(x)[0] == 0.5:
        above = f"{Context(precision).next_plus(Decimal(nearest)):e}"
        if float32(float(above)) == x:
            return above
    return None
