"""A model ready to run: loaded, its weights held as they should be, its buffers computed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from geometry_of_trust.errors import NoDevice
from geometry_of_trust.extraction import loading, quantizing
from geometry_of_trust.extraction.adapters import Adapter
from geometry_of_trust.extraction.architectures import Anatomy, untyped
from geometry_of_trust.extraction.float32 import float32, plain_forms
from geometry_of_trust.extraction.model_files import Source
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.stored import (
    ROUNDING,
    in_one_type,
    loading_options,
    refuse_unsaid,
    stored_tensors,
)
from geometry_of_trust.extraction.weights import Weights
from geometry_of_trust.formats.stored_tensors import StoredTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STORED = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Names that safetensors files have for the types of weights."""


@dataclass(frozen=True)
class Loaded:
    """A model with as many blocks as are needed.

    Attributes:
        blocks: how many it has.
        pages: what of its weights can be given back after use.
        weights: how its weights are held.
        unused: names of weights in its files that the whole model does not use.
    """

    model: PreTrainedModel
    blocks: int
    pages: FilePages
    weights: Weights
    unused: frozenset[str] = frozenset()


def prepare(
    request: Request,
    source: Source,
    skeleton: PreTrainedModel,
    anatomy: Anatomy,
    *,
    count: int,
    left_out: Sequence[str] = (),
    device: torch.device,
    unproved: set[str] | None = None,
    adapter: Adapter | None = None,
    stored: str | None = None,
) -> Loaded:
    """Load a model with its first `count` blocks and make it ready to run.

    Args:
        skeleton: the whole model without weights.
        left_out: as of `loading.load_model`.
        unproved: as of `float32`.
        adapter: what to put into it. stored: as of `stored.stored_as`.

    Raises:
        BadAdapter: as `Adapter.apply`.
        QuantizedModel: as `refuse_unsaid`. OutsideOfModel: as `stored_tensors`.
        IncompleteModel, ModelFailed: as `loading.load_model`.
        UnsupportedArchitecture: as `quantizing.plain`.
        NoDevice: the model goes on all GPUs, and they have not enough memory.
    """
    tensors = stored_tensors(source)
    if stored is None:
        refuse_unsaid(tensors, request.model, skeleton.config)
    dtype = getattr(torch, request.options.dtype)
    held = (None if stored in ROUNDING else _held_type(request, tensors, device)) or dtype
    unused: set[str] = set()
    load = partial(
        loading.load_model,
        source, skeleton, anatomy, count=count, left_out=left_out, unused=unused,
    )  # fmt: skip
    more = loading_options(source)
    scales: dict[torch.Tensor, torch.Tensor] = {}
    if request.options.quantization is None and on_all_gpus(request, device):
        model = load(dtype=held, device=device, more={**more, "device_map": "auto"})
        _check_placed(model, device)
    elif request.options.quantization is None:
        model = load(dtype=held, device=device, more=more)
        if stored in ROUNDING:
            in_one_type(model, dtype, request.model)
    else:
        model = load(dtype=held, device=torch.device("cpu"), more=quantizing.options(anatomy))
        scales = quantizing.plain(model, request.model)
        untyped(model).to(device)
        scales = {weight: scale.to(device) for weight, scale in scales.items()}
    types: dict[torch.Tensor, torch.dtype] = {}
    if held != dtype:
        asked = load(dtype=dtype, device=torch.device("meta"))
        if _can_stay(model, anatomy, asked, dtype, reproducible=request.reproducible):
            skeleton = asked
            named = model.state_dict(keep_vars=True)
            types = {named[name]: shape.dtype for name, shape in skeleton.state_dict().items()}
        else:
            del model  # before there is another
            model = load(dtype=dtype, device=device)
    weights = Weights(types, request.reproducible, scales, dtype)
    pages = FilePages.of_process()
    weights.settle(model, anatomy.blocks_of(model), anatomy.unembedding_of(model), pages)
    if weights.reproducible or types:
        found = set() if unproved is None else unproved
        left = _compute_buffers(
            model, skeleton, float32(found) if weights.reproducible else nullcontext()
        )
        if weights.reproducible:
            found |= left | _tensors_beside(model)
            plain_forms(model)
    if adapter is not None:
        adapter.apply(model, anatomy, count, types)
    return Loaded(model, count, pages, weights, frozenset(unused))


def _held_type(
    request: Request, tensors: Sequence[StoredTensor], device: torch.device
) -> torch.dtype | None:
    """The type of the weights' files, if weights can be left in them; None: the type asked for."""
    if device.type != "cpu" or request.options.quantization is not None:
        return None
    known = {tensor.dtype for tensor in tensors} & STORED.keys()
    return STORED[known.pop()] if len(known) == 1 else None


def on_all_gpus(request: Request, device: torch.device) -> bool:
    """Whether accelerate places a model on all GPUs: there are several, and none was named."""
    return (
        request.options.device == "auto" and device.type == "cuda" and torch.cuda.device_count() > 1
    )


def _check_placed(model: PreTrainedModel, device: torch.device) -> None:
    """Refuse what accelerate keeps elsewhere and brings at each use: blocks are converted here.

    Raises:
        NoDevice.
    """
    elsewhere = [name for name, p in model.named_parameters() if p.device.type != device.type]
    if elsewhere:
        raise NoDevice(
            "device",
            expected=f"{device.type} devices with memory for the whole model",
            found=f"none for {len(elsewhere)} of its parameters, such as {elsewhere[0]}",
            hint="Run it with --device cpu, or in another --dtype.",
        )


def _can_stay(
    model: PreTrainedModel,
    anatomy: Anatomy,
    asked: PreTrainedModel,
    dtype: torch.dtype,
    *,
    reproducible: bool,
) -> bool:
    """Whether a model that was loaded in its files' type is as good as one in the type asked for.

    Not if that type is narrower and weights are no pages of files (if the kernel tells), such as
    experts that transformers stacks: they would take more memory. Nor if something of it was
    computed in the files' type when it was loaded, and cannot be computed again: that would show in
    the values. A reproducible run that widens names such things instead.

    Args:
        asked: it in the type asked for, without weights.
    """
    blocks = anatomy.blocks_of(model)
    widens = all(torch.promote_types(p.dtype, dtype) == dtype for p in blocks.parameters())
    if widens and reproducible:
        return True
    pages = FilePages.of_process()
    sizes = [sum(p.nbytes for p in block.parameters()) for block in blocks]
    made = sum(p.nbytes for p in blocks.parameters() if not pages.hold(p))
    if not widens and pages.starts and made > max(sizes):
        return False
    computed_in = float32(set()) if reproducible else nullcontext()
    return not (_compute_buffers(model, asked, computed_in) | _tensors_beside(model))


def _tensors_beside(model: nn.Module) -> set[str]:
    """Tensors of floats that modules hold as plain attributes: made by code that nobody watched."""
    return {
        f"tensor {path}.{name}"
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }


def _compute_buffers(
    model: nn.Module, skeleton: PreTrainedModel, context: AbstractContextManager[None]
) -> set[str]:
    """Compute what a model's code computes once and no file holds, such as rotary frequencies.

    The model's own code does it, as transformers has it do after loading. What that code leaves
    out stays as it was loaded; it is named in what is returned.

    Args:
        model: the model to set them in.
        skeleton: one of the same kind on torch's `meta` device, with at least its modules.
        context: what to compute in.
    """
    left = set()
    with context:
        for path, module in model.named_modules():
            names = [
                name
                for name in sorted(module._non_persistent_buffers_set)
                if module._buffers[name] is not None and module._buffers[name].is_floating_point()
            ]
            if names:
                found = _compute_buffers_of(module, names, skeleton, path)
                left |= {f"buffer {path}.{name}" for name in found}
    return left


def _compute_buffers_of(
    module: nn.Module, names: list[str], skeleton: PreTrainedModel, path: str
) -> list[str]:
    """Those of one module; names of those that its code leaves out.

    Only the skeleton's module is set up anew, which has no weights; some code does so when it comes
    to the whole model.
    """
    left = []
    source = skeleton.get_submodule(path)
    empty = {name: source.get_buffer(name) for name in names}
    for name, buffer in empty.items():
        source._buffers[name] = torch.full(buffer.shape, torch.nan, dtype=buffer.dtype)
    try:
        owner = _owner(skeleton, path)
        for whole in (source, owner):
            if any(source.get_buffer(name).isnan().any() for name in names):
                untyped(owner)._init_weights(whole)
        for name in names:
            computed, there = source.get_buffer(name), module.get_buffer(name)
            if computed.isnan().any():
                left.append(name)
            else:
                module._buffers[name] = computed.to(there.device)
    finally:
        source._buffers.update(empty)
    return left


def _owner(model: PreTrainedModel, path: str) -> nn.Module:
    """The innermost model of transformers' around a module: its code initialises it."""
    owner: nn.Module = model
    parts = path.split(".") if path else []
    for k in range(1, len(parts) + 1):
        module = model.get_submodule(".".join(parts[:k]))
        if hasattr(module, "_init_weights"):
            owner = module
    return owner
