from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arithmetic import oracle
from arithmetic.trials import KINDS, numbers, same
from geometry_of_trust.arithmetic.library import form, forms

Floats = NDArray[np.float32]
OTHERS = [name for name in forms() if name != "portable"]
FIRST = "portable" if "portable" in forms() else forms()[0]
UNTOUCHED = np.float32(-7.25)
# Input channels, output channels, groups, taps.
SHAPES = [(1, 1, 1, 1), (6, 6, 6, 4), (6, 12, 6, 4), (5, 3, 1, 3), (4, 6, 2, 2)]


def convolution(
    name: str,
    x: Floats,
    w: Floats,
    bias: Floats | None,
    *,
    groups: int = 1,
    stride: int = 1,
    dilation: int = 1,
    channels: tuple[int, int] | None = None,
) -> Floats:
    outputs, _, taps = w.shape
    times = (x.shape[1] - dilation * (taps - 1) - 1) // stride + 1
    y = np.full((outputs, times), UNTOUCHED)
    c0, c1 = channels or (0, outputs)
    form(name).convolution(
        x.ctypes.data, len(x), x.shape[1], w.ctypes.data,
        None if bias is None else bias.ctypes.data,
        outputs, groups, taps, stride, dilation, y.ctypes.data, c0, c1,
    )  # fmt: skip
    assert (np.delete(y, np.s_[c0:c1], 0) == UNTOUCHED).all()
    return y[c0:c1].copy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_first_form_is_the_rule(kind: str, shape: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(1)
    inputs, outputs, groups, taps = shape
    for length, stride, dilation in [(9, 1, 1), (30, 1, 2), (41, 3, 1), (17, 2, 5)]:
        geometry: dict[str, Any] = {"groups": groups, "stride": stride, "dilation": dilation}
        x = numbers(rng, (inputs, length), kind)
        w = numbers(rng, (outputs, inputs // groups, taps), kind)
        for bias in (None, numbers(rng, (outputs,), kind)):
            got = convolution(FIRST, x, w, bias, **geometry)
            assert same(got, oracle.convolution(x, w, bias, **geometry))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_form_gives_the_bits_of_the_first(
    name: str, kind: str, shape: tuple[int, int, int, int]
) -> None:
    rng = np.random.default_rng(2)
    inputs, outputs, groups, taps = shape
    for length in (*range(taps + 12, taps + 90), 300):
        geometry: dict[str, Any] = {"groups": groups, "stride": 1 + length % 3 // 2}
        geometry["dilation"] = 1 + length % 5 // 3
        x = numbers(rng, (inputs, length), kind)
        w = numbers(rng, (outputs, inputs // groups, taps), kind)
        bias = numbers(rng, (outputs,), kind) if length % 2 else None
        got = convolution(name, x, w, bias, **geometry)
        assert same(got, convolution(FIRST, x, w, bias, **geometry))


@pytest.mark.parametrize("name", forms())
def test_channels_alone_are_those_of_all(name: str) -> None:
    rng = np.random.default_rng(3)
    x, w, bias = numbers(rng, (4, 50)), numbers(rng, (6, 2, 4)), numbers(rng, (6,))
    whole = convolution(name, x, w, bias, groups=2)
    for c0, c1 in [(0, 1), (2, 5), (5, 6), (3, 3)]:
        alone = convolution(name, x, w, bias, groups=2, channels=(c0, c1))
        assert same(alone, whole[c0:c1])


@pytest.mark.parametrize("name", forms())
def test_zeros_are_positive(name: str) -> None:
    tiny = np.full((1, 40), 1e-30, np.float32)
    w = np.full((1, 1, 2), -1e-30, np.float32)
    for bias in (None, np.full(1, -0.0, np.float32)):
        assert same(convolution(name, tiny, w, bias), np.zeros((1, 39), np.float32))
