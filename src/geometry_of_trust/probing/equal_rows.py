"""Rows that are one observation, though they stand in several places: found before any split.

Formulas: docs/mathematics.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.formats.row_table import RowTable, groups_of
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.splits import MAX_FOLDS
from geometry_of_trust.probing.surface_features import text_tokens

NEAR_COSINE = 0.999
"""Centred rows of two groups whose cosine exceeds this are near-equal."""

_BLOCK = 512


def joined_groups(H: Array, groups: Labels | None = None) -> Indices:
    """Groups, those that share a row made one; without groups, equal rows are one.

    Many texts of one corpus begin alike, and the states of such beginnings are equal, too: a row
    that stands in more than a fifth of the groups (and in more than five) makes one only of those
    that hold nothing else. Labels play no part.

    Args:
        H: states, shape (n, d); equal are those of equal numbers, −0 as 0.
        groups: equal for rows that belong together, shape (n,); None: each on its own.

    Returns:
        A number for each row, shape (n,).
    """
    kinds = _kinds(H)
    if groups is None:
        return kinds
    names: Indices = np.unique(groups, return_inverse=True)[1]
    pairs = np.unique(np.column_stack([kinds, names]), axis=0)
    single = np.bincount(pairs[:, 1]) == 1
    most = max(MAX_FOLDS, len(single) // MAX_FOLDS)
    bounds = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1, append=-1))
    sharing = (pairs[a:b, 1] for a, b in pairwise(bounds.tolist()) if b - a > 1)
    return _linked(names, (own if len(own) <= most else own[single[own]] for own in sharing))


def text_groups(rows: RowTable | None) -> Indices | None:
    """The groups of a row table's rows, those with texts of the same tokens made one.

    Returns:
        A number for each row, shape (n,); None where there is nothing to be held apart, as of
        `groups_of`.
    """
    groups = groups_of(rows)
    if rows is None or groups is None:
        return None
    alike: dict[Sequence[int], list[int]] = {}
    for span in rows.text_rows():
        tokens = text_tokens(rows, span)
        if tokens is not None:
            alike.setdefault(tuple(tokens), []).append(int(groups[span.start]))
    return _linked(groups.astype(np.intp), (np.array(own) for own in alike.values()))


def equal_row_count(H: Array) -> int:
    """How many rows have a state, shape (n, d), that another row has too."""
    times = np.bincount(_kinds(H))
    return int(times[times > 1].sum())


def standing_in(
    H: Array, rows: RowTable | None, among: Array, rows_among: RowTable | None
) -> NDArray[np.bool_]:
    """Which rows stand among others, too: by their state, or as one of a text of the same tokens.

    Args:
        H, among: states, shape (n, d) and (m, d). rows, rows_among: their row tables, if any.

    Returns:
        Shape (n,).
    """
    states = set(_keys(among))
    found = np.array([key in states for key in _keys(H)], np.bool_)
    if rows is not None and rows_among is not None:
        texts = (text_tokens(rows_among, span) for span in rows_among.text_rows())
        known = {tuple(text) for text in texts if text is not None}
        for span in rows.text_rows():
            text = text_tokens(rows, span)
            found[span] |= text is not None and tuple(text) in known
    return found


def near_row_count(X: Array, groups: Indices) -> int:
    """How many rows come nearer than `NEAR_COSINE` to a row of another group, or equal it.

    Args:
        X: coordinates in which the penalty is the squared length, shape (n, r). Of each the
            median is taken away first: means follow a few huge states. groups: shape (n,).
    """
    away = X - np.median(X, axis=0)
    lengths = np.sqrt(np.square(away).sum(axis=1, keepdims=True))
    unit = np.divide(away, lengths, out=np.zeros_like(away), where=lengths > 0)
    unit = unit.astype(np.float32)  # in which the bound is far from 1, and takes half the time
    count = 0
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(unit), _BLOCK):
            part = slice(start, start + _BLOCK)
            near = unit[part] @ unit.T > NEAR_COSINE
            count += int((near & (groups[part, np.newaxis] != groups)).any(axis=1).sum())
    return count


def _keys(H: Array) -> list[bytes]:
    """A digest of each row's state, shape (n, d)."""
    return [hashlib.sha256(row.tobytes()).digest() for row in (H + 0.0).astype("<f8")]


def _kinds(H: Array) -> Indices:
    """A number for each row, shape (n,), equal for equal states."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in _keys(H)], np.intp)


def _linked(names: Indices, links: Iterable[Indices]) -> Indices:
    """Names, shape (n,), after all those that stand in one link have become one."""
    parent = list(range(int(names.max()) + 1))

    def root(name: int) -> int:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for link in links:
        for name in link.tolist():
            parent[root(name)] = root(int(link[0]))
    return np.array([root(name) for name in range(len(parent))], np.intp)[names]
