"""What a model's first text shows of it: whether its states and its unembedding are what they seem.

The first tokens of the text run again with another last token, on to the logits, and with another
one before it. A causal model gives the same states before that token, and any model another state
at it. Both run in one batch, beside what the text itself gave; where that shows no causal model,
each runs alone.
The logits then follow from the last block's state, its norm and the unembedding; or the model does
something else with that state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geometry_of_trust.documents.extraction_record import (
    EQUAL,
    NO_NORM,
    RISING,
    SCALED,
    TRANSFORMED,
)
from geometry_of_trust.errors import (
    ConstantState,
    ModelFailed,
    NotCausal,
    UnsupportedArchitecture,
    brief,
)
from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.float32 import as_written
from geometry_of_trust.extraction.running import Opened, Runner

TOKENS = 16
"""So many tokens of the text are enough."""

TRIES = 3
"""So many other tokens are tried: several that nothing was learnt of often have one embedding."""

_NOISE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 3e-2}
"""By what part of its size a state may change where kernels add in another order, on average over
the positions: a token's experts, for one, come with other tokens. None of a reproducible run."""

_LOGITS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 2e-2}
"""By what part of the largest logit others may differ from it and count as equal: rounding."""

_ROWS = 256
"""Of each sixteenth of the unembedding so many rows tell what it is multiplied with; in a row, as
each page that is touched brings its neighbours to memory."""

_MASKED = float(np.finfo(np.float16).min)
"""Logits up to this one are of tokens that a model leaves out."""


@dataclass(frozen=True)
class Findings:
    """What the first text showed.

    Attributes:
        bidirectional: whether states depend on later tokens.
        unembedding_reads: as of `Record`.
    """

    bidirectional: bool
    unembedding_reads: str


def look(runner: Runner, ids: Sequence[int], states: NDArray[np.float32] | None = None) -> Findings:
    """Run the beginning of a text, and again with other tokens at its end.

    Args:
        ids: the text's tokens, at least one.
        states: of all of them, if the text ran alone: float32, shape (layers, tokens, d).

    Raises:
        NotCausal: a state depends on a later token, and that was not allowed.
        ConstantState: the deepest state does not depend on its own token.
        NonFinite, ZeroState, UnsupportedArchitecture, ModelFailed: as `Runner.states`.
    """
    opened = runner.opened
    text, others = list(ids[:TOKENS]), _other_tokens(opened, ids)
    if len(text) == 1 and opened.limit != 1:  # which has no earlier state
        text, states = [*text, others[0]], None
        others = [*others[1:], ids[0]]
    ends = [[*text[:-1], other] for other in others]
    if len(text) > 2:
        # Where a text is parted into blocks, the last token may be the first of its own.
        before = next(x for x in (*others, text[-1]) if x != text[-2])
        also = [[*text[:-2], before, text[-1]]]
    else:
        also = []
    if states is not None:
        findings = _at_once(runner, states[:, : len(text)], also, ends[0])
        if findings is not None:
            return findings
    if states is None or len(text) < len(ids):
        states = runner.states(Batch.of_text(text))
    for end in ends:
        (changed,), ending = _to_the_end(runner, [end])
        if (changed[-1, -1] != states[-1, -1]).any():
            reads = _reads(runner, ending)
            bidirectional = _sees(runner, states, changed, len(text) - 1)
            if not bidirectional and also:
                changed = runner.states(Batch.of_text(also[0]))
                bidirectional = _sees(runner, states, changed, len(text) - 2)
            return Findings(bidirectional, reads)
    raise ConstantState(
        f"layer {opened.layers[-1]}, position {len(text) - 1}",
        expected="a state that depends on its token",
        found=f"the same one for each of {len(others) + 1} tokens",
        hint="Look at the weights: the layers up to here make nothing of the text.",
    )


def _at_once(
    runner: Runner, states: NDArray[np.float32], also: list[list[int]], end: list[int]
) -> Findings | None:
    """What a causal model shows in one batch of the texts that are changed.

    None of any other model, and of one that seems to be another: only texts that run alone, and cut
    to one length, show what depends on what.

    Args:
        states: of the text, which ran with what follows it: shape (layers, tokens, d).
        also: the text with another token before the last, or nothing. end: with another last.
    """
    try:
        (*earlier, last), ending = _to_the_end(runner, [*also, end])
    except (ModelFailed, UnsupportedArchitecture):
        return None
    at = len(end) - 1
    if ending.logits is None or _alike(runner, states[-1:, at:], last[-1:, at:]):
        return None
    causal = _alike(runner, states[:, :at], last[:, :at]) and all(
        _alike(runner, states[:, : at - 1], changed[:, : at - 1]) for changed in earlier
    )
    return Findings(False, _reads(runner, ending)) if causal else None


def _other_tokens(opened: Opened, ids: Sequence[int]) -> list[int]:
    """Tokens to put in the place of the last one: of the text itself, then the next in number."""
    last = ids[min(len(ids), TOKENS) - 1]
    known = (*ids, *((last + k) % opened.vocabulary for k in range(1, 2 * TRIES)))
    special = set(opened.tokenizer.all_special_ids)
    others = [token for token in dict.fromkeys(known) if token != last]
    others.sort(key=special.__contains__)  # which a model may take for more than a token, last
    return others[:TRIES]


def _sees(
    runner: Runner, states: NDArray[np.float32], changed: NDArray[np.float32], at: int
) -> bool:
    """Whether states before a token that is another one, (layers, tokens, d), changed with it.

    Raises:
        NotCausal: they did, and that was not allowed.
    """
    before, after = states[:, :at], changed[:, :at]
    if _alike(runner, before, after):
        return False
    if runner.opened.request.options.allow_bidirectional:
        return True
    by = _changes(before, after)
    layer, position = np.unravel_index(by.argmax(), by.shape)
    raise NotCausal(
        f"layer {runner.opened.layers[layer]}, position {position}",
        expected="a state that does not depend on later tokens",
        found=f"one that another token at position {at} changes by {100 * by.max():.2g} %",
    )


def _alike(runner: Runner, before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether states, both (layers, tokens, d), are the same, but for what kernels may change."""
    if before.tobytes() == after.tobytes():
        return True
    request = runner.opened.request
    exact = request.reproducible and not runner.unproved
    bound = 0.0 if exact else _NOISE[request.options.dtype]
    return bool((_changes(before, after).mean(axis=1) <= bound).all())


def _changes(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """By what part of its size each state changed, (layers, tokens)."""
    sizes = np.abs(before).mean(axis=2, dtype=np.float64)
    changes: NDArray[np.float64] = np.abs(after.astype(np.float64) - before).mean(axis=2) / sizes
    return changes


# --- from the last block to the logits --------------------------------------------------------


@dataclass
class _Ending:
    """What was seen outside of the blocks, all at the last token of the last text.

    Attributes:
        state: the last loaded block's, float32, shape (d,).
        passed: what each module was given, in its type, and of a norm or the like what it gave,
            in float32: (d,) each.
        logits: float32, shape (V,). error: why there are none.
    """

    state: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    passed: list[tuple[torch.Tensor, torch.Tensor | None]] = field(default_factory=list)
    logits: NDArray[np.float32] | None = None
    error: str = "its code gives no logits"

    def take(self, end: object) -> None:
        """What the model's code gave in the end, or its error."""
        if isinstance(end, Exception):
            self.error = brief(end)
            return
        logits = getattr(end, "logits", end[0] if isinstance(end, tuple) else end)
        if isinstance(logits, torch.Tensor):
            self.logits = _last(logits).numpy()


def _to_the_end(
    runner: Runner, texts: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], _Ending]:
    """The states of texts of one length, (texts, layers, tokens, d), and what comes of the last."""
    opened = runner.opened
    last_block = runner.loaded.blocks - 1
    layers = sorted({*opened.layers, last_block})
    ending = _Ending()
    batch = Batch(texts, [range(len(text)) for text in texts])
    with _watched(runner, ending):
        states = runner.to_the_end(batch, layers, ending.take)
    ending.state = states[-1, -1]
    states = states.reshape(len(layers), len(texts), batch.width, -1).swapaxes(0, 1)
    return states[:, [layers.index(layer) for layer in opened.layers]], ending


def _last(tensor: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The vector at the last token, on the CPU."""
    return tensor.detach().reshape(-1, tensor.shape[-1])[-1].to("cpu", dtype)


@contextlib.contextmanager
def _watched(runner: Runner, ending: _Ending) -> Iterator[None]:
    """Keep what modules outside of the blocks are given and give, until the `with` ends.

    The unembedding is given the last token only, as logits of the others are not looked at, and
    its pages are given back as it is used.
    """
    head = runner.unembedding
    size = runner.opened.anatomy.hidden_dim
    inside = set(runner.blocks.modules())

    def keep(
        module: nn.Module, given: tuple[object, ...], named: dict[str, object], gives: object
    ) -> None:
        tensors = (x for x in (*given, *named.values()) if isinstance(x, torch.Tensor))
        state = next(tensors, None)
        if state is None or not state.is_floating_point() or state.shape[-1:] != (size,):
            return
        is_norm = isinstance(gives, torch.Tensor) and gives.shape == state.shape
        # A norm has a number or two for each coordinate; a matrix does more than that.
        is_norm &= all(parameter.ndim < 2 for parameter in module.parameters())
        with as_written():
            result = _last(gives) if is_norm and isinstance(gives, torch.Tensor) else None
            ending.passed.append((_last(state, state.dtype), result))

    def shorten(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        with as_written():
            return tuple(x[..., -1:, :] for x in given)

    outside = [module for module in runner.loaded.model.modules() if module not in inside]
    handles = [module.register_forward_hook(keep, with_kwargs=True) for module in outside]
    handles.append(head.register_forward_pre_hook(shorten))
    # Not where somebody else has put another: accelerate does, of a model on several GPUs.
    own = type(head).forward is nn.Linear.forward and "forward" not in vars(head)
    if own:
        head.forward = partial(_in_parts, runner)
    try:
        yield
    finally:
        if own:
            del head.forward
        for handle in handles:
            handle.remove()


def _in_parts(runner: Runner, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
    """What `nn.Linear` makes of states with the unembedding, part by part."""
    parts = [nn.functional.linear(input, part) for part in runner.unembedding_parts()]
    logits = torch.cat(parts, dim=-1)
    bias = runner.unembedding.bias
    return logits + bias if isinstance(bias, torch.Tensor) else logits


def _reads(runner: Runner, ending: _Ending) -> str:
    """How the logits follow from the last block's state: as of `Record`."""
    if ending.logits is None:
        return f"not compared: {ending.error}"
    given = torch.from_numpy(ending.state)
    readers = [gives for takes, gives in ending.passed if torch.equal(takes, given.to(takes.dtype))]
    read = np.stack([ending.state, *(gives.numpy() for gives in readers if gives is not None)])
    weight, bias = runner.weight, runner.unembedding.bias
    size = min(len(weight), len(ending.logits))
    starts = range(0, size, max(_ROWS, size // 16))
    some = [row for start in starts for row in range(start, min(start + _ROWS, size))]
    rows = runner.loaded.weights.of_model(weight, weight.detach()[some])
    ours = read @ rows.to("cpu", torch.float32).numpy().T
    runner.loaded.pages.release(weight.detach())
    if isinstance(bias, torch.Tensor):
        ours += bias.detach()[some].to("cpu", torch.float32).numpy()
    tolerance = _LOGITS[runner.opened.request.options.dtype]
    found = {_relation(row, ending.logits[some], tolerance) for row in ours}
    known = [outcome for outcome in (EQUAL, SCALED, RISING) if outcome in found]
    return known[0] if known else TRANSFORMED if readers else NO_NORM


def _relation(ours: NDArray[np.float32], logits: NDArray[np.float32], tolerance: float) -> str:
    """How logits follow from ours, both of shape (n,), but for those that the model leaves out."""
    seen = logits > _MASKED
    a, b = ours[seen].astype(np.float64), logits[seen].astype(np.float64)
    if len(b) == 0:
        return ""
    allowed = tolerance * np.abs(b).max()
    if np.abs(a - b).max() <= allowed:
        return EQUAL
    scale = (a @ b) / (a @ a)
    if scale > 0 and np.abs(scale * a - b).max() <= allowed:
        return SCALED
    b = b[a.argsort(kind="stable")]
    if b[-1] - b[0] > allowed and (np.maximum.accumulate(b) - b).max() <= allowed:
        return RISING
    return ""
