"""From a request to the residual stream, in the order that refuses early and loads late."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from geometry_of_trust.documents.extraction_record import Token
from geometry_of_trust.errors import (
    BadOption,
    LayerOutOfRange,
    ModelFailed,
    NoTokenizer,
    TextTooLong,
)
from geometry_of_trust.extraction import architectures, capture, loading, quantizing
from geometry_of_trust.extraction.architectures import Anatomy
from geometry_of_trust.extraction.float32 import as_written
from geometry_of_trust.extraction.model_files import Source
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.preparing import Loaded, prepare
from geometry_of_trust.extraction.quiet import making, unwarned
from geometry_of_trust.extraction.request import Request, check_each_once
from geometry_of_trust.extraction.tokenizing import tokenize
from geometry_of_trust.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from geometry_of_trust.extraction.tokenizing import Tokenizer

CHUNK_BYTES = 8 * 2**20
"""How much of the unembedding is converted, or used of its file, at a time."""


@dataclass(frozen=True)
class Opened:
    """A model that was found and looked at; none of its weights is loaded.

    Attributes:
        layers: those asked for, ascending.
        config: its configuration. skeleton: the whole model on torch's `meta` device.
        limit: how many tokens it takes, None if it does not say.
    """

    request: Request
    layers: tuple[int, ...]
    source: Source
    device: torch.device
    config: PreTrainedConfig
    tokenizer: Tokenizer
    skeleton: PreTrainedModel
    anatomy: Anatomy
    limit: int | None

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return len(_weight(self.skeleton.get_input_embeddings()))

    def check(self, ids: Sequence[int], where: str = "text") -> None:
        """Refuse a text that is too long, or has tokens that the model does not know.

        Raises:
            TextTooLong, NoTokenizer.
        """
        if self.limit is not None and len(ids) > self.limit:
            raise TextTooLong(where, expected=f"at most {self.limit} tokens", found=len(ids))
        if max(ids) >= self.vocabulary:
            raise NoTokenizer(
                self.request.model,
                expected=f"a tokenizer of {self.vocabulary} tokens",
                found=f"token {max(ids)}",
            )


def open_model(request: Request, progress: Progress) -> Opened:
    """Find a model and look at everything but its weights.

    Raises:
        UnknownModel, LayerOutOfRange, NoTokenizer, UnsupportedArchitecture, UntrustedCode,
        LimitExceeded, TooLarge, NoDevice, DimensionMismatch: as `extract`.
        MissingExtra, BadOption: as `quantizing.check`.
    """
    options = request.options
    device = _device(request)
    progress(f"Looking for {request.model}")
    with making(), unwarned():
        source = loading.find_model(
            request.model, revision=options.revision, trust=options.trust_remote_code
        )
        config = loading.load_config(source)
        quantizing.check(options.quantization, source, config)
        layers = _layers(request.layers, architectures.block_count(config, request.model))
        tokenizer = loading.load_tokenizer(source)
        skeleton = loading.skeleton(source, config)
    return Opened(
        request,
        layers,
        source,
        device,
        config,
        tokenizer,
        skeleton,
        architectures.find(skeleton, request.model),
        architectures.context_length(config),
    )


def libraries() -> dict[str, str]:
    """Versions of what computes the activations, by name."""
    modules = (torch, transformers, tokenizers, safetensors, np)
    versions = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), **versions}


def use_threads(count: int) -> None:
    """Compute with so many threads."""
    torch.set_num_threads(count)


def threads() -> int:
    """With how many it computes."""
    return torch.get_num_threads()


@dataclass(frozen=True)
class Runner:
    """A loaded model that runs texts.

    Attributes:
        whole_because: why the model has all of its blocks although fewer would do, or None.
        pages: what of the weights is given back as soon as it was used.
        unproved: operations of a reproducible run that may differ between machines, so far.
    """

    opened: Opened
    loaded: Loaded
    whole_because: str | None
    pages: FilePages
    unproved: set[str]

    def states(self, batch: capture.Batch) -> NDArray[np.float32]:
        """The residual stream at the tokens kept: float32, shape (layers, rows, d).

        Raises:
            NonFinite, ZeroState, UnsupportedArchitecture, ModelFailed: as
                `capture.residual_stream`.
        """
        return capture.residual_stream(
            self.loaded.model,
            self.blocks,
            self.opened.layers,
            batch,
            hidden_dim=self.opened.anatomy.hidden_dim,
            pages=self.pages,
            weights=self.loaded.weights,
            unproved=self.unproved,
        )

    def to_the_end(
        self, ids: Sequence[int], layers: Sequence[int], at_end: Callable[[object], None]
    ) -> NDArray[np.float32]:
        """The states of all tokens of a text, (layers, tokens, d), of a model that is not stopped.

        Args:
            layers: ascending. at_end: as of `capture.residual_stream`.

        Raises:
            UnsupportedArchitecture, ModelFailed: as there.
        """
        return capture.residual_stream(
            self.loaded.model,
            self.blocks,
            layers,
            capture.Batch.of_text(ids),
            hidden_dim=self.opened.anatomy.hidden_dim,
            pages=self.pages,
            weights=self.loaded.weights,
            at_end=at_end,
        )

    def side_by_side(self) -> list[Runner]:
        """As many runners with the same weights as there are threads; each is used by one.

        Itself alone if its texts would then come out otherwise, or its weights are converted
        while it runs.
        """
        count = threads()
        weights, model = self.loaded.weights, self.loaded.model
        if count == 1 or not self.opened.request.reproducible or not weights.settled(self.blocks):
            return [self]
        shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
        others = [copy.deepcopy(model, dict(shared)) for _ in range(count - 1)]
        return [self, *(replace(self, loaded=replace(self.loaded, model=x)) for x in others)]

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks that are loaded."""
        return self.opened.anatomy.blocks_of(self.loaded.model)

    @property
    def unembedding(self) -> nn.Module:
        """The module whose weight is U."""
        return self.opened.anatomy.unembedding_of(self.loaded.model)

    @property
    def weight(self) -> torch.Tensor:
        """U, shape (V, d), as it is held."""
        return _weight(self.unembedding)

    @property
    def tied(self) -> bool:
        """Whether U is another parameter of the model too."""
        weight = self.weight
        places = self.loaded.model.named_parameters(remove_duplicate=False)
        return sum(other is weight for _, other in places) > 1

    @property
    def attention(self) -> str | None:
        """The attention implementation, if the model names one."""
        name = getattr(self.loaded.model.config, "_attn_implementation", None)
        return name if isinstance(name, str) else None

    def unembedding_rows(self) -> Iterator[NDArray[np.float32]]:
        """U in blocks of rows, float32, shape (rows, d), each valid until the next.

        Of float32 weights they are no copy.
        """
        for part in self.unembedding_parts():
            rows = self.loaded.weights.of_model(self.weight, part)
            yield rows.to("cpu", torch.float32).contiguous().numpy()

    def unembedding_parts(self) -> Iterator[torch.Tensor]:
        """U as it is held, in blocks of rows, shape (rows, d), each given back after its use."""
        with as_written():
            rows = max(1, CHUNK_BYTES // (4 * self.weight.shape[1]))
            parts = torch.split(self.weight.detach(), rows)
        for part in parts:
            yield part
            self.loaded.pages.release(part)


@dataclass(frozen=True)
class Run:
    """What a model did with a text.

    Attributes:
        values: the residual stream, float32, shape (layers, positions, d).
        tokens: one for each position.
    """

    runner: Runner
    tokens: tuple[Token, ...]
    values: NDArray[np.float32]


def run(request: Request, text: str, progress: Progress) -> Run:
    """Find, check, load and run the model that is asked for.

    Raises:
        ExtractionRefused, DimensionMismatch, NonFinite, ZeroState: as `extract`.
    """
    opened = open_model(request, progress)
    tokens = tokenize(opened.tokenizer, text)
    ids = [token.id for token in tokens]
    opened.check(ids)
    runner, values = start(opened, capture.Batch.of_text(ids), progress, once=True)
    return Run(runner, tokens, values)


def start(
    opened: Opened, batch: capture.Batch, progress: Progress, *, once: bool
) -> tuple[Runner, NDArray[np.float32]]:
    """A model with as few blocks as possible, and what it did with the first texts.

    Args:
        once: it runs no other texts, so that a block's memory can be given back after its use.

    Raises:
        ExtractionRefused, NonFinite, ZeroState: as `extract`.
    """
    anatomy, deepest = opened.anatomy, opened.layers[-1]

    def attempt(count: int, whole_because: str | None) -> tuple[Runner, NDArray[np.float32]]:
        progress(f"Loading {count} of {anatomy.blocks} blocks")
        runner = load(opened, count, whole_because=whole_because, once=once)
        tokens = sum(map(len, batch.texts))
        progress(f"Running {deepest + 1} blocks on {tokens} tokens")
        return runner, runner.states(batch)

    needed = deepest + 1
    if needed == anatomy.blocks:
        return attempt(needed, None)
    if anatomy.whole_because is not None:
        return attempt(anatomy.blocks, anatomy.whole_because)
    try:
        return attempt(needed, None)
    except ModelFailed as error:
        reason = f"without its later blocks it stops with {error.found}"
    return attempt(anatomy.blocks, reason)


def load(opened: Opened, count: int, *, whole_because: str | None = None, once: bool) -> Runner:
    """The model with its first `count` blocks, ready to run.

    Raises:
        IncompleteModel, ModelFailed: as `prepare`.
    """
    unproved: set[str] = set()
    with making(), unwarned():
        loaded = prepare(
            opened.request,
            opened.source,
            opened.skeleton,
            opened.anatomy,
            count=count,
            device=opened.device,
            unproved=unproved,
        )
    pages = loaded.pages if once else FilePages()
    return Runner(opened, loaded, whole_because, pages, unproved)


def _device(request: Request) -> torch.device:
    """The device to run on.

    Raises:
        BadOption: it cannot give the same bytes.
    """
    device = loading.find_device(request.options.device)
    if not request.reproducible or device.type == "cpu":
        return device
    if request.options.device == "auto":
        return torch.device("cpu")
    raise BadOption("device", expected="cpu for a reproducible run", found=request.options.device)


def _weight(module: nn.Module) -> torch.Tensor:
    """The weight of an embedding or of a linear layer."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)  # noqa: S101 - a module that has none was refused
    return weight


def _layers(asked: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """The layers asked for, ascending, or all; those below 0 count from the last.

    Raises:
        LayerOutOfRange. RepeatedLayers: one that is named by two numbers.
    """
    if asked is None:
        return tuple(range(count))
    for layer in asked:
        if not -count <= layer < count:
            expected = f"0 to {count - 1}, or -1 for the last, down to -{count}"
            raise LayerOutOfRange("layers", expected=expected, found=layer)
    layers = sorted(layer % count for layer in asked)
    check_each_once(layers)
    return tuple(layers)
