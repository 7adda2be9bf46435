"""The command prove."""

from __future__ import annotations

import re
from pathlib import Path

from geometry_of_trust.cli.common import MORE, OK, app, progress_on
from geometry_of_trust.outputs.places import check_outputs, check_replaces
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.terminal import escaped

_PROOF = re.compile(rb'\s*\{\s*"format":\s*"geometry-of-trust row proof"')


@app.command(group=MORE)
def prove(
    attestation: Path,
    *,
    row: int,
    readings: Path | None = None,
    output: Path | None = None,
) -> int:
    """Write what proves one row of the readings that lie beside an attestation.

    Whoever has that and the attestation can check the row (verify --row), without the others.

    Parameters
    ----------
    attestation
        The attestation (JSON). Its signature is not looked at.
    row
        The number of the row, from 0.
    readings
        The file of its readings [default: the one beside it, .readings.parquet].
    output
        Where the proof (JSON) goes [default: beside the attestation, .row-N.proof].
    """
    from geometry_of_trust.attesting.row_files import prove_row
    from geometry_of_trust.documents.names_beside import readings_path, row_proof_path
    from geometry_of_trust.signing.attestation import read_attestation

    source = readings_path(attestation) if readings is None else readings
    to = row_proof_path(attestation, row) if output is None else output
    check_outputs([to], [attestation, source])
    check_replaces(to, "the proof of a row", _PROOF)
    with progress_on("Hashing the readings"):
        proof = prove_row(read_attestation(attestation), source, row)
    write_file(to, proof.to_json())
    print(f"wrote {escaped(to)}")
    return OK
