"""What a probe has to surpass: classifiers that do not have what the probe claims to have.

Each is scored on the splits of the probe, by AUROC of the pairs within folds. Where a control has
a λ of its own, that is the best one in hindsight, which favours the control.
Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Controls
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing import counted_random
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import cross_validate
from geometry_of_trust.probing.judged_units import Units
from geometry_of_trust.probing.metrics import within_fold_auroc
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.surface_features import SurfaceFeatures
from geometry_of_trust.probing.word_classifier import word_scores
from geometry_of_trust.progress import Progress

SHUFFLES = 3
DIRECTIONS = 100
MOST_TOKENS = 1024
CONTROL_L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Strengths λ for the controls that do not see states."""

_SHUFFLE_SEED, _DIRECTION_SEED = 100, 200


def measured_controls(
    split: SplitRows,
    strength: float,
    surface: SurfaceFeatures | None,
    units: Units | None = None,
    progress: Progress | None = None,
) -> Controls:
    """All controls of a probe with penalty λ = strength, each a float32 value.

    Args:
        split: the rows that the probe was fitted to.
        surface: of what is judged, in its order; None: what can be seen of it is not known.
        units: what is judged; None: each row. progress: called with what is being done.

    Raises:
        DidNotConverge: the solver of a control stalled.
    """
    tell = progress or (lambda text: None)
    units = units or Units.rows(split)
    tell("Control: shuffled labels")
    shuffled = _shuffled(split, strength, units)
    tell("Controls: directions")
    with threadpool_limits(1, user_api="blas"):
        random, means = _random(split, units), _means(split, units)
    words = place = ngrams = None
    sample = units.sample
    if surface is not None and surface.tokens is not None:
        tell("Control: bag of tokens")
        words = _fitted(bag_of_tokens(surface.tokens, sample.groups), sample)
        tell("Control: n-grams")
        scores = word_scores(surface, sample.y, sample.groups, sample.fold)
        ngrams = within_fold_auroc(sample, _tied(scores))
    if surface is not None:
        tell("Control: position and length")
        place = _fitted(_with_squares(surface.place), sample)
    return Controls(shuffled, random, means, words, place, ngrams)


def shuffled_by_group(y: Labels, groups: Indices, seed: int) -> Labels:
    """The labels, dealt out anew: the labels of each group, as a block, go to another place.

    With groups of one size each receives the labels of another; else blocks shift, and all but
    a few rows still receive the labels of neighbours together.

    Args:
        y: 0 or 1, shape (n,). groups: 0, 1, 2, …, shape (n,). seed: of the order.

    Returns:
        The labels in their new places, shape (n,).
    """
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    order = counted_random.permutation(seed, len(members))
    dealt = np.empty_like(y)
    dealt[np.concatenate(members)] = np.concatenate([y[members[g]] for g in order])
    return dealt


def _shuffled(split: SplitRows, strength: float, units: Units) -> float:
    values = []
    for i in range(SHUFFLES):
        dealt = shuffled_by_group(units.sample.y, units.sample.groups, _SHUFFLE_SEED + i)
        y = units.spread(dealt)
        present = [set(y[split.fold != k].tolist()) == {0, 1} for k in range(split.fold_count)]
        if all(present):
            cross = cross_validate(split.X, y, split.fold, (strength,))
            sample = dataclasses.replace(units.sample, y=dealt)
            values.append(within_fold_auroc(sample, units.of(cross.held_out[0])))
    defined = [value for value in values if np.isfinite(value)]
    return round32(fmean(defined)) if defined else 0.5


def _oriented(projections: Array, split: SplitRows) -> Array:
    """Projections, shape (n, m), turned so that positives are higher in the rows outside a fold."""
    oriented = np.empty_like(projections)
    for k in range(split.fold_count):
        outside = split.fold != k
        others, y = projections[outside], split.y[outside]
        gap = others[y == 1].mean(axis=0) - others[y == 0].mean(axis=0)
        oriented[~outside] = projections[~outside] * np.where(gap < 0, -1.0, 1.0)
    return oriented


def _random(split: SplitRows, units: Units) -> float:
    d = split.H.shape[1]
    directions = split.penalty.lower @ counted_random.normal(_DIRECTION_SEED, d, DIRECTIONS)
    scores = units.of(_oriented((split.H - split.H.mean(axis=0)) @ directions, split))
    return round32(fmean(within_fold_auroc(units.sample, column) for column in scores.T))


def _means(split: SplitRows, units: Units) -> float:
    scores = np.empty(len(split.y))
    H = split.H - split.H.mean(axis=0)
    for k in range(split.fold_count):
        outside = split.fold != k
        others, y = H[outside], split.y[outside]
        gap = others[y == 1].mean(axis=0) - others[y == 0].mean(axis=0)
        scores[~outside] = H[~outside] @ split.geometry.apply(gap)
    return within_fold_auroc(units.sample, units.of(scores))


def bag_of_tokens(tokens: Sequence[Sequence[int]], groups: Indices) -> Array:
    """How often each token occurs in a row, shape (n, tokens), float64.

    Only tokens that occur in two groups or more, as others say nothing of rows held out; of these
    the `MOST_TOKENS` that occur in most groups, of equals the least ids.

    Args:
        tokens: ids, a sequence a row. groups: shape (n,).
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


def _with_squares(place: Array) -> Array:
    """Each column in units of its spread, and its square: what is early, late or in between."""
    spread = place.std(axis=0)
    units = (place - place.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([units, units**2])


def _fitted(features: Array, sample: Sample) -> float:
    cross = cross_validate(features, sample.y, sample.fold, CONTROL_L2_GRID)
    return within_fold_auroc(sample, _tied(cross.held_out[cross.best(sample.y)]))


def _tied(scores: Array) -> Array:
    """Scores of rows that are alike to these classifiers, equal on every machine.

    What is the same to a reader of words has the same log odds, up to the last bits, which are the
    linear algebra library's; compared with those, an AUROC is another one on another machine.
    """
    return np.round(scores, 9)
