"""Functions of float64 tensors whose results have the same bits on every machine.

A processor's +, −, ×, ÷ and √ are correctly rounded (IEEE 754). So are torch's first four, element
by element, but not its √: built with MKL, it errs by a unit in one of a hundred. exp, tanh or sin
depend on who wrote them. Here √ is numpy's, and the others are polynomials, with one operation of
torch for each arithmetic one; powers and logarithms of few numbers (rotary frequencies, slopes)
are decimal arithmetic. All but √ are right to a few units in the last place.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from geometry_of_trust.extraction.sums import mean, power_of_two, total

_DIGITS = decimal.Context(prec=50)
_MOST_IN_DECIMAL = 2**16
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def _horner(x: Tensor, coefficients: Sequence[float | Tensor]) -> Tensor:
    """c₀ + c₁x + c₂x² + …"""
    result = torch.full_like(x, 0.0)
    for c in reversed(coefficients):
        result.mul_(x).add_(c)
    return result


def _leading(value: Decimal, bits: int) -> float:
    """The first bits of a number below 2."""
    return math.ldexp(int(value * (1 << bits)), -bits)


LN2 = Decimal(2).ln(_DIGITS)
with decimal.localcontext(_DIGITS):  # whatever the context of who imports this
    _LN2_HIGH = _leading(LN2, 32)  # times any exponent: exact
    _LN2_LOW = float(LN2 - Decimal(_LN2_HIGH))
    _PER_LN2 = float(1 / LN2)
    _HALF_PI = [_leading(_PI / 2, 32)]
    _HALF_PI.append(math.ldexp(_leading((_PI / 2 - Decimal(_HALF_PI[0])) * (1 << 32), 32), -32))
    _HALF_PI.append(float(_PI / 2 - Decimal(_HALF_PI[0]) - Decimal(_HALF_PI[1])))
_EXPM1 = [1 / math.factorial(n) for n in range(1, 15)]


def sqrt(x: Tensor) -> Tensor:
    """The square root, correctly rounded, in the same shape: by numpy; on a GPU the GPU's."""
    if x.device.type != "cpu":
        return torch.sqrt(x)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.sqrt(x.detach().numpy())))


def _exponential(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors with exp(x) = s(1 + q), s a power of two, |q| < 0.42, for −708 ≤ x ≤ 709."""
    k = torch.round(x * _PER_LN2)
    r = x - k * _LN2_HIGH - k * _LN2_LOW
    return _horner(r, _EXPM1).mul_(r), power_of_two(torch.nan_to_num(k))


def exp(x: Tensor) -> Tensor:
    """e^x, in the same shape; 0 below −708, where float64 begins to lose digits."""
    q, s = _exponential(x.clamp(-708.0, 709.0))
    result = (q + 1.0) * s
    result = torch.where(x < -708.0, 0.0, result)
    return torch.where(x > 709.0, torch.inf, result)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x), in the same shape."""
    return 1.0 / (exp(-x) + 1.0)


def silu(x: Tensor) -> Tensor:
    """Swish: x / (1 + e^-x), in the same shape."""
    return x / (exp(-x) + 1.0)


def tanh(x: Tensor) -> Tensor:
    """(e^2x − 1) / (e^2x + 1), without cancellation, in the same shape."""
    q, s = _exponential(2.0 * x.abs().clamp_max(22.0))
    t = s * q + (s - 1.0)
    return torch.copysign(t / (t + 2.0), x)


@functools.cache
def _erf_table() -> Tensor:
    """Coefficients of erf(c + h) in powers of h, for c = 0, 1/8 … 6; shape (49, 16)."""
    with decimal.localcontext(_DIGITS):
        factor = 2 / _PI.sqrt()
        rows = []
        for j in range(49):
            c = Decimal(j) / 8
            term, start, n = c, Decimal(0), 0
            while abs(term) > Decimal(10) ** -45:  # erf(c), by its series
                start += term / (2 * n + 1)
                n += 1
                term *= -c * c / n
            g = [(-c * c).exp()]
            g.append(-2 * c * g[0])
            for k in range(1, 15):
                g.append((-2 * c * g[k] - 2 * g[k - 1]) / (k + 1))
            rows.append([factor * start, *(factor * g[k] / (k + 1) for k in range(15))])
        return torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)


def erf(x: Tensor) -> Tensor:
    """The error function, in the same shape."""
    size = x.abs().clamp_max(6.0)
    nearest = torch.round(size * 8.0)
    place = torch.nan_to_num(nearest).to(torch.int64)
    table = _erf_table().to(x.device)
    result = _horner(size - nearest / 8.0, [column[place] for column in table.unbind(1)])
    return torch.copysign(result, x)


def gelu(x: Tensor, approximate: str) -> Tensor:
    """Gauss's x Φ(x), or its approximation by tanh, in the same shape."""
    if approximate == "tanh":
        inner = (x * x * x * 0.044715 + x) * math.sqrt(2 / math.pi)
        return x * 0.5 * (tanh(inner) + 1.0)
    return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)


_SIN = [(-1) ** n / math.factorial(2 * n + 1) for n in range(10)]
_COS = [(-1) ** n / math.factorial(2 * n) for n in range(11)]


def sin(x: Tensor, quadrant: int = 0) -> Tensor:
    """The sine, for |x| below 2^20, in the same shape; `quadrant` right angles are added."""
    n = torch.round(x * (2 / math.pi))
    r = x - n * _HALF_PI[0] - n * _HALF_PI[1] - n * _HALF_PI[2]
    place = torch.nan_to_num(n).to(torch.int64) + quadrant
    square = r * r
    result = torch.where(place % 2 == 0, _horner(square, _SIN) * r, _horner(square, _COS))
    return torch.where(place % 4 < 2, result, -result)


def cos(x: Tensor) -> Tensor:
    """The cosine, for |x| below 2^20, in the same shape."""
    return sin(x, quadrant=1)


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x over its sum along a dimension, in the same shape."""
    e = exp(x - x.amax(dim, keepdim=True))
    return e / total(e, [dim], keepdim=True)


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The normed x, in its shape; its mean and its reciprocal deviation, with dimensions of size 1.

    Args:
        shape: of the last dimensions, over which is normed; and that of weight and bias.
    """
    dims = range(-len(shape), 0)
    middle = mean(x, dims, keepdim=True)
    centred = x - middle
    scale = 1.0 / sqrt(mean(centred * centred, dims, keepdim=True) + eps)
    result = centred * scale
    result = result if weight is None else result * weight
    return result if bias is None else result + bias, middle, scale


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> Tensor:
    """The ratio of x and the root of its mean square over the last dimensions, `shape`."""
    square = mean(x * x, range(-len(shape), 0), keepdim=True)
    result = x / sqrt(square + (torch.finfo(x.dtype).eps if eps is None else eps))
    return result if weight is None else result * weight


def in_decimal(function: Callable[..., Decimal], *arguments: Tensor | float) -> Tensor | None:
    """A function of few numbers, element by element, in their joint shape; None of many."""
    given = [torch.as_tensor(a, dtype=torch.float64) for a in arguments]
    first = given[0] if len(given) == 1 else given[0] + torch.zeros_like(given[1])
    tensors = [tensor.expand(first.shape) for tensor in given]
    if first.numel() > _MOST_IN_DECIMAL:
        return None
    values = []
    with decimal.localcontext(_DIGITS):
        for numbers in zip(*(t.reshape(-1).tolist() for t in tensors), strict=True):
            try:
                values.append(float(function(*map(Decimal, numbers))))
            except decimal.DecimalException:
                return None
    return torch.tensor(values, dtype=torch.float64, device=first.device).reshape(first.shape)


def power(base: Tensor | float, exponent: Tensor | float) -> Tensor | None:
    """base^exponent, in their joint shape: products and roots, few of any, else None."""
    if isinstance(base, Tensor) and not isinstance(exponent, Tensor):
        if exponent == 1:
            return base.clone()
        if exponent in (2, 3, 4):
            return functools.reduce(torch.mul, [base] * int(exponent))
        if exponent in (0.5, -0.5, -1):
            root = base if exponent == -1 else sqrt(base)
            return root if exponent == 0.5 else 1.0 / root
    return in_decimal(lambda x, y: x**y, base, exponent)
