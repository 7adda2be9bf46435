"""The row table that belongs to activations: found beside them, and seen to be theirs."""

from __future__ import annotations

from geometry_of_trust.errors import RecordMismatch
from geometry_of_trust.extraction.record import Record
from geometry_of_trust.extraction.record_reading import read_record
from geometry_of_trust.files import PathLike, record_path, rows_path
from geometry_of_trust.rows import RowTable, read_rows


def row_table(activations: PathLike, record: Record | None = None) -> RowTable | None:
    """The row table beside activations, None if there is none of theirs.

    Beside activations of one text, as their record says, a table is left from others.

    Args:
        record: their extraction record, if it was read already; else the one beside them, if
            there is one.

    Raises:
        BadRowTable, Unreadable: it cannot be read.
        RecordMismatch: it is not the table that the record names.
    """
    path = rows_path(activations)
    if not path.exists():
        return None
    if record is None and record_path(activations).exists():
        record = read_record(record_path(activations))
    if record is not None and record.corpus is None:
        return None
    table = read_rows(path)
    if record is not None and record.corpus is not None:
        digest = table.digest()
        if digest != record.corpus.rows_sha256:
            raise RecordMismatch(
                path,
                expected=f"the row table with digest {record.corpus.rows_sha256}",
                found=digest,
                hint="Extract again, or bring the table of this run back.",
            )
    return table
