"""Where a model keeps its blocks and its unembedding: one rule for every causal model.

The blocks are the `ModuleList` that has as many modules as the configuration has layers; the
unembedding is what `get_output_embeddings()` returns. Both are looked up on a model without
weights (on torch's `meta` device), so nothing is loaded to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from geometry_of_trust.errors import DimensionMismatch, LimitExceeded, UnsupportedArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# The first is transformers' own name; the others are of configurations that do not map theirs.
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


MAX_LAYERS = 1024
"""Most layers that a configuration may promise; of each a library makes some ten modules."""


@dataclass(frozen=True)
class Anatomy:
    """Where things are in a model.

    Attributes:
        blocks_path: path of the block list.
        blocks: how many there are.
        unembedding_path: path of the module whose weight is U, of shape (V, d).
        vocab_size, hidden_dim: V and d.
        whole_because: why later blocks cannot be left out, or None.
    """

    blocks_path: str
    blocks: int
    unembedding_path: str
    vocab_size: int
    hidden_dim: int
    whole_because: str | None

    def blocks_of(self, model: nn.Module) -> nn.ModuleList:
        """The blocks of such a model, or of the beginning of one."""
        return cast("nn.ModuleList", model.get_submodule(self.blocks_path))

    def unembedding_of(self, model: nn.Module) -> nn.Module:
        """The module of such a model whose weight is U."""
        return model.get_submodule(self.unembedding_path)


def untyped(thing: object) -> Any:
    """Something of transformers' whose methods have no types."""
    return thing


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The part of a configuration that is about text; of most, the configuration itself."""
    return config.get_text_config(decoder=True)


def block_count(config: PreTrainedConfig, where: str) -> int:
    """How many blocks the configuration promises.

    Raises:
        UnsupportedArchitecture: it does not say.
        LimitExceeded: more than `MAX_LAYERS`.
    """
    for name in _LAYER_COUNTS:
        count = getattr(text_config(config), name, None)
        if type(count) is int and count > 0:
            check_layers(where, name, count)
            return count
    raise UnsupportedArchitecture(
        where,
        expected=f"a number of layers in its configuration ({', '.join(_LAYER_COUNTS)})",
        found=f"none in {type(config).__name__}",
    )


def check_layers(where: str, name: str, count: int) -> None:
    """A configuration's number of layers is one to count to.

    Raises:
        LimitExceeded: it is beyond `MAX_LAYERS`.
    """
    if count > MAX_LAYERS:
        raise LimitExceeded(f"{where}, {name}", expected=f"at most {MAX_LAYERS}", found=count)


def context_length(config: PreTrainedConfig) -> int | None:
    """How many tokens the model takes, None if it does not say."""
    length = getattr(text_config(config), "max_position_embeddings", None)
    return length if type(length) is int and length > 0 else None


def find(model: PreTrainedModel, where: str) -> Anatomy:
    """The anatomy of a model, whose weights are not looked at.

    Raises:
        UnsupportedArchitecture: the blocks or the unembedding cannot be found.
        DimensionMismatch: the unembedding does not read the residual stream, but a projection
            of it to another dimension (as in OPT-350M).
    """
    count = block_count(model.config, where)
    blocks_path = _find_blocks(model, count, where)
    unembedding_path, vocab_size, hidden_dim = _find_unembedding(model, where)
    width = getattr(text_config(model.config), "hidden_size", hidden_dim)
    if hidden_dim != width:
        raise DimensionMismatch(
            where,
            expected=f"an unembedding of the residual stream's dimension {width}",
            found=f"dimension {hidden_dim}",
            hint="This model projects its residual stream before the unembedding.",
        )
    return Anatomy(
        blocks_path, count, unembedding_path, vocab_size, hidden_dim, _ties(model, blocks_path)
    )


def _find_blocks(model: PreTrainedModel, count: int, where: str) -> str:
    """Path of the block list: in the decoder if there is one, else anywhere."""
    lists: list[tuple[str, nn.ModuleList]] = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    decoder = (
        set(untyped(model).get_decoder().modules()) if hasattr(model, "get_decoder") else set()
    )
    lists = [(path, module) for path, module in lists if module in decoder] or lists
    # A list of as many experts, inside a block, is not a list of blocks.
    inner = {part for _, module in lists for part in module.modules() if part is not module}
    paths = [path for path, module in lists if module not in inner]
    if len(paths) != 1:
        raise UnsupportedArchitecture(
            where,
            expected=f"one ModuleList of {count} blocks in {type(model).__name__}",
            found=f"{len(paths)}: {', '.join(paths)}" if paths else "none",
        )
    return paths[0]


def _find_unembedding(model: PreTrainedModel, where: str) -> tuple[str, int, int]:
    """Path of the output embeddings, V and d."""
    module: object = untyped(model).get_output_embeddings()
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise UnsupportedArchitecture(
            where,
            expected="get_output_embeddings() with a weight of shape (vocabulary, d)",
            found="none" if module is None else type(module).__name__,
        )
    path = next(path for path, other in model.named_modules() if other is module)
    return path, weight.shape[0], weight.shape[1]


def _ties(model: PreTrainedModel, blocks_path: str) -> str | None:
    """Why the block list cannot be shortened: its blocks share weights among themselves."""
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    inside = [name for name in (*tied, *tied.values()) if name.startswith(f"{blocks_path}.")]
    return f"its blocks share weights ({min(inside)})" if inside else None


def shortened(cls: type[PreTrainedModel], blocks_path: str, count: int) -> type[PreTrainedModel]:
    """A class of models like `cls` that only have their first `count` blocks.

    The configuration stays that of the whole model, so whatever a block computes from it (a
    residual scale by depth, a pattern of attention types) is as in the whole model.
    """

    def __init__(  # noqa: N807 - of the class below
        self: PreTrainedModel, config: PreTrainedConfig, *arguments: object, **options: object
    ) -> None:
        untyped(cls).__init__(self, config, *arguments, **options)
        del untyped(self.get_submodule(blocks_path))[count:]

    names = {"__init__": __init__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)
