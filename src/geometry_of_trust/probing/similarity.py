"""How alike two sets of states of the same texts are, whatever the basis of each.

Formulas: docs/transfer.md.
"""

from __future__ import annotations

import math

from geometry_of_trust.probing.array_types import Array

FEWEST_ROWS = 4
"""The unbiased estimate is of four different rows at a time."""


def debiased_cka(X: Array, Y: Array) -> float | None:
    """Linear CKA of unbiased estimates of HSIC: about 0 of independent states, 1 of rotated ones.

    The plain estimate grows with the dimension: of independent states of as many dimensions as
    there are rows it is one half (Murphy et al. 2024; HSIC by Song et al. 2012). Never the Gram
    matrices of the rows are made, only products of the states.

    Args:
        X, Y: states of the same n ≥ 4 rows, shapes (n, d) and (n, e).

    Returns:
        At most 1, below 0 where chance has it so; None if the rows of one are all alike.
    """
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)  # changes the estimates by roundings alone
    own = math.sqrt(max(_hsic(X, X), 0.0) * max(_hsic(Y, Y), 0.0))
    return min(_hsic(X, Y) / own, 1.0) if own > 0 else None


def _hsic(X: Array, Y: Array) -> float:
    """The estimate of Song et al. (2012), with K = XXᵀ and L = YYᵀ without their diagonals."""
    n = len(X)
    x, y = (X * X).sum(axis=1), (Y * Y).sum(axis=1)
    a, b = X @ X.sum(axis=0) - x, Y @ Y.sum(axis=0) - y  # the sums of the rows of K, of L
    trace = float(((X.T @ Y) ** 2).sum() - x @ y)
    means = float(a.sum() * b.sum()) / ((n - 1) * (n - 2))
    return (trace + means - 2 * float(a @ b) / (n - 2)) / (n * (n - 3))
