"""Which tokens the rows of an activations file are, held against those that a probe reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.documents.positions import EVERY, position_index
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import OtherTokens, RecordMismatch, Unreadable
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile
from geometry_of_trust.formats.row_table import RowTable, read_own_rows

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RowOrigins:
    """What an extraction record and its row table say of the rows of activations.

    Attributes:
        record: of the run that made them.
        table: where the row table is; of a single text there is none, and none is looked for.
    """

    record: Record
    table: PathLike

    @classmethod
    def of(cls, file: ActivationsFile) -> RowOrigins | None:
        """What lies beside activations; None if there is no extraction record."""
        return None if file.record is None else cls(file.record, rows_path(file.file))

    def trained_on(self, trained: TrainedTokens) -> Mask:
        """Which rows are of tokens that a probe was trained on, shape (P,).

        Raises:
            Unreadable: the row table is needed and not there.
            BadRowTable, RecordMismatch, TooLarge, MissingExtra: as `read_own_rows`.
        """
        ours, count = self._ours, self.record.positions
        if trained == ours:
            return np.full(count, True)
        if ours.position == "mean" or trained.position == "mean":
            return np.full(count, False)
        if trained.position == "all":
            if trained.chosen not in (ALL, ours.chosen):
                return np.full(count, False)
            return ~self._special if trained.skip_special_tokens else np.full(count, True)
        home = np.full(count, False)
        # Of a file that has no special tokens nothing says which token is the last of all.
        skipped = ours.skip_special_tokens and not trained.skip_special_tokens
        if trained.chosen == ours.chosen and ours.position == "all" and not skipped:
            for rows in self._kept(trained):
                index = _picked(trained.position, len(rows))
                if index is not None:
                    home[rows[index]] = True
        return home

    def trained_at(self, trained: TrainedTokens, position: str) -> bool:
        """Whether what stands at a position is what a probe was trained on.

        Args:
            position: `last`, `first`, `mean`, `every` or a number.

        Raises:
            BadOption, PositionMissing: as `position_index`. All others as `trained_on`.
        """
        if position == EVERY:
            return bool(self.trained_on(trained).all())
        index = position_index(position, self.record.positions)
        if index is None and self.record.positions > 1:
            ours = self._ours
            return (
                trained.position == "mean"
                and (trained.chosen, ours.position) == (ours.chosen, "all")
                and [len(rows) for rows in self._kept(trained)] == [self.record.positions]
                and (trained.skip_special_tokens or not ours.skip_special_tokens)
            )
        return bool(self.trained_on(trained)[index or 0])

    @property
    def _ours(self) -> TrainedTokens:
        return TrainedTokens.of(self.record)

    @cached_property
    def _rows(self) -> RowTable:
        if not os.path.lexists(self.table):
            raise Unreadable(
                self.table, expected="the row table, which says of which tokens the rows are",
                found="none", hint="Bring the table of this run back, or extract again.",
            )  # fmt: skip
        rows = read_own_rows(self.table, self.record)
        assert rows is not None  # noqa: S101 - the record is of a corpus, as the caller has seen
        if len(rows) != self.record.positions:
            raise RecordMismatch(
                self.table, expected=f"{self.record.positions} rows", found=len(rows)
            )
        return rows

    @property
    def _special(self) -> Mask:
        """Which rows are of special tokens, shape (P,)."""
        if self.record.corpus is None:
            return np.array([token.special for token in self.record.tokens])
        return self._rows.special

    def _kept(self, trained: TrainedTokens) -> Iterator[Sequence[int]]:
        """Of each text the rows that count for a position."""
        texts = [slice(0, self.record.positions)]
        if self.record.corpus is not None:
            texts = self._rows.text_rows()
        special = self._special
        for text in texts:
            rows = range(text.start, text.stop)
            yield [i for i in rows if not (trained.skip_special_tokens and special[i])]


def _picked(position: str, count: int) -> int | None:
    """The index of a position among so many tokens; None if there are fewer."""
    if position in ("last", "first"):
        return None if not count else count - 1 if position == "last" else 0
    return int(position) if int(position) < count else None


def other_tokens(origins: RowOrigins | None, trained: TrainedTokens | None, position: str) -> bool:
    """Whether a probe is read at other tokens than it was trained on; not where one is unknown."""
    if origins is None or trained is None:
        return False
    return not origins.trained_at(trained, position)


def refused_tokens(path: str, trained: TrainedTokens, found: str) -> OtherTokens:
    """The error for a probe set that is read at other tokens."""
    return OtherTokens(
        path, expected=f"a reading of what its probes were trained on ({trained})", found=found,
        hint="Read such tokens (extract --tokens and --position, attest --position), train on "
        "those to be read, or say --anyway: the document then says so.",
    )  # fmt: skip
