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
from geometry_of_trust.probing.array_types import Array
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
    slope: float
    of_each: tuple[Effect, ...]


def effects_of(
    directions: Directions,
    logits: Sequence[NDArray[np.float32]],
    divergences: Sequence[NDArray[np.float32]],
) -> Effects:
    """The effects of m directions, the probe's first.

    Args:
        logits: of two targets, of each text's state as it is and of those of `edited`, shape
            (1 + 3m, 2). divergences: of the latter, shape (3m,). One a text.
    """
    m, projected = len(directions.units), directions.projections
    differences = np.stack([x[:, 0].astype(np.float64) - x[:, 1] for x in logits])
    plain = differences[:, 0]
    added, taken, without = np.split(differences[:, 1:], EDITS, axis=1)
    kl = [part.astype(np.float64) for part in np.split(np.stack(divergences), EDITS, axis=1)]
    own = projected[0]
    slope = _slope(own, plain)
    each = [
        Effect(
            plus=_mean(added[:, i] - plain),
            minus=_mean(taken[:, i] - plain),
            added_kl=_mean((kl[0][:, i] + kl[1][:, i]) / 2),
            fall=round32(slope - _slope(own, without[:, i])),
            removed_kl=_mean(kl[2][:, i]),
            deviation=round32(float(directions.deviations[i])),
        )
        for i in range(m)
    ]
    return Effects(_mean(plain), round32(slope), tuple(each))


def _mean(values: Array) -> float:
    """Of exact sums, rounded to float32."""
    return round32(math.fsum(values.tolist()) / len(values))


def _slope(x: Array, y: Array) -> float:
    """Of y against x, whose mean is 0: by least squares."""
    return math.fsum((x * y).tolist()) / math.fsum((x * x).tolist())
