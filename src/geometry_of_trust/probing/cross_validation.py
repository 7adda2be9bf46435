"""Cross-validation by group: held-out logits for every λ, the choice of λ, honest scores.

Formulas: docs/mathematics.md, sections 5 to 7.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import TooFewOfClass
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import metrics
from geometry_of_trust.probing.logistic import Fit, Problem, platt
from geometry_of_trust.probing.splits import (
    MAX_FOLDS,
    Indices,
    Labels,
    canonical_order,
    folds,
    groups_with,
    trainable,
)
from geometry_of_trust.probing.whitening import coordinates
from geometry_of_trust.progress import Progress

Array = NDArray[np.float64]

L2_GRID = tuple(exact.round32(10.0**k) for k in range(1, -10, -1))
"""Strengths λ that cross-validation chooses from, strongest first: 10, 1, … 10^-9."""

TIE = 1e-9
"""Held-out losses closer than this, relatively, are equal; the stronger penalty is taken."""

CLOSE = 1.05
"""Strengths whose rough held-out loss is at most so many times the least are fitted exactly."""

_MAX_WORKERS = 8
_MAX_BYTES = 2**29
"""Of rows that are worked on at a time; each worker needs about three times its part."""


@dataclass(frozen=True, eq=False)
class Study:
    """Labelled rows in canonical order, their groups and folds, and their coordinates.

    Attributes:
        order: where each row was in the order given.
        H: states, shape (n, d). y: 0 or 1. groups: 0, 1, 2, … fold: 0 to K − 1.
        geometry: the inner product. X: coordinates in which it is the ordinary one, shape (n, r).
    """

    order: Indices
    H: Array
    y: Labels
    groups: Indices
    fold: Indices
    geometry: Geometry
    X: Array

    @classmethod
    def of(
        cls,
        H: Array,
        y: Labels,
        geometry: Geometry,
        groups: Labels | None = None,
        most_folds: int = MAX_FOLDS,
    ) -> Study:
        """Put rows in order and split them.

        Raises:
            TooFewOfClass: a class has fewer than two rows, or lies in fewer than two groups, or
                all but a fold of its rows in one.
        """
        for name, label in (("positive", 1), ("negative", 0)):
            if (y == label).sum() < 2:
                raise TooFewOfClass(
                    "labels", expected=f"at least two {name} ones", found=int((y == label).sum())
                )
        order, numbers = canonical_order(H, y, groups)
        H, y = H[order], y[order]
        if min(groups_with(y, numbers)) < 2:
            raise TooFewOfClass(
                "groups", expected="both classes in two groups or more", found="fewer"
            )
        fold = folds(y, numbers, most_folds)
        if not trainable(y, fold, 1):
            raise TooFewOfClass(
                "groups", expected="both classes outside each fold", found="one class"
            )
        with threadpool_limits(1, user_api="blas"):
            return cls(order, H, y, numbers, fold, geometry, coordinates(H, geometry))

    def under(self, geometry: Geometry) -> Study:
        """The same rows and folds under another inner product."""
        with threadpool_limits(1, user_api="blas"):
            X = coordinates(self.H, geometry)
        return Study(self.order, self.H, self.y, self.groups, self.fold, geometry, X)

    @property
    def folds(self) -> int:
        """K."""
        return int(self.fold.max()) + 1


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Held-out logits of a study: exact where a choice of λ could fall, else rough.

    Attributes:
        strengths: each λ, strongest first.
        held_out: shape (strengths, n): each row by the fit to all rows outside its fold.
        inner: for each fold k, shape (strengths, n): each row outside k by the fit to all rows
            outside k and outside its own fold, NaN in k; None if not asked for or not possible.
        close: which strengths a choice from `held_out` is between; their logits are exact.
        inner_close: for each fold the same of `inner`, and of `held_out` in that fold; empty
            without `inner`.
    """

    strengths: tuple[float, ...]
    held_out: Array
    inner: tuple[Array, ...] | None
    close: tuple[int, ...]
    inner_close: tuple[tuple[int, ...], ...]

    def best(self, y: Labels) -> int:
        """The strength of least held-out loss."""
        return self.close[chosen(losses(self.held_out[list(self.close)], y))]


def crossfit(
    X: Array,
    y: Labels,
    fold: Indices,
    strengths: Sequence[float],
    *,
    nested: bool = False,
    progress: Progress | None = None,
) -> CrossFit:
    """Fit what is left when each fold, and with `nested` each pair of folds, is left out.

    A fit without the folds j and k serves twice: inside of all but k it scores j, and inside of
    all but j it scores k. So K(K − 1)/2 more paths make the cross-validation a nested one.

    Rough fits for all strengths show which ones come near the least loss; these are fitted
    exactly. What is near in `inner` of fold k no label of k has a part in.

    One BLAS thread a fit, and several fits at a time; each is the same whoever runs it.

    Raises:
        DidNotConverge: the solver stalled.
    """
    number = int(fold.max()) + 1
    nested = nested and number >= 3 and trainable(y, fold, 2)
    left_out: list[tuple[int, ...]] = [(k,) for k in range(number)]
    if nested:
        left_out += combinations(range(number), 2)
    held = _Held(X, y, fold, tuple(strengths))
    workers = min(os.cpu_count() or 1, _MAX_WORKERS, max(1, _MAX_BYTES // X.nbytes))
    tell = progress or (lambda text: None)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        rough = []
        for done, fits in enumerate(pool.map(held.rough, left_out)):
            rough.append(fits)
            held.put(left_out[done], fits)
            tell(f"Cross-validation {50 * done // len(left_out)} %")
        close, inner_close = held.close(), [held.close(k) if nested else () for k in range(number)]
        wanted = [
            sorted({*(close if len(out) == 1 else ()), *(i for k in out for i in inner_close[k])})
            for out in left_out
        ]
        for done, fits in enumerate(pool.map(held.exact, left_out, rough, wanted)):
            held.put(left_out[done], fits)
            tell(f"Cross-validation {50 + 50 * done // len(left_out)} %")
    inner = tuple(held.inner) if nested else None
    return CrossFit(held.strengths, held.held_out, inner, close, tuple(inner_close))


class _Held:
    """The scores of a cross-validation while they are made."""

    def __init__(self, X: Array, y: Labels, fold: Indices, strengths: tuple[float, ...]) -> None:
        self.X, self.y, self.fold, self.strengths = X, y, fold, strengths
        self.held_out = np.empty((len(strengths), len(y)))
        self.inner = [np.full_like(self.held_out, np.nan) for _ in range(int(fold.max()) + 1)]

    def rough(self, out: tuple[int, ...]) -> dict[int, Fit]:
        """Fits to what is outside of these folds, by the index of their strength."""
        return dict(enumerate(self._outside(out).rough(self.strengths)))

    def exact(
        self, out: tuple[int, ...], rough: dict[int, Fit], wanted: Sequence[int]
    ) -> dict[int, Fit]:
        """The same for some strengths, exactly."""
        problem = self._outside(out)
        return {i: problem.exact([self.strengths[i]], rough[i])[0] for i in wanted}

    def _outside(self, out: tuple[int, ...]) -> Problem:
        rest = ~np.isin(self.fold, out)
        return Problem.of(self.X[rest], self.y[rest])

    def put(self, out: tuple[int, ...], fits: dict[int, Fit]) -> None:
        """Score the folds that were left out."""
        for k in out:
            target = self.held_out if len(out) == 1 else self.inner[sum(out) - k]
            inside = self.fold == k
            for i, fit in fits.items():
                target[i, inside] = fit.logits(self.X[inside])

    def close(self, k: int | None = None) -> tuple[int, ...]:
        """Which strengths come near the least loss; with k, in `inner` of it."""
        rest = self.fold != k if k is not None else np.full(len(self.y), True)
        logits = self.held_out if k is None else self.inner[k]
        held = losses(logits[:, rest], self.y[rest])
        return tuple(i for i, loss in enumerate(held) if loss <= CLOSE * min(held))


def losses(logits: Array, y: Labels) -> list[float]:
    """Log loss in nats of each row of logits, shape (strengths, n)."""
    return [metrics.log_loss(row, y) for row in logits]


def chosen(held: Sequence[float]) -> int:
    """Which loss is least; of those within `TIE` of it the first, which is the strongest λ."""
    least = min(held)
    return next(i for i, loss in enumerate(held) if loss <= least * (1 + TIE))


@dataclass(frozen=True, eq=False)
class Honest:
    """Scores of rows by probes that no choice of which ever saw these rows.

    Attributes:
        logits: shape (n,), float32 values, so that equal rows score alike whatever BLAS adds.
        log_odds: the logits after Platt scaling; what the probabilities are made of.
    """

    logits: Array
    log_odds: Array


def honest(cross: CrossFit, y: Labels, fold: Indices) -> Honest:
    """For each fold k: λ and Platt scaling from the rows outside k alone, applied to k.

    Without `inner` the λ is that of all folds, and Platt scaling is fitted to the held-out logits
    of the other folds, whose probes did see k.
    """
    logits, log_odds = np.empty(len(y)), np.empty(len(y))
    for k in range(int(fold.max()) + 1):
        inside = fold == k
        if cross.inner is None:
            best = cross.best(y)
            others = cross.held_out[:, ~inside]
        else:
            others = cross.inner[k][:, ~inside]
            close = cross.inner_close[k]
            best = close[chosen(losses(others[list(close)], y[~inside]))]
        scale, shift = platt(others[best], y[~inside])
        logits[inside] = cross.held_out[best, inside].astype(np.float32)
        log_odds[inside] = (scale * logits[inside] + shift).astype(np.float32)
    return Honest(logits, log_odds)
