"""Compute in float64 throughout, also where a model's code asks for float32.

transformers goes through float32 on purpose (norms, softmax, rotary angles, attention of GPT-J
and GPT-Neo), which is more precise than bfloat16 and less than float64. A function mode answers it
with float64, and under it `deterministic_operations` sees to it that each operation has one value
on every machine. See docs/reproducibility.md.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from geometry_of_trust.extraction import sums
from geometry_of_trust.extraction.attention import attention
from geometry_of_trust.extraction.deterministic_operations import DeterministicOperations

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
"""What each narrower type becomes."""

_CASTS_LIKE = {"to", "type_as"}
_TYPE_NAMES = {
    f"torch.{device}{name}Tensor": f"torch.{device}DoubleTensor"
    for device in ("", "cuda.")
    for name in ("Float", "Half", "BFloat16")
}
# A tensor's bits and its own memory stay; so do roundings that code spells out (see `Float64`).
_AS_IT_IS = {"view", "__set__", "__setitem__", "half", "bfloat16"}
_HALVES = {torch.float16, torch.bfloat16, torch.complex32}


class Float64(TorchFunctionMode):
    """Every function of torch is given float64 for each narrower type, and returns float64.

    A type that is asked of a tensor is answered in the same way, so that code which carries it
    from one tensor to another carries float64. One thing stays: `x.bfloat16()` and `x.half()`,
    spelt out in a model's code whatever its type, round on purpose (Falcon's slopes of ALiBi),
    and so do the operations on what they return until something wider joins in.
    """

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
            return WIDE.get(value, value) if isinstance(value, torch.dtype) else value
        if name == "float":
            return torch.Tensor.double(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return attention(*args, **kwargs)
        if name in _CASTS_LIKE and len(args) > 1 and isinstance(args[1], torch.Tensor):
            func, args, kwargs = _cast_like(args, kwargs)
        elif name == "type" and len(args) > 1:
            args = (args[0], _TYPE_NAMES.get(str(args[1]), args[1]), *args[2:])
        result = func(*map(_wide_type, args), **{k: _wide_type(v) for k, v in kwargs.items()})
        if name.endswith("_") and not name.endswith("__"):
            return result  # in place: what it was given
        return _wide(result, halves=name == "embedding")


def _cast_like(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., object], tuple[object, ...], dict[str, Any]]:
    """`x.to(y)` and `x.type_as(y)` as casts to the device and the widened type of y."""
    tensor, other, *more = args
    dtype = WIDE.get(other.dtype, other.dtype)
    return torch.Tensor.to, (tensor, other.device, dtype, *more), kwargs


def _wide_type(argument: object) -> object:
    return WIDE.get(argument, argument) if isinstance(argument, torch.dtype) else argument


def _wide(result: object, *, halves: bool) -> object:
    """A result in float64; those of half precision only if they are `halves` of weights."""
    if isinstance(result, torch.Tensor):
        narrow = result.dtype in WIDE and (halves or result.dtype not in _HALVES)
        return result.to(WIDE[result.dtype]) if narrow else result
    # Not of a named tuple, which is made in another way.
    if type(result) is tuple and any(isinstance(part, torch.Tensor) for part in result):
        return tuple(_wide(part, halves=halves) for part in result)
    if type(result) is list and any(isinstance(part, torch.Tensor) for part in result):
        return [_wide(part, halves=halves) for part in result]
    return result


@contextlib.contextmanager
def float64(unproved: set[str] | None = None) -> Iterator[None]:
    """Until the `with` ends, torch computes in float64 only, and each operation has one value.

    Args:
        unproved: is given the names of the operations of which that cannot be said.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            torch.no_grad(),
            sums.sharing(),
            _uncompiled(),
            DeterministicOperations(set() if unproved is None else unproved),
            Float64(),
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
"""A context in which torch does what the code says, inside of `float64` too."""


def allow_float64(model: PreTrainedModel) -> None:
    """Turn off what stops when it gets float64.

    That is GPT-2's attention that asks for float32 and checks it, and the grouped product of
    experts, which has no kernel for float64; each has a plain form of the same formula.
    """
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    for module in model.modules():
        if getattr(module, "reorder_and_upcast_attn", False):
            setattr(module, "reorder_and_upcast_attn", False)  # noqa: B010 - not one of its own
