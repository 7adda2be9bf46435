"""Readers of bytes as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from binary_bytes import (
    Read,
)
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding


@pytest.fixture
def act(tmp_path: Path) -> Read:
    def read(data: bytes) -> Activations:
        path = tmp_path / "a.gotact"
        path.write_bytes(data)
        return read_activations(path)

    return read


@pytest.fixture
def unembed(tmp_path: Path) -> Read:
    def read(data: bytes) -> Unembedding:
        path = tmp_path / "u.gotue"
        path.write_bytes(data)
        return read_unembedding(path)

    return read
