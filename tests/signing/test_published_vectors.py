"""Vectors that others publish: Wycheproof, CCTV and speccheck for Ed25519, RFC 8785's own.

`tests/vectors/ed25519/SOURCES.txt` says where the first three come from.
"""

from __future__ import annotations

import json
import struct

import pytest
import rfc8785

from geometry_of_trust.errors import BadKey, BadSignature, LowOrderKey
from geometry_of_trust.signing.keys import PublicKey
from places import VECTORS

FOLDER = VECTORS / "ed25519"
WYCHEPROOF = json.loads((FOLDER / "wycheproof_ed25519_test.json").read_bytes())
CCTV = json.loads((FOLDER / "cctv_ed25519vectors.json").read_bytes())
SPECCHECK = json.loads((FOLDER / "speccheck_cases.json").read_bytes())

REFUSED = {"low_order_A", "low_order_R", "low_order_residue", "non_canonical_A", "non_canonical_R"}
"""What of CCTV's flags is refused: encodings that are not the only one, points of low order, and
equations that hold only after a multiplication by the cofactor."""


def accepted(key: str, signature: str, message: bytes) -> bool:
    try:
        PublicKey(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (BadKey, LowOrderKey, BadSignature):
        return False
    return True


def test_wycheproof() -> None:
    count = 0
    for group in WYCHEPROOF["testGroups"]:
        for test in group["tests"]:
            message = bytes.fromhex(test["msg"])
            found = accepted(group["publicKey"]["pk"], test["sig"], message)
            assert found is (test["result"] == "valid"), test["tcId"]
            count += 1
    assert count == WYCHEPROOF["numberOfTests"] == 151


def test_cctv() -> None:
    assert len(CCTV) == 914
    for vector in CCTV:
        found = accepted(vector["key"], vector["sig"], vector["msg"].encode())
        assert found is REFUSED.isdisjoint(vector["flags"] or ()), vector["number"]


def test_speccheck() -> None:
    """Only case 3 is taken: points with a part of low order, an equation that holds as it is."""
    found = [
        accepted(case["pub_key"], case["signature"], bytes.fromhex(case["message"]))
        for case in SPECCHECK
    ]
    assert found == [number == 3 for number in range(12)]


# RFC 8785, appendix B: bits of a double, and its text.
NUMBERS = """
0000000000000000 0
8000000000000000 0
0000000000000001 5e-324
8000000000000001 -5e-324
7fefffffffffffff 1.7976931348623157e+308
ffefffffffffffff -1.7976931348623157e+308
44b52d02c7e14af5 9.999999999999997e+22
44b52d02c7e14af6 1e+23
44b52d02c7e14af7 1.0000000000000001e+23
444b1ae4d6e2ef4e 999999999999999700000
444b1ae4d6e2ef4f 999999999999999900000
444b1ae4d6e2ef50 1e+21
3eb0c6f7a0b5ed8c 9.999999999999997e-7
3eb0c6f7a0b5ed8d 0.000001
41b3de4355555553 333333333.3333332
41b3de4355555554 333333333.33333325
41b3de4355555555 333333333.3333333
41b3de4355555556 333333333.3333334
41b3de4355555557 333333333.33333343
becbf647612f3696 -0.0000033333333333333333
43143ff3c1cb0959 1424953923781206.2
"""


@pytest.mark.parametrize("line", NUMBERS.split("\n")[1:-1])
def test_numbers_of_rfc_8785(line: str) -> None:
    bits, text = line.split()
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert rfc8785.dumps(number) == text.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000"])
def test_no_numbers_of_rfc_8785(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(rfc8785.CanonicalizationError):
        rfc8785.dumps(number)


def test_serialisation_of_rfc_8785() -> None:
    """Section 3.2.2's sample, and its result after section 3.2.3's sorting."""
    sample = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    text = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + r"""'B\"\\\\\"/"}"""
    )
    assert rfc8785.dumps(sample) == text.encode()  # type: ignore[arg-type]


def test_sorting_of_rfc_8785() -> None:
    """Section 3.2.3: by UTF-16 code units, so that an emoji comes before a Hebrew letter."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    order = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(rfc8785.dumps(dict.fromkeys(names, 0)))) == order
