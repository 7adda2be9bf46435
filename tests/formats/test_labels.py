"""The labels file."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from binary_bytes import (
    at_most,
)
from geometry_of_trust.errors import (
    BadLabel,
    BadText,
    TooLarge,
    Unreadable,
)
from geometry_of_trust.formats.labels import (
    WHITE_SPACE,
    bad_label,
    label_of,
    label_or_none,
    labels_stub,
    read_labels,
)
from places import REFERENCE


@pytest.mark.parametrize("name", ["synthetic", "demo"])
def test_interop_labels(name: str) -> None:
    labels = read_labels(REFERENCE / name / "labels.txt")
    assert (
        "".join(f"{label}\n" for label in labels).encode()
        == (REFERENCE / name / "labels.txt").read_bytes()
    )
    assert set(labels.tolist()) == {0, 1}


def labels_of(tmp_path: Path, data: bytes) -> list[int]:
    (tmp_path / "l").write_bytes(data)
    labels = read_labels(tmp_path / "l")
    assert labels.dtype == np.int8
    return [int(label) for label in labels]


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"1\n0\n", [1, 0]),
        (b"1\n0", [1, 0]),
        (b"true\r\nfalse\r\n", [1, 0]),
        (b"\n \t1 \n\n\n\xc2\xa00\n\xe2\x80\xa8\n", [1, 0]),
        (b"", []),
        (b"\n\n", []),
    ],
)
def test_labels(data: bytes, labels: list[int], tmp_path: Path) -> None:
    assert labels_of(tmp_path, data) == labels


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (b"1\nyes\n", 2, "yes"),
        (b"\n\nTrue\n", 3, "True"),
        (b"1 0\n", 1, "1 0"),
        (b"01", 1, "01"),
        (b"0\x0c1\n", 1, "0\x0c1"),
        (b"0\n\x1c0\n", 2, "\x1c0"),
        ("0\n1\u2028x0".encode(), 2, "1\u2028x0"),
        (b"\xef\xbb\xbf0\n", 1, "\ufeff0"),
        (b"2", 1, "2"),
        ("١".encode(), 1, "١"),
    ],
)
def test_bad_labels(data: bytes, line: int, found: str, tmp_path: Path) -> None:
    with pytest.raises(BadLabel) as caught:
        labels_of(tmp_path, data)
    assert caught.value.where == f"{tmp_path / 'l'}, line {line}"
    assert caught.value.found == found
    assert caught.value.exit_code == 3


def test_labels_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadText):
        labels_of(tmp_path, b"0\n\xff\n")
    with pytest.raises(Unreadable):
        read_labels(tmp_path / "none")
    with (tmp_path / "l").open("wb") as handle:
        handle.truncate(2**30)
    with at_most(2**26), pytest.raises(TooLarge):
        read_labels(tmp_path / "l")


def test_white_space_is_what_unicode_calls_so() -> None:
    blank = {letter for letter in map(chr, range(sys.maxunicode + 1)) if letter.isspace()}
    assert set(WHITE_SPACE) == blank - set("\x1c\x1d\x1e\x1f")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (True, 1), (False, 0), (1, 1), (0, 0), (1.0, 1), (-0.0, 0),
        ("1", 1), ("0", 0), ("1.0", 1), ("0.0", 0), ("true", 1), ("false", 0),
        ("TRUE", 1), (" False\u3000", 0), ("\t1.0 ", 1),
    ],
)  # fmt: skip
def test_the_label_of_a_cell(value: object, label: int) -> None:
    found = label_of(value, "w")
    assert (found, type(found)) == (label, int)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "an empty cell"), ("", "an empty cell"), (" \u3000", "an empty cell"),
        ("\x1c", r"'\x1c'"), ("\x1c1", r"'\x1c1'"), ("yes", "'yes'"), ("2", "'2'"),
        ("1.00", "'1.00'"), (2, "2"), (-1, "-1"), (0.5, "0.5"), (math.nan, "nan"), (b"1", "b'1'"),
        ((1,), "(1,)"), (Decimal(1), "Decimal('1')"),
    ],
)  # fmt: skip
def test_cells_that_hold_no_label(value: object, found: str) -> None:
    assert label_or_none(value) is None
    with pytest.raises(BadLabel) as caught:
        label_of(value, "row 3")
    error = caught.value
    assert (error.where, error.found, error.hint) == ("row 3", found, "")
    with pytest.raises(BadLabel) as caught:
        label_of(value, "row 3", hint="Look.")
    assert caught.value.hint == "Look."
    assert bad_label(value, "row 3").hint == ""


def test_the_stub_reads_back(tmp_path: Path) -> None:
    assert labels_stub(3) == b"0\n0\n0\n"
    assert labels_of(tmp_path, labels_stub(150)) == [0] * 150
