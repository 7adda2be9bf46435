"""How far two runs are apart, and where they first differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.signing.binding import BoundGeometry
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from geometry_of_trust.verifying.differences import distance, first_difference, flat


def test_distance_in_units_in_the_last_place() -> None:
    one = np.float32(1)
    up = np.nextafter(one, np.float32(2))
    a = np.array([one, 0.0, -1.0, 5.0], np.float32)
    b = np.array([np.nextafter(up, np.float32(2)), -0.0, -1.0, 5.0], np.float32)
    apart = distance(a, b)
    assert (apart.differing, apart.first, apart.largest, apart.median) == (1, (0,), 2, 2.0)
    tiny = np.float32(1e-45)
    across = distance(np.array([tiny]), np.array([-tiny]))
    assert across.largest == 2
    assert str(distance(a, a)) == "no value differs"
    assert "1 unit in" in str(distance(np.array([one]), np.array([up])))
    with pytest.raises(errors.BadArray):
        distance(a, a[:2])


def test_the_first_difference_of_trees() -> None:
    ours = {"a": [1, {"b": (0.5, "x")}], "c": None}
    up = float(np.nextafter(np.float32(0.5), np.float32(1)))
    for signed, where in (
        ({"a": [1, {"b": (0.5, "x")}], "c": 3}, "t.c: signed 3, found None"),
        ({"a": [1, {"b": (0.5, "y")}], "c": 3}, "t.a[1].b[1]: signed y, found x"),
        ({"a": [1, {"b": (up, "x")}], "c": None},
         "t.a[1].b[0]: signed 0.50000006, found 0.5, 1 unit in the last place apart"),
        ({"a": [1], "c": None}, "t.a: 1 entries signed, 2 found"),
        ({"a": 1}, "t: signed {'a': 1}, found {'a': [1, {'b': (0.5, 'x')}], 'c': None}"),
    ):  # fmt: skip
        assert first_difference("t", ours, signed) == where


def test_the_first_difference_of_frozen_values() -> None:
    ours = BoundGeometry("Causal", "0.0", "ab" * 32)
    for signed, where in (
        (replace(ours, epsilon="0.5"), "g.epsilon: signed 0.5, found 0.0"),
        (replace(ours, epsilon="0.5", inner_product="Euclidean"),
         "g.inner_product: signed Euclidean, found Causal"),
    ):  # fmt: skip
        assert first_difference("g", ours, signed) == where
        assert first_difference("t", (1, ours), (1, signed)) == where.replace("g", "t[1]", 1)
    # Of two types there is nothing to compare but the whole.
    tag = InnerProductTag("Causal")
    assert first_difference("g", ours, tag) == f"g: signed {tag}, found {ours}"


def test_readings_one_after_the_other() -> None:
    assert flat(((1.0, 2.0), (), (3.0,))).tolist() == [1.0, 2.0, 3.0]
    assert flat(()).dtype == np.float32
