"""The correctly rounded float32 values of the functions of rule 4, by arithmetic of 400 bits.

Slow and plain: the definition, with nothing of the kernels' methods. Numbers are given as their
bits, so that zeros keep their signs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from mpmath import mp, mpf

PRECISION = 400
"""Of a value that is no tie, the bits that follow float32's are not all equal for that long: the
least arguments (2⁻¹⁴⁹) differ from x or x/2 in the 298th bit."""

NAN, INFINITY, SIGN = 0x7FC00000, 0x7F800000, 0x80000000
MINUS_INFINITY = SIGN | INFINITY
ONE = 0x3F800000


def bits(number: float) -> int:
    """The bits of a float32 that is given as a Python float."""
    (word,) = struct.unpack("<I", struct.pack("<f", number))
    return int(word)


def number(word: int) -> float:
    """The float32 with these bits."""
    (value,) = struct.unpack("<f", struct.pack("<I", word))
    return float(value)


def rounded(value: mpf) -> int:
    """Bits of the float32 next to `value`, which is not 0; of two, the even one.

    Raises:
        ArithmeticError: it cannot be told which is the nearest, in `PRECISION` bits.
    """
    sign, mantissa, exponent, size = value._mpf_
    last = max(size + exponent - 24, -149)  # weight of the float32's last bit, as a power of 2
    if (drop := last - exponent) <= 0:
        whole, rest = mantissa << -drop, 0
    elif drop > size + 1:
        whole, rest = 0, 0
    else:
        whole, rest, half = mantissa >> drop, mantissa & ((1 << drop) - 1), 1 << (drop - 1)
        if rest == half:
            raise ArithmeticError(f"a tie: {value}")
        whole += rest > half
    # The exponent's field is one more where the leading bit is set: carries go the right way.
    word = min((last + 149 << 23) + whole, INFINITY) if last < 128 else INFINITY
    return int(sign) << 31 | word


def _normal_tail(x: mpf) -> mpf:
    return mp.erfc(x / mp.sqrt(2)) / 2


def _sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


def _softplus(x: mpf) -> mpf:
    return mp.log1p(mp.exp(-abs(x))) + max(x, 0)


def _gelu_tanh(x: mpf) -> mpf:
    inner = mp.sqrt(2 / mp.pi) * (x + mpf(44715) / 10**6 * x**3)
    return x * _sigmoid(2 * inner)  # tanh(u) = 2 sigmoid(2u) - 1


def _wide(function: Callable[[mpf], mpf]) -> Callable[[mpf], mpf]:
    """With so many bits more that 1 + e^x, e^x - 1 lose none that matter, for the least of x."""

    def value(x: mpf) -> mpf:
        with mp.workprec(3 * PRECISION):
            return function(x)

    return value


FUNCTIONS: dict[str, Callable[[mpf], mpf]] = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "tanh": mp.tanh,
    "erf": mp.erf,
    "sin": mp.sin,
    "cos": mp.cos,
    "sigmoid": _wide(_sigmoid),
    "log_sigmoid": _wide(lambda x: -_softplus(-x)),
    "silu": _wide(lambda x: x * _sigmoid(x)),
    "softplus": _wide(_softplus),
    "gelu": lambda x: x * _normal_tail(-x),
    "gelu_tanh": _wide(_gelu_tanh),
    "rsqrt": lambda x: 1 / mp.sqrt(x),
}

AT_INFINITIES = {
    # At -infinity and at +infinity: the limit, with the sign from which it is approached.
    "exp": (0, INFINITY),
    "expm1": (SIGN | ONE, INFINITY),
    "log": (NAN, INFINITY),
    "log1p": (NAN, INFINITY),
    "log2": (NAN, INFINITY),
    "tanh": (SIGN | ONE, ONE),
    "erf": (SIGN | ONE, ONE),
    "sin": (NAN, NAN),
    "cos": (NAN, NAN),
    "sigmoid": (0, ONE),
    "log_sigmoid": (MINUS_INFINITY, SIGN),
    "silu": (SIGN, INFINITY),
    "softplus": (0, INFINITY),
    "gelu": (SIGN, INFINITY),
    "gelu_tanh": (SIGN, INFINITY),
    "rsqrt": (NAN, 0),
}
THROUGH_ZERO = {"expm1", "log1p", "tanh", "erf", "sin", "silu", "gelu", "gelu_tanh"}
"""Those with f(±0) = ±0."""
LOGARITHMS = {"log": 0.0, "log2": 0.0, "log1p": -1.0}
"""Where they go to -infinity; below they have no value."""
TOO_LARGE = 1000.0
"""Above it in magnitude (and not infinite) the functions below are at the limit, or at x, or beyond
the range, so closely that float32 shows nothing else; 400 bits would not hold e^-1000000."""
_FAR: dict[str, Callable[[float], int]] = {
    "exp": lambda x: INFINITY if x > 0 else 0,
    "expm1": lambda x: INFINITY if x > 0 else SIGN | ONE,
    "tanh": lambda x: bits(math.copysign(1, x)),
    "erf": lambda x: bits(math.copysign(1, x)),
    "sigmoid": lambda x: ONE if x > 0 else 0,
    "log_sigmoid": lambda x: SIGN if x > 0 else bits(x),
    "silu": lambda x: bits(x) if x > 0 else SIGN,
    "softplus": lambda x: bits(x) if x > 0 else 0,
    "gelu": lambda x: bits(x) if x > 0 else SIGN,
    "gelu_tanh": lambda x: bits(x) if x > 0 else SIGN,
}


def correctly_rounded(name: str, word: int) -> int:
    """Bits of the function's value at the float32 with bits `word`; every not-a-number is `NAN`."""
    x = number(word)
    if math.isnan(x):
        return NAN
    if math.isinf(x):
        return AT_INFINITIES[name][x > 0]
    if name in LOGARITHMS and x <= LOGARITHMS[name]:
        return MINUS_INFINITY if x == LOGARITHMS[name] else NAN
    if name == "rsqrt" and x <= 0:
        return word | INFINITY if x == 0 else NAN
    if x == 0 and name in THROUGH_ZERO:
        return word
    if abs(x) > TOO_LARGE and name in _FAR:
        return _FAR[name](x)
    with mp.workprec(PRECISION):
        value = FUNCTIONS[name](mpf(x))
        return rounded(value) if value else 0
