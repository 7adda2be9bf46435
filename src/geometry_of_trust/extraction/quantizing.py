"""Weights of 8 bits: what bitsandbytes makes of the linear layers in the blocks.

It is used for what it does on any machine: rounding each row of a weight to 8-bit integers and one
scale while the weights are loaded. The products are those of the plain layers, on weights that
`Weights` makes of integers and scales again, a block at a time. bitsandbytes' own product would
round the states to 8 bits too, and let a token's state depend on later tokens and on other texts
(docs/decisions/0008-int8.md).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from geometry_of_trust.errors import BadOption, UnsupportedArchitecture
from geometry_of_trust.extraction.architectures import Anatomy, untyped
from geometry_of_trust.extraction.model_files import Source
from geometry_of_trust.extras import optional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_STEPS = 127
"""How many steps there are from 0 to the largest value of a row."""


def check(wanted: str | None, source: Source) -> None:
    """Refuse early what cannot be quantised.

    Raises:
        MissingExtra: bitsandbytes is not installed.
        BadOption: the weights are in a GGUF file.
    """
    if wanted is None:
        return
    _library()
    if source.gguf is not None:
        raise BadOption(
            "quantization",
            expected="none for a GGUF file, whose weights are loaded as they are",
            found="int8",
            hint="Use the model's safetensors files.",
        )


def version() -> str:
    """Name and version of the library."""
    return f"bitsandbytes {_library().__version__}"


def _library() -> ModuleType:
    with optional(), unlogged():
        import bitsandbytes  # noqa: PLC0415 - optional, and slow to import
    return bitsandbytes


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """No word about kernels that bitsandbytes could have."""
    log = logging.getLogger("bitsandbytes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def options(anatomy: Anatomy) -> dict[str, object]:
    """What `from_pretrained` needs to quantise the blocks' linear layers, and nothing else.

    On the CPU, whatever device the model then runs on: the same integers everywhere.
    """
    outside = rf"(?!{re.escape(anatomy.blocks_path)}\.).*"
    config = untyped(BitsAndBytesConfig)(load_in_8bit=True, llm_int8_skip_modules=[outside])
    return {"quantization_config": config, "device_map": "cpu"}


def plain(model: PreTrainedModel, where: str) -> dict[torch.Tensor, torch.Tensor]:
    """Make a quantised model one of plain linear layers, whose weights are int8.

    Returns:
        The scale of each such weight, float32, shape (rows, 1): weight = integer × scale.

    Raises:
        UnsupportedArchitecture: nothing in its blocks was quantised.
    """
    kind = _library().nn.Linear8bitLt
    scales: dict[torch.Tensor, torch.Tensor] = {}
    for path, layer in [pair for pair in model.named_modules() if isinstance(pair[1], kind)]:
        linear = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(layer.weight.data, requires_grad=False)
        linear.bias = layer.bias
        model.set_submodule(path, linear.eval())
        scales[linear.weight] = (layer.weight.SCB / _STEPS)[:, None]
    if not scales:
        raise UnsupportedArchitecture(
            where, expected="layers that bitsandbytes can quantise in its blocks", found="none"
        )
    return scales
