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
    WrongStream,
)
from geometry_of_trust.extraction import (
    adapters,
    architectures,
    capture,
    loading,
    quantizing,
    stored,
)
from geometry_of_trust.extraction.adapters import Adapter
from geometry_of_trust.extraction.architectures import Anatomy, Streams
from geometry_of_trust.extraction.capture import Stream
from geometry_of_trust.extraction.float32 import as_written
from geometry_of_trust.extraction.gguf_header import GgufHeader
from geometry_of_trust.extraction.model_files import Source
from geometry_of_trust.extraction.options import MEAN, PRECISION_OF
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
        stream: which of several residual streams is read; None where there is one.
        adapter: what is put into it. gguf: the header of the file that it is.
        stored: what its weights were rounded to in its own files, as of `stored.stored_as`.
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
    stream: Stream | None
    adapter: Adapter | None = None
    gguf: GgufHeader | None = None
    stored: str | None = None

    @property
    def precision(self) -> str:
        """The precision tag of the activations: no more than that of the weights."""
        options = self.request.options
        rounded = options.quantization is not None or self.stored is not None
        return "Int8" if rounded else PRECISION_OF[options.dtype]

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
        MissingExtra, BadOption, QuantizedModel: as `quantizing.check`, `stored.stored_as`.
        AdapterNotNamed, BadAdapter: as `adapters.refuse_unnamed`, `Adapter.check`.
        WrongStream: of several residual streams none is chosen, or none that there is.
    """
    options = request.options
    device = _device(request)
    progress(f"Looking for {request.model}")
    with making(), unwarned():
        source = loading.find_model(
            request.model, revision=options.revision, trust=options.trust_remote_code
        )
        adapter = None if options.adapter is None else adapters.find(options.adapter)
        if adapter is None:
            adapters.refuse_unnamed(source)
        config = loading.load_config(source)
        quantizing.check(options.quantization, source)
        gguf = stored.find_gguf(source)
        stored_as = stored.stored_as(options, source, config, gguf)
        stored.ask_for_plain(config)
        architectures.check_promised(config, request.model)
        skeleton = loading.skeleton(source, config)
        anatomy = architectures.find(skeleton, request.model)
        layers = _layers(request.layers, anatomy.blocks)
        stream = _stream(options.stream, anatomy.streams, type(skeleton).__name__)
        tokenizer = loading.load_tokenizer(source)
        if adapter is not None:
            adapter.check(skeleton, anatomy, request.model)
    return Opened(
        request,
        layers,
        source,
        device,
        config,
        tokenizer,
        skeleton,
        anatomy,
        architectures.context_length(skeleton),
        stream,
        adapter,
        gguf,
        stored_as,
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
        whole_because: why the model has all of its parts although fewer would do, or None.
        left_out: paths of the parts beside the blocks that it does not have.
        pages: what of the weights is given back as soon as it was used.
        unproved: operations of a reproducible run that may differ between machines, so far.
    """

    opened: Opened
    loaded: Loaded
    whole_because: str | None
    left_out: tuple[str, ...]
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
            stream=self.opened.stream,
            pages=self.pages,
            weights=self.loaded.weights,
            unproved=self.unproved,
        )

    def to_the_end(
        self, batch: capture.Batch, layers: Sequence[int], at_end: Callable[[object], None]
    ) -> NDArray[np.float32]:
        """The states at the tokens kept, (layers, rows, d), of a model that is not stopped.

        Args:
            layers: ascending. at_end: as of `capture.residual_stream`.

        Raises:
            UnsupportedArchitecture, ModelFailed: as there.
        """
        return capture.residual_stream(
            self.loaded.model,
            self.blocks,
            layers,
            batch,
            hidden_dim=self.opened.anatomy.hidden_dim,
            stream=self.opened.stream,
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
        """U in blocks of rows, float32, shape (rows, d).

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
    """A model with as few parts as possible, and what it did with the first texts.

    Args:
        once: it runs no other texts, so that a block's memory can be given back after its use.

    Raises:
        ExtractionRefused, NonFinite, ZeroState: as `extract`.
    """
    anatomy, deepest = opened.anatomy, opened.layers[-1]

    def attempt(
        count: int, whole_because: str | None, left_out: tuple[str, ...]
    ) -> tuple[Runner, NDArray[np.float32]]:
        progress(f"Loading {count} of {anatomy.blocks} blocks")
        runner = load(opened, count, whole_because=whole_because, left_out=left_out, once=once)
        tokens = sum(map(len, batch.texts))
        progress(f"Running {deepest + 1} blocks on {tokens} tokens")
        return runner, runner.states(batch)

    count, reason, left_out = deepest + 1, None, anatomy.beside
    if count < anatomy.blocks and anatomy.whole_because is not None:
        count, reason = anatomy.blocks, anatomy.whole_because
    while True:
        try:
            return attempt(count, reason, left_out)
        except ModelFailed as error:
            if left_out:
                missing, left_out = ", ".join(left_out), ()
            elif count < anatomy.blocks:
                missing, count = "its later blocks", anatomy.blocks
            else:
                raise
            reason = f"without {missing} it stops with {error.found}"


def load(
    opened: Opened,
    count: int,
    *,
    whole_because: str | None = None,
    left_out: tuple[str, ...] | None = None,
    once: bool,
) -> Runner:
    """The model with its first `count` blocks, ready to run.

    Args:
        left_out: paths of other parts that it does not have; by default all that no text needs.

    Raises:
        IncompleteModel, ModelFailed: as `prepare`.
    """
    unproved: set[str] = set()
    if opened.gguf is not None:
        opened.gguf.sha256  # noqa: B018 - taken now, and not after a run of hours
        unproved |= opened.gguf.unproved
    left_out = opened.anatomy.beside if left_out is None else left_out
    with making(), unwarned():
        loaded = prepare(
            opened.request,
            opened.source,
            opened.skeleton,
            opened.anatomy,
            count=count,
            left_out=left_out,
            device=opened.device,
            unproved=unproved,
            adapter=opened.adapter,
            stored=opened.stored,
        )
    pages = loaded.pages if once else FilePages()
    return Runner(opened, loaded, whole_because, left_out, pages, unproved)


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


def _stream(asked: str | None, streams: Streams | None, name: str) -> Stream | None:
    """The residual stream asked for.

    Raises:
        WrongStream: one of several is to be chosen, there is no such one, or there is only one.
    """
    if streams is None:
        if asked is None:
            return None
        raise WrongStream(
            "stream",
            expected=f"none to be chosen for {name}, which has one",
            found=asked,
            hint="Leave out --stream.",
        )
    last = streams.count - 1
    if asked is None or (asked != MEAN and int(asked) > last):
        raise WrongStream(
            "stream",
            expected=f"0 to {last}, or {MEAN}, for {name}, which has {streams.count} residual "
            "streams",
            found="none" if asked is None else asked,
            hint="Choose one with --stream, or the mean; docs/streams.md says what they are.",
        )
    return Stream(streams, asked)
