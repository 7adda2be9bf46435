"""Cross-validation by group: held-out logits for every λ, the choice of λ, nested scores.

Formulas: docs/mathematics.md, sections 5 to 7.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from threadpoolctl import threadpool_limits

from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.logistic import LogisticFit, LogisticProblem, platt_scaling
from geometry_of_trust.probing.metrics import log_losses
from geometry_of_trust.probing.splits import both_classes_remain
from geometry_of_trust.progress import Progress

L2_GRID = tuple(round32(10.0**k) for k in range(1, -10, -1))
"""Strengths λ that cross-validation chooses from, strongest first: 10, 1, … 10^-9."""

TIE = 1e-9
"""Held-out losses closer than this, relatively, are equal; the stronger penalty is taken."""

NEAR_LEAST = 1.05
"""Strengths whose rough held-out loss is at most so many times the least are fitted exactly."""

_MAX_WORKERS = 8
_MAX_BYTES = 2**29
"""Of rows that are worked on at a time; each worker needs about three times its part."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Held-out logits of split rows: exact where a choice of λ could fall, else rough.

    Attributes:
        strengths: each λ, strongest first; S of them.
        held_out: shape (S, n), float64: each row by the fit to all rows outside its fold.
        inner: for each fold k, shape (S, n): each row outside k by the fit to all rows
            outside k and outside its own fold, NaN in k; None if not asked for or not possible.
        candidates: which strengths a choice from `held_out` is between; their logits are exact.
        inner_candidates: for each fold the same of `inner`, and of `held_out` in that fold; empty
            without `inner`.
    """

    strengths: tuple[float, ...]
    held_out: Array
    inner: tuple[Array, ...] | None
    candidates: tuple[int, ...]
    inner_candidates: tuple[tuple[int, ...], ...]

    def best(self, y: Labels) -> int:
        """The index of the strength of least held-out loss; y of shape (n,)."""
        return self.candidates[least(mean_losses(self.held_out[list(self.candidates)], y))]


def cross_validate(
    X: Array,
    y: Labels,
    fold: Indices,
    strengths: Sequence[float],
    *,
    nested: bool = False,
    progress: Progress | None = None,
) -> CrossValidation:
    """Fit what is left when each fold, and with `nested` each pair of folds, is left out.

    A fit without the folds j and k serves twice: inside of all but k it scores j, and inside of
    all but j it scores k. So K(K − 1)/2 more paths make the cross-validation a nested one.

    Rough fits for all strengths show which ones come near the least loss; these are fitted
    exactly. What is near in `inner` of fold k no label of k has a part in.

    One BLAS thread a fit, and several fits at a time; each is the same whoever runs it.

    Args:
        X: coordinates, shape (n, r). y: 0 or 1, shape (n,). fold: 0 to K − 1, shape (n,).
        strengths: each λ > 0, strongest first. progress: called with what is being done.

    Raises:
        DidNotConverge: the solver stalled.
    """
    count = int(fold.max()) + 1
    nested = nested and count >= 3 and both_classes_remain(y, fold, 2)
    left_out: list[tuple[int, ...]] = [(k,) for k in range(count)]
    if nested:
        left_out += combinations(range(count), 2)
    scores = _FoldScores(X, y, fold, tuple(strengths))
    workers = min(os.cpu_count() or 1, _MAX_WORKERS, max(1, _MAX_BYTES // X.nbytes))
    tell = progress or (lambda text: None)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        rough = []
        for done, fits in enumerate(pool.map(scores.rough, left_out)):
            rough.append(fits)
            scores.put(left_out[done], fits)
            tell(f"Cross-validation {50 * done // len(left_out)} %")
        near = scores.candidates()
        inner_near = [scores.candidates(k) if nested else () for k in range(count)]
        wanted = [
            sorted({*(near if len(out) == 1 else ()), *(i for k in out for i in inner_near[k])})
            for out in left_out
        ]
        for done, fits in enumerate(pool.map(scores.exact, left_out, rough, wanted)):
            scores.put(left_out[done], fits)
            tell(f"Cross-validation {50 + 50 * done // len(left_out)} %")
    inner = tuple(scores.inner) if nested else None
    return CrossValidation(scores.strengths, scores.held_out, inner, near, tuple(inner_near))


class _FoldScores:
    """The logits of a cross-validation while they are made."""

    def __init__(self, X: Array, y: Labels, fold: Indices, strengths: tuple[float, ...]) -> None:
        self.X, self.y, self.fold, self.strengths = X, y, fold, strengths
        self.held_out = np.empty((len(strengths), len(y)))
        self.inner = [np.full_like(self.held_out, np.nan) for _ in range(int(fold.max()) + 1)]

    def rough(self, out: tuple[int, ...]) -> dict[int, LogisticFit]:
        """Fits to what is outside of these folds, by the index of their strength."""
        return dict(enumerate(self._outside(out).rough(self.strengths)))

    def exact(
        self, out: tuple[int, ...], rough: dict[int, LogisticFit], wanted: Sequence[int]
    ) -> dict[int, LogisticFit]:
        """The same for some strengths, exactly."""
        problem = self._outside(out)
        return {i: problem.exact(self.strengths[i], rough[i]) for i in wanted}

    def _outside(self, out: tuple[int, ...]) -> LogisticProblem:
        rest = ~np.isin(self.fold, out)
        return LogisticProblem.of(self.X[rest], self.y[rest])

    def put(self, out: tuple[int, ...], fits: dict[int, LogisticFit]) -> None:
        """Score the folds that were left out."""
        for k in out:
            target = self.held_out if len(out) == 1 else self.inner[sum(out) - k]
            inside = self.fold == k
            for i, fit in fits.items():
                target[i, inside] = fit.logits(self.X[inside])

    def candidates(self, k: int | None = None) -> tuple[int, ...]:
        """Which strengths come near the least loss; with k, in `inner` of it."""
        rest = self.fold != k if k is not None else np.full(len(self.y), True)
        logits = self.held_out if k is None else self.inner[k]
        losses = mean_losses(logits[:, rest], self.y[rest])
        return tuple(i for i, loss in enumerate(losses) if loss <= NEAR_LEAST * min(losses))


def mean_losses(logits: Array, y: Labels) -> list[float]:
    """Log loss in nats for each λ: of logits of shape (S, n), labels y of shape (n,).

    Odds count as n + 1 to 1 at most, as n rows can show no greater ones. Else a row alone decides:
    the state of a text's first token is hundreds of times as long as others, and its logit so far
    out that where it is wrong only a probe that says nothing would be good enough.
    """
    most = math.log(len(y) + 1)
    return [math.fsum(row) / len(y) for row in log_losses(np.clip(logits, -most, most), y)]


def least(losses: Sequence[float]) -> int:
    """Which loss is least; of those within `TIE` of it the first, which is the strongest λ."""
    bound = min(losses) * (1 + TIE)
    return next(i for i, loss in enumerate(losses) if loss <= bound)


@dataclass(frozen=True, eq=False)
class NestedScores:
    """Scores of rows by probes that no choice of which ever saw these rows.

    Attributes:
        logits: shape (n,), float32 values, so that equal rows score alike whatever BLAS adds.
        log_odds: the logits after Platt scaling, shape (n,); what probabilities are made of.
    """

    logits: Array
    log_odds: Array


def nested_scores(cross: CrossValidation, y: Labels, fold: Indices) -> NestedScores:
    """For each fold k: λ and Platt scaling from the rows outside k alone, applied to k.

    Without `inner` the λ is that of all folds, and Platt scaling is fitted to the held-out logits
    of the other folds, whose probes did see k.

    Args:
        cross: of these rows. y: 0 or 1, shape (n,). fold: shape (n,).

    Raises:
        DidNotConverge: the solver of Platt scaling stalled.
    """
    logits, log_odds = np.empty(len(y)), np.empty(len(y))
    for k, best, others in chosen_outside(cross, y, fold):
        inside = fold == k
        scale, shift = platt_scaling(others[~inside], y[~inside])
        logits[inside] = cross.held_out[best, inside].astype(np.float32)
        log_odds[inside] = (scale * logits[inside] + shift).astype(np.float32)
    return NestedScores(logits, log_odds)


def chosen_outside(
    cross: CrossValidation, y: Labels, fold: Indices
) -> Iterator[tuple[int, int, Array]]:
    """For each fold k: it, the index of the λ chosen outside of it, and logits to calibrate by.

    Args:
        cross: of these rows. y: 0 or 1, shape (n,). fold: shape (n,).

    Yields:
        With the numbers logits of shape (n,), of which only those outside of k say something.
    """
    for k in range(int(fold.max()) + 1):
        if cross.inner is None:
            best = cross.best(y)
            yield k, best, cross.held_out[best]
            continue
        near, outside = list(cross.inner_candidates[k]), fold != k
        best = near[least(mean_losses(cross.inner[k][near][:, outside], y[outside]))]
        yield k, best, cross.inner[k][best]
