import math

import numpy as np
import pytest
from mpmath import mp, mpf

from arithmetic.rounding_oracle import FUNCTIONS, bits, correctly_rounded, number, rounded


def test_rounds_as_the_processor_rounds_float64() -> None:
    random = np.random.default_rng(0)
    exponents = random.integers(-160, 130, 5000)
    values = np.ldexp(random.uniform(-1, 1, 5000), exponents)
    with np.errstate(over="ignore", under="ignore"):
        expected = values.astype(np.float32).view(np.uint32)
    assert [rounded(mpf(value)) for value in values.tolist()] == expected.tolist()


def test_a_tie_is_refused_and_what_is_beside_it_decides() -> None:
    with mp.workprec(400):
        half = mpf(1) + mpf(2) ** -24
        with pytest.raises(ArithmeticError):
            rounded(half)
        assert rounded(half + mpf(2) ** -300) == bits(1) + 1
        assert rounded(half - mpf(2) ** -300) == bits(1)


def test_known_values() -> None:
    known = {
        ("exp", 0.0): 1.0,
        ("log2", 2.0**-149): -149.0,
        ("log", 1.0): 0.0,
        ("rsqrt", 4.0): 0.5,
        ("sigmoid", 0.0): 0.5,
        ("tanh", 2.0**-149): 2.0**-149,
    }
    for (name, x), y in known.items():
        assert number(correctly_rounded(name, bits(x))) == y


PLAIN = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "log_sigmoid": lambda x: -math.log(1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "rsqrt": lambda x: x**-0.5,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_agrees_with_the_formula_in_float64(name: str) -> None:
    formula = PLAIN.get(name) or getattr(math, name)
    for x in (-7.5, -0.75, 0.0078125, 0.3125, 1.75, 6.0):
        if x > 0 or name not in ("log", "log2", "log1p", "rsqrt"):
            assert number(correctly_rounded(name, bits(x))) == pytest.approx(formula(x), rel=1e-7)
