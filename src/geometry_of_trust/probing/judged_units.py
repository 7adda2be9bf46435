"""What a probe is judged by: its rows, or the texts whose rows' scores are aggregated.

Figures of held-out scores are made in float64; a reading that is signed is made exactly
(`probe_readings`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.errors import BadLabel, BadOption
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import (
    CrossValidation,
    NestedScores,
    chosen_outside,
    nested_scores,
)
from geometry_of_trust.probing.logistic import platt_scaling
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows


@dataclass(frozen=True, eq=False)
class Units:
    """What is judged, of rows that are split: m of them.

    Attributes:
        sample: their labels, groups and folds.
        members: of each text its rows, as indices of the split, in the order of the text, each of
            shape (its tokens,).
        aggregate: how their scores become one; None: each row is a unit, without members.
    """

    sample: Sample
    members: Sequence[Indices] = ()
    aggregate: Aggregate | None = None

    @classmethod
    def rows(cls, split: SplitRows) -> Units:
        """Each row by itself."""
        return cls(Sample(split.y, split.groups, split.fold))

    @classmethod
    def texts(
        cls, order: Indices, rows: Sample, texts: Sequence[slice], aggregate: Aggregate
    ) -> Units:
        """Texts, in the order given.

        Args:
            order: where each row was in the table, shape (n,). rows: of these rows.
            texts: the rows of each text in the table. All rows of a text are of one group and have
                one label.
        """
        at = np.empty(len(order), np.intp)
        at[order] = np.arange(len(order))
        members = [at[text] for text in texts]
        first = np.array([rows[0] for rows in members])
        sample = Sample(rows.y[first], rows.groups[first], rows.fold[first])
        return cls(sample, members, aggregate)

    def of(self, scores: Array) -> Array:
        """Scores of the rows as scores of the units.

        Args:
            scores: shape (n,) or (n, k), float64.

        Returns:
            Shape (m,) or (m, k).
        """
        if self.aggregate is None:
            return scores
        return np.stack([aggregated(self.aggregate, scores[rows]) for rows in self.members])

    def spread(self, labels: Labels) -> Labels:
        """Labels of the units as labels of the rows: of shape (m,) to (n,)."""
        if self.aggregate is None:
            return labels
        of_rows = np.empty(sum(map(len, self.members)), labels.dtype)
        for rows, label in zip(self.members, labels, strict=True):
            of_rows[rows] = label
        return of_rows

    @property
    def first(self) -> Indices:
        """A row of each unit, shape (m,): the first of its text."""
        if self.aggregate is None:
            return np.arange(len(self.sample.y))
        return np.array([rows[0] for rows in self.members])


def aggregated(aggregate: Aggregate, scores: Array) -> Array:
    """`Aggregate.of` in float64, along the first axis.

    Args:
        scores: shape (n,) or (n, k), n ≥ 1, float64.

    Returns:
        Shape () or (k,).
    """
    count = len(scores)
    size = min(aggregate.size, count)
    value: Array
    if aggregate.kind == "mean":
        value = scores.mean(axis=0)
    elif aggregate.kind == "max":
        value = scores.max(axis=0)
    elif aggregate.kind == "top-k-mean":
        value = np.sort(scores, axis=0)[-size:].mean(axis=0)
    else:
        windows = np.lib.stride_tricks.sliding_window_view(scores, size, axis=0)
        value = windows.mean(axis=-1).max(axis=0)
    return value


def judged_scores(cross: CrossValidation, split: SplitRows, units: Units) -> NestedScores:
    """`nested_scores` of the units: λ from the rows, Platt scaling from the units outside a fold.

    Args:
        cross: of the n rows of the split.

    Raises:
        DidNotConverge: the solver of Platt scaling stalled.
    """
    if units.aggregate is None:
        return nested_scores(cross, split.y, split.fold)
    y, fold = units.sample.y, units.sample.fold
    logits, log_odds = np.empty(len(y)), np.empty(len(y))
    for k, best, others in chosen_outside(cross, split.y, split.fold):
        inside = fold == k
        scale, shift = platt_scaling(units.of(others)[~inside], y[~inside])
        logits[inside] = units.of(cross.held_out[best])[inside].astype(np.float32)
        log_odds[inside] = (scale * logits[inside] + shift).astype(np.float32)
    return NestedScores(logits, log_odds)


@dataclass(frozen=True, eq=False)
class TextsJudged:
    """The texts of a row table, whose rows' readings are aggregated.

    Attributes:
        spans: the rows of each text, in an order that depends on their content only.
    """

    aggregate: Aggregate
    spans: Sequence[slice]

    def units(self, order: Indices, rows: Sample) -> Units:
        """These texts, of rows in another order than that of the table; as of `Units.texts`."""
        return Units.texts(order, rows, self.spans, self.aggregate)

    def exactly(self, readings: Sequence[float]) -> list[float]:
        """The exact readings of the texts from those of all rows: float32 values."""
        return [round32(self.aggregate.of(readings[span])) for span in self.spans]


def labels_of_texts(name: str, labels: Labels, rows: RowTable) -> Labels:
    """The label of each text of a row table, in order.

    Args:
        name: of the dimension. labels: one a row, shape (n,).

    Raises:
        BadLabel: a text has both labels.
    """
    spans = rows.text_rows()
    for number, span in enumerate(spans):
        if len(set(labels[span].tolist())) > 1:
            raise BadLabel(
                f"{name}, text {number}",
                expected="one label for all its tokens, as the text is what is judged",
                found="both",
            )
    of_texts: Labels = labels[[span.start for span in spans]]
    return of_texts


def texts_of(
    aggregate: Aggregate, rows: RowTable | None, labels: Mapping[str, Labels], H: Array
) -> TextsJudged:
    """The texts of a row table, each of which has one label.

    Args:
        rows: the table. H: the states of its rows, shape (n, d).
        labels: by the name of the dimension, one a row, shape (n,).

    Raises:
        BadOption: there is no table. BadLabel: a text has both labels.
    """
    if rows is None:
        raise BadOption("--aggregate", expected="a row table beside the activations, which says "
                        "of which text each row is", found="none")  # fmt: skip
    spans = rows.text_rows()
    for name, column in labels.items():
        labels_of_texts(name, column, rows)
    columns = np.column_stack([*labels.values()]).astype("<i1")
    keys = [hashlib.sha256((H[span] + 0.0).astype("<f8").tobytes() + columns[span.start].tobytes())
            for span in spans]  # fmt: skip
    order = sorted(range(len(spans)), key=lambda i: keys[i].digest())
    return TextsJudged(aggregate, [spans[i] for i in order])
