"""Rule 9: convolutions, running sums, triangular systems, complex products, sums into places."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library
from geometry_of_trust.arithmetic.checks import check, check_float32
from geometry_of_trust.arithmetic.products import matmul
from geometry_of_trust.arithmetic.threads import share


def convolution(  # noqa: PLR0917 - the order of torch
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor | None:
    """A convolution along one axis: float32, shape (texts, channels out, length); None of others.

    Args:
        x: float32, shape (texts, channels in, length).
        weight: shape (channels out, channels in / groups, taps). bias: (channels out,).
        stride, padding, dilation: one number each; padded with zeros on both sides.
        transposed, output_padding: as torch has them; not done here.
        groups: of channels that see nothing of each other.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    if transposed or x.ndim != 3 or weight.ndim != 3:
        return None
    x = torch.nn.functional.pad(x, (padding[0], padding[0])) if padding[0] else x
    x, weight = x.contiguous(), weight.to(torch.float32).contiguous()
    bias = None if bias is None else bias.to(torch.float32).contiguous()
    texts, channels, length = x.shape
    out, inputs, taps = weight.shape
    check_float32("convolution", x)
    check(groups > 0 and inputs * groups == channels and out % groups == 0, "convolution")
    check(bias is None or bias.shape == (out,), "convolution")
    check(taps > 0 and length > dilation[0] * (taps - 1) and stride[0] > 0, "convolution")
    steps = (length - dilation[0] * (taps - 1) - 1) // stride[0] + 1
    y = torch.empty(texts, out, steps, dtype=torch.float32)
    call, at_bias = library.chosen().convolution, None if bias is None else bias.data_ptr()

    def some(start: int, end: int) -> None:
        for text, result in zip(x, y, strict=True):
            call(
                text.data_ptr(), channels, length, weight.data_ptr(), at_bias, out, groups, taps,
                stride[0], dilation[0], result.data_ptr(), start, end,
            )  # fmt: skip

    share(some, out, texts * out * steps * taps * channels // groups)
    return y


def _inside(index: Tensor, size: int) -> bool:
    """Whether all indices are of something."""
    return index.numel() == 0 or (int(index.min()) >= 0 and int(index.max()) < size)


def running_sum(x: Tensor, dim: int) -> Tensor:
    """The sums of the first elements along a dimension, in order, in the shape of x.

    float64 inside, each rounded to float32.
    """
    return torch.from_numpy(np.cumsum(x.numpy(), axis=dim, dtype=np.float64).astype(np.float32))


def add_at(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x with slices of `source` added to its slices `index`, ascending in the source.

    Args:
        x, source: of any shape, with `len(index)` slices of the source along `dim`.
        index: integers.
    """
    check(_inside(index, x.shape[dim]), "index_add")
    result = x.clone()
    places: Any = (slice(None),) * (dim % x.ndim) + (index.numpy(),)
    np.add.at(result.numpy(), places, source.numpy())
    return result


def add_at_elements(x: Tensor, indices: tuple[Tensor | None, ...], values: Tensor) -> Tensor:
    """A copy of x, of any shape, with values added at tuples of indices, in their order."""
    result = x.clone()
    places: Any = tuple(slice(None) if index is None else index.numpy() for index in indices)
    np.add.at(result.numpy(), places, values.numpy())
    return result


def scatter_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x, of any shape, with elements of `source` added where `index` says along `dim`.

    In ascending order of the source.
    """
    check(_inside(index, x.shape[dim]), "scatter_add")
    places = list(np.indices(tuple(index.shape)))
    part = source[tuple(slice(0, n) for n in index.shape)]
    places[dim % x.ndim] = index.numpy()
    result = x.clone()
    np.add.at(result.numpy(), tuple(places), part.numpy())
    return result


def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, unit: bool) -> Tensor:
    """The x with a·x = b for a triangular a, by substitution; the sums are products of rule 2.

    Args:
        a: float32, shape (…, n, n), of which the triangle named is used.
        b: float32, shape (…, n, m).
        upper: substitute from the last row up. unit: the diagonal counts as ones.
    """
    batch = np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    a = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
    b = b.expand(*batch, *b.shape[-2:])
    x = b.reshape(-1, *b.shape[-2:]).clone()
    n = a.shape[-1]
    for i in reversed(range(n)) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        row = x[:, i : i + 1] - matmul(a[:, i : i + 1, known], x[:, known])
        x[:, i : i + 1] = row if unit else row / a[:, i : i + 1, i : i + 1]
    return x.reshape(b.shape)


def complex_product(a: Tensor, b: Tensor | complex) -> Tensor:
    """(ac − bd, ad + bc): four products and two sums, each rounded; complex64, joint shape.

    A number that is no tensor multiplies both parts.
    """
    if not isinstance(b, Tensor):
        number = complex(b)
        if number.imag == 0:
            return torch.view_as_complex(torch.view_as_real(a.resolve_conj()) * number.real)
        b = torch.tensor(number, dtype=a.dtype)
    a, b = (x if x.is_complex() else torch.complex(x, torch.zeros_like(x)) for x in (a, b))
    (p, q), (r, s) = (torch.view_as_real(x.resolve_conj()).unbind(-1) for x in (a, b))
    return torch.view_as_complex(torch.stack([p * r - q * s, p * s + q * r], -1))
