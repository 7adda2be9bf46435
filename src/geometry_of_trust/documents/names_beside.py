"""Names of what lies beside an activations file: record, labels, row table."""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust.files import PathLike


def record_path(activations: PathLike) -> Path:
    """Where the extraction record of an activations file is: `a.gotact` → `a.record.json`."""
    return Path(activations).with_suffix(".record.json")


def labels_path(activations: PathLike) -> Path:
    """Where the labels of an activations file are: `a.gotact` → `a.labels`."""
    return Path(activations).with_suffix(".labels")


def rows_path(activations: PathLike) -> Path:
    """Where the row table of an activations file is: `a.gotact` → `a.rows.parquet`."""
    return Path(activations).with_suffix(".rows.parquet")
