"""Rules 3, 6 and 8: sums along a dimension, softmax and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library
from geometry_of_trust.arithmetic.checks import check, check_float32


def total(x: Tensor, dim: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The sum of float32 along dimensions of its shape; all if none are named."""
    return _reduced("sum", x, dim, keepdim=keepdim, mean=False)


def mean(x: Tensor, dim: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The mean of float32 along dimensions of its shape; all if none are named."""
    return _reduced("sum", x, dim, keepdim=keepdim, mean=True)


def sum_of_squares(x: Tensor, dim: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The sum of the squares of float32 along dimensions of its shape, rounded once."""
    return _reduced("sum_of_squares", x, dim, keepdim=keepdim, mean=False)


def _reduced(name: str, x: Tensor, dim: Sequence[int], *, keepdim: bool, mean: bool) -> Tensor:
    check_float32("sum", x)
    if x.ndim == 0:
        x, keepdim, dim = x[None], False, [0]
    dims = sorted(d % x.ndim for d in dim) if dim else list(range(x.ndim))
    if not dims:
        return x * x if name == "sum_of_squares" else x.clone()
    others = [d for d in range(x.ndim) if d not in dims]
    rows = x.permute(*others, *dims).reshape(
        math.prod(x.shape[d] for d in others), math.prod(x.shape[d] for d in dims)
    )
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    y = torch.empty(len(rows), dtype=torch.float32)
    getattr(library.chosen(), name)(
        rows.data_ptr(), rows.stride(0), *rows.shape, int(mean), y.data_ptr()
    )
    shape = [1 if d in dims else n for d, n in enumerate(x.shape) if keepdim or d not in dims]
    return y.reshape(shape)


def softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax of float32 along a dimension, in its shape; rows of −∞ alone give zeros."""
    check_float32("softmax", x)
    if x.ndim == 0:
        return softmax(x[None], 0)[0]
    if dim % x.ndim != x.ndim - 1:
        return softmax(x.transpose(dim, -1), -1).transpose(dim, -1)
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.shape[-1]
    if n:
        library.chosen().softmax(x.data_ptr(), n, x.numel() // n, n, y.data_ptr(), n)
    return y


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions, `shape`, then times weight, plus bias."""
    return _normed("layer_norm", x, shape, [weight, bias], eps)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> Tensor:
    """The ratio of x and the root of its mean square over the last dimensions, `shape`."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _normed("rms_norm", x, shape, [weight], eps)


def _normed(
    name: str, x: Tensor, shape: Sequence[int], factors: list[Tensor | None], eps: float
) -> Tensor:
    check_float32(name, x)
    check(tuple(x.shape[x.ndim - len(shape) :]) == tuple(shape), name)
    check(all(f is None or tuple(f.shape) == tuple(shape) for f in factors), name)
    n = math.prod(shape)
    x = x.contiguous()
    y = torch.empty_like(x)
    held = [None if f is None else f.to(torch.float32).contiguous() for f in factors]
    pointers = [None if f is None else f.data_ptr() for f in held]
    if n:
        getattr(library.chosen(), name)(
            x.data_ptr(), x.numel() // n, n, *pointers, eps, y.data_ptr()
        )
    return y
