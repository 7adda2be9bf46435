"""Aggregates of readings: their names, and that they are exact."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.errors import BadOption

NAMES = ["mean", "max", "top-k-mean:1", "top-k-mean:3", "max-of-rolling-means:1",
         "max-of-rolling-means:4", "max-of-rolling-means:999999"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_and_written(name: str) -> None:
    assert str(Aggregate.parse(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", "median", "mean:2", "top-k-mean", "top-k-mean:0", "top-k-mean:03", "top-k-mean:٣",
     "max-of-rolling-means:-1", "max-of-rolling-means:1000000", "Mean", "max "],
)  # fmt: skip
def test_what_no_aggregate_is(name: str) -> None:
    with pytest.raises(BadOption):
        Aggregate.parse(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "readings",
    [
        [2.0**127, 1.0, -(2.0**127), 2.0**-149, 0.5],  # a float64 keeps one of these alone
        [-1.0, -3.0, -2.0, -2.0],
        [0.25],
    ],
)
def test_it_is_the_number_over_the_reals(name: str, readings: list[float]) -> None:
    kind, _, size = name.partition(":")
    values = [Fraction(x) for x in readings]
    k = min(int(size or len(values)), len(values))
    windows = [values[i : i + k] for i in range(len(values) - k + 1)]
    expected = {
        "mean": sum(values, Fraction(0)) / len(values),
        "max": max(values),
        "top-k-mean": sum(sorted(values, reverse=True)[:k], Fraction(0)) / k,
        "max-of-rolling-means": max(sum(window, Fraction(0)) / k for window in windows),
    }[kind]
    assert Aggregate.parse(name).of(readings) == expected


def test_only_rolling_means_depend_on_the_order() -> None:
    readings = [2.0**k * (-1) ** k for k in range(40)]
    mixed = random.Random(1).sample(readings, len(readings))  # noqa: S311
    for name in NAMES[:4]:
        aggregate = Aggregate.parse(name)
        assert aggregate.of(mixed) == aggregate.of(readings)
    rolling = Aggregate.parse("max-of-rolling-means:2")
    assert rolling.of([1.0, 1.0, 0.0]) == 1
    assert rolling.of([1.0, 0.0, 1.0]) == Fraction(1, 2)
