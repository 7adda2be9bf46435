"""Weights in three types: as they are held, as the model has them, and as they are computed with.

They are held as loaded, as 8-bit integers and scales, or mapped from their file. The model has
them in the type that was asked for (`--dtype`). A reproducible run computes with float64. Where
these differ, a block's weights are converted just before it runs and dropped right after, so one
block at a time costs memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from geometry_of_trust.extraction.float64 import WIDE, as_written

Before = list[tuple[torch.Tensor, torch.Tensor]]
"""Parameters, with what they were before."""


@dataclass(frozen=True)
class Weights:
    """How to get from weights as they are held to weights to compute with.

    Attributes:
        types: the model's type of each parameter and buffer, of any shape, that is held in another.
        wide: whether to compute in float64.
        scales: of each parameter that is held in integers, shape (rows, 1); the weight is integer ×
            scale. Both
            together have 32 bits, so that the weight is exact in float64.
        dtype: what such a weight is rounded to unless it is computed with in float64.
    """

    types: Mapping[torch.Tensor, torch.dtype] = field(default_factory=dict)
    wide: bool = False
    scales: Mapping[torch.Tensor, torch.Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32

    def of_model(self, parameter: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """A part of a parameter in the model's type, in its shape."""
        return part.to(self.types.get(parameter, part.dtype))

    def value(self, parameter: torch.Tensor) -> torch.Tensor:
        """A parameter as it is computed with, in its shape; itself if that is how it is held."""
        scale = self.scales.get(parameter)
        if scale is not None and not parameter.dtype.is_floating_point:
            scale = scale.double() if self.wide else scale
            return (parameter.data * scale).to(scale.dtype if self.wide else self.dtype)
        value = self.of_model(parameter, parameter.data)
        return value.to(WIDE[value.dtype]) if self.wide and value.dtype in WIDE else value

    def bring(self, module: nn.Module) -> Before:
        """Let a module's parameters be what they are computed with; returns what they were."""
        before: Before = []
        with as_written():
            for parameter in module.parameters():
                value = self.value(parameter)
                if value.dtype != parameter.dtype:
                    before.append((parameter, parameter.data))
                    parameter.data = value
        return before

    @staticmethod
    def put_back(before: Before) -> None:
        """Undo `bring`, so that what it made is dropped."""
        with as_written():
            while before:
                parameter, value = before.pop()
                parameter.data = value

    def settle(self, model: nn.Module, blocks: nn.ModuleList, unembedding: nn.Module) -> None:
        """Convert for good what is outside of the blocks, and all buffers that a file holds.

        An embedding is a choice of rows: `float64` widens them, so it can stay as it is held
        unless its model's type is a narrower one. The unembedding is not computed with.
        """
        inside = {id(parameter) for parameter in blocks.parameters()}
        rows = {id(unembedding.weight)} | {
            id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
        }
        for parameter in model.parameters():
            if id(parameter) in inside:
                continue
            if id(parameter) not in rows:
                parameter.data = self.value(parameter)
            elif not self.wide or self._narrower(parameter):
                parameter.data = self.of_model(parameter, parameter.data)
        for module in model.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = self.value(buffer)

    def _narrower(self, parameter: torch.Tensor) -> bool:
        type_ = self.types.get(parameter, parameter.dtype)
        return torch.promote_types(type_, parameter.dtype) != type_
