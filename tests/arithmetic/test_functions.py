"""Rule 4: each function's correctly rounded value, the same from every form.

All arguments: `benchmarks/correct_rounding.py`.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from arithmetic.rounding_oracle import FUNCTIONS, correctly_rounded
from geometry_of_trust.arithmetic import library

Words = NDArray[np.uint32]
KERNELS = Path(library.__file__).with_name("kernels")
FORMS = library.forms()
ACTIVATIONS = ("silu", "gelu", "gelu_tanh")

BOUNDARIES = [
    *(math.log(2) * (k + 0.5) for k in (0, 1, 2, 30, 126, 149)),  # of the reduction of exp
    *(math.log(2) * k for k in (127, 128, 149, 150)),  # its subnormal values, its end
    *(math.pi / 4 * k for k in (1, 2, 3, 4, 5, 1001, 2**18 + 1)),  # of that of sin and cos
    *(2.0**k for k in (-149, -127, -126, -125, -60, -24, -23, -20, -13, -12, -1, 0, 1, 2, 20, 53)),
    *(math.sqrt(0.5) * 2.0**k for k in (-140, 0, 1, 2, 100)),  # of that of log
    # Where a function's own code changes its way, or its value stays what it is.
    *(4, 9.01, 13, 14.5, 17.3, 20, 40, 60, 87.33654, 88.72284, 90, 103.97208, 104, 110, 130),
    *(1e10, 1e30, 3.4028235e38),
]
NOT_NUMBERS = [0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF]


def hard(name: str) -> list[tuple[int, int]]:
    table = (KERNELS / "hard_arguments.h").read_text()
    (body,) = re.findall(rf"\b{name}_hard\[\] = \{{(.*?)\n\}};", table, re.DOTALL)
    pairs = re.findall(r"\{0x([0-9a-f]{8}), 0x([0-9a-f]{8})\}", body)
    return [(int(argument, 16), int(value, 16)) for argument, value in pairs]


def edges(name: str) -> Words:
    """Zeros, infinities, not-a-numbers, and what lies around the boundaries."""
    near = np.array(BOUNDARIES, np.float32).view(np.uint32)
    around = (near[:, None] + np.arange(-3, 4)).ravel()
    around = around[around < 0x7F800000]
    special = np.array([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000])
    positive = np.concatenate([around, special])
    known = [argument for argument, _ in hard(name)]
    return np.concatenate([positive, positive | 0x80000000, NOT_NUMBERS, known]).astype(np.uint32)


def of_any_size(count: int, seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 2**32, count, np.uint32)


def of_usual_size(count: int, seed: int) -> Words:
    random = np.random.default_rng(seed)
    return (random.standard_normal(count) * 6).astype(np.float32).view(np.uint32)


def apply(form: str, name: str, words: Words) -> Words:
    x = np.ascontiguousarray(words, np.uint32)
    y = np.empty_like(x)
    getattr(library.form(form), name)(x.ctypes.data, y.ctypes.data, x.size)
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_correctly_rounded(name: str) -> None:
    words = np.concatenate([edges(name), of_any_size(700, 1), of_usual_size(700, 2)])
    expected = [correctly_rounded(name, word) for word in words.tolist()]
    found = apply("portable", name, words).tolist()
    wrong = [
        f"{word:08x}: {value:08x}, not {right:08x}"
        for word, value, right in zip(words.tolist(), found, expected, strict=True)
        if value != right
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["sigmoid", *ACTIVATIONS])
def test_exact_ties_go_to_the_side_of_the_next_term(name: str) -> None:
    # sigmoid: 1/2 + x/4 for multiples of 2^-24; the others: x/2 for subnormal x.
    steps = np.arange(1, 700)
    positive = (steps * 2.0**-24).astype(np.float32).view(np.uint32) if name == "sigmoid" else steps
    words = np.concatenate([positive, positive | 0x80000000]).astype(np.uint32)
    expected = [correctly_rounded(name, word) for word in words.tolist()]
    assert apply("portable", name, words).tolist() == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_forms_agree(name: str, form: str) -> None:
    words = np.concatenate([edges(name), of_any_size(2**17, 3), of_usual_size(2**17, 4)])
    np.testing.assert_array_equal(apply(form, name, words), apply("portable", name, words))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_length_in_place_and_no_more(name: str, form: str) -> None:
    words = of_usual_size(100, 5)
    expected = apply("portable", name, words)
    call = getattr(library.form(form), name)
    for n in range(0, 70):
        x = words.copy()
        call(x.ctypes.data, x.ctypes.data, n)
        np.testing.assert_array_equal(x[:n], expected[:n])
        np.testing.assert_array_equal(x[n:], words[n:])
