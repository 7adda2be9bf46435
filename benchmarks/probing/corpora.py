"""States of a corpus of statements, extracted once and kept by the digest of its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.formats.row_table import RowTable, read_rows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Labels

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".models" / "smollm2-135m-instruct"
LABEL, GROUP = "true", "group"


@dataclass(frozen=True, eq=False)
class Corpus:
    """The last token of each statement, at several layers.

    Attributes:
        name: of the corpus. activations, rows: as extracted. geometry: the model's, causal.
    """

    name: str
    activations: Activations
    rows: RowTable
    geometry: Geometry

    @property
    def y(self) -> Labels:
        """0 or 1, shape (n,)."""
        return self.rows.label(LABEL)


def corpus(name: str, layers: Sequence[int]) -> Corpus:
    """The corpus `benchmarks/corpora/<name>.jsonl`, in the order of its file."""
    source = ROOT / "benchmarks" / "corpora" / f"{name}.jsonl"
    folder = ROOT / ".cache" / "probes" / f"{name}-{sha256_file(source)[:16]}"
    activations, unembedding = folder / "a.gotact", folder / "u.gotue"
    if not activations.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _extract(source, layers, activations, unembedding)
    rows = read_rows(rows_path(activations))
    geometry = Geometry.from_unembedding(read_unembedding(unembedding))
    return Corpus(name, read_activations(activations), rows, geometry)


def _extract(source: Path, layers: Sequence[int], activations: Path, unembedding: Path) -> None:
    got = str(Path(sys.executable).with_name("got-cli"))
    subprocess.run(
        [
            got, "extract", "--model", str(MODEL), "--model-id", "SmolLM2-135M-Instruct",
            "--input-file", str(source), "--layers", *map(str, layers),
            "--label-column", LABEL, "--group-column", GROUP, "--fast",
            "--output-activations", str(activations), "--output-unembedding", str(unembedding),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
