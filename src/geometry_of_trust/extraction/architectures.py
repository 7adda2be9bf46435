"""Where a model keeps its blocks and its unembedding, and what of it a text needs.

The blocks are the outermost `ModuleList` of the decoder, the unembedding is what
`get_output_embeddings()` returns. Both are looked up on a model without weights (on torch's `meta`
device), so nothing is loaded to find out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from geometry_of_trust.errors import DimensionMismatch, LimitExceeded, UnsupportedArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# The first is transformers' own name; the others are of configurations that do not map theirs.
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

_STREAM_COUNTS = {"altup_num_inputs": 0, "hc_mult": 2, "hc_count": 2}
"""How configurations call a number of residual streams, each with the axis of `Streams`."""

MAX_LAYERS = 1024
"""Most layers that a configuration may promise; of each a library makes some ten modules."""

_NOT_ONE_STACK = (
    "A residual stream is what goes through one stack of blocks, one after another; this model is "
    "built otherwise. Use another model."
)


@dataclass(frozen=True)
class Streams:
    """Several residual streams beside each other: of each token, so many states.

    Attributes:
        count: how many.
        axis: where blocks put them: 0 of (streams, texts, tokens, d), or 2 of (texts, tokens,
            streams, d), whose last two may be one.
    """

    count: int
    axis: int

    def shapes(self, texts: int, tokens: int, d: int) -> list[tuple[int, ...]]:
        """What shapes the output of a block can have."""
        if self.axis == 0:
            return [(self.count, texts, tokens, d)]
        return [(texts, tokens, self.count, d), (texts, tokens, self.count * d)]

    def beside(self, states: torch.Tensor, d: int) -> torch.Tensor:
        """The states of such a shape in the shape (texts, tokens, streams, d)."""
        if self.axis == 0:
            return states.movedim(0, 2)
        return states.reshape(*states.shape[:2], self.count, d)


@dataclass(frozen=True)
class Anatomy:
    """Where things are in a model.

    Attributes:
        blocks_path: path of the block list.
        blocks: how many there are.
        unembedding_path: path of the module whose weight is U, of shape (V, d).
        vocab_size, hidden_dim: V and d.
        whole_because: why later blocks cannot be left out, or None.
        decoder_path: path of the model of text, of which the blocks are a part.
        beside: paths of the parts that no text runs through: vision and audio towers, projectors.
        streams: the residual streams, None if there is one.
    """

    blocks_path: str
    blocks: int
    unembedding_path: str
    vocab_size: int
    hidden_dim: int
    whole_because: str | None
    decoder_path: str
    beside: tuple[str, ...]
    streams: Streams | None

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


def reads_an_encoder(config: PreTrainedConfig) -> bool:
    """Whether the blocks read what an encoder made of another text, or of an image."""
    return config.is_encoder_decoder or text_config(config).is_encoder_decoder


def _promised_blocks(config: PreTrainedConfig) -> int | None:
    """How many blocks the configuration promises, which is not how many there are; or None."""
    counts = (getattr(text_config(config), name, None) for name in _LAYER_COUNTS)
    return next((count for count in counts if type(count) is int and count > 0), None)


def check_promised(config: PreTrainedConfig, where: str) -> None:
    """The configuration promises few enough layers to make them.

    Raises:
        LimitExceeded: more than `MAX_LAYERS`.
    """
    check_layers(where, "number of layers", _promised_blocks(config) or 0)


def check_layers(where: str, name: str, count: int) -> None:
    """A configuration's number of layers is one to count to.

    Raises:
        LimitExceeded: it is beyond `MAX_LAYERS`.
    """
    if count > MAX_LAYERS:
        raise LimitExceeded(f"{where}, {name}", expected=f"at most {MAX_LAYERS}", found=count)


def context_length(model: PreTrainedModel) -> int | None:
    """How many tokens a model takes as a causal one, None if it does not say."""
    config: Any = text_config(model.config)
    length = getattr(config, "max_position_embeddings", None)
    lengths = [length] if type(length) is int and length > 0 else []
    if any(getattr(part, "attention_type", None) == "block_sparse" for part in model.modules()):
        # BigBird: all tokens attend in a shorter text; in a longer one some do to later ones.
        lengths.append((5 + 2 * config.num_random_blocks) * config.block_size)
    return min(lengths, default=None)


def widths(config: PreTrainedConfig, anatomy: Anatomy) -> tuple[int, int, int]:
    """Numbers of a token's states, of a block's inner layer and of heads; supposed if not said."""
    d = anatomy.hidden_dim
    sizes: object = getattr(text_config(config), "intermediate_size", None)
    # Some configurations have one for each layer.
    inner = max(sizes) if isinstance(sizes, list | tuple) else sizes
    heads: object = getattr(text_config(config), "num_attention_heads", None)
    streams = 1 if anatomy.streams is None else anatomy.streams.count
    return (
        streams * d,
        max(inner if isinstance(inner, int) and inner else 4 * d, d),
        heads if isinstance(heads, int) and heads else max(1, d // 64),
    )


def find(model: PreTrainedModel, where: str) -> Anatomy:
    """The anatomy of a model, whose weights are not looked at.

    Raises:
        UnsupportedArchitecture: it does not run on text alone, or the blocks or the unembedding
            cannot be found.
        DimensionMismatch: the unembedding does not read the residual stream, but a projection
            of it to another dimension (as in OPT-350M).
    """
    _check_takes_text(model, where)
    decoder_path = _find_decoder(model)
    blocks_path = _find_blocks(model, decoder_path, where)
    unembedding_path, vocab_size, hidden_dim = _find_unembedding(model, decoder_path, where)
    width = getattr(text_config(model.config), "hidden_size", hidden_dim)
    if hidden_dim != width:
        raise DimensionMismatch(
            where,
            expected=f"an unembedding of the residual stream's dimension {width}",
            found=f"dimension {hidden_dim}",
            hint="This model makes states of another dimension of its residual stream, by a "
            "projection or of two halves, and the unembedding reads those. Use another model.",
        )
    return Anatomy(
        blocks_path,
        len(cast("nn.ModuleList", model.get_submodule(blocks_path))),
        unembedding_path,
        vocab_size,
        hidden_dim,
        _ties(model, blocks_path),
        decoder_path,
        tuple(sorted(_beside(model, decoder_path, blocks_path, unembedding_path))),
        _streams(model),
    )


def _check_takes_text(model: PreTrainedModel, where: str) -> None:
    """A model's `forward` runs on token ids, one at each position, and needs nothing else.

    Raises:
        UnsupportedArchitecture.
    """
    parameters = inspect.signature(model.forward).parameters
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name != "input_ids"
    ]
    if needed or "input_ids" not in parameters:
        found = f"which needs {', '.join(needed)}" if needed else "which takes no token ids"
        raise UnsupportedArchitecture(
            where,
            expected="a model that runs on text alone",
            found=f"{type(model).__name__}, {found}",
            hint="Its language model can be used if it is published by itself.",
        )
    embeddings: object = untyped(model).get_input_embeddings()
    if not isinstance(getattr(embeddings, "weight", None), torch.Tensor):
        raise UnsupportedArchitecture(
            where,
            expected="input embeddings with a weight: one vector for each token",
            found=f"{type(embeddings).__name__} in {type(model).__name__}",
            hint="It takes more than one token at each position. Use another model.",
        )


def _find_decoder(model: PreTrainedModel) -> str:
    """Path of the model of text: what the model calls its decoder, if that has blocks."""
    paths: dict[int, str] = {id(module): path for path, module in model.named_modules()}
    get_decoder: Callable[[], nn.Module] = getattr(model, "get_decoder", lambda: model)
    for decoder in (get_decoder(), model.base_model):
        has_blocks = any(isinstance(part, nn.ModuleList) for part in decoder.modules())
        if has_blocks and id(decoder) in paths:
            return paths[id(decoder)]
    return ""


def _find_blocks(model: PreTrainedModel, decoder_path: str, where: str) -> str:
    """Path of the block list.

    It is the one `ModuleList` of the decoder that is in no other. Of several, that which belongs
    to the decoder itself and not to a model inside of it; else that which is as long as the
    configuration promises.
    """
    lists: dict[str, nn.ModuleList] = {
        path: module
        for path, module in model.get_submodule(decoder_path).named_modules(prefix=decoder_path)
        if isinstance(module, nn.ModuleList) and len(module) > 0
    }
    paths = [path for path in lists if not any(is_inside(path, other) for other in lists)]
    promised = _promised_blocks(model.config)
    for preferred in (
        [path for path in paths if _owner(model, path) == decoder_path],
        [path for path in paths if len(lists[path]) == promised],
    ):
        paths = [path for path in paths if path in preferred] or paths
    if len(paths) != 1:
        listed = (f"{path} ({len(lists[path])} {type(lists[path][0]).__name__})" for path in paths)
        raise UnsupportedArchitecture(
            where,
            expected=f"one list of blocks in {type(model).__name__}",
            found=f"{len(paths)}: {', '.join(listed)}" if paths else "none",
            hint=_NOT_ONE_STACK,
        )
    return paths[0]


def is_inside(path: str, other: str) -> bool:
    """Whether the module at `path` is a part of the one at `other`, and not that itself."""
    return path != other and path.startswith(f"{other}." if other else "")


def _owner(model: PreTrainedModel, path: str) -> str:
    """Path of the innermost model of transformers' that the module at `path` is a part of."""
    parts = path.split(".")
    above = [".".join(parts[:k]) for k in range(len(parts))]
    return [p for p in above if isinstance(model.get_submodule(p), PreTrainedModel)][-1]


def _find_unembedding(
    model: PreTrainedModel, decoder_path: str, where: str
) -> tuple[str, int, int]:
    """Path of the output embeddings, V and d."""
    owners = (model, model.get_submodule(decoder_path))
    found = (untyped(owner).get_output_embeddings() for owner in owners)
    module: object = next((one for one in found if one is not None), None)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise UnsupportedArchitecture(
            where,
            expected="get_output_embeddings() with a weight of shape (vocabulary, d)",
            found=f"{'none' if module is None else type(module).__name__} "
            f"in {type(model).__name__}",
            hint="Without a matrix from states to tokens there is no U. Use another model.",
        )
    path = next(path for path, other in model.named_modules() if other is module)
    return path, weight.shape[0], weight.shape[1]


def _ties(model: PreTrainedModel, blocks_path: str) -> str | None:
    """Why the block list cannot be shortened: its blocks share weights among themselves."""
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    inside = [name for name in (*tied, *tied.values()) if name.startswith(f"{blocks_path}.")]
    return f"its blocks share weights ({min(inside)})" if inside else None


def _beside(
    model: PreTrainedModel, decoder_path: str, blocks_path: str, unembedding_path: str
) -> Iterator[str]:
    """Paths of the outermost parts that no text runs through.

    Models inside of the model that lead neither to the blocks nor to the unembedding; and, where
    the configuration has a part of its own for text, all other modules outside of the decoder.
    """
    wraps = text_config(model.config) is not model.config
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        for name, part in model.get_submodule(parent).named_children():
            path = f"{parent}.{name}" if parent else name
            if path in (blocks_path, unembedding_path):
                continue
            ends = (decoder_path, blocks_path, unembedding_path)
            leads = path == decoder_path or any(is_inside(end, path) for end in ends)
            outside = wraps and not is_inside(path, decoder_path)
            if leads or not (outside or isinstance(part, PreTrainedModel)):
                waiting.append(path)
            elif any(True for _ in part.parameters()):
                yield path


def _streams(model: PreTrainedModel) -> Streams | None:
    """The residual streams that the configuration promises."""
    for name, axis in _STREAM_COUNTS.items():
        count = getattr(text_config(model.config), name, None)
        if type(count) is int and count > 1:
            return Streams(count, axis)
    return None


def without(
    named: Iterable[tuple[str, torch.Tensor]], left_out: Sequence[str]
) -> list[torch.Tensor]:
    """Of parameters or buffers, of any shape, with their paths, those in no part left out."""
    return [x for path, x in named if not any(is_inside(path, part) for part in left_out)]


def shortened(
    cls: type[PreTrainedModel], blocks_path: str, count: int, left_out: Sequence[str]
) -> type[PreTrainedModel]:
    """A class of models like `cls` that only have their first `count` blocks.

    The configuration stays that of the whole model, so whatever a block computes from it (a
    residual scale by depth, a pattern of attention types) is as in the whole model.

    Args:
        left_out: paths of other parts that they do not have: in their place are modules that stop
            with an error when they are called.
    """

    def __init__(  # noqa: N807 - of the class below
        self: PreTrainedModel, config: PreTrainedConfig, *arguments: object, **options: object
    ) -> None:
        untyped(cls).__init__(self, config, *arguments, **options)
        del untyped(self.get_submodule(blocks_path))[count:]
        for path in left_out:
            self.set_submodule(path, nn.Module())

    names = {"__init__": __init__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)
