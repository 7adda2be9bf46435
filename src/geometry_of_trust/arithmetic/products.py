"""Rule 2: products of matrices, of stacks of them, and of matrices and vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library
from geometry_of_trust.arithmetic.checks import check, check_float32
from geometry_of_trust.arithmetic.threads import share

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int8: 3}
"""Types of weights, with their numbers in the kernels' contract."""
_COLUMNS = 32
"""Threads share out multiples of it, so that no kernel has a remainder in the middle."""


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x·weightᵀ + bias: float32, shape (…, n).

    Args:
        x: float32, shape (…, K).
        weight: shape (n, K), of one of `TYPES`, of any strides; it is widened while it is packed.
        bias: float32, of a shape that the result has or can be given.
        scale: float32, shape (n, 1): what each row of int8 weights is multiplied by.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    check_float32("linear", x)
    check(weight.ndim == 2 and weight.dtype in TYPES and x.ndim > 0, "linear")
    check(x.shape[-1] == weight.shape[1], "linear")
    check((weight.dtype == torch.int8) == (scale is not None), "linear")
    check(scale is None or scale.numel() == len(weight), "linear")
    if bias is not None and bias.shape != weight.shape[:1]:
        return linear(x, weight, None, scale) + bias
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    result = torch.empty(len(rows), len(weight), dtype=torch.float32)
    _product(rows, weight, result, bias, scale)
    return result.reshape(*x.shape[:-1], len(weight))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a·b of two float32 matrices, shapes (m, K) and (K, n), or of two stacks of as many.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    check_float32("product", a, b)
    check(a.ndim == b.ndim and a.ndim in (2, 3), "product")
    check(a.shape[-1] == b.shape[-2] and a.shape[:-2] == b.shape[:-2], "product")
    if a.ndim == 2:
        result = torch.empty(len(a), b.shape[1], dtype=torch.float32)
        _product(a, b.T, result)
        return result
    result = torch.empty(len(a), a.shape[1], b.shape[2], dtype=torch.float32)
    a = _rows(a)
    call, scratch = library.chosen().product, _scratch(a[0]) if len(a) else 0
    (m, k), n, (stride, lda, _), (next_b, ldk, ldj) = (
        a.shape[1:], b.shape[2], a.stride(), b.stride(),
    )  # fmt: skip
    at_a, at_b, at = a.data_ptr(), b.data_ptr(), result.data_ptr()

    def stacks(start: int, end: int) -> None:
        room = torch.empty(scratch, dtype=torch.uint8)
        for i in range(start, end):
            call(at_a + 4 * i * stride, lda, m, k, at_b + 4 * i * next_b, 0, ldj, ldk, None, None,
                 at + 4 * i * m * n, n, 0, n, room.data_ptr())  # fmt: skip

    share(stacks, len(a), result.numel() * k)
    return result


def _product(
    a: Tensor, w: Tensor, y: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> None:
    """Let y, shape (m, n), be a·wᵀ + bias."""
    a = _rows(a)
    bias = None if bias is None else bias.to(torch.float32).contiguous()
    scale = None if scale is None else scale.to(torch.float32).contiguous()
    (m, k), n = a.shape, len(w)
    call, size = library.chosen().product, _scratch(a)
    at_bias = None if bias is None else bias.data_ptr()
    at_scale = None if scale is None else scale.data_ptr()

    def columns(start: int, end: int) -> None:
        room = torch.empty(size, dtype=torch.uint8)
        call(a.data_ptr(), a.stride(0), m, k, w.data_ptr(), TYPES[w.dtype], *w.stride(), at_scale,
             at_bias, y.data_ptr(), n, start, end, room.data_ptr())  # fmt: skip

    share(columns, n, m * n * k, _COLUMNS)


def _rows(a: Tensor) -> Tensor:
    """With the numbers of a row beside each other."""
    return a if a.stride(-1) == 1 else a.contiguous()


def _scratch(a: Tensor) -> int:
    return int(library.chosen().product_scratch(*a.shape))
