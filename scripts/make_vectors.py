"""Make the conformance vectors in `tests/vectors/`: the same bytes every time.

The expectations stand beside the changes, written from docs/formats.md, docs/verification.md and
docs/mathematics.md; nothing of the package is imported. What a vector is: docs/vectors.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from conformance.attestations import positives
from conformance.attestations_binding import binding_step
from conformance.attestations_files import descriptions, files_step, readings_step, supplied
from conformance.attestations_format import format_step, structure_step
from conformance.attestations_legacy import legacy
from conformance.attestations_readings import readings_beside, row_proofs
from conformance.attestations_signature import signature_step
from conformance.binary import activations, unembeddings
from conformance.keys import keys
from conformance.labels import labels
from conformance.probe_sets import probe_sets
from conformance.records import records
from conformance.vector import Vector

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
MAKERS = (
    activations, unembeddings, labels, keys, probe_sets, records, supplied, positives, format_step,
    structure_step, signature_step, binding_step, files_step, descriptions, readings_step,
    row_proofs, readings_beside, legacy,
)  # fmt: skip


def vectors() -> Iterator[Vector]:
    """All vectors; no two have one name."""
    seen = set()
    for maker in MAKERS:
        for vector in maker():
            place = f"{vector.kind}/{vector.name}"
            if place in seen:
                raise ValueError(f"{place} is there twice")
            seen.add(place)
            yield vector


def main() -> None:
    """Write the files, and remove those that are made no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=VECTORS, help="folder to write to")
    folder: Path = parser.parse_args().output
    written = {folder / vector.kind / f"{vector.name}.vector": vector for vector in vectors()}
    for path, vector in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(vector.to_bytes())
    for path in folder.glob("*/*.vector"):
        if path not in written:
            path.unlink()
    print(f"{len(written)} vectors in {folder}")


if __name__ == "__main__":
    main()
