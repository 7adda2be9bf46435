"""An activations file with what lies beside it: each file opened once, and digested as parsed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import RecordMismatch
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.row_table import RowTable, read_own_rows


@dataclass(frozen=True, eq=False)
class ActivationsFile:
    """A `.gotact` file, its extraction record and its row table. `open_activations` makes it.

    What lies beside the activations is read when it is first asked for, and once: a record or a
    table that is missing or broken matters to those who need it only.

    Attributes:
        file: the bytes of the `.gotact` file.
        activations: what was parsed from these bytes.
    """

    file: FileBytes
    activations: Activations

    @property
    def sha256(self) -> str:
        """Of the bytes that were parsed: 64 lower-case hex digits.

        Raises:
            FileChanged: the file is mapped, and was written to since it was opened.
        """
        return self.file.sha256

    @cached_property
    def record(self) -> Record | None:
        """The extraction record beside the file, None if there is none; a broken link is one.

        Raises:
            MalformedInput, NotOurSpelling: as `read_record`.
        """
        path = record_path(self.file)
        return read_record(path) if os.path.lexists(path) else None

    @cached_property
    def rows(self) -> RowTable | None:
        """The row table beside the file, None if there is none, or only one of another run.

        Raises:
            MalformedInput, NotOurSpelling, RecordMismatch: as `record` and `read_own_rows`.
        """
        path = rows_path(self.file)
        if not os.path.lexists(path):
            return None
        return read_own_rows(path, self.record)

    def own_record(self, unembedding_sha256: str) -> Record | None:
        """`record`, once it is seen to be of these activations.

        Args:
            unembedding_sha256: of the unembedding that it must name, too.

        Raises:
            MalformedInput, NotOurSpelling: as `record`. FileChanged: as `sha256`.
            RecordMismatch: it names other activations, or another unembedding, or says of the
                activations what their header does not.
        """
        record, header = self.record, self.activations
        if record is None:
            return None
        for what, ours, recorded in (
            ("activations with sha256", self.sha256, record.activations.sha256),
            ("an unembedding with sha256", unembedding_sha256, record.unembedding.sha256),
            ("activations of model", header.model_id, record.model_id),
            ("activations of precision", header.precision, record.precision),
            ("activations of layers", header.layers, record.layers),
            ("activations with positions", len(header.positions), record.positions),
        ):
            if ours != recorded:
                raise RecordMismatch(
                    record_path(self.file),
                    expected=f"a record of {what} {ours}",
                    found=recorded,
                    hint=(
                        "Give the files of one run; if the record is that of another run, "
                        "move it away."
                    ),
                )
        return record


def open_activations(path: PathLike) -> ActivationsFile:
    """Open a `.gotact` file; what lies beside it is not looked at yet.

    Raises:
        MalformedInput and its kinds, FileChanged: as `read_activations`.
    """
    file = FileBytes.of(path)
    return ActivationsFile(file, read_activations(file))
