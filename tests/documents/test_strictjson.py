from __future__ import annotations

import json
import math
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry_of_trust.documents.strictjson import (
    dumps,
    dumps_sorted,
    float32,
    loads,
    shortest_float32,
    shortest_float64,
)
from geometry_of_trust.errors import BadJson, BadText, DuplicateMember, TooLarge
from geometry_of_trust.files import MAX_DOCUMENT_BYTES

HERE = "doc.json"


def from_bits(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        # Shortest of the float32 alone would be 7.038531e-26, which a reader that goes through
        # a double rounds to the next float32.
        (0x15AE43FD, "7.0385307e-26"),
        (0x95AE43FD, "-7.0385307e-26"),
        (0x00000001, "1e-45"),
        (0x00000008, "1.1e-44"),
        (0x51C4F391, "105737495000.0"),  # nine digits are needed
        (0x1AFD1047, "1.04664645e-22"),
        (0x00800000, "1.1754944e-38"),
        (0x7F7FFFFF, "3.4028235e38"),
        (0x3F800000, "1.0"),
        (0x3EBFC8F4, "0.37458003"),
        (0x358637BD, "0.000001"),
        (0x33D6BF95, "1e-7"),
        (0x5368D4A5, "1000000000000.0"),
        (0x551184E7, "1e13"),
        (0x80000000, "0.0"),
        (0x00000000, "0.0"),
        (0x409DC1A0, "4.929886"),
    ],
)
def test_floats_are_written_as_the_reference_writes_them(bits: int, text: str) -> None:
    assert shortest_float32(from_bits(bits)) == text


@settings(max_examples=2000)
@given(st.integers(0, 2**32 - 1))
def test_every_float32_reads_back_through_a_double_and_no_shorter_text_does(bits: int) -> None:
    x = from_bits(bits)
    if not math.isfinite(x) or x == 0:
        return
    text = shortest_float32(x)
    assert float32(float(text)) == x
    # numpy's independent shortest printer, except where the way through a double needs more.
    theirs = np.format_float_scientific(np.float32(x), unique=True)
    if float32(float(theirs)) == x:
        assert float(text) == float(theirs)


def test_powers_of_two_take_the_shorter_decimal_above() -> None:
    for exponent in range(1, 255):
        x = from_bits(exponent << 23)
        theirs = np.format_float_scientific(np.float32(x), unique=True)
        assert float(shortest_float32(x)) == float(theirs)


def test_a_double_that_is_no_float32_is_not_written() -> None:
    with pytest.raises(ValueError, match="not a float32"):
        shortest_float32(0.1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"a":1,"a":1}', DuplicateMember),
        (b'{"x":{"a":1,"\\u0061":2}}', DuplicateMember),
        (b'{"a":NaN}', BadJson),
        (b'{"a":-Infinity}', BadJson),
        (b'{"a":1', BadJson),
        (b"", BadJson),
        (b"\xef\xbb\xbf{}", BadJson),
        (b"{} x", BadJson),
        (b'{"a":01}', BadJson),
        (b"[" * 17 + b"]" * 17, BadJson),
        (b"[" * 100_000, BadJson),
        (b'{"a":' + b"9" * 5000 + b"}", BadJson),
        (b'{"a":"\\ud800"}', BadText),
        (b'{"\\ud800":1}', BadText),
        (b'{"a":"\xff"}', BadText),
        (b'{"a":"\x01"}', BadJson),
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        loads(data, HERE)
    assert type(caught.value) is error
    assert caught.value.where == HERE  # type: ignore[attr-defined]


def test_size_and_depth_limits_are_where_they_are_said_to_be() -> None:
    assert loads(b"[" * 16 + b"]" * 16, HERE)
    assert loads(json.dumps("[" * 50).encode(), HERE) == "[" * 50  # brackets in text do not nest
    deep = "[]"
    for _ in range(15):  # neither text nor what stands beside hides how deep it is
        deep = f'["[",[],"a",{{}},{deep}]'
    assert loads(deep.encode(), HERE)
    with pytest.raises(BadJson):
        loads(f'["[",[],"a",{{}},{deep}]'.encode(), HERE)
    assert loads(b"1234", HERE, limit=4) == 1234
    with pytest.raises(TooLarge):
        loads(b"12345", HERE, limit=4)
    assert loads(b"1".ljust(MAX_DOCUMENT_BYTES), HERE) == 1
    with pytest.raises(TooLarge):
        loads(b"1".ljust(MAX_DOCUMENT_BYTES + 1), HERE)


@pytest.mark.parametrize(
    "part",
    [b"1,", b"1.5,", b"[],", b"{},", b'{"a":0},', b'"",', b'"ab",', b'",",', b'"\\\\",', b"["],
)
def test_what_a_short_text_may_hold_is_counted_before_it_is_made(part: bytes) -> None:
    data = b"[" + part * (MAX_DOCUMENT_BYTES // len(part) - 10) + b"1]"
    tracemalloc.start()
    before = time.process_time()
    try:
        with pytest.raises(TooLarge):
            loads(data, HERE)
        assert tracemalloc.get_traced_memory()[1] < 16 * len(data)
    finally:
        tracemalloc.stop()
    assert time.process_time() - before < 2


def test_values_are_counted_to_the_one() -> None:
    for data, count in (
        (b"1", 1),
        (b"[1,2]", 3),
        (b'{"a":1,"b":[2]}', 4),
        (rb'["[1,2]","\\","\"{",{"]\"":","}]', 6),
    ):
        assert loads(data, HERE, count) == json.loads(data)
        with pytest.raises(TooLarge):
            loads(data, HERE, count - 1)


def test_a_repeated_member_is_found_in_one_pass() -> None:
    names = ",".join(f'"{number}":0' for number in range(200_000))
    before = time.process_time()
    with pytest.raises(DuplicateMember) as caught:
        loads(f'{{{names},"199999":0}}'.encode(), HERE)
    assert caught.value.found == "'199999'"
    assert time.process_time() - before < 2


def test_a_repeated_member_is_named() -> None:
    with pytest.raises(DuplicateMember) as caught:
        loads(b'{"x":{"a":1,"b":2,"c":3,"b":4,"c":5}}', HERE)
    assert caught.value.found == "'b'"


def test_the_reference_s_files_are_written_byte_for_byte(interop: Path) -> None:
    for name in ("synthetic/attestation.json", "synthetic/probes-layer4.json",
                 "demo/probe_layer0.json"):  # fmt: skip
        data = (interop / name).read_bytes()
        tree = loads(data, name)
        as_float32 = json.loads(json.dumps(tree), parse_float=lambda s: float32(float(s)))
        assert dumps(as_float32) == data


def test_text_is_escaped_as_json_and_nothing_more() -> None:
    assert (
        dumps({"a": 'é"\\\n\x1f\x7f😀', "b": [], "c": {}, "d": [1, True, None]})
        == (
            '{\n  "a": "é\\"\\\\\\n\\u001f\x7f😀",\n  "b": [],\n  "c": {},\n'
            '  "d": [\n    1,\n    true,\n    null\n  ]\n}'
        ).encode()
    )


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.374580055475235, "0.374580055475235"),
        (-0.0, "0.0"),
        (1.0, "1.0"),
        (-1234.5, "-1234.5"),
        (1e15, "1000000000000000.0"),
        (1234567890123456.0, "1234567890123456.0"),
        (1234567890123456.5, "1234567890123456.5"),
        (1e16, "1e16"),
        (1.5e300, "1.5e300"),
        (0.00001, "0.00001"),
        (0.0000123, "0.0000123"),
        (0.000001, "1e-6"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
    ],
)
def test_doubles_are_written_as_the_reference_writes_them(x: float, text: str) -> None:
    assert shortest_float64(x) == text
    assert float(text) == x


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_reads_back(x: float) -> None:
    text = shortest_float64(x)
    assert float(text) == x
    assert len(text.replace(".", "").replace("-", "")) <= 20 or "e" in text or abs(x) < 1


def test_sorted_at_every_depth() -> None:
    tree = {"b": [{"d": 0.5, "c": ()}], "a": 1}
    assert json.loads(dumps_sorted(tree)) == {"a": 1, "b": [{"c": [], "d": 0.5}]}
    assert dumps_sorted(tree).startswith(b'{\n  "a": 1,\n  "b": [\n    {\n      "c": [],')
