"""The bytes of a `.gotgeo` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats.gotgeo import read_gotgeo, write_gotgeo

DIGEST = "ab" * 32


def test_there_and_back(tmp_path: Path) -> None:
    phi = np.arange(9, dtype=np.float32).reshape(3, 3)
    write_gotgeo(tmp_path / "g", DIGEST, phi.T)
    data = (tmp_path / "g").read_bytes()
    assert data[:10] == b"GOTG\1\0\3\0\0\0"
    assert data[10:42].hex() == DIGEST
    assert data[42:] == phi.T.tobytes()
    file = read_gotgeo(tmp_path / "g")
    assert (file.digest, len(file.file)) == (DIGEST, 78)
    assert np.array_equal(file.values, phi.T)


@pytest.mark.parametrize("length", [0, 3, 5, 9, 41, 57])
def test_too_short(length: int, tmp_path: Path) -> None:
    write_gotgeo(tmp_path / "g", DIGEST, np.zeros((2, 2), np.float32))
    (tmp_path / "g").write_bytes((tmp_path / "g").read_bytes()[:length])
    with pytest.raises(errors.Truncated):
        read_gotgeo(tmp_path / "g")


def test_too_long(tmp_path: Path) -> None:
    write_gotgeo(tmp_path / "g", DIGEST, np.zeros((2, 2), np.float32))
    (tmp_path / "g").write_bytes((tmp_path / "g").read_bytes() + b"\0")
    with pytest.raises(errors.TrailingBytes):
        read_gotgeo(tmp_path / "g")
