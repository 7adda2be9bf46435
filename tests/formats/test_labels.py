"""The labels file."""

from __future__ import annotations

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
from geometry_of_trust.formats.labels import labels_stub, read_labels
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


def test_the_stub_reads_back(tmp_path: Path) -> None:
    assert labels_stub(3) == b"0\n0\n0\n"
    assert labels_of(tmp_path, labels_stub(150)) == [0] * 150
