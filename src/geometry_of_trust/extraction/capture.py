"""Run the blocks on some texts and keep the residual stream after those asked for."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geometry_of_trust.arithmetic.rows import mean
from geometry_of_trust.errors import (
    GotError,
    ModelFailed,
    NonFinite,
    UnsupportedArchitecture,
    ZeroState,
    brief,
)
from geometry_of_trust.extraction.architectures import Streams
from geometry_of_trust.extraction.float32 import as_written, float32
from geometry_of_trust.extraction.options import MEAN
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.quiet import unwarned
from geometry_of_trust.extraction.weights import Before, Weights


class _EnoughError(Exception):
    """The deepest layer is there; nothing after it needs to run."""


@dataclass(frozen=True)
class Stream:
    """Which of several residual streams is read: the number of one, or the mean of all."""

    streams: Streams
    name: str

    def of(self, states: torch.Tensor, d: int) -> torch.Tensor:
        """Its states, shape (texts, tokens, d), of those of a block.

        Of the mean those of all, shape (texts, tokens, streams, d): only the rows kept are added.
        """
        beside = self.streams.beside(states, d)
        return beside if self.name == MEAN else beside[:, :, int(self.name)]


@dataclass(frozen=True)
class Batch:
    """Texts that run together, and which of their tokens are kept.

    Attributes:
        texts: token ids of each; shorter ones are padded on the right, where no token of a causal
            model sees it. Texts of one length need no padding.
        kept: indices of the tokens that are kept, at least one for each text.
        mean: keep one row for each text: the mean of its tokens' states.
        names: what errors call each text; by default the texts have no name.
    """

    texts: Sequence[Sequence[int]]
    kept: Sequence[Sequence[int]]
    mean: bool = False
    names: Sequence[str] = ()

    @classmethod
    def of_text(cls, token_ids: Sequence[int]) -> Batch:
        """One text, all of its tokens."""
        return cls([token_ids], [range(len(token_ids))])

    @property
    def width(self) -> int:
        """Number of tokens of the longest text."""
        return max(map(len, self.texts))

    @property
    def rows(self) -> int:
        """How many rows come out."""
        return len(self.texts) if self.mean else sum(map(len, self.kept))

    def chosen(self, states: torch.Tensor) -> torch.Tensor:
        """The rows kept of states of shape (texts, tokens, d): float32, (rows, d), on the CPU.

        Of states of shape (texts, tokens, streams, d) the means over the streams.
        """
        width = states.shape[1]
        flat = [n * width + t for n, kept in enumerate(self.kept) for t in kept]
        rows = states.reshape(-1, *states.shape[2:])
        rows = rows[torch.tensor(flat, device=rows.device)].to("cpu", torch.float32)
        rows = mean(rows, [1]) if rows.ndim > 2 else rows
        if not self.mean:
            return rows
        parts = torch.split(rows, [len(kept) for kept in self.kept])
        return torch.stack([mean(part, [0]) for part in parts])

    def place(self, row: int) -> str:
        """What errors call a row.

        Raises:
            IndexError: there is no such row.
        """
        if self.mean:
            return self._text(row)
        for n, kept in enumerate(self.kept):
            if row < len(kept):
                name = self._text(n)
                return f"{name + ', ' if name else ''}position {kept[row]}"
            row -= len(kept)
        raise IndexError(row)

    def _text(self, n: int) -> str:
        return self.names[n] if self.names else ""


def residual_stream(
    model: nn.Module,
    blocks: nn.ModuleList,
    layers: Sequence[int],
    batch: Batch,
    *,
    hidden_dim: int,
    stream: Stream | None = None,
    pages: FilePages,
    weights: Weights,
    unproved: set[str] | None = None,
    at_end: Callable[[object], None] | None = None,
) -> NDArray[np.float32]:
    """The outputs of the blocks `layers` at the tokens kept: float32, shape (layers, rows, d).

    The model stops after the deepest layer, unless somebody waits for its end.

    Args:
        model: the causal model, in evaluation mode.
        blocks: its block list, or the beginning of it.
        layers: block indices, ascending.
        batch: the texts.
        hidden_dim: d.
        stream: which one is read, None where there is one.
        pages: what of the weights can be given back as soon as a block has run.
        weights: how they are held, and what they are computed with.
        unproved: as of `float32`.
        at_end: is given what the model returns, or the error that stops it after the deepest
            layer; the states are then not looked at.

    Raises:
        NonFinite, ZeroState: naming layer, text and position.
        UnsupportedArchitecture: a block does not output one state of dimension d per token, or does
            not run once.
        ModelFailed: the model's code stopped with an error.
    """
    states = torch.empty(len(layers), batch.rows, hidden_dim, dtype=torch.float32)
    waiting, ran = set(layers), set[int]()
    brought: Before = []

    def before(block: nn.Module, _arguments: object) -> None:
        brought.extend(weights.bring(block))

    def after(index: int, block: nn.Module, _arguments: object, output: object) -> None:
        if index in ran:
            raise UnsupportedArchitecture(
                f"layer {index}",
                expected="blocks that run once, one after another",
                found="this one once more",
                hint="A model that goes through its blocks in a loop has no one residual stream "
                "after each. Use another model.",
            )
        ran.add(index)
        if index in waiting:
            # A copy, at once: no later operation of the model can alter it.
            with as_written():
                state = state_of(index, output, batch, hidden_dim, stream)
                states[layers.index(index)].copy_(batch.chosen(state))
            waiting.remove(index)
        weights.put_back(brought)
        for parameter in block.parameters():
            pages.release(parameter)
        if not waiting and at_end is None:
            raise _EnoughError

    run_in = float32(unproved, weights.scales) if weights.reproducible else torch.inference_mode()
    end: object = None
    with hooks(blocks if at_end else blocks[: layers[-1] + 1], before, after):
        try:
            with run_in, unwarned():
                end = model(**inputs(model, batch))
        except _EnoughError:
            pass
        except Exception as error:
            if isinstance(error, GotError):
                raise
            if at_end is None or waiting:
                raise failed(error, reproducible=weights.reproducible) from error
            end = error
        finally:
            weights.put_back(brought)
    if waiting:
        others = f"Ask for others: --layers {' '.join(map(str, sorted(ran)))}." if ran else ""
        raise UnsupportedArchitecture(
            "forward pass",
            expected="a model that runs every block on a text",
            found=f"layers {', '.join(map(str, sorted(waiting)))} not run",
            hint=others or "Use another model.",
        )
    values: NDArray[np.float32] = states.numpy()
    if at_end is None:
        _check_finite(values, layers, batch)
    else:
        at_end(end)
    return values


def failed(error: Exception, *, reproducible: bool) -> ModelFailed:
    """What an error in a model's code is to a user."""
    hint = "It was run on text alone: the model may need more, such as an image."
    if reproducible:
        hint = f"It was run reproducibly; --fast may do. {hint}"
    return ModelFailed("forward pass", expected="no error", found=brief(error), hint=hint)


def final_states(
    model: nn.Module,
    blocks: nn.ModuleList,
    unembedding: nn.Module,
    batch: Batch,
    *,
    hidden_dim: int,
    stream: Stream | None = None,
    hooked: bool,
    pages: FilePages,
    weights: Weights,
) -> NDArray[np.float32]:
    """What a model multiplies its unembedding with, at the tokens kept: float32, shape (rows, d).

    The model runs as its own code has it, through the blocks that it has to its unembedding.

    Args:
        blocks: all that it has. hidden_dim, stream, hooked: as for `residual_stream`.
        pages: what of the weights of hooked blocks can be given back.
        weights: how they are held, and what they are computed with.

    Raises:
        ModelFailed: the model's code stopped with an error, or does not call that module.
    """
    kept, given = list[torch.Tensor](), list[torch.Tensor]()

    def after(index: int, block: nn.Module, _arguments: object, output: object) -> None:
        kept[:] = [batch.chosen(state_of(index, output, batch, hidden_dim, stream))]
        for parameter in block.parameters():
            pages.release(parameter)

    def multiplied(_unembedding: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        with as_written():
            given[:] = [batch.chosen(arguments[0])]
        raise _EnoughError

    around = hooks(blocks if hooked else nn.ModuleList(), lambda block, arguments: None, after)
    brought = weights.bring(blocks)
    run_in = float32(None, weights.scales) if weights.reproducible else torch.inference_mode()
    handle = unembedding.register_forward_pre_hook(multiplied)
    try:
        with around, run_in, unwarned():
            model(**inputs(model, batch))
    except _EnoughError:
        pass
    except Exception as error:
        found = brief(error)
        raise ModelFailed("forward pass", expected="no error", found=found) from error
    finally:
        handle.remove()
        weights.put_back(brought)
    if not given:
        raise ModelFailed("forward pass", expected="a use of the unembedding", found="none")
    values: NDArray[np.float32] = given[0].numpy()
    return values


@contextlib.contextmanager
def hooks(
    blocks: nn.ModuleList, before: Callable[..., None], after: Callable[..., None]
) -> Iterator[None]:
    """Call hooks around each block, until the `with` ends.

    `before(block, arguments)` and `after(index, block, arguments, output)`.
    """
    handles = [block.register_forward_pre_hook(before) for block in blocks]
    handles += [
        block.register_forward_hook(partial(after, index)) for index, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def inputs(model: nn.Module, batch: Batch) -> dict[str, object]:
    """What the model takes of: token ids, an attention mask that masks padding, no cache."""
    width = batch.width
    device = next(model.parameters()).device
    ids = [[*text, *[0] * (width - len(text))] for text in batch.texts]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in batch.texts]
    options: dict[str, object] = {
        "attention_mask": torch.tensor(mask, device=device),
        "use_cache": False,
    }
    known = inspect.signature(model.forward).parameters
    return {"input_ids": torch.tensor(ids, device=device)} | {
        name: value for name, value in options.items() if name in known
    }


def state_of(
    layer: int, output: object, batch: Batch, hidden_dim: int, stream: Stream | None
) -> torch.Tensor:
    """The hidden state in what a block returns: a tensor, or the first of some.

    Its shape is (texts, tokens, d), or as of `Stream.of`.

    Raises:
        UnsupportedArchitecture: there is none of that shape.
    """
    state = output[0] if isinstance(output, tuple | list) and output else output
    size = (len(batch.texts), batch.width, hidden_dim)
    shapes = [size] if stream is None else stream.streams.shapes(*size)
    if not isinstance(state, torch.Tensor):
        found = type(state).__name__
    elif state.shape in shapes:
        return state if stream is None else stream.of(state, hidden_dim)
    else:
        found = f"numbers of shape {tuple(state.shape)}{_other(state, size)}"
    raise UnsupportedArchitecture(
        f"layer {layer}",
        expected=f"{hidden_dim} numbers for each token, of shape {' or '.join(map(str, shapes))}",
        found=found,
        hint="Which states are those of the text's tokens is not known for this model. Use "
        "another one.",
    )


def _other(state: torch.Tensor, size: tuple[int, int, int]) -> str:
    """What is another in a state than in one of that size, in words; empty if that is not known."""
    texts, tokens, d = size
    if state.ndim == 3 and state.shape[0] == texts and state.shape[2] == d:
        return f": states of {state.shape[1]} tokens, where the text has {tokens}"
    if state.numel() == texts * tokens * d:
        return ": its axes are in another order"
    if state.numel() % (texts * tokens * d) == 0:
        return f": {state.numel() // (texts * tokens * d)} states for each token"
    return ""


def _check_finite(values: NDArray[np.float32], layers: Sequence[int], batch: Batch) -> None:
    for layer, states in zip(layers, values, strict=True):
        finite = np.isfinite(states)
        if not finite.all():
            row, j = np.argwhere(~finite)[0]
            raise NonFinite(
                f"layer {layer}, {batch.place(int(row))}",
                expected="finite numbers",
                found=f"{states[row, j]} at index {j}",
                hint="float16 overflows in many models; another dtype may do.",
            )
        zero = ~states.any(axis=1)
        if zero.any():
            raise ZeroState(
                f"layer {layer}, {batch.place(int(zero.argmax()))}",
                expected="a state",
                found="zeros",
                hint="Look at the weights: the layers up to here did nothing.",
            )
