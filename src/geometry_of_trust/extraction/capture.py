"""Run the blocks on one text and keep the residual stream after those asked for."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geometry_of_trust.errors import GotError, ModelFailed, NonFinite, UnsupportedArchitecture
from geometry_of_trust.extraction.float64 import as_written, float64
from geometry_of_trust.extraction.pages import FilePages
from geometry_of_trust.extraction.weights import Held, Weights


class _EnoughError(Exception):
    """The deepest layer is there; nothing after it needs to run."""


def residual_stream(
    model: nn.Module,
    blocks: nn.ModuleList,
    layers: Sequence[int],
    token_ids: Sequence[int],
    *,
    hidden_dim: int,
    pages: FilePages,
    weights: Weights,
    unproved: set[str] | None = None,
) -> NDArray[np.float32]:
    """The outputs of the blocks `layers` at every token: float32, shape (layers, positions, d).

    The model runs on a batch of one without padding, and stops after the deepest layer. If it
    computes in float64, its states are rounded here, once.

    Args:
        model: the causal model, in evaluation mode.
        blocks: its block list, or the beginning of it.
        layers: block indices, ascending.
        token_ids: the text.
        hidden_dim: d.
        pages: what of the weights can be given back as soon as a block has run.
        weights: how they are held, and what they are computed with.
        unproved: as of `float64`.

    Raises:
        NonFinite: naming layer and position.
        UnsupportedArchitecture: a block does not output one state of dimension d per token.
        ModelFailed: the model's code stopped with an error.
    """
    states = torch.empty(len(layers), len(token_ids), hidden_dim, dtype=torch.float32)
    waiting = set(layers)
    brought: Held = []

    def before(block: nn.Module, _arguments: Any) -> None:
        brought.extend(weights.bring(block))

    def after(index: int, block: nn.Module, _arguments: Any, output: Any) -> None:
        if index in waiting:
            # A copy, at once: no later operation of the model can alter it.
            with as_written():
                states[layers.index(index)].copy_(_state(index, output, states.shape[1:]))
            waiting.remove(index)
        weights.put_back(brought)
        for parameter in block.parameters():
            pages.release(parameter)
        if not waiting:
            raise _EnoughError

    run_in = float64(unproved) if weights.wide else torch.inference_mode()
    with _hooks(blocks[: layers[-1] + 1], before, after):
        try:
            with run_in:
                model(**_inputs(model, token_ids))
        except (_EnoughError, GotError) as end:
            if isinstance(end, GotError):
                raise
        except Exception as error:
            found = f"{type(error).__name__}: {error}".partition("\n")[0]
            hint = "It was run in float64; --fast may do." if weights.wide else ""
            raise ModelFailed(
                "forward pass", expected="no error", found=found, hint=hint
            ) from error
        finally:
            weights.put_back(brought)
    if waiting:
        raise UnsupportedArchitecture(
            "forward pass", expected="every block to be run", found=f"not {sorted(waiting)}"
        )
    values: NDArray[np.float32] = states.numpy()
    _check_finite(values, layers)
    return values


@contextlib.contextmanager
def _hooks(
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


def _inputs(model: nn.Module, token_ids: Sequence[int]) -> dict[str, Any]:
    """What the model takes of: token ids, an attention mask that masks nothing, no cache."""
    ids = torch.tensor([list(token_ids)], device=next(model.parameters()).device)
    options = {"attention_mask": torch.ones_like(ids), "use_cache": False}
    known = inspect.signature(model.forward).parameters
    return {"input_ids": ids} | {name: value for name, value in options.items() if name in known}


def _state(layer: int, output: Any, shape: torch.Size) -> torch.Tensor:
    """The hidden state, (positions, d), in what a block returns: a tensor, or the first of some."""
    state = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(state, torch.Tensor) or state.shape != (1, *shape):
        raise UnsupportedArchitecture(
            f"layer {layer}",
            expected=f"an output of shape {(1, *shape)}",
            found=tuple(state.shape) if isinstance(state, torch.Tensor) else type(state).__name__,
        )
    return state[0]


def _check_finite(values: NDArray[np.float32], layers: Sequence[int]) -> None:
    for layer, states in zip(layers, values, strict=True):
        finite = np.isfinite(states)
        if not finite.all():
            p, j = np.argwhere(~finite)[0]
            raise NonFinite(
                f"layer {layer}, position {p}",
                expected="finite numbers",
                found=f"{states[p, j]} at index {j}",
                hint="float16 overflows in many models; another dtype may do.",
            )
