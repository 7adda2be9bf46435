"""What can be seen of rows without a model: their words, their places, how long their texts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.row_writer import NONE
from geometry_of_trust.probing.array_types import Array, Indices, Labels


@dataclass(frozen=True, eq=False)
class SurfaceFeatures:
    """What can be seen of rows without a model; one entry a row.

    Attributes:
        tokens: ids of the tokens that count as the row's words; None: not known.
        place: where the row is and how long its text is, shape (n, k), any units.
        texts: the same words as one string a row; None: not known.
    """

    tokens: Sequence[Sequence[int]] | None
    place: Array
    texts: Sequence[str] | None = None

    def in_order(self, order: Indices) -> SurfaceFeatures:
        """Those of the rows with these indices, shape (m,), one after the other."""
        tokens = None if self.tokens is None else [self.tokens[i] for i in order.tolist()]
        texts = None if self.texts is None else [self.texts[i] for i in order.tolist()]
        return SurfaceFeatures(tokens, self.place[order], texts)


def surface_features(rows: RowTable, labels: Labels) -> SurfaceFeatures:
    """What can be seen of the rows of a row table.

    Where labels are of whole texts, a row's words are all tokens of its text; where they differ
    within a text, its own token. A row table that does not tell all tokens of its texts, and has
    rows for some only, leaves its words unknown.

    Args:
        rows: n of them. labels: 0 or 1, shape (n,).
    """
    spans = rows.text_rows()
    texts = [text_tokens(rows, span) for span in spans]
    ends = [
        int(rows.token_index[span].max()) + 1 if text is None else len(text)
        for span, text in zip(spans, texts, strict=True)
    ]
    whole = all(len(set(labels[span].tolist())) == 1 for span in spans)
    tokens: list[Sequence[int]] | None = None
    if not whole:
        tokens = [[token] for token in rows.token_id.tolist()]
    elif None not in texts:
        tokens = []
        for span, text in zip(spans, texts, strict=True):
            tokens += [text or ()] * (span.stop - span.start)
    return SurfaceFeatures(tokens, _place(rows, spans, ends), _strings(rows, spans, whole))


def _strings(rows: RowTable, spans: Sequence[slice], whole: bool) -> list[str] | None:
    """The words as strings: known where each token has a row, which has its string."""
    pieces = [piece or "" for piece in rows.token]
    if not whole:
        return pieces
    strings: list[str] = []
    for span in spans:
        count = span.stop - span.start
        known = rows.tokens[span.start]
        if not _every_token(rows, span) or (known is not None and len(known) != count):
            return None
        strings += ["".join(pieces[span])] * count
    return strings


def _every_token(rows: RowTable, span: slice) -> bool:
    """Whether a text has a row for each token, from its first on."""
    return np.array_equal(rows.token_index[span], np.arange(span.stop - span.start))


def text_tokens(rows: RowTable, span: slice) -> Sequence[int] | None:
    """Ids of all tokens of the text that has these rows, None if not known."""
    told: Sequence[int] | None = rows.tokens[span.start]
    if told is None and _every_token(rows, span):
        told = [int(number) for number in rows.token_id[span]]
    return told


def _place(rows: RowTable, spans: Sequence[slice], ends: Sequence[int]) -> Array:
    """Token index from start and end, first character, characters, tokens; shape (n, 5)."""
    place = np.zeros((len(rows), 5))
    for span, end in zip(spans, ends, strict=True):
        index = np.where(rows.token_index[span] == NONE, end, rows.token_index[span])
        ones = np.ones(len(index))
        characters = rows.end[span].max()
        place[span] = np.column_stack(
            [index, end - index, rows.start[span], characters * ones, end * ones]
        )
    return place
