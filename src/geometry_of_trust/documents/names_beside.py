"""Names of what lies beside activations, and beside an attestation."""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust.errors import BadOption
from geometry_of_trust.files import PathLike


def record_path(activations: PathLike) -> Path:
    """Where the extraction record of an activations file is: `a.gotact` → `a.record.json`.

    Raises:
        BadOption: the path ends in no name.
    """
    return _beside(activations, ".record.json")


def labels_path(activations: PathLike) -> Path:
    """Where the labels of an activations file are: `a.gotact` → `a.labels`.

    Raises:
        BadOption: the path ends in no name.
    """
    return _beside(activations, ".labels")


def rows_path(activations: PathLike) -> Path:
    """Where the row table of an activations file is: `a.gotact` → `a.rows.parquet`.

    Raises:
        BadOption: the path ends in no name.
    """
    return _beside(activations, ".rows.parquet")


def readings_path(attestation: PathLike) -> Path:
    """Where readings that do not fit into an attestation are: `a.json` → `a.readings.parquet`.

    Raises:
        BadOption: the path ends in no name.
    """
    return _beside(attestation, ".readings.parquet")


def row_proof_path(attestation: PathLike, row: int) -> Path:
    """Where the proof of one row of them is: `a.json` → `a.row-7.proof`.

    Raises:
        BadOption: the path ends in no name.
    """
    return _beside(attestation, f".row-{row}.proof")


def _beside(file: PathLike, suffix: str) -> Path:
    path = Path(file)
    if not path.name:
        raise BadOption(path, expected="the name of a file", found="a folder")
    return path.with_suffix(suffix)
