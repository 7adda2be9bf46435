"""Ranges of what was fitted, and norms with the same bits on every machine."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.errors import GotError, Inconsistent, WrongType
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.fitted_range import (
    FITTED_RANGE,
    Range,
    far_norms,
    norm,
    range_of_norms,
)
from geometry_of_trust.probing.training import train

RNG = np.random.default_rng(5)
GEOMETRY = Geometry.from_unembedding(RNG.normal(size=(40, 6)).astype(np.float32))
H = RNG.normal(size=(30, 6)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("value", "far"),
    [(1.0, False), (3.0, False), (-1.0, False), (-1.01, True), (5.0, False), (5.01, True),
     (math.inf, True), (math.nan, True)],
)  # fmt: skip
def test_what_is_far(value: float, far: bool) -> None:
    assert Range(1.0, 3.0).far(value) is far


def test_a_norm_is_exact_in_whatever_order_it_is_added() -> None:
    """Of Σ ± large + small, which float64 loses."""
    big = np.zeros((1, 6))
    big[0, :2] = 2.0**40, 1.0
    phi = GEOMETRY.matrix()
    for rows in (H[:1], H[:3], big):
        mean = [sum(map(Fraction, column), Fraction(0)) / len(rows) for column in rows.T.tolist()]
        state = [Fraction(round32(x)) for x in mean]
        square = sum(
            (state[i] * Fraction(float(phi[i, j])) * state[j] for i in range(6) for j in range(6)),
            Fraction(0),
        )
        assert norm(GEOMETRY, rows) == round32(math.sqrt(round32(square)))
        assert norm(GEOMETRY, rows[::-1]) == norm(GEOMETRY, rows)
    assert norm(GEOMETRY, H[:3]) != norm(GEOMETRY, H[:1])
    assert norm(GEOMETRY, np.full((1, 6), 1e30)) == math.inf


def test_norms_of_many_rows_are_far_as_each_is() -> None:
    """Also at the very ends, where only the exact norm decides, and where its square overflows."""
    for scale in (1.0, 1e-3, 1e19):
        rows = (H * scale).astype(np.float32)
        each = [norm(GEOMETRY, row[np.newaxis]) for row in rows]
        some = sorted(each)[10:20]
        for end in (some[0], some[-1], float(np.nextafter(np.float32(some[-1]), np.float32(0)))):
            for norms in (Range(end, end), Range(0.0, end / 2), Range(end, end * 1.25)):
                far = far_norms(norms, GEOMETRY, rows)
                assert far == [norms.far(value) for value in each]
    assert any(far)
    assert far_norms(Range(0.0, 1e30), GEOMETRY, np.full((2, 6), 1e25, np.float32)) == [True, True]


def test_training_keeps_the_ranges_of_its_rows() -> None:
    labels = (H[:, 0] + 0.3 * H[:, 1] > 0).astype(np.int8)
    acts = activations(H)
    trained = train(acts, labels, GEOMETRY, layer=1)
    (probe,), fitted = trained.probe_set.probes, trained.training.fitted
    assert fitted is not None
    raw = GEOMETRY.apply(H) @ probe.weights.astype(np.float64) + probe.bias
    (scores,) = fitted.scores
    assert (scores.low, scores.high) == pytest.approx((raw.min(), raw.max()), rel=1e-5)
    norms = np.sqrt(GEOMETRY.inner(H, H))
    assert fitted.norms == range_of_norms(GEOMETRY, H[::-1])
    assert (fitted.norms.low, fitted.norms.high) == pytest.approx((norms.min(), norms.max()))
    huge = np.array(H)
    huge[0] = 2.5e18  # the square of its norm is beyond float32
    assert train(activations(huge), labels, GEOMETRY, layer=1).training.fitted is None


def activations(states: Any) -> Activations:
    values = states.astype(np.float32)[np.newaxis]
    return Activations("tiny", "Fp32", (1,), range(len(states)), values)


@pytest.mark.parametrize(
    ("tree", "error"),
    [
        ({"norms": {"low": 2.0, "high": 1.0}, "scores": []}, Inconsistent),
        ({"norms": {"low": -1.0, "high": 1.0}, "scores": []}, WrongType),
        ({"norms": {"low": 0.0, "high": 1.0}, "scores": [{"low": 1.0, "high": 0.0}]}, Inconsistent),
    ],
)
def test_what_no_range_is(tree: dict[str, object], error: type[GotError]) -> None:
    with pytest.raises(error):
        FITTED_RANGE.read(tree, "f")
