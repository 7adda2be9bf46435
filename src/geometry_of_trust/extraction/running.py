"""From a request to the residual stream, in the order that refuses early and loads late."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadOption,
    LayerOutOfRange,
    ModelFailed,
    NoTokenizer,
    TextTooLong,
)
from geometry_of_trust.extraction import architectures, capture, loading
from geometry_of_trust.extraction.architectures import Anatomy
from geometry_of_trust.extraction.loading import Source
from geometry_of_trust.extraction.preparing import Loaded, prepare
from geometry_of_trust.extraction.record import Token
from geometry_of_trust.extraction.request import Request

CHUNK_BYTES = 8 * 2**20
"""How much of the unembedding is converted, or used of its file, at a time."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What a model did with a text.

    Attributes:
        whole_because: why the model has all of its blocks although fewer would do, or None.
        values: the residual stream, float32, shape (layers, positions, d).
        unproved: operations of a reproducible run that may differ between machines.
        tokens: one for each position.
    """

    source: Source
    anatomy: Anatomy
    loaded: Loaded
    whole_because: str | None
    device: torch.device
    tokens: tuple[Token, ...]
    values: NDArray[np.float32]
    unproved: tuple[str, ...]

    @property
    def unembedding(self) -> Any:
        """The module whose weight is U."""
        return self.loaded.model.get_submodule(self.anatomy.unembedding_path)

    @property
    def tied(self) -> bool:
        """Whether U is another parameter of the model too."""
        weight = self.unembedding.weight
        places = self.loaded.model.named_parameters(remove_duplicate=False)
        return sum(other is weight for _, other in places) > 1

    @property
    def attention(self) -> str | None:
        """The attention implementation, if the model names one."""
        name = getattr(self.loaded.model.config, "_attn_implementation", None)
        return name if isinstance(name, str) else None

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of what computed the activations."""
        modules = (torch, transformers, tokenizers, safetensors, np)
        versions = {module.__name__: str(module.__version__) for module in modules}
        return {"python": platform.python_version(), **versions}

    def unembedding_rows(self) -> Iterator[NDArray[np.float32]]:
        """U as float32 in blocks of rows, each valid until the next: of float32 weights no copy."""
        weight: torch.Tensor = self.unembedding.weight.detach()
        rows = max(1, CHUNK_BYTES // (4 * weight.shape[1]))
        for start in range(0, len(weight), rows):
            part = weight[start : start + rows]
            part = self.loaded.weights.of_model(self.unembedding.weight, part)
            yield part.to("cpu", torch.float32).contiguous().numpy()
            self.loaded.pages.release(weight[start : start + rows])


def run(request: Request, progress: Progress) -> Run:
    """Find, check, load and run the model that is asked for.

    Raises:
        ExtractionRefused, DimensionMismatch, NonFinite: as `extract`.
    """
    device = _device(request)
    progress(f"Looking for {request.model}")
    source = loading.find_model(
        request.model, revision=request.revision, trust=request.trust_remote_code
    )
    config = loading.load_config(source)
    _check_layers(request.layers, architectures.block_count(config, request.model))
    tokens = loading.tokenize(loading.load_tokenizer(source), request.text)
    limit = architectures.context_length(config)
    if limit is not None and len(tokens) > limit:
        raise TextTooLong("text", expected=f"at most {limit} tokens", found=len(tokens))
    skeleton = loading.skeleton(source, config)
    anatomy = architectures.find(skeleton, request.model)
    ids = [token.id for token in tokens]
    if max(ids) >= len(skeleton.get_input_embeddings().weight):
        size = len(skeleton.get_input_embeddings().weight)
        raise NoTokenizer(
            request.model, expected=f"a tokenizer of {size} tokens", found=f"token {max(ids)}"
        )

    def attempt(count: int, whole_because: str | None) -> Run:
        progress(f"Loading {count} of {anatomy.blocks} blocks")
        unproved: set[str] = set()
        loaded = prepare(
            request, source, skeleton, anatomy, count=count, device=device, unproved=unproved
        )
        in_float64 = " in float64" if request.reproducible else ""
        progress(f"Running {request.layers[-1] + 1} blocks on {len(ids)} tokens{in_float64}")
        values = capture.residual_stream(
            loaded.model,
            loaded.model.get_submodule(anatomy.blocks_path),
            request.layers,
            ids,
            hidden_dim=anatomy.hidden_dim,
            pages=loaded.pages,
            weights=loaded.weights,
            unproved=unproved,
        )
        ran = tuple(sorted(unproved))
        return Run(source, anatomy, loaded, whole_because, device, tokens, values, ran)

    return _with_as_few_blocks_as_possible(attempt, request.layers[-1] + 1, anatomy)


def _device(request: Request) -> torch.device:
    """The device to run on.

    Raises:
        BadOption: it has no float64, or cannot use weights that are left in their files.
    """
    device = loading.find_device(request.device)
    for wanted, fits, name in (
        (request.reproducible, device.type != "mps", "reproducible"),
        (request.low_memory, device.type == "cpu", "low memory"),
    ):
        if wanted and not fits:
            if request.device == "auto":
                return torch.device("cpu")
            raise BadOption("device", expected=f"cpu for a {name} run", found=request.device)
    return device


def _check_layers(layers: Sequence[int], count: int) -> None:
    for layer in layers:
        if not 0 <= layer < count:
            raise LayerOutOfRange("layers", expected=f"0 to {count - 1}", found=layer)


def _with_as_few_blocks_as_possible(
    attempt: Callable[[int, str | None], Run], needed: int, anatomy: Anatomy
) -> Run:
    """The run of a cut model, or of the whole one if this one cannot be cut."""
    if needed == anatomy.blocks:
        return attempt(needed, None)
    if anatomy.whole_because is not None:
        return attempt(anatomy.blocks, anatomy.whole_because)
    try:
        return attempt(needed, None)
    except ModelFailed as error:
        reason = f"without its later blocks it stops with {error.found}"
    return attempt(anatomy.blocks, reason)
