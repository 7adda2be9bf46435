"""Words, places and lengths of rows, from row tables that tell all of it, or some."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geometry_of_trust.formats.row_writer import NONE
from geometry_of_trust.probing.surface_features import surface_features
from row_tables import last_rows, table_of


def test_surface_of_labels_within_a_text_is_the_rows_own_token() -> None:
    rows = table_of([[5, 6, 7], [8, 9]])
    assert surface_features(rows, np.array([0, 1, 0, 0, 1])).tokens == [[5], [6], [7], [8], [9]]
    whole = surface_features(rows, np.array([0, 0, 0, 1, 1])).tokens
    assert whole == [[5, 6, 7]] * 3 + [[8, 9]] * 2
    last, _ = last_rows(rows)
    assert surface_features(last, np.array([0, 1])).tokens is None
    given = surface_features(replace(last, tokens=((5, 6, 7), (8, 9))), np.array([0, 1]))
    assert given.tokens == [(5, 6, 7), (8, 9)]
    assert given.place.tolist() == [[2, 1, 8, 11, 3], [1, 1, 4, 7, 2]]


def test_surface_of_a_mean_over_tokens() -> None:
    rows = table_of([[5, 6, 7], [8, 9]])
    means = replace(last_rows(rows)[0], token_id=np.full(2, NONE), token_index=np.full(2, NONE))
    assert surface_features(means, np.array([0, 1])).tokens is None
    told = replace(means, tokens=((5, 6), (8,)))
    assert surface_features(told, np.array([0, 1])).tokens == [(5, 6), (8,)]


def test_rows_in_another_order_keep_their_words_and_places() -> None:
    features = surface_features(table_of([[5, 6, 7], [8, 9]]), np.array([0, 0, 0, 1, 1]))
    moved = features.in_order(np.array([4, 0], np.intp))
    assert moved.tokens == [[8, 9], [5, 6, 7]]
    assert np.array_equal(moved.place, features.place[[4, 0]])
    assert (
        surface_features(last_rows(table_of([[5], [6, 7]]))[0], np.array([0, 1]))
        .in_order(np.array([1], np.intp))
        .tokens
        is None
    )
