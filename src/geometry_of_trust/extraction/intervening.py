"""From another state at one token of a text to the logits of the token that comes after it.

The text ends with the token whose state is another one. Blocks up to the layer need not run then,
nor need any token before it twice: what they left in the model's cache is used. Whether that gives
what the whole model gives is seen on each text, byte for byte; if not, all of it runs.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geometry_of_trust.arithmetic import functions, rows
from geometry_of_trust.errors import GotError, NonFinite
from geometry_of_trust.extraction.capture import Batch, failed, hooks, inputs, state_of
from geometry_of_trust.extraction.float32 import as_written, float32
from geometry_of_trust.extraction.quiet import unwarned
from geometry_of_trust.extraction.running import Runner
from geometry_of_trust.extraction.weights import Before

AT_ONCE = 2**23
"""Logits in memory at a time, as states times tokens of the vocabulary."""


@dataclass
class Continuing:
    """A model that goes on from other states after a block.

    Attributes:
        runner: the whole model, which runs reproducibly. layer: the block after which a state is
            another one.
        targets: ids of the tokens whose logits are told.
        shortened: whether what is the same for all states of a text runs once; None: not yet seen.
    """

    runner: Runner
    layer: int
    targets: Sequence[int]
    shortened: bool | None = field(default=None)

    def states(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The states after the block at the last token of each text: float32, shape (texts, d)."""
        batches = [
            Batch([ids], [[len(ids) - 1]], names=[f"text {n}"]) for n, ids in enumerate(texts, 1)
        ]
        return np.concatenate([self.runner.states(batch)[0] for batch in batches])

    def effects(
        self,
        ids: Sequence[int],
        state: NDArray[np.float32],
        others: NDArray[np.float32],
        where: str,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What comes of other states at a text's last token.

        Args:
            ids: the text's tokens. state: what `states` says of it, shape (d,).
            others: shape (n, d), float32. where: what errors call the text.

        Returns:
            The targets' logits, of the state itself and then of the others, shape (1 + n, targets),
            and KL(p ‖ q) of the next token's distributions, p of the state itself and q of each of
            the others, in nats, shape (n,); both float32, the same bytes on every machine.

        Raises:
            ModelFailed: the model's code stopped with an error. NonFinite: a logit is not finite,
                or a divergence is not.
        """
        with _refused(self.runner):
            whole = partial(logits_of, self.runner, self.layer, ids)
            plain = whole(torch.from_numpy(state[None]))
            go_on: Callable[[torch.Tensor], torch.Tensor] = whole
            if self.shortened is None:
                self.shortened = self._agrees(ids, np.stack([state, others[-1]]))
            if self.shortened:
                less = _Shortened(self.runner, self.layer, ids)
                # Of another text, longer than a window of attention say, it may not be the same.
                if torch.equal(less(torch.from_numpy(state[None])), plain):
                    go_on = less
            step = max(1, AT_ONCE // plain.shape[1])
            logits, divergences = [plain[:, list(self.targets)]], []
            for start in range(0, len(others), step):
                part = go_on(torch.from_numpy(others[start : start + step]))
                logits.append(part[:, list(self.targets)])
                divergences.append(divergence(plain[0], part))
        found = torch.cat(logits).numpy(), torch.cat(divergences).numpy()
        for name, values in zip(("a logit", "a divergence"), found, strict=True):
            if not np.isfinite(values).all():
                raise NonFinite(
                    where, expected=f"{name} that is finite", found="another",
                    hint="A smaller --delta may do.",
                )  # fmt: skip
        return found

    def _agrees(self, ids: Sequence[int], states: NDArray[np.float32]) -> bool:
        """Whether running less gives what the whole model gives, for some states of a text."""
        given = torch.from_numpy(states)
        expected = logits_of(self.runner, self.layer, ids, given)
        try:
            found = _Shortened(self.runner, self.layer, ids)(given)
        except Exception:
            return False
        return bool(torch.equal(found, expected))


def divergence(plain: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) of softmax distributions, in nats, shape (n,).

    With x the difference of logits less its mean under p, it is log(1 + Σ p(eˣ − 1 − x)), of which
    no term is below 0, so that small ones keep their digits.

    Args:
        plain: logits of p, float32, shape (V,). others: those of each q, shape (n, V).
    """
    p = rows.softmax(plain, 0)
    x = torch.where(p > 0, others - plain, 0.0)  # beside what a model leaves out with −∞
    x = x - rows.total(p * x, [1], keepdim=True)
    terms = p * (functions.function("expm1")(x) - x)
    return functions.function("log1p")(rows.total(terms, [1]).clamp_min(0.0))


@contextlib.contextmanager
def _refused(runner: Runner) -> Iterator[None]:
    """An error of a model's code is told as one of the forward pass."""
    try:
        yield
    except GotError:
        raise
    except Exception as error:
        raise failed(error, reproducible=runner.loaded.weights.reproducible) from error


def _with_state(output: Any, state: torch.Tensor) -> Any:
    """What a block gave, with another state in it."""
    if isinstance(output, torch.Tensor):
        return state
    return type(output)([state, *output[1:]])


def _run(runner: Runner, arguments: dict[str, Any], after: Callable[[int, Any], Any]) -> Any:
    """What the model gives; its unembedding is given the last token of each text only.

    Args:
        after: is given the index and the output of each block, and may give another output.
    """
    weights = runner.loaded.weights
    brought: Before = []

    def before(block: nn.Module, _arguments: object) -> None:
        brought.extend(weights.bring(block))

    def done(index: int, _block: nn.Module, _arguments: object, output: Any) -> Any:
        with as_written():
            other = after(index, output)
        weights.put_back(brought)
        return other

    def shorten(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        with as_written():
            return tuple(x[..., -1:, :] for x in given)

    handle = runner.unembedding.register_forward_pre_hook(shorten)
    try:
        with (
            hooks(runner.blocks, before, done),
            float32(runner.unproved, weights.scales),
            unwarned(),
        ):
            return runner.loaded.model(**arguments)
    finally:
        handle.remove()
        weights.put_back(brought)


def _logits(end: Any) -> torch.Tensor:
    """Those at the last token, float32, shape (texts, V)."""
    logits: torch.Tensor = end.logits if hasattr(end, "logits") else end[0]
    return logits[:, -1].to(torch.float32).contiguous()


def logits_of(runner: Runner, layer: int, ids: Sequence[int], states: torch.Tensor) -> torch.Tensor:
    """The logits, shape (states, V), by the whole model, on the whole text once a state."""
    batch = Batch([ids] * len(states), [[len(ids) - 1]] * len(states))

    def after(index: int, output: Any) -> Any:
        if index != layer:
            return None
        state = state_of(layer, output, batch, runner.opened.anatomy.hidden_dim, None).clone()
        state[:, -1] = states
        return _with_state(output, state)

    return _logits(_run(runner, inputs(runner.loaded.model, batch), after))


class _Shortened:
    """The blocks above a layer on the last token of a text, with what the tokens before it left."""

    def __init__(self, runner: Runner, layer: int, ids: Sequence[int]) -> None:
        self._runner, self._layer, self._last = runner, layer, ids[-1]
        self._outputs: list[Any] = []
        self._cache: Any = None
        if len(ids) > 1:
            batch = Batch.of_text(ids[:-1])
            arguments = inputs(runner.loaded.model, batch) | {"use_cache": True}
            self._cache = _run(runner, arguments, lambda index, output: None).past_key_values
        self._template = self._outputs_of_one(ids)

    def _outputs_of_one(self, ids: Sequence[int]) -> list[Any]:
        found: list[Any] = []
        _run(self._runner, self._arguments(1), lambda index, output: found.append(output))
        return found

    def _arguments(self, count: int) -> dict[str, Any]:
        batch = Batch([[self._last]] * count, [[0]] * count)
        arguments = inputs(self._runner.loaded.model, batch)
        if self._cache is not None:
            cache = copy.deepcopy(self._cache)
            cache.batch_repeat_interleave(count)
            mask: torch.Tensor = arguments["attention_mask"]  # type: ignore[assignment]
            seen = torch.ones(count, cache.get_seq_length() + 1, dtype=mask.dtype)
            arguments |= {"attention_mask": seen, "past_key_values": cache, "use_cache": True}
        return arguments

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The logits, shape (states, V)."""
        with contextlib.ExitStack() as stack:
            for index, block in enumerate(self._runner.blocks[: self._layer + 1]):
                stack.enter_context(
                    _replaced(block, _with_state(self._template[index], states[:, None]))
                )
            return _logits(_run(self._runner, self._arguments(len(states)), lambda i, o: None))


@contextlib.contextmanager
def _replaced(block: nn.Module, output: Any) -> Iterator[None]:
    """A block that gives this whatever it is given, until the `with` ends."""
    own = vars(block).get("forward")
    block.forward = lambda *arguments, **named: output
    try:
        yield
    finally:
        del block.forward
        if own is not None:
            block.forward = own
