"""States moved along directions, and what is said of what comes of it: the same bits everywhere.

Formulas: docs/intervene.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.interventions import Effect
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.random_directions import Directions

EDITS = 3
"""Of each direction: added, taken away, projected out."""


def edited(
    state: NDArray[np.float32], projections: Array, directions: Directions, delta: float
) -> NDArray[np.float32]:
    """A state with each direction added, then with each taken away, then with each projected out.

    Added are `delta` standard deviations of the probe's projection, along random directions too.
    Projected out is what the projection has beyond the mean of the texts.

    Args:
        state: h, shape (d,). projections: of h, less the mean, on each of m
            directions, shape (m,).

    Returns:
        Shape (3m, d).
    """
    units = directions.units.astype(np.float64)
    moved = (delta * float(directions.deviations[0]) * units).astype(np.float32)
    without = state.astype(np.float64) - projections[:, np.newaxis] * units
    return np.concatenate([state + moved, state - moved, without.astype(np.float32)])


@dataclass(frozen=True)
class Effects:
    """What came of it, on average over texts: as of `Intervention`."""

    difference: float
    gain: float
    of_each: tuple[Effect, ...]


def effects_of(
    directions: Directions,
    logits: Sequence[NDArray[np.float32]],
    divergences: Sequence[NDArray[np.float32]],
    labels: Labels | None = None,
) -> Effects:
    """The effects of m directions, the probe's first.

    Args:
        logits: of two targets, of each text's state as it is and of those of `edited`, shape
            (1 + 3m, 2). divergences: of the latter, shape (3m,). One a text.
        labels: of the n texts, 0 and 1, shape (n,). None: each direction is held against its own
            projections, so that random ones play the part that the probe's does.
    """
    m = len(directions.units)
    differences = np.stack([x[:, 0].astype(np.float64) - x[:, 1] for x in logits])
    plain = differences[:, 0]
    added, taken, without = np.split(differences[:, 1:], EDITS, axis=1)
    kl = [part.astype(np.float64) for part in np.split(np.stack(divergences), EDITS, axis=1)]
    contrasts = _contrasts(directions, labels)
    each = [
        Effect(
            plus=_mean(added[:, i] - plain),
            minus=_mean(taken[:, i] - plain),
            added_kl=_mean((kl[0][:, i] + kl[1][:, i]) / 2),
            fall=round32(_sum(contrasts[i] * (plain - without[:, i]))),
            removed_kl=_mean(kl[2][:, i]),
            deviation=round32(float(directions.deviations[i])),
        )
        for i in range(m)
    ]
    return Effects(_mean(plain), round32(_sum(contrasts[0] * plain)), tuple(each))


def _contrasts(directions: Directions, labels: Labels | None) -> Array:
    """With what each text counts in a gain, of each direction, shape (m, n)."""
    projections = directions.projections
    if labels is None:
        scale = directions.deviations[:, np.newaxis] * projections.shape[1]
        own: Array = np.divide(projections, scale, out=np.zeros_like(projections), where=scale > 0)
        return own
    positive = labels == 1
    of_all = np.where(positive, 1 / int(positive.sum()), -1 / int((~positive).sum()))
    return np.tile(of_all, (len(projections), 1))


def _mean(values: Array) -> float:
    """Of exact sums, rounded to float32."""
    return round32(_sum(values) / len(values))


def _sum(values: Array) -> float:
    return math.fsum(values.tolist())
