"""Self-checks before a corpus run: does it measure what it says, on this model, on this machine?

On the first texts: with hooks against without, the cut model against the whole one, a text alone
against the same text in a batch. Their results stand in the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.extraction_record import Check
from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.errors import CheckFailed, ExtractionRefused
from geometry_of_trust.extraction import capture, running
from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.running import Runner

TOKENS = 64
"""So many tokens of a text are enough."""

# Of the largest value. One type's rounding, grown over the blocks; a reproducible run has none.
_BOUNDS = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}


def check(runner: Runner, batch: Batch, *, strict: bool) -> tuple[Check, ...]:
    """Compare, on the first texts of a batch.

    Args:
        runner: the model as it will run.
        strict: refuse to go on when a check exceeds its bound.

    Raises:
        CheckFailed: strict, and the first that does.
    """
    texts = [list(text[:TOKENS]) for text in batch.texts[:2]]
    checks = [_batches(runner, texts)]
    try:
        checks += [*_hooks(runner, texts[0]), *_cut(runner, texts[0])]
    except ExtractionRefused as error:
        # The run needs no whole model, so that its later blocks may be missing or broken.
        if strict:
            raise CheckFailed(
                "self-check", expected="a whole model to compare with", found=error
            ) from None
    for one in checks:
        if strict and not one.passed:
            raise CheckFailed(
                f"self-check, {one.name}",
                expected=f"a difference of at most {one.bound:g} of the largest value",
                found=f"{one.largest:g}",
                hint="Another --dtype or --device, or --reproducible, may do.",
            )
    return tuple(checks)


def elsewhere(runner: Runner, text: Sequence[int], states: NDArray[np.float32]) -> Check:
    """A text's states on this machine against those that another computed.

    Both float32, shape (layers, tokens, d).
    """
    request = runner.opened.request
    bound = 0.0 if request.reproducible else _BOUNDS[request.options.dtype]
    return _compared("states, on two machines", alone(runner, text), states, bound)


def _compared(name: str, a: NDArray[np.float32], b: NDArray[np.float32], bound: float) -> Check:
    scale = float(np.abs(b).max()) or 1.0
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
    return Check(
        name, a.tobytes() == b.tobytes(), float32(float(difference) / scale), float32(bound)
    )


def alone(runner: Runner, text: Sequence[int]) -> NDArray[np.float32]:
    """The states of all tokens of one text that runs by itself: shape (layers, tokens, d).

    Raises:
        NonFinite, UnsupportedArchitecture, ModelFailed: as `Runner.states`.
    """
    return runner.states(Batch.of_text(text))


def _hooks(runner: Runner, text: Sequence[int]) -> list[Check]:
    """Logits of the model while its blocks are hooked, against those of the model alone.

    Of a quantised run in the plain weights' type: whether hooks disturb a model has nothing to do
    with how it rounds. Nothing if weights are converted block by block, since
    a model then cannot run without hooks.
    """
    request, weights = runner.opened.request, runner.loaded.weights
    if request.options.quantization is None and not weights.settled(runner.blocks):
        return []
    if request.options.quantization and not request.reproducible:
        as_stored = dataclasses.replace(request.options, quantization=None)
        request = dataclasses.replace(request, options=as_stored)
        opened = dataclasses.replace(runner.opened, request=request)
        count, left_out = runner.loaded.blocks, runner.left_out
        runner = running.load(opened, count, left_out=left_out, once=True)
    states = [
        capture.final_states(
            runner.loaded.model, runner.blocks, runner.unembedding, Batch.of_text(text),
            hidden_dim=runner.opened.anatomy.hidden_dim, stream=runner.opened.stream,
            hooked=hooked, pages=runner.pages, weights=runner.loaded.weights,
        )
        for hooked in (True, False)
    ]  # fmt: skip
    # A part of the unembedding at a time, so that it is never in memory as a whole.
    parts = [[state @ rows.T for state in states] for rows in runner.unembedding_rows()]
    hooked, plain = (np.concatenate(logits, axis=1) for logits in zip(*parts, strict=True))
    return [_compared("logits with hooks and without", hooked, plain, 0.0)]


def _cut(runner: Runner, text: Sequence[int]) -> list[Check]:
    """The cut model against the whole one; nothing if it is the whole one."""
    opened = runner.opened
    if runner.loaded.blocks == opened.anatomy.blocks:
        return []
    whole = running.load(opened, opened.anatomy.blocks, left_out=runner.left_out, once=True)
    states = (alone(runner, text), alone(whole, text))
    return [_compared("states of the cut and the whole model", *states, 0.0)]


def _batches(runner: Runner, texts: Sequence[list[int]]) -> Check:
    """A text alone against the same text beside another, padded if the run pads."""
    request = runner.opened.request
    first, other = texts[0], texts[-1][::-1]
    if request.reproducible:  # which never pads
        other, bound = [*other, *first][: len(first)], 0.0
    else:
        first = first[: max(1, len(first) - 1)] if len(other) <= len(first) else first
        bound = _BOUNDS[request.options.dtype]
    # Texts of one token leave nothing to pad.
    padded = "padded " if len(other) != len(first) else ""
    name = f"states alone and in a {padded}batch"
    kept = [range(len(first)), range(len(other))]
    both = runner.states(Batch([first, other], kept))
    return _compared(name, both[:, : len(first)], alone(runner, first), bound)
