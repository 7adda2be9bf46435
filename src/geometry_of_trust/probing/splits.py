"""Rows in an order of their own, and the folds of cross-validation, by group.

Formulas: docs/mathematics.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from geometry_of_trust.probing.array_types import Array, Indices, Labels

if TYPE_CHECKING:
    pass

MAX_FOLDS = 5


def canonical_order(H: Array, y: Labels, groups: Labels | None = None) -> tuple[Indices, Indices]:
    """An order of the rows that depends on their content only, and their groups, numbered in it.

    A row's key is a digest of its state and label, a group's key a digest of its rows' sorted
    keys; rows are sorted by the key of their group, then by their own. What a group is called
    plays no part, nor does the order in which rows are given.

    Args:
        H: states, shape (n, d). y: labels from 0 to 255, shape (n,).
        groups: any numbers, equal for rows that belong together, shape (n,); None: each row is
            its own group.

    Returns:
        The indices of the rows in that order, and for each of these its group: 0, 1, 2, …; both
        of shape (n,).
    """
    rows = (H + 0.0).astype("<f8")
    keys = [
        hashlib.sha256(row.tobytes() + bytes([label])).digest()
        for row, label in zip(rows, y.tolist(), strict=True)
    ]
    names = range(len(keys)) if groups is None else groups.tolist()
    members: dict[Hashable, list[bytes]] = {}
    for name, key in zip(names, keys, strict=True):
        members.setdefault(name, []).append(key)
    digests = {name: hashlib.sha256(b"".join(sorted(of_group))).digest()
               for name, of_group in members.items()}  # fmt: skip
    # Of groups with equal digests all rows are equal, so that their order changes nothing.
    numbers = {name: i for i, name in enumerate(sorted(members, key=digests.__getitem__))}
    owner = [numbers[name] for name in names]
    order = sorted(range(len(keys)), key=lambda i: (owner[i], keys[i]))
    return np.array(order, np.intp), np.array(owner, np.intp)[order]


def groups_by_class(y: Labels, groups: Indices) -> tuple[int, int]:
    """How many groups hold a negative row, and how many a positive one; both of shape (n,)."""
    return len(np.unique(groups[y == 0])), len(np.unique(groups[y == 1]))


def assign_folds(y: Labels, groups: Indices, most: int = MAX_FOLDS) -> Indices:
    """The fold of each row: all rows of a group in one fold, both classes spread evenly.

    Groups come largest first, then by number, each to the fold where Σ_c n_fc²/N_c grows least
    (n_fc rows of class c in fold f, N_c in all); of equal folds the one with fewest rows, then the
    first. K = min(most, groups that hold a positive, groups that hold a negative).

    Args:
        y: 0 or 1, shape (n,). groups: 0, 1, 2, … as of `canonical_order`, shape (n,).

    Returns:
        Numbers from 0 to K − 1, shape (n,).
    """
    counts = np.zeros((int(groups.max()) + 1, 2))
    np.add.at(counts, (groups, y.astype(np.intp)), 1)
    number = min(most, *groups_by_class(y, groups))
    totals, in_fold = counts.sum(axis=0), np.zeros((number, 2))
    fold = np.empty(len(counts), np.intp)
    for group in np.argsort(-counts.sum(axis=1), kind="stable").tolist():
        growth = ((2 * in_fold + counts[group]) * counts[group] / totals).sum(axis=1).tolist()
        rows = in_fold.sum(axis=1).tolist()
        fold[group] = min(range(number), key=lambda f: (growth[f], rows[f]))
        in_fold[fold[group]] += counts[group]
    return fold[groups]


def both_classes_remain(y: Labels, fold: Indices, left_out: int) -> bool:
    """Whether, whichever `left_out` folds (1 or 2) are left out, both classes remain.

    Args:
        y: 0 or 1, shape (n,). fold: from 0, shape (n,).
    """
    counts = np.zeros((int(fold.max()) + 1, 2))
    np.add.at(counts, (fold, y.astype(np.intp)), 1)
    largest = np.sort(counts, axis=0)[::-1][:left_out].sum(axis=0)
    return bool((counts.sum(axis=0) > largest).all())


def blind_folds(groups: Indices) -> Indices:
    """Folds that do not look at labels: groups, the largest first, each where fewest rows are.

    Args:
        groups: 0, 1, 2, …, shape (n,).

    Returns:
        From 0, at most `MAX_FOLDS` of them, shape (n,).
    """
    sizes = np.bincount(groups)
    rows = np.zeros(min(MAX_FOLDS, len(sizes)))
    fold = np.empty(len(sizes), np.intp)
    for group in np.argsort(-sizes, kind="stable").tolist():
        fold[group] = int(rows.argmin())
        rows[fold[group]] += sizes[group]
    return fold[groups]
