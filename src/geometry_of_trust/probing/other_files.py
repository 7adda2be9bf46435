"""Files of other activations, opened and seen to be of the model and the tokens trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.model_names import same_model
from geometry_of_trust.documents.names_beside import labels_path
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import MissingMember, ModelMismatch, OtherTokens
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile, open_activations
from geometry_of_trust.formats.labels import read_labels
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.other_rows import OtherRows, Others
from geometry_of_trust.probing.row_origins import RowOrigins


@dataclass(frozen=True)
class OtherFiles:
    """Opens what a training is held against besides its own rows.

    Attributes:
        trained: the activations trained on. unembedding_sha256: of the unembedding.
        columns: by the name of each dimension, that of the column with its labels.
        aggregate: of a text's readings, if texts are read.
    """

    trained: ActivationsFile
    unembedding_sha256: str
    columns: Mapping[str, str]
    aggregate: Aggregate | None

    def open(
        self, ood: Sequence[PathLike], benign: PathLike | None
    ) -> tuple[Others, list[ActivationsFile]]:
        """Open the files.

        Returns:
            What they hold, and the files, to be seen unchanged in the end.

        Raises:
            MalformedInput and its kinds: a file cannot be read.
            RecordMismatch: a record is of other files, or of another unembedding.
            ModelMismatch, OtherTokens: they are of another model, or of other tokens.
            MissingMember: there are no labels of a dimension for an `ood` file.
        """
        labelled = [(path, open_activations(path)) for path in ood]
        opened = [self._of(file, self._labels(path, file.rows)) for path, file in labelled]
        files = [file for _, file in labelled]
        if benign is None:
            return Others(opened), files
        file = open_activations(benign)
        return Others(opened, self._of(file, self._known(benign, file.rows))), [*files, file]

    def _labels(self, path: PathLike, rows: RowTable | None) -> Mapping[str, Labels]:
        """Of each dimension, from the row table or, of one dimension, the labels file beside."""
        found = self._known(path, rows)
        missing = next((column for name, column in self.columns.items() if name not in found), None)
        if missing is not None:
            known = {} if rows is None else rows.labels
            raise MissingMember(
                f"{path}, row table", expected=f"a label column {missing!r}, as of the training",
                found=", ".join(known) or "none",
            )  # fmt: skip
        return found

    def _known(self, path: PathLike, rows: RowTable | None) -> Mapping[str, Labels]:
        """Those labels of them that there are."""
        known = {} if rows is None else rows.labels
        found = {name: known[column] for name, column in self.columns.items() if column in known}
        beside = labels_path(path)
        if not found and len(self.columns) == 1 and os.path.lexists(beside):
            return dict.fromkeys(self.columns, read_labels(beside))
        return found

    def _of(self, file: ActivationsFile, labels: Mapping[str, Labels]) -> OtherRows:
        record, ours = file.own_record(self.unembedding_sha256), self.trained.record
        name, path = file.activations.model_id, file.file.path
        known = None if record is None else record.weights
        trained = None if ours is None else ours.weights
        if known is not None and trained is not None:
            same = trained.are(known)
        else:
            same = same_model(self.trained.activations.model_id, name)
        if not same:
            raise ModelMismatch(
                path, expected=f"the model trained on, {self.trained.activations.model_id!r}",
                found=f"{name!r}" + ("" if known is None else f", {known}"),
            )  # fmt: skip
        self._check_tokens(file)
        return OtherRows(Path(path).name, file.activations, labels, file.rows, file.sha256)

    def _check_tokens(self, file: ActivationsFile) -> None:
        """All rows, or texts, are of such tokens as were trained on, as far as records say.

        Raises:
            OtherTokens: some are not.
        """
        origins, record = RowOrigins.of(file), self.trained.record
        if origins is None or record is None:
            return
        trained = TrainedTokens.of(record)
        home = bool(origins.trained_on(trained).all())
        if home and self.aggregate is not None:
            trained = replace(trained, aggregate=str(self.aggregate))
            home = all(origins.whole_text(trained, span) for span in origins.texts)
        if not home:
            raise OtherTokens(
                file.file.path, expected=f"rows of what is trained on ({trained})",
                found="other tokens among them",
                hint="Extract both with the same --tokens, --position and --skip-special-tokens.",
            )  # fmt: skip
