"""What of the signer's an auditor may have beside the document, to say where a run differs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import BadOption, DigestMismatch
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.row_table import RowTable, read_own_rows
from geometry_of_trust.signing.binding import BoundRecord


@dataclass(frozen=True)
class Signers:
    """What of the signer's the auditor has beside the document, to say where a run differs.

    Attributes:
        bound: what is bound of their record.
        activations: their activations. record, rows: their record and row table; None: those
            beside the activations, if they are there and those signed.
    """

    bound: BoundRecord | None
    activations: FileBytes | None = None
    record: PathLike | None = None
    rows: PathLike | None = None

    def read_record(self) -> Record | None:
        """The record that is signed, if it is there.

        Raises:
            MalformedInput and its kinds, NotOurSpelling: it cannot be read.
            DigestMismatch: the one that was given is another one.
        """
        path = self.record
        if path is None and self.activations is not None:
            path = record_path(self.activations)
            path = path if os.path.lexists(path) else None
        if path is None:
            return None
        record, signed = read_record(path), self.bound and self.bound.sha256
        if record.digest == signed:
            return record
        if self.record is not None:
            raise DigestMismatch(
                path, expected=f"the signed extraction record, {signed}", found=record.digest
            )
        return None

    def read_rows(self) -> RowTable | None:
        """The row table that the signed record names, if both are there.

        Raises:
            BadOption: a table was given, and no record. RecordMismatch and others: as
                `read_own_rows`.
        """
        path, record = self.rows, self.read_record()
        if path is None and self.activations is not None:
            path = rows_path(self.activations)
            path = path if os.path.lexists(path) else None
        if path is not None and record is not None:
            return read_own_rows(path, record)
        if self.rows is not None:
            raise BadOption("--rows", expected="the extraction record, too, which has its digest",
                            found="none", hint="Give --record.")  # fmt: skip
        return None
