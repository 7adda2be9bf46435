"""What a probe has to surpass: classifiers that do not have what the probe claims to have.

Each is scored on the splits of the probe, by AUROC of the pairs within folds. Where a control has
a λ of its own, that is the best one in hindsight, which favours the control.
Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Controls
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.row_writer import NONE
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing import counted_random, whitening
from geometry_of_trust.probing.cross_validation import Study, crossfit
from geometry_of_trust.probing.held_out_figures import Sample, auroc
from geometry_of_trust.probing.splits import Indices, Labels
from geometry_of_trust.progress import Progress

Array = NDArray[np.float64]

SHUFFLES = 3
DIRECTIONS = 100
MOST_TOKENS = 1024
GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Strengths λ for the controls that do not see states."""

_SHUFFLE_SEED, _DIRECTION_SEED = 100, 200


@dataclass(frozen=True, eq=False)
class Surface:
    """What can be seen of rows without a model; one entry a row.

    Attributes:
        tokens: ids of the tokens that count as the row's words; None: not known.
        place: where the row is and how long its text is, shape (n, k), any units.
    """

    tokens: Sequence[Sequence[int]] | None
    place: Array


def surface(rows: RowTable, labels: Labels) -> Surface:
    """The surface of the rows of a row table.

    Where labels are of whole texts, a row's words are all tokens of its text; where they differ
    within a text, its own token. A row table that does not tell all tokens of its texts, and has
    rows for some only, leaves its words unknown.

    Args:
        labels: 0 or 1, one a row.
    """
    spans = rows.text_rows()
    texts = [_text(rows, span) for span in spans]
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
    return Surface(tokens, _place(rows, spans, ends))


def _text(rows: RowTable, span: slice) -> Sequence[int] | None:
    """Ids of all tokens of a text, None if not known."""
    told: Sequence[int] | None = rows.tokens[span.start]
    every = np.array_equal(rows.token_index[span], np.arange(span.stop - span.start))
    if told is None and every:
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


def controls(
    study: Study, strength: float, seen: Surface | None, progress: Progress | None = None
) -> Controls:
    """All controls of a probe with penalty λ = strength; `seen` in the order of the study."""
    tell = progress or (lambda text: None)
    sample = Sample(study.y, study.groups, study.fold)
    tell("Control: shuffled labels")
    shuffled = _shuffled(study, sample, strength)
    tell("Controls: directions")
    with threadpool_limits(1, user_api="blas"):
        random, means = _random(study, sample), _means(study, sample)
    words = place = None
    if seen is not None and seen.tokens is not None:
        tell("Control: bag of tokens")
        words = _fitted(bag(seen.tokens, study.groups), study, sample)
    if seen is not None:
        tell("Control: position and length")
        place = _fitted(_curved(seen.place), study, sample)
    return Controls(shuffled, random, means, words, place)


def shuffled_by_group(y: Labels, groups: Indices, seed: int) -> Labels:
    """The labels, dealt out anew: the labels of each group, as a block, go to another place.

    With groups of one size each receives the labels of another; else blocks shift, and all but
    a few rows still receive the labels of neighbours together.
    """
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    order = counted_random.permutation(seed, len(members))
    dealt = np.empty_like(y)
    dealt[np.concatenate(members)] = np.concatenate([y[members[g]] for g in order])
    return dealt


def _shuffled(study: Study, sample: Sample, strength: float) -> float:
    values = []
    for i in range(SHUFFLES):
        y = shuffled_by_group(study.y, study.groups, _SHUFFLE_SEED + i)
        present = [set(y[study.fold != k].tolist()) == {0, 1} for k in range(study.folds)]
        if all(present):
            cross = crossfit(study.X, y, study.fold, (strength,))
            values.append(auroc(Sample(y, study.groups, study.fold), cross.held_out[0]))
    defined = [value for value in values if np.isfinite(value)]
    return round32(fmean(defined)) if defined else 0.5


def _oriented(projections: Array, study: Study) -> Array:
    """Projections, shape (n, m), turned so that positives are higher in the rows outside a fold."""
    oriented = np.empty_like(projections)
    for k in range(study.folds):
        outside = study.fold != k
        held, y = projections[outside], study.y[outside]
        gap = held[y == 1].mean(axis=0) - held[y == 0].mean(axis=0)
        oriented[~outside] = projections[~outside] * np.where(gap < 0, -1.0, 1.0)
    return oriented


def _random(study: Study, sample: Sample) -> float:
    d = study.H.shape[1]
    directions = whitening.factor(study.geometry) @ counted_random.normal(
        _DIRECTION_SEED, d, DIRECTIONS
    )
    scores = _oriented((study.H - study.H.mean(axis=0)) @ directions, study)
    return round32(fmean(auroc(sample, column) for column in scores.T))


def _means(study: Study, sample: Sample) -> float:
    scores = np.empty(len(study.y))
    for k in range(study.folds):
        outside = study.fold != k
        held, y = study.X[outside], study.y[outside]
        direction = held[y == 1].mean(axis=0) - held[y == 0].mean(axis=0)
        scores[~outside] = study.X[~outside] @ direction
    return auroc(sample, scores)


def bag(tokens: Sequence[Sequence[int]], groups: Indices) -> Array:
    """How often each token occurs in a row, shape (n, tokens), float64.

    Only tokens that occur in two groups or more, as others say nothing of rows held out; of these
    the `MOST_TOKENS` that occur in most groups, of equals the least ids.
    """
    seen: dict[int, set[int]] = {}
    for row, group in zip(tokens, groups.tolist(), strict=True):
        for token in row:
            seen.setdefault(token, set()).add(group)
    shared = sorted((token for token in seen if len(seen[token]) > 1),
                    key=lambda token: (-len(seen[token]), token))  # fmt: skip
    column = {token: i for i, token in enumerate(shared[:MOST_TOKENS])}
    counts = np.zeros((len(tokens), max(1, len(column))))
    for i, row in enumerate(tokens):
        for token, times in Counter(row).items():
            if token in column:
                counts[i, column[token]] = times
    return counts


def _curved(place: Array) -> Array:
    """Each column in units of its spread, and its square: what is early, late or in between."""
    spread = place.std(axis=0)
    units = (place - place.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([units, units**2])


def _fitted(features: Array, study: Study, sample: Sample) -> float:
    cross = crossfit(features, study.y, study.fold, GRID)
    return auroc(sample, cross.held_out[cross.best(study.y)])
