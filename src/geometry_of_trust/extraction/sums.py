"""Sums and products of float64 matrices that have the same bits on every machine.

What a library returns depends on the order of its additions. Here numbers are first split into
parts that are small multiples of a power of two, so that every partial sum fits in 53 bits and is
exact, in any order, fused or not; then the exact sums are added in an order of ours. (Ozaki, Ogita,
Oishi and Rump: Error-free transformations of matrix multiplication, Numer. Algorithms 59, 2012.)

Zeros come out positive, since the sign of a sum of zeros would depend on its order.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import torch
from torch import Tensor

_CHUNK = 2**17
"""Elements of a right factor that are split at a time: they stay in a processor's cache."""
_pool: ContextVar[ThreadPoolExecutor | None] = ContextVar("pool", default=None)


def _ceil_log2(n: int) -> int:
    return max(1, (n - 1).bit_length())


def _split(x: Tensor, dim: int | tuple[int, ...], bits: int, parts: int) -> list[Tensor]:
    """The first `parts` parts of x, each an integer of at most 2^bits times a unit of its own.

    The first unit is 2^-bits of a power of two above all |x| along `dim`, the next 2^-bits of
    that one, and so on. x + σ rounds x to a multiple of the unit; all subtractions are exact.
    """
    _, exponent = torch.frexp(x.abs().amax(dim, keepdim=True))
    sigma = 1.5 * power_of_two(exponent + (52 - bits))
    found = []
    for k in range(parts):
        part = (x + sigma).sub_(sigma)
        found.append(part)
        if k + 1 < parts:
            x = x - part
            sigma = sigma * 2.0**-bits
    return found


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, in the same shape, float64, for exponents of normal numbers."""
    return (exponent.to(torch.int64).clamp(-1022, 1023) + 1023 << 52).view(torch.float64)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The product a @ b of two matrices, shapes (m, K) and (K, n), or two stacks of as many.

    With K terms in a sum and 53 − ⌈log₂ K⌉ bits for a product, a gets two fifths of them thrice
    and b three fifths twice: 48 and 52 bits of their largest elements up to K = 2048. What is
    left out is below 2^-47 of K times both largest elements up to K = 8192, then ever more. Where
    the product of both is not between 2^-970 and 2^980, nothing is promised.
    """
    if a.ndim == 3 and a[0].numel() + b[0].numel() > _CHUNK:
        return torch.stack(_each(matmul, zip(a, b, strict=True)))
    if 0 in (*a.shape, *b.shape):
        return torch.matmul(a, b)
    bits = 53 - _ceil_log2(a.shape[-1])
    low = 2 * bits // 5
    rows = torch.cat(_split(a, -1, low, 3), dim=-2)
    step = max(1, _CHUNK // a.shape[-1]) if a.ndim == 2 else b.shape[-1]
    parts = (b[..., start : start + step] for start in range(0, b.shape[-1], step))
    columns = _each(_products, ((rows, part, bits - low) for part in parts))
    return columns[0] if len(columns) == 1 else torch.cat(columns, dim=-1)


def _products(rows: Tensor, b: Tensor, bits: int) -> Tensor:
    """The sum of the products of three parts, one above the other, with b."""
    m = rows.shape[-2] // 3
    high, low = _split(b, -2, bits, 2)
    wide = torch.matmul(rows, high)
    first, second, third = (wide.narrow(-2, k * m, m) for k in range(3))
    narrow = torch.matmul(rows.narrow(-2, 0, 2 * m), low)
    fourth, fifth = (narrow.narrow(-2, k * m, m) for k in range(2))
    return (third + fifth).add_(fourth).add_(second).add_(first).add_(0.0)


def _each(function: Callable[..., Tensor], arguments: Iterable[tuple[object, ...]]) -> list[Tensor]:
    """The function of each tuple of arguments, by the threads of `sharing` if there are several."""
    calls = list(arguments)
    pool = _pool.get()
    if pool is None or len(calls) == 1:
        return [function(*call) for call in calls]

    def call(these: tuple[object, ...]) -> Tensor:
        with torch.no_grad():
            return function(*these)

    return list(pool.map(call, calls))


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Until the `with` ends, threads share out columns of products, and not single operations.

    There are many small ones, and torch's threads wait for each other after each of them.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            token = _pool.set(pool if count > 1 else None)
            try:
                yield
            finally:
                _pool.reset(token)
    finally:
        torch.set_num_threads(count)


def total(x: Tensor, dim: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The sum of x along dimensions of its shape (all if none are named), rounded.

    To about 2^-80 of its largest element.
    """
    dims = tuple(dim) if dim else tuple(range(x.ndim))
    count = math.prod(x.shape[d] for d in dims)
    if count == 0 or not dims:
        return x.sum(dims, keepdim=keepdim) if dims else x.clone()
    bits = 52 - _ceil_log2(count)
    high, low = _split(x, dims, bits, 2)
    return high.sum(dims, keepdim=keepdim) + low.sum(dims, keepdim=keepdim) + 0.0


def mean(x: Tensor, dim: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The mean of x along dimensions of its shape; all if none are named."""
    count = math.prod(x.shape[d] for d in dim) if dim else x.numel()
    # By a tensor: a GPU multiplies by the reciprocal of a number instead.
    return total(x, dim, keepdim=keepdim) / torch.full((), count, dtype=x.dtype, device=x.device)
