"""Which tokens the rows of an activations file are, held against those that a probe reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.documents.positions import EVERY, position_index
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import (
    BadOption,
    OtherTokens,
    PositionMissing,
    RecordMismatch,
    Unreadable,
)
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

    def whole_text(self, trained: TrainedTokens, rows: tuple[int, int]) -> bool:
        """Whether rows, from the first to before the last, are all tokens of a text that count.

        Raises:
            As `trained_on`.
        """
        ours = self._ours
        if (trained.chosen, "all") != (ours.chosen, ours.position):
            return False
        if self._ends.get(rows[0]) != rows[1]:
            return False
        if trained.skip_special_tokens == ours.skip_special_tokens:
            return True
        return trained.skip_special_tokens and not self._special[slice(*rows)].any()

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

    @cached_property
    def _ends(self) -> dict[int, int]:
        """The end of each text's rows, by their first."""
        return {text.start: text.stop for text in self._texts}

    @property
    def texts(self) -> tuple[tuple[int, int], ...]:
        """The rows of each text, from the first to before the last.

        Raises:
            As `trained_on`.
        """
        return tuple((rows.start, rows.stop) for rows in self._texts)

    @cached_property
    def _texts(self) -> list[slice]:
        """The rows of each text."""
        if self.record.corpus is None:
            return [slice(0, self.record.positions)]
        return self._rows.text_rows()

    def _kept(self, trained: TrainedTokens) -> Iterator[Sequence[int]]:
        """Of each text the rows that count for a position."""
        special = self._special
        for text in self._texts:
            rows = range(text.start, text.stop)
            yield [i for i in rows if not (trained.skip_special_tokens and special[i])]


def _picked(position: str, count: int) -> int | None:
    """The index of a position among so many tokens; None if there are fewer."""
    if position in ("last", "first"):
        return None if not count else count - 1 if position == "last" else 0
    return int(position) if int(position) < count else None


@dataclass(frozen=True)
class ReadAt:
    """What is read of activations by a probe set.

    Attributes:
        position: `last`, `first`, `mean` or a number; `all` of rows that are aggregated.
        aggregate: what becomes of the readings of these rows, or None.
        rows: which they are, from the first to before the last; None without an aggregate.
        texts: the rows of each text, where every text is read by an aggregate; else None.
        other_tokens: whether the probes were trained on other tokens than these.
    """

    position: str
    aggregate: Aggregate | None = None
    rows: tuple[int, int] | None = None
    other_tokens: bool = False
    texts: tuple[tuple[int, int], ...] | None = None

    def index(self, positions: int) -> int | None:
        """The row that is read; None for several.

        Raises:
            BadOption, PositionMissing: as `position_index`.
        """
        return None if self.rows is not None else position_index(self.position, positions)

    def held_against(self, trained: TrainedTokens | None, origins: RowOrigins | None) -> ReadAt:
        """The same, with whether it is at other tokens; not where one of the two is not known.

        Raises:
            As `RowOrigins.trained_at`.
        """
        other = False
        if trained is not None:
            named = None if self.aggregate is None else str(self.aggregate)
            other = named != trained.aggregate
        if trained is not None and origins is not None and not other:
            if self.texts is not None:
                other = not all(origins.whole_text(trained, rows) for rows in self.texts)
            elif self.rows is not None:
                other = not origins.whole_text(trained, self.rows)
            else:
                other = not origins.trained_at(trained, self.position)
        return replace(self, other_tokens=other)


def text_span(file: ActivationsFile, text: int | None) -> tuple[int, slice]:
    """A text's index in the corpus and its rows; without a row table all rows are of one text.

    Args:
        text: its index; None: the only one.

    Raises:
        BadOption: there are several, and none is named. PositionMissing: no such text.
        RecordMismatch: the row table is of other activations; and as `ActivationsFile.rows`.
    """
    rows, count = file.rows, len(file.activations.positions)
    if rows is None:
        if text not in (None, 0):
            raise PositionMissing("--text", expected="0, as there is one text", found=text)
        return 0, slice(0, count)
    if len(rows) != count:
        raise RecordMismatch("row table", expected=f"{count} rows", found=len(rows))
    spans = {int(rows.text[span.start]): span for span in rows.text_rows()}
    if text is None and len(spans) > 1:
        raise BadOption("--text", expected="the number of a text, as there are several",
                        found=f"none, of {len(spans)}")  # fmt: skip
    index = next(iter(spans)) if text is None else text
    if index not in spans:
        known = f"{min(spans)} to {max(spans)}"
        raise PositionMissing("--text", expected=f"a text that has rows, {known}", found=index)
    return index, spans[index]


def refused_tokens(path: str, trained: TrainedTokens, found: str) -> OtherTokens:
    """The error for a probe set that is read at other tokens."""
    return OtherTokens(
        path, expected=f"a reading of what its probes were trained on ({trained})", found=found,
        hint="Read such tokens (extract --tokens and --position, attest --position), train on "
        "those to be read, or say --anyway: the document then says so.",
    )  # fmt: skip
