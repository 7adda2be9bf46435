"""Compute in float32 throughout, also where a model's code asks for less.

transformers carries the type of its weights through a model. Here they stay as their file has
them, and everything that is computed is float32: a function mode answers narrower types with it,
and under it `deterministic_operations` sees to it that each operation has one value on every
machine. What code asks for in float64 stays that. See docs/reproducibility.md.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from geometry_of_trust.arithmetic.attention import attention
from geometry_of_trust.arithmetic.products import TYPES, linear
from geometry_of_trust.arithmetic.threads import sharing
from geometry_of_trust.extraction.deterministic_operations import DeterministicOperations

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WIDE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
}
"""What each narrower type becomes."""

_CASTS_LIKE = {"to", "type_as"}
_TYPE_NAMES = {
    f"torch.{device}{name}Tensor": f"torch.{device}FloatTensor"
    for device in ("", "cuda.")
    for name in ("Half", "BFloat16")
}
# A tensor's bits and its own memory stay; so do roundings that code spells out (see `Float32`).
_AS_IT_IS = {"view", "__set__", "__setitem__", "half", "bfloat16"}


class Float32(TorchFunctionMode):
    """Every function of torch is given float32 for each narrower type, and returns float32.

    A type that is asked of a tensor is answered in the same way, so that code which carries it
    from one tensor to another carries float32. One thing stays: `x.bfloat16()` and `x.half()`,
    spelt out in a model's code whatever its type, round on purpose (Falcon's slopes of ALiBi),
    and so do the operations on what they return until something wider joins in.
    """

    def __init__(self, scales: Mapping[torch.Tensor, torch.Tensor]) -> None:
        super().__init__()
        self._scales = scales

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),  # whatever torch's functions take
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        name = getattr(func, "__name__", "")
        kwargs = dict(kwargs or {})
        if name in _AS_IT_IS:
            return func(*args, **kwargs)
        if name == "__get__":
            value = func(*args, **kwargs)
            if isinstance(value, torch.dtype):
                return WIDE.get(value, value)
            wide = self._wide(args[0]) if isinstance(value, torch.Tensor) else args[0]
            return value if wide is args[0] else func(wide, *args[1:], **kwargs)
        if name == "scaled_dot_product_attention" and _are_float32(*args, **kwargs):
            return attention(*args, **kwargs)
        if name == "linear" and (product := self._linear(*args, **kwargs)) is not None:
            return product
        if name != "embedding":
            args = tuple(map(self._wide, args))
            kwargs = {key: self._wide(value) for key, value in kwargs.items()}
        if name in _CASTS_LIKE and len(args) > 1 and isinstance(args[1], torch.Tensor):
            func, args, kwargs = _cast_like(args, kwargs)
        elif name == "type" and len(args) > 1:
            args = (args[0], _TYPE_NAMES.get(str(args[1]), args[1]), *args[2:])
        result = func(*map(_wide_type, args), **{k: _wide_type(v) for k, v in kwargs.items()})
        return _wide_rows(result) if name == "embedding" else result

    def _linear(
        self,
        input: torch.Tensor,  # noqa: A002 - torch's names
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """The product with a weight as it is held; None if that is no case for a kernel."""
        known = input.dtype == torch.float32 and weight.dtype in TYPES and weight.ndim == 2
        scale = self._scales.get(weight)
        if not known or (weight.dtype == torch.int8) != (scale is not None):
            return None
        if input.is_neg() or input.device.type != "cpu" or weight.device.type != "cpu":
            return None
        return linear(input, weight, bias, scale)

    def _wide(self, argument: object) -> object:
        """A parameter as it is computed with, if it is held in less; all else as it is."""
        if type(argument) is not nn.Parameter:
            return argument
        if argument.dtype == torch.int8 and argument in self._scales:
            return argument.data * self._scales[argument]
        return _wide_rows(argument)


def _cast_like(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., object], tuple[object, ...], dict[str, Any]]:
    """`x.to(y)` and `x.type_as(y)` as casts to the device and the widened type of y."""
    tensor, other, *more = args
    dtype = WIDE.get(other.dtype, other.dtype)
    return torch.Tensor.to, (tensor, other.device, dtype, *more), kwargs


def _are_float32(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object, **others: object
) -> bool:
    """Whether a kernel can take queries, keys and values."""
    return all(x.dtype == torch.float32 and not x.is_neg() for x in (query, key, value))


def _wide_rows(value: object) -> object:
    """Weights, or what was taken of them, in float32."""
    if isinstance(value, torch.Tensor) and value.dtype in WIDE:
        return value.to(WIDE[value.dtype])
    return value


def _wide_type(argument: object) -> object:
    return WIDE.get(argument, argument) if isinstance(argument, torch.dtype) else argument


@contextlib.contextmanager
def float32(
    unproved: set[str] | None = None,
    scales: Mapping[torch.Tensor, torch.Tensor] = MappingProxyType({}),
) -> Iterator[None]:
    """Until the `with` ends, torch computes in float32 at least, and each operation has one value.

    Args:
        unproved: is given the names of the operations of which that cannot be said.
        scales: of weights that are held in integers, shape (rows, 1).
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.no_grad(),
            sharing(),
            _uncompiled(),
            DeterministicOperations(set() if unproved is None else unproved),
            Float32(scales),
        ):
            yield
    finally:
        torch.set_default_dtype(default)


def _uncompiled() -> AbstractContextManager[object]:
    """A context in which nothing is compiled, our own operations least of all."""
    # Importing the compiler takes seconds: only if a model's code has done so.
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


as_written = torch._C.DisableTorchFunction
"""A context in which torch does what the code says, inside of `float32` too."""


def plain_forms(model: PreTrainedModel) -> None:
    """Turn off kernels that nothing here replaces; each has a plain form of the same formula.

    The grouped product of experts is one.
    """
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
