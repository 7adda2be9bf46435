"""Weights in three types: as they are held, as the model has them, and as they are computed with.

They are held as their file has them where that is exact, as 8-bit integers and scales, or as
loaded. The model has them in the type that was asked for (`--dtype`). A reproducible run computes
with float32; its products widen weights while they multiply, so that linear layers stay as they
are held. Where else these differ, a block's weights are converted just before it runs and dropped
right after, so one block at a time costs memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from geometry_of_trust.arithmetic.products import TYPES
from geometry_of_trust.extraction.float32 import WIDE, as_written
from geometry_of_trust.extraction.page_release import FilePages

Before = list[tuple[torch.Tensor, torch.Tensor]]
"""Parameters, with what they were before."""

_SMALL = 2**16
"""Numbers of a parameter that is converted once and for all: norms, biases, short convolutions."""


@dataclass(frozen=True)
class Weights:
    """How to get from weights as they are held to weights to compute with.

    Attributes:
        types: the model's type of each parameter and buffer, of any shape, that is held in another.
        reproducible: whether to compute in float32 by `arithmetic`.
        scales: of each parameter that is held in integers, shape (rows, 1); the weight is integer ×
            scale, rounded to float32.
        dtype: what such a weight is rounded to unless the run is reproducible.
    """

    types: Mapping[torch.Tensor, torch.dtype] = field(default_factory=dict)
    reproducible: bool = False
    scales: Mapping[torch.Tensor, torch.Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    _known: dict[nn.Module, list[nn.Parameter]] = field(default_factory=dict)
    _done: set[torch.Tensor] = field(default_factory=set)

    def of_model(self, parameter: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """A part of a parameter in the model's type, in its shape."""
        return part.to(self.types.get(parameter, part.dtype))

    def value(self, parameter: torch.Tensor) -> torch.Tensor:
        """A parameter as it is computed with, in its shape; itself if that is how it is held."""
        scale = self.scales.get(parameter)
        if scale is not None and not parameter.dtype.is_floating_point:
            value = parameter.data * scale
            return value if self.reproducible else value.to(self.dtype)
        value = self.of_model(parameter, parameter.data)
        return value.to(WIDE[value.dtype]) if self.reproducible and value.dtype in WIDE else value

    def bring(self, module: nn.Module) -> Before:
        """Let a module's parameters be what they are computed with; returns what they were."""
        before: Before = []
        with as_written():
            for parameter in self._to_convert(module):
                before.append((parameter, parameter.data))
                parameter.data = self.value(parameter)
                self._done.add(parameter)
        return before

    def settled(self, module: nn.Module) -> bool:
        """Whether a module's parameters are what they are computed with: `bring` does nothing."""
        return not self._to_convert(module)

    def _type(self, parameter: torch.Tensor) -> torch.dtype:
        """What a parameter is computed with."""
        if parameter in self.scales:
            return torch.float32 if self.reproducible else self.dtype
        type_ = self.types.get(parameter, parameter.dtype)
        return WIDE.get(type_, type_) if self.reproducible else type_

    def _to_convert(self, module: nn.Module) -> list[nn.Parameter]:
        """The parameters of a module that are not yet what they are computed with."""
        if module not in self._known:  # which takes longer than a small block
            self._known[module] = [
                p
                for p in self._converted(module)
                if self._type(p) != p.dtype or (self.reproducible and self._narrower(p))
            ]
        return [p for p in self._known[module] if p not in self._done]

    def _converted(self, module: nn.Module) -> Iterator[nn.Parameter]:
        """The parameters that a product does not widen itself."""
        for owner in module.modules():
            linear = self.reproducible and type(owner).forward is nn.Linear.forward
            for name, parameter in owner._parameters.items():
                if parameter is None:
                    continue
                widened = linear and name == "weight" and parameter.dtype in TYPES
                if not widened or self._narrower(parameter):
                    yield parameter

    def put_back(self, before: Before) -> None:
        """Undo `bring`, so that what it made is dropped."""
        with as_written():
            while before:
                parameter, value = before.pop()
                parameter.data = value
                self._done.discard(parameter)

    def settle(
        self, model: nn.Module, blocks: nn.ModuleList, unembedding: nn.Module, pages: FilePages
    ) -> None:
        """Convert for good what is outside of the blocks or small, and all buffers of a file.

        An embedding is a choice of rows: `float32` widens them, so it can stay as it is held
        unless its model's type is a narrower one. The unembedding is not computed with.

        Args:
            pages: what of it can be given back when it was converted.
        """
        inside = {id(parameter) for parameter in blocks.parameters()}
        rows = {id(unembedding.weight)} | {
            id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
        }
        for parameter in self._converted(model):
            small = self.reproducible and parameter.numel() <= _SMALL
            held = parameter.data
            if id(parameter) in rows:
                if not self.reproducible or self._narrower(parameter):
                    parameter.data = self.of_model(parameter, parameter.data)
            elif id(parameter) not in inside or small:
                parameter.data = self.value(parameter)
                self._done.add(parameter)
            if parameter.dtype != held.dtype:
                pages.release(held)
        for module in model.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = self.value(buffer)

    def _narrower(self, parameter: torch.Tensor) -> bool:
        """Whether the model's type of a parameter is narrower than the one it is held in."""
        type_ = self.types.get(parameter, parameter.dtype)
        return torch.promote_types(type_, parameter.dtype) != type_
