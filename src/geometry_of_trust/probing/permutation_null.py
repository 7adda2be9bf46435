"""How often labels that mean nothing do as well: the null of the whole procedure, by permutation.

Formulas and why the level holds: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import PermutationNull
from geometry_of_trust.probing import counted_random
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.judged_units import Units
from geometry_of_trust.probing.logistic import LogisticProblem
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.splits import blind_folds

PERMUTATIONS = 499
_SEED = 300
_AT_ONCE = 2**23
"""Scores in memory at a time, as strengths times rows times permutations."""


def permutation_null(
    X: Array,
    y: Labels,
    groups: Indices,
    strengths: Sequence[float],
    units: Units | None = None,
) -> PermutationNull:
    """Of how many permutations of the labels by group a probe does as well as of the labels.

    A probe here is a ridge regression on the labels, which stands for the logistic one, as all
    permutations have the same factors of X. Penalty and score are found as the probe's are: the λ
    of least held-out loss, the AUROC of pairs within folds. The same is done to the labels as they
    are, and folds do not look at labels, so that the p-value is exact, whatever the X.

    Args:
        X: coordinates in which the penalty is the squared length, shape (n, r).
        y: 0 or 1, shape (n,). groups: 0, 1, 2, …, shape (n,). strengths: λ to choose from.
        units: what is judged, of these rows; labels move from one to another. None: each row.
    """
    folds = blind_folds(groups)
    units = units or Units(Sample.of_one_scorer(y, groups))
    sample = units.sample
    order = np.argsort(sample.groups, kind="stable")
    columns = np.empty((len(order), 1 + PERMUTATIONS))
    columns[order] = permuted_labels(sample.y[order], sample.groups[order], PERMUTATIONS)
    with threadpool_limits(1, user_api="blas"):
        ridges = [_Ridge.of(X, folds == k) for k in range(int(folds.max()) + 1)]
        step = max(1, _AT_ONCE // (len(strengths) * len(y)))
        parts = [
            _aurocs(ridges, columns[:, start : start + step], strengths, units)
            for start in range(0, columns.shape[1], step)
        ]
    aurocs = np.concatenate(parts)
    return PermutationNull(PERMUTATIONS, int((aurocs[1:] >= aurocs[0]).sum()))


def permuted_labels(y: Labels, groups: Indices, count: int) -> Array:
    """The labels, and then permutations of them by group, one a column; shape (n, 1 + count).

    A group whose rows have one label takes the label of another such group, of whatever size.
    Others take the labels of another group of their size, row by row in canonical order; one that
    no other has the size of has its own rows' labels in another order.

    Args:
        y: 0 or 1, shape (n,). groups: 0, 1, 2, …, shape (n,), the rows of each together.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(np.append(starts, len(y)))
    positives = np.add.reduceat(y.astype(np.intp), starts)
    pure = (positives == 0) | (positives == sizes)
    source = counted_random.stream(_SEED)
    columns = np.repeat(y[:, np.newaxis].astype(np.float64), 1 + count, axis=1)
    whole = pure[groups]
    labels = y[starts[pure]].astype(np.float64)
    place = np.cumsum(pure) - 1
    columns[whole, 1:] = labels[_orders(source, len(labels), count)][place[groups[whole]]]
    for size in np.unique(sizes[~pure]).tolist():
        like = np.flatnonzero(~pure & (sizes == size))
        rows = starts[like, np.newaxis] + np.arange(size)
        if len(like) == 1:
            columns[rows[0], 1:] = y[rows[0]][_orders(source, size, count)]
        else:
            columns[rows.ravel(), 1:] = (
                y[rows][_orders(source, len(like), count)].transpose(0, 2, 1).reshape(-1, count)
            )
    return columns


def _orders(source: np.random.Philox, length: int, count: int) -> Indices:
    """Orders of 0 … length − 1, one a column: shape (length, count)."""
    drawn = counted_random.uniform(source, count, length)
    return np.argsort(drawn, axis=1, kind="stable").T


@dataclass(frozen=True, eq=False)
class _Ridge:
    """What is known before any label of the ridge regressions on the rows outside a fold.

    Attributes:
        inside: which rows are in the fold, shape (n,). outer: the coordinates of the others along
            the principal directions of these, shape (n − m, r); their lengths squared: values,
            shape (r,). inner: the coordinates of the m rows of the fold, shape (m, r).
    """

    inside: NDArray[np.bool_]
    outer: Array
    values: Array
    inner: Array

    @classmethod
    def of(cls, X: Array, inside: NDArray[np.bool_]) -> _Ridge:
        problem = LogisticProblem.of(X[~inside], np.zeros(int((~inside).sum()), np.int8))
        Z = problem.A[:, :-1]
        values, directions = np.linalg.eigh(Z.T @ Z)
        inner = (X[inside] - problem.centre) / problem.scale @ directions
        return cls(inside, Z @ directions, np.maximum(values, 0.0), inner)

    def scores(self, columns: Array, strengths: Sequence[float]) -> Array:
        """Of the rows of the fold, for each λ and each column of labels: shape (S, m, columns)."""
        labels = columns[~self.inside]
        mean = labels.mean(axis=0)
        slopes = self.outer.T @ (labels - mean)
        shrunk = (
            slopes / (self.values + len(labels) * strength)[:, np.newaxis] for strength in strengths
        )
        return np.stack([self.inner @ part + mean for part in shrunk])


def _aurocs(
    ridges: Sequence[_Ridge], columns: Array, strengths: Sequence[float], units: Units
) -> Array:
    """The AUROC of pairs within folds for each column of the units' labels, at its own λ."""
    of_rows = columns[units.spread(np.arange(len(columns)))]
    held_out = np.empty((len(strengths), *of_rows.shape))
    for ridge in ridges:
        held_out[:, ridge.inside] = ridge.scores(of_rows, strengths)
    # A row of a state hundreds of times as long as others must not choose alone.
    best = np.square(np.clip(held_out, 0.0, 1.0) - of_rows).sum(axis=1).argmin(axis=0)
    chosen = np.take_along_axis(held_out, best[np.newaxis, np.newaxis], axis=0)[0]
    scores, first = units.of(chosen).astype(np.float32), units.first
    wins = pairs = np.zeros(columns.shape[1])
    for ridge in ridges:
        inside = ridge.inside[first]
        labels = columns[inside]
        ranks = rankdata(scores[inside], axis=0)
        count = labels.sum(axis=0)
        wins = wins + (ranks * labels).sum(axis=0) - count * (count + 1) / 2
        pairs = pairs + count * (len(labels) - count)
    aurocs: Array = np.divide(wins, pairs, out=np.full(len(wins), 0.5), where=pairs > 0)
    return aurocs
