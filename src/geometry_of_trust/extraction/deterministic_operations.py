"""While a model runs in float32: each of its operations is one that has one value.

Every operation that reaches torch's kernels is either exact (it moves, chooses or compares),
correctly rounded element by element, or replaced by one of `arithmetic`. The names of all others
are kept: they are computed as torch does, and may differ between machines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from geometry_of_trust.arithmetic import functions, products, rows, sequences

# Moves, choices, comparisons, and types that hold what they are given.
_EXACT = {
    "_local_scalar_dense", "_reshape_alias", "_conj", "_to_copy", "_unsafe_view", "alias", "amax",
    "amin", "arange", "as_strided", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor",
    "cat", "ceil", "clamp", "clamp_max", "clamp_min", "clone", "complex", "constant_pad_nd", "copy",
    "copysign", "detach", "diagonal", "embedding", "empty", "empty_like", "empty_strided",
    "expand", "eye", "fill", "flatten", "flip", "floor", "frexp", "full", "full_like", "gather",
    "hardtanh", "imag", "index",
    "index_copy", "index_select", "lift_fresh", "lift_fresh_copy", "masked_fill",
    "masked_select", "max", "maximum", "min", "minimum", "narrow", "new_empty",
    "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "permute",
    "leaky_relu", "real", "relu", "repeat", "reshape", "roll", "round", "scalar_tensor",
    "scatter", "select",
    "select_scatter", "set", "sign", "slice", "slice_scatter", "sort", "split", "split_with_sizes",
    "squeeze", "stack", "t", "to", "topk", "transpose", "tril", "triu", "trunc", "unbind",
    "unfold", "unsafe_split", "unsqueeze", "view", "view_as_complex", "view_as_real", "where",
    "zero", "zeros", "zeros_like",
}  # fmt: skip
# Of real numbers: at most one rounding for each element, by IEEE 754.
_ROUNDED = {"abs", "add", "div", "floor_divide", "mul", "neg", "reciprocal", "rsub", "sgn", "sub"}


Result = Tensor | tuple[Tensor | None, ...] | None
"""What an operation gives; None: nothing, let torch do it."""

Operation = Callable[..., Result]


def _scaled(result: Tensor, other: Tensor, beta: float, alpha: float) -> Tensor:
    """The result times alpha, and another tensor times beta."""
    result = result if alpha == 1 else result * alpha
    return result if beta == 0 else result + (other if beta == 1 else other * beta)


def _product(other: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(products.matmul(a, b), other, beta, alpha)


def _vector(a: Tensor, b: Tensor) -> Tensor:
    return products.matmul(a, b[:, None])[:, 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return products.matmul(a[None], b[:, None])[0, 0]


Dims = int | Sequence[int] | None


def _mean(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor | None:
    return rows.mean(x, _dims(dim), keepdim=keepdim) if dtype in (None, x.dtype) else None


def _sum(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor | None:
    return rows.total(x, _dims(dim), keepdim=keepdim) if dtype in (None, x.dtype) else None


def _dims(dim: Dims) -> list[int]:
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


def _variance(
    x: Tensor, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """The mean, each distance from it, the sum of their squares and a quotient, each rounded."""
    dims = _dims(dim)
    count = math.prod(x.shape[d] for d in dims) if dims else x.numel()
    squares = rows.sum_of_squares(x - rows.mean(x, dims or range(x.ndim), keepdim=True), dims,
                                  keepdim=keepdim)  # fmt: skip
    return squares / (count - (1 if correction is None else correction))


def _norm(
    x: Tensor, order: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: object = None
) -> Tensor | None:
    if order not in (1, 2) or dtype not in (None, x.dtype):
        return None
    if order == 1:
        return rows.total(x.abs(), _dims(dim), keepdim=keepdim)
    return functions.sqrt(rows.sum_of_squares(x, _dims(dim), keepdim=keepdim))


def _log_of_sum(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """The greatest, plus the logarithm of the sum of exponentials, each step rounded."""
    most = x.amax(_dims(dim), keepdim=True)
    most = torch.where(most.isinf(), 0.0, most)
    powers = functions.function("exp")(x - most)
    total = functions.function("log")(rows.total(powers, _dims(dim), keepdim=True)) + most
    return total if keepdim else total.squeeze(_dims(dim))


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """Above the threshold, of beta·x, it is x, as torch says."""
    scaled = x if beta == 1 else x * beta
    result = functions.function("softplus")(scaled)
    return torch.where(scaled > threshold, x, result if beta == 1 else result / beta)


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return functions.function("gelu" if approximate == "none" else "gelu_tanh")(x)


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
    return (places * step + start).to(torch.get_default_dtype() if dtype is None else dtype)


def _added(sign: int) -> Operation:
    def added(a: Tensor, b: Tensor | float, *, alpha: float = 1) -> Tensor:
        return a + b * (sign * alpha)

    return added


def _index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    return sequences.add_at(x, dim, index, source if alpha == 1 else source * alpha)


def _index_put(
    x: Tensor, indices: tuple[Tensor | None, ...], values: Tensor, accumulate: bool = False
) -> Tensor | None:
    if accumulate:
        return sequences.add_at_elements(x, indices, values)
    put: Tensor = torch.ops.aten.index_put(x, indices, values)  # which takes None, too
    return put


def _sorted(
    x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Of equal values the lowest index first."""
    values, indices = torch.sort(x, dim=dim, descending=descending, stable=True)
    return values, indices


def _topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, *_: bool, **others: bool
) -> tuple[Tensor, Tensor]:
    values, indices = _sorted(x, dim, largest)
    return values.narrow(dim, 0, k), indices.narrow(dim, 0, k)


def _scatter(x: Tensor, dim: int, index: Tensor, source: Tensor | float, **others: Any) -> Result:
    """With `reduce="add"`, in order."""
    if others.get("reduce") != "add" or not isinstance(source, Tensor):
        return None
    return sequences.scatter_add(x, dim, index, source)


def _scatter_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Result:
    """A sum, in order."""
    return (
        sequences.scatter_add(x, dim, index, source) if reduce == "sum" and include_self else None
    )


def _running_sum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor | None:
    return sequences.running_sum(x, dim) if dtype in (None, x.dtype) else None


def _triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    if left:
        return sequences.solve_triangular(a, b, upper=upper, unit=unitriangular)
    return sequences.solve_triangular(a.mT, b.mT, upper=not upper, unit=unitriangular).mT


def _polar(size: Tensor, angle: Tensor) -> Tensor:
    cos, sin = functions.function("cos")(angle), functions.function("sin")(angle)
    return torch.complex(size * cos, size * sin)


def _power(base: Tensor | float, exponent: Tensor | float) -> Tensor | None:
    """Of integers and a real number: of what float32 makes of the integers."""
    given = [x.to(torch.float32) if isinstance(x, Tensor) and not x.is_floating_point() else x
             for x in (base, exponent)]  # fmt: skip
    return functions.power(*given)


_FUNCTIONS = {
    "exp", "expm1", "log", "log1p", "log2", "tanh", "erf", "sin", "cos", "sigmoid", "silu", "rsqrt",
}  # fmt: skip
_EXTREMES = {
    name: _positive_zero(getattr(torch, name))
    for name in ("amax", "amin", "max", "maximum", "min", "minimum")
}
_REPLACED: dict[str, Operation] = {
    **{name: functions.function(name) for name in _FUNCTIONS},
    "mm": products.matmul,
    "bmm": products.matmul,
    "mv": _vector,
    "dot": _dot,
    "addmm": _product,
    "baddbmm": _product,
    "sum": _sum,
    "mean": _mean,
    "var": _variance,
    "std": lambda *args, **kwargs: functions.sqrt(_variance(*args, **kwargs)),
    "linalg_vector_norm": _norm,
    "logsumexp": _log_of_sum,
    "softplus": _softplus,
    "log_sigmoid_forward": lambda x: (functions.function("log_sigmoid")(x), x),
    "gelu": _gelu,
    "sqrt": functions.sqrt,
    "arange": _arange,
    **_EXTREMES,
    "square": lambda x: x * x,
    "pow": _power,
    "_softmax": lambda x, dim, half_to_float: rows.softmax(x, dim),
    "native_layer_norm": lambda x, shape, weight, bias, eps: (
        rows.layer_norm(x, shape, weight, bias, eps),
        None,
        None,
    ),
    "_fused_rms_norm": lambda x, shape, weight, eps: (
        rows.rms_norm(x, shape, weight, eps),
        None,
    ),
    "addcmul": lambda x, a, b, *, value=1: x + a * b * value,
    "addcdiv": lambda x, a, b, *, value=1: x + a / b * value,
    "lerp": lambda a, b, weight: a + (b - a) * weight,
    "index_add": _index_add,
    "index_put": _index_put,
    "scatter": _scatter,
    "sort": _sorted,
    "topk": _topk,
    "scatter_add": sequences.scatter_add,
    "scatter_reduce": _scatter_reduce,
    "cumsum": _running_sum,
    "convolution": sequences.convolution,
    "linalg_solve_triangular": _triangular,
    "polar": _polar,
}  # fmt: skip
_IN_FLOAT64: dict[str, Operation] = {
    "sqrt": functions.sqrt,
    "pow": functions.power,
    "exp": lambda x: functions.in_decimal(Decimal.exp, x),
    "log": lambda x: functions.in_decimal(Decimal.ln, x),
    **_EXTREMES,
}
"""Of what a model's code asks for in float64: few numbers."""
_WITH_ALPHA = {
    "add": _added(1),
    "sub": _added(-1),
    "rsub": lambda a, b, *, alpha=1: b - a * alpha,
}


_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}


class DeterministicOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations on real tensors as this module says; the names of the others in `unproved`."""

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
        known = _KNOWN.get(id(func))  # an operation's own hash takes longer than all of this
        plain, in_place = _KNOWN.setdefault(id(func), _named(func)) if known is None else known
        replace = self._replacement(plain, args)
        if plain == "scatter" and "reduce" in kwargs:
            plain = "scatter with a reduction"
        if plain in _WITH_ALPHA and (alpha := kwargs.get("alpha", [*args, 1, 1][2])) != 1:
            replace, args, kwargs = _WITH_ALPHA[plain], args[:2], {"alpha": alpha}
        if replace:
            result = replace(*args, **kwargs)
            if result is not None:
                return args[0].copy_(result) if in_place else result
        result = func(*args, **kwargs)
        if not (plain in _EXACT or (plain in _ROUNDED and not _is_complex(args))):
            parts = result if isinstance(result, tuple | list) else [result]
            if any(isinstance(x, Tensor) and _is_computed(x) for x in parts):
                self.unproved.add(plain)
        return result

    @staticmethod
    def _replacement(plain: str, args: tuple[Any, ...]) -> Operation | None:
        if plain not in _REPLACED and plain != "mul":
            return None
        types = {x.dtype for x in args if isinstance(x, Tensor) and x.device.type == "cpu"}
        if plain == "mul" and torch.complex64 in types:
            return sequences.complex_product
        if torch.float64 in types:
            return _IN_FLOAT64.get(plain)
        if plain == "arange" or (plain == "pow" and any(isinstance(x, float) for x in args)):
            return _REPLACED[plain]
        if plain in _FUNCTIONS and types and not types - _INTEGERS:
            return lambda x: _REPLACED[plain](x.to(torch.float32))
        return _REPLACED.get(plain) if torch.float32 in types else None


_KNOWN: dict[int, tuple[str, bool]] = {}


def _named(func: OpOverload) -> tuple[str, bool]:
    """What an operation is called when it is not done in place, and whether it is."""
    name = func.overloadpacket.__name__
    if any(argument.is_out for argument in func._schema.arguments):
        return f"{name} into a tensor", False
    in_place = name.endswith("_") and not name.endswith("__")
    return name[:-1] if in_place else name, in_place


def _is_computed(x: Tensor) -> bool:
    return x.device.type != "meta" and (x.is_floating_point() or x.is_complex())


def _is_complex(args: tuple[object, ...]) -> bool:
    return any(isinstance(x, Tensor) and x.is_complex() for x in args)
