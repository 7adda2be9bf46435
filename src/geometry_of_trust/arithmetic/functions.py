"""Rules 4 and 5: functions of one number, correctly rounded, and powers of few."""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library
from geometry_of_trust.arithmetic.checks import check_float32
from geometry_of_trust.arithmetic.threads import share

_DIGITS = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_MOST_IN_DECIMAL = 4096
"""More numbers than that take too long, at some 0.1 ms each."""
_STEPS = 8
"""What a function costs, in elementary steps."""


@functools.cache
def function(name: str) -> Callable[[Tensor], Tensor]:
    """The function of rule 4 with this name, of float32 tensors of any shape."""

    def apply(x: Tensor) -> Tensor:
        check_float32(name, x)
        x = x.contiguous()
        y = torch.empty_like(x)
        call = getattr(library.chosen(), name)

        def part(start: int, end: int) -> None:
            call(x.data_ptr() + 4 * start, y.data_ptr() + 4 * start, end - start)

        share(part, x.numel(), _STEPS * x.numel(), 64)
        return y

    return apply


def sqrt(x: Tensor) -> Tensor:
    """The square root of float32 or float64, in its shape, correctly rounded.

    numpy's is the processor's; torch's, built with MKL, is not right to the last bit.
    """
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.sqrt(x.numpy())))


def in_decimal(of: Callable[..., Decimal], *arguments: Tensor | float) -> Tensor | None:
    """A function of few numbers, element by element, in their joint shape; None of many.

    float32 if a tensor among them is, else float64. Correctly rounded, unless its value lies
    within 10⁻⁵⁰ of the middle of two numbers.
    """
    given = [
        a if isinstance(a, Tensor) else torch.tensor(a, dtype=torch.float64) for a in arguments
    ]
    shape = np.broadcast_shapes(*(tuple(tensor.shape) for tensor in given))
    if math.prod(shape) > _MOST_IN_DECIMAL:
        return None
    narrow = any(tensor.dtype == torch.float32 for tensor in given)
    values = []
    with decimal.localcontext(_DIGITS):
        for numbers in zip(*(t.expand(shape).reshape(-1).tolist() for t in given), strict=True):
            try:
                value = of(*map(Decimal, numbers))
            except decimal.DecimalException:
                return None
            values.append(_nearest32(value) if narrow else float(value))
    dtype = torch.float32 if narrow else torch.float64
    return torch.tensor(values, dtype=dtype).reshape(shape)


def _nearest32(value: Decimal) -> float:
    """The float32 next to a number; of two, the even one."""
    if not value.is_finite():
        return float(value)
    with np.errstate(over="ignore"):
        near = np.float32(float(value))  # which is off by one at most, for it was rounded before
        around = (
            np.nextafter(near, np.float32(-np.inf)),
            near,
            np.nextafter(near, np.float32(np.inf)),
        )
    finite = [number for number in around if np.isfinite(number)]
    if len(finite) < 3:  # at the end of the range, where the distance says nothing
        return float(near)
    return float(min(finite, key=lambda x: (abs(Decimal(float(x)) - value), x.view(np.uint32) & 1)))


def power(base: Tensor | float, exponent: Tensor | float) -> Tensor | None:
    """base^exponent, in their joint shape; None of many numbers to a power that is none of these.

    Squares, cubes and fourth powers are products, each rounded; roots are correctly rounded.
    """
    if isinstance(base, Tensor) and not isinstance(exponent, Tensor):
        if exponent == 1:
            return base.clone()
        if exponent in (2, 3, 4):
            result = base * base
            for _ in range(int(exponent) - 2):
                result = result * base
            return result
        if exponent == -1:
            return 1.0 / base
        if exponent == 0.5:
            return sqrt(base)
        if exponent == -0.5 and base.dtype == torch.float32:
            return function("rsqrt")(base)
    return in_decimal(lambda x, y: x**y, base, exponent)
