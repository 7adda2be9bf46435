"""While a model runs in float64: each of its operations is one that has one value.

Every operation that reaches torch's kernels is either exact (it moves, chooses or compares),
correctly rounded element by element, or replaced by one of `kernels` and `sums`. The names of all
others are kept: they are computed as torch does, and may differ between machines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from geometry_of_trust.extraction import kernels, sums

# Moves, choices, comparisons, and types that hold what they are given.
_EXACT = {
    "_local_scalar_dense", "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "amax",
    "amin", "arange", "as_strided", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor",
    "cat", "ceil", "clamp", "clamp_max", "clamp_min", "clone", "constant_pad_nd", "copy",
    "copysign", "detach", "diagonal", "embedding", "empty", "empty_like", "empty_strided",
    "expand", "fill", "flatten", "flip", "floor", "frexp", "full", "full_like", "gather", "index",
    "index_copy", "index_select", "lift_fresh", "lift_fresh_copy", "masked_fill",
    "masked_select", "max", "maximum", "min", "minimum", "narrow", "new_empty",
    "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "permute",
    "relu", "repeat", "reshape", "roll", "round", "scalar_tensor", "scatter", "select",
    "select_scatter", "sign", "slice", "slice_scatter", "sort", "split", "split_with_sizes",
    "squeeze", "stack", "t", "to", "topk", "transpose", "tril", "triu", "trunc", "unbind",
    "unfold", "unsafe_split", "unsqueeze", "view", "view_as_complex", "view_as_real", "where",
    "zero", "zeros", "zeros_like",
}  # fmt: skip
# Of real numbers: at most one rounding for each element, by IEEE 754.
_ROUNDED = {"abs", "add", "div", "mul", "neg", "reciprocal", "rsub", "sgn", "sub"}


Result = Tensor | tuple[Tensor | None, ...] | None
"""What an operation gives; None: nothing, let torch do it."""

Operation = Callable[..., Result]


def _scaled(result: Tensor, other: Tensor, beta: float, alpha: float) -> Tensor:
    """The result times alpha, and another tensor times beta."""
    result = result if alpha == 1 else result * alpha
    return result if beta == 0 else result + (other if beta == 1 else other * beta)


def _product(other: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(sums.matmul(a, b), other, beta, alpha)


def _vector(a: Tensor, b: Tensor) -> Tensor:
    return sums.matmul(a, b[:, None])[:, 0]


Dims = int | Sequence[int] | None


def _mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Tensor:
    return sums.mean(x, _dims(dim), keepdim=keepdim)


def _sum(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Tensor:
    return sums.total(x, _dims(dim), keepdim=keepdim)


def _dims(dim: Dims) -> list[int]:
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


def _quotient(a: Tensor, b: Tensor | float, *, rounding_mode: str | None = None) -> Tensor | None:
    """On a GPU, where a number is divided by as if it were multiplied by its reciprocal."""
    if a.device.type == "cpu" or (isinstance(b, Tensor) and b.device == a.device):
        return None
    return torch.div(
        a, torch.as_tensor(b, dtype=a.dtype, device=a.device), rounding_mode=rounding_mode
    )


def _positive_zero(function: Callable[..., Tensor | tuple[Tensor, Tensor]]) -> Operation:
    """Of −0 and +0 a kernel takes whichever comes first in its vectors: +0 for both."""

    def chosen(*args: object, **kwargs: object) -> Result:
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            return result + 0.0
        values, indices = result
        return values + 0.0, indices

    return chosen


def _arange(
    *args: float,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    **others: object,
) -> Tensor | None:
    """Of a start or step that is no integer: start + step·i; a kernel may add up otherwise."""
    start, end, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
    if (dtype is not None and not dtype.is_floating_point) or start % 1 == step % 1 == 0:
        return None
    count = math.ceil((end - start) / step)
    places = torch.arange(count, dtype=torch.float64, device=device)
    result: Tensor = places * step + start
    return result if dtype is None else result.to(dtype)


def _added(sign: int) -> Operation:
    def added(a: Tensor, b: Tensor | float, *, alpha: float = 1) -> Tensor:
        return a + b * (sign * alpha)

    return added


def _index_add(
    x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor | None:
    """Added to each place at most once, else left to torch (None)."""
    if alpha != 1 or len(set(index.tolist())) < len(index):
        return None
    return x.index_copy(dim, index, x.index_select(dim, index) + source)


def _index_put(
    x: Tensor, indices: tuple[Tensor, ...], values: Tensor, accumulate: bool = False
) -> Tensor | None:
    return None if accumulate else torch.index_put(x, indices, values)


_REPLACED: dict[str, Operation] = {
    "mm": sums.matmul,
    "bmm": sums.matmul,
    "mv": _vector,
    "addmm": _product,
    "baddbmm": _product,
    "sum": _sum,
    "mean": _mean,
    "exp": kernels.exp,
    "sigmoid": kernels.sigmoid,
    "silu": kernels.silu,
    "tanh": kernels.tanh,
    "erf": kernels.erf,
    "gelu": lambda x, approximate="none": kernels.gelu(x, approximate),
    "sin": kernels.sin,
    "cos": kernels.cos,
    "sqrt": kernels.sqrt,
    "rsqrt": lambda x: 1.0 / kernels.sqrt(x),
    "div": _quotient,
    "arange": _arange,
    **{
        name: _positive_zero(getattr(torch, name))
        for name in ("amax", "amin", "max", "maximum", "min", "minimum")
    },
    "square": lambda x: x * x,
    "pow": kernels.power,
    "log": functools.partial(kernels.in_decimal, lambda x: x.ln()),
    "log2": functools.partial(kernels.in_decimal, lambda x: x.ln() / kernels.LN2),
    "_softmax": lambda x, dim, half_to_float: kernels.softmax(x, dim),
    "native_layer_norm": kernels.layer_norm,
    "_fused_rms_norm": lambda x, shape, weight, eps: (
        kernels.rms_norm(x, shape, weight, eps),
        None,
    ),
    "addcmul": lambda x, a, b, *, value=1: x + a * b * value,
    "addcdiv": lambda x, a, b, *, value=1: x + a / b * value,
    "index_add": _index_add,
    "index_put": _index_put,
}
_WITH_ALPHA = {
    "add": _added(1),
    "sub": _added(-1),
    "rsub": lambda a, b, *, alpha=1: b - a * alpha,
}


class DeterministicOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations on float64 tensors as this module says; the names of the others in `unproved`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch would import its compiler to say so

    def __init__(self, unproved: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unproved = unproved

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),  # whatever torch's operations take
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        floats = [x for x in args if isinstance(x, Tensor) and _is_real(x)]
        if "out" in kwargs:
            plain = f"{plain} into a tensor"
        replace = _REPLACED.get(plain)
        if plain == "scatter" and "reduce" in kwargs:
            plain = "scatter with a reduction"
        if plain in _WITH_ALPHA and (alpha := kwargs.get("alpha", [*args, 1, 1][2])) != 1:
            replace, args, kwargs = _WITH_ALPHA[plain], args[:2], {"alpha": alpha}
        numbers = name == "arange" or (name == "pow" and isinstance(args[0], float))
        if replace and (floats or numbers):
            result = replace(*args, **kwargs)
            if result is not None:
                return result if plain == name else args[0].copy_(result)
        result = func(*args, **kwargs)
        if not (plain in _EXACT or (plain in _ROUNDED and not _is_complex(args))):
            parts = result if isinstance(result, tuple | list) else [result]
            if any(isinstance(x, Tensor) and _is_computed(x) for x in parts):
                self.unproved.add(plain)
        return result


def _is_real(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _is_computed(x: Tensor) -> bool:
    return x.device.type != "meta" and (x.is_floating_point() or x.is_complex())


def _is_complex(args: tuple[object, ...]) -> bool:
    return any(isinstance(x, Tensor) and x.is_complex() for x in args)
