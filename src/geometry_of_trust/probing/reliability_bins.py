"""Probabilities in ten bins, and how often each bin was right: what a reliability diagram shows.

Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import numpy as np

from geometry_of_trust.documents.probe_card import BIN_COUNT, Bin
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.intervals import wilson_interval


def bin_of(p: Array) -> Indices:
    """Which of ten equal bins, closed below, the last one on both sides (reference.md 7.5).

    Args:
        p: probabilities, any shape.

    Returns:
        Numbers of bins from 0, of the same shape.
    """
    return np.searchsorted(np.arange(1, BIN_COUNT) / BIN_COUNT, p, side="right")


def reliability_bins(p: Array, y: Labels, groups: Indices) -> tuple[Bin, ...]:
    """The bin table of probabilities; empty bins have zeros.

    The interval is Wilson's, for as many independent draws as the bin has groups: rows of one
    group may be copies of each other.

    Args:
        p: probabilities, shape (n,). y: labels 0 or 1, shape (n,).
        groups: equal for rows that belong together, shape (n,).
    """
    index = bin_of(p)
    table = []
    for k in range(BIN_COUNT):
        inside = index == k
        if not inside.any():
            table.append(Bin(0, 0, 0.0, 0.0, 0.0, 1.0))
            continue
        draws, share = len(np.unique(groups[inside])), float(y[inside].mean())
        low, high = wilson_interval(share, draws)
        mean = float(p[inside].mean())
        table.append(Bin(int(inside.sum()), draws, *map(round32, (mean, share, low, high))))
    return tuple(table)
