"""Rules 3, 6 and 8, against the same in plain Python floats, which are float64."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from arithmetic.row_oracle import (
    EPSILON,
    lane_sum,
    layer_norm,
    rms_norm,
    softmax,
    stepwise,
    to_float32,
)
from geometry_of_trust.arithmetic import library

Floats = NDArray[np.float32]
FORMS = library.forms()
LENGTHS = [*range(1, 36), 47, 48, 49, 64, 100, 257, 576, 1000]


def rows_of(n: int, seed: int) -> Floats:
    """Rows of usual numbers; of a huge range, with zeros and subnormals; and of one value."""
    random = np.random.default_rng(seed)
    usual = random.standard_normal(n) * 3
    wide = np.ldexp(random.uniform(-1, 1, n), random.integers(-150, 60, n))
    wide[random.random(n) < 0.2] = -0.0
    return np.stack([usual, wide, np.full(n, 0.1)]).astype(np.float32)


def with_edges(n: int) -> Floats:
    """Rows with infinities and not-a-numbers, at the start, in the middle or at the end."""
    rows = np.tile(rows_of(n, n)[0], (8, 1))
    rows[0, 0] = np.nan
    rows[1, -1] = np.inf
    rows[2, n // 2] = -np.inf
    rows[3] = -np.inf
    rows[4] = -np.inf
    rows[4, n // 2] = 1
    rows[5] = -np.inf
    rows[5, -1] = np.uint32(0xFFC12345).view(np.float32)
    rows[6, ::2] = -np.inf
    rows[7] = 3e38
    return rows


def expected_rows(rule: Callable[[list[float]], list[float]], x: Floats) -> Floats:
    return np.array([[to_float32(value) for value in rule(row)] for row in x.tolist()], np.float32)


def assert_same(found: Floats, expected: Floats) -> None:
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> library.Form:
    return library.form(request.param)


def in_place(call: Callable[[int, int], object], x: Floats, expected: Floats) -> None:
    """`call(x, y)` of addresses gives what is expected, apart and with y for x."""
    y = np.full_like(x, 7)
    call(x.ctypes.data, y.ctypes.data)
    assert_same(y, expected)
    call(over := x.ctypes.data, over)
    assert_same(x, expected)


@pytest.mark.parametrize("edges", [False, True])
def test_sums(form: library.Form, edges: bool) -> None:
    for n in LENGTHS:
        rows = with_edges(n) if edges else rows_of(n, n)
        m, wide = rows.shape[0], np.full((rows.shape[0], n + 3), np.nan, np.float32)
        wide[:, :n] = rows
        for name, power in (("sum", 1), ("sum_of_squares", 2)):
            for mean in (0, 1):
                y = np.full(m + 1, 7, np.float32)
                call = getattr(form, name)
                call(wide.ctypes.data, n + 3, m, n, mean, y.ctypes.data)
                sums = [lane_sum([x**power for x in row]) for row in rows.tolist()]
                expected = [to_float32(value / n if mean else value) for value in sums]
                assert_same(y, np.array([*expected, 7], np.float32))


def test_the_sum_of_nothing_is_zero(form: library.Form) -> None:
    y = np.full(1, 7, np.float32)
    form.sum(y.ctypes.data, 0, 1, 0, 0, y.ctypes.data)
    assert_same(y, np.zeros(1, np.float32))


@pytest.mark.parametrize("edges", [False, True])
def test_softmax(form: library.Form, edges: bool) -> None:
    def check(x: Floats) -> None:
        m, n = x.shape
        expected = expected_rows(softmax, x)
        in_place(lambda x, y: form.softmax(x, n, m, n, y, n), x, expected)

    for n in [*range(1, 36), 100, 257]:
        check(with_edges(n) if edges else rows_of(n, n))


def test_softmax_of_rows_apart(form: library.Form) -> None:
    x, y = np.full((3, 25), np.nan, np.float32), np.full((3, 22), 7, np.float32)
    x[:, :20] = rows_of(20, 1)
    form.softmax(x.ctypes.data, 25, 3, 20, y.ctypes.data, 22)
    assert_same(y[:, :20].copy(), expected_rows(softmax, x[:, :20]))
    assert (y[:, 20:] == 7).all()


def test_a_row_that_is_masked_whole_gives_zeros(form: library.Form) -> None:
    x = np.full((1, 40), -np.inf, np.float32)
    form.softmax(x.ctypes.data, 40, 1, 40, x.ctypes.data, 40)
    assert_same(x, np.zeros((1, 40), np.float32))


@pytest.mark.parametrize("edges", [False, True])
def test_layer_norm(form: library.Form, edges: bool) -> None:
    def check(x: Floats, weight: Floats, bias: Floats) -> None:
        (m, n), w, b = x.shape, weight.ctypes.data, bias.ctypes.data
        expected = expected_rows(lambda row: layer_norm(row, weight.tolist(), bias.tolist()), x)
        in_place(lambda x, y: form.layer_norm(x, m, n, w, b, EPSILON, y), x, expected)

    for n in LENGTHS:
        weight, bias, _ = rows_of(n, n + 1)
        check(with_edges(n) if edges else rows_of(n, n), weight, bias)


def test_norms_without_weights(form: library.Form) -> None:
    x, ones = rows_of(100, 1), [1.0] * 100
    y = np.empty_like(x)
    form.layer_norm(x.ctypes.data, 3, 100, None, None, EPSILON, y.ctypes.data)
    plain = expected_rows(lambda row: layer_norm(row, ones, [0.0] * 100), x)
    np.testing.assert_array_equal(y, plain)  # but for the sign of zeros, which "+ 0" changes
    form.rms_norm(x.ctypes.data, 3, 100, None, EPSILON, y.ctypes.data)
    assert_same(y, expected_rows(lambda row: rms_norm(row, ones), x))
    form.stepwise_rms_norm(x.ctypes.data, 3, 100, None, EPSILON, 0, y.ctypes.data)
    assert_same(y, expected_rows(lambda row: stepwise(row, ones, one_more=False), x))


@pytest.mark.parametrize("edges", [False, True])
def test_rms_norm(form: library.Form, edges: bool) -> None:
    def check(x: Floats, weight: Floats) -> None:
        (m, n), w = x.shape, weight.ctypes.data
        expected = expected_rows(lambda row: rms_norm(row, weight.tolist()), x)
        in_place(lambda x, y: form.rms_norm(x, m, n, w, EPSILON, y), x, expected)

    for n in LENGTHS:
        check(with_edges(n) if edges else rows_of(n, n), rows_of(n, n + 1)[1])


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("one_more", [False, True])
def test_stepwise_rms_norm(form: library.Form, edges: bool, one_more: bool) -> None:
    def check(x: Floats, weight: Floats) -> None:
        (m, n), w, call = x.shape, weight.ctypes.data, form.stepwise_rms_norm
        expected = expected_rows(lambda row: stepwise(row, weight.tolist(), one_more), x)
        in_place(lambda x, y: call(x, m, n, w, EPSILON, one_more, y), x, expected)

    for n in LENGTHS:
        check(with_edges(n) if edges else rows_of(n, n), rows_of(n, n + 1)[0])
