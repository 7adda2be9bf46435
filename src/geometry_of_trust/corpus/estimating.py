"""What a run will take, told without loading a weight: bytes on disk, memory and time.

The formulas are explained in docs/scaling.md, and tests compare them with runs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.corpus import checking
from geometry_of_trust.corpus.corpus_run import CorpusRun
from geometry_of_trust.corpus.memory import can_widen
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.extraction import architectures, costs
from geometry_of_trust.extraction.costs import Sizes
from geometry_of_trust.extraction.running import CHUNK_BYTES, threads
from geometry_of_trust.formats.gotue import unembedding_size

_RECORD = 3700
"""Bytes of a record of a corpus run, nearly."""

_RECORD_OF_TEXT = (3000, 58)
"""Bytes of a record of one text, and those that each token adds."""

_CODE = 36 * 2**20
"""Memory of code and buffers that only a run that goes on needs; measured with torch 2.13."""

_DISK = 1e9
"""Bytes a second to and from a disk; nobody measured it here."""

_STEP = 16
"""A small batch, whose pace shows what a batch takes however few its tokens are."""


@dataclass(frozen=True)
class FileSize:
    """A file that the run would write. `exact`: to the byte; else nearly."""

    path: Path
    size: int
    exact: bool


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        rows, texts, tokens, batches: how many there are.
        layers, hidden_dim: of the activations.
        files: what it writes.
        blocks: how many blocks it loads, of `blocks_total`.
        weights: bytes of the model's files that it reads; weights_checks: those that only the
            self-checks read. from_files: seen in the files' headers, not computed from shapes.
        memory: bytes resident at the peak, of the whole process.
        memory_running: at the peak after the self-checks.
        seconds: about how long it takes, on this machine as busy as it is.
    """

    rows: int
    texts: int
    tokens: int
    batches: int
    layers: int
    hidden_dim: int
    files: tuple[FileSize, ...]
    blocks: int
    blocks_total: int
    weights: int
    weights_checks: int
    from_files: bool
    memory: int
    memory_running: int
    seconds: float

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Shape:
    """One batch: how many texts, and the tokens of its longest."""

    texts: int
    width: int

    @property
    def tokens(self) -> int:
        """Padding included."""
        return self.texts * self.width


def resident() -> int:
    """Bytes of memory that this process has now."""
    import psutil  # noqa: PLC0415 - only a corpus needs it

    return int(psutil.Process().memory_info().rss)


def estimate(
    run: CorpusRun, elapsed: float = 0.0, *, once: bool = False, before: int | None = None
) -> Estimate:
    """What a prepared run will take, in a process that has done all that comes before loading.

    Args:
        elapsed: seconds that took.
        once: it is one text for `extract`, without self-checks and row table.
        before: bytes resident before loading; None: as now.

    Raises:
        IncompleteModel: a file of weights that is here is broken.
    """
    before = resident() if before is None else before
    opened, plan = run.opened, run.plan
    weights = costs.sizes(opened)
    count = blocks_loaded(run)
    shapes = list(_shapes(run))
    running = memory_running(run, weights, count, shapes, once=once)
    checks = 0 if once else _kept(run, weights, count) + _checks(run, weights, count)
    peak = max(_loading(run, weights, count, once=once), running, checks)
    files = _files(run, once=once)
    whole = count if once else opened.anatomy.blocks
    return Estimate(
        rows=plan.total_rows,
        texts=len(plan.lengths),
        tokens=plan.total_tokens,
        batches=len(shapes),
        layers=len(run.opened.layers),
        hidden_dim=opened.anatomy.hidden_dim,
        files=files,
        blocks=count,
        blocks_total=opened.anatomy.blocks,
        weights=weights.read(count),
        weights_checks=weights.read(whole) - weights.read(count),
        from_files=weights.from_files,
        memory=before + _CODE + peak,
        memory_running=before + _CODE + running,
        seconds=elapsed
        + _seconds(run, weights, count, shapes, once=once)
        + (weights.read(whole) + 2 * sum(file.size for file in files)) / _DISK,
    )


def blocks_loaded(run: CorpusRun) -> int:
    """How many blocks a run loads."""
    anatomy = run.opened.anatomy
    return run.opened.layers[-1] + 1 if anatomy.whole_because is None else anatomy.blocks


def _shapes(run: CorpusRun) -> Iterator[Shape]:
    lengths = run.plan.lengths
    for unit in run.batching.units(lengths):
        yield Shape(len(unit), max(lengths[n] for n in unit))


# --- disk -------------------------------------------------------------------------------------


def _files(run: CorpusRun, *, once: bool) -> tuple[FileSize, ...]:
    to_activations, to_unembedding, to_labels, to_record = run.request.outputs
    partial = run.partial
    shape = (run.opened.anatomy.vocab_size, run.opened.anatomy.hidden_dim)
    fixed, a_token = _RECORD_OF_TEXT if once else (_RECORD, 0)
    rows = FileSize(rows_path(to_activations), partial.file("rows").stat().st_size, exact=True)
    return (
        FileSize(to_activations, run.sink(io.BytesIO()).size, exact=True),
        FileSize(to_unembedding, unembedding_size(shape), exact=True),
        FileSize(to_labels, partial.file("labels").stat().st_size, exact=True),
        *([] if once else [rows]),
        FileSize(to_record, fixed + a_token * run.plan.total_tokens, exact=False),
    )


# --- memory -----------------------------------------------------------------------------------


def _loading(run: CorpusRun, weights: Sizes, count: int, *, once: bool) -> int:
    """While the model is loaded: mapped, it takes nothing; else it lies beside its files' pages.

    What a corpus converts once is, before that, the pages that the first batch has used.
    """
    if not weights.mapped:
        return weights.in_memory(count) + weights.read(count)
    if once or not _converts(run, weights):
        return 0
    return weights.itemsize * sum(weights.blocks[:count]) + _outside(run, weights)


def _converts(run: CorpusRun, weights: Sizes) -> bool:
    """Whether weights are held in another type than they are computed with.

    A reproducible run's products take weights as they are held, unless the run narrows them.
    """
    asked = _itemsize(run.request.options.dtype)
    return weights.mapped and (
        weights.itemsize > asked or (weights.itemsize < asked and not run.request.reproducible)
    )


def _outside(run: CorpusRun, weights: Sizes) -> int:
    """What is outside of the blocks, if it is converted when the model is loaded."""
    return _itemsize(run.request.options.dtype) * weights.outside if _converts(run, weights) else 0


def _kept(run: CorpusRun, weights: Sizes, count: int) -> int:
    """Weights of the model that runs, as they are held, between two batches."""
    if (
        run.request.options.quantization is not None
    ):  # the integers, and the pages they were made of
        return weights.in_memory(count) + sum(weights.stored[:count])
    if not weights.mapped:
        return weights.in_memory(count)
    numbers, itemsize = sum(weights.blocks[:count]), weights.itemsize
    if _converts(run, weights) and can_widen(numbers):
        itemsize = run_itemsize(run)
    return itemsize * numbers + _outside(run, weights)


def memory_running(
    run: CorpusRun, weights: Sizes, count: int, shapes: list[Shape], *, once: bool = False
) -> int:
    """While batches run: the weights, what is made of them to compute with, and the batch."""
    request = run.request
    kept = _kept(run, weights, count)
    one = max(weights.blocks[:count])
    if weights.mapped and once:  # each block is given back after use
        kept = weights.itemsize * one + _outside(run, weights)
    converts = _converts(run, weights) and (once or not can_widen(sum(weights.blocks[:count])))
    if converts or (request.options.quantization is not None and not request.reproducible):
        kept += run_itemsize(run) * one  # block by block
    writing = 2 * CHUNK_BYTES
    side_by_side = threads() if request.reproducible and not once else 1
    largest = sorted((workspace(run, shape) for shape in shapes), reverse=True)[:side_by_side]
    return kept + max(writing, sum(largest))


def _checks(run: CorpusRun, weights: Sizes, count: int) -> int:
    """Of the models that run beside the other, and of its logits.

    Of the whole one a block is given back after use, if it is mapped.
    """
    request, blocks = run.request, run.opened.anatomy.blocks
    width = min(checking.TOKENS, max(run.plan.lengths))
    logits = 3 * 4 * width * run.opened.anatomy.vocab_size
    if request.options.quantization is not None or not weights.mapped:
        if count == blocks and not request.reproducible:
            return logits
        return weights.in_memory(blocks) + weights.read(blocks) + logits
    a_number = weights.itemsize + (run_itemsize(run) if _converts(run, weights) else 0)
    return a_number * max(weights.blocks) + _outside(run, weights) + logits


def run_itemsize(run: CorpusRun) -> int:
    """Bytes of a number that is computed with."""
    return 4 if run.request.reproducible else _itemsize(run.request.options.dtype)


def _itemsize(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def workspace(run: CorpusRun, shape: Shape) -> int:
    """Memory of one batch: states and the inner layer of a block, some copies; scores likewise.

    Fitted.
    """
    d, inner, heads = architectures.widths(run.opened.config, run.opened.anatomy)
    scores = heads * shape.texts * shape.width**2
    copies, of_scores = 4, 0
    if getattr(run.opened.skeleton.config, "_attn_implementation", None) == "eager":
        of_scores = 3 * scores
    return run_itemsize(run) * (copies * shape.tokens * (d + inner) + of_scores)


# --- time -------------------------------------------------------------------------------------


def _seconds(
    run: CorpusRun, weights: Sizes, count: int, shapes: list[Shape], *, once: bool
) -> float:
    """Seconds of the self-checks and of all batches."""
    batch = Pace.of(run, max(shape.tokens for shape in shapes))
    needed, whole = sum(weights.blocks[:count]), sum(weights.blocks)
    seconds = sum(needed * batch.a_number(shape.tokens) for shape in shapes)
    if not once:
        tokens = min(checking.TOKENS, max(run.plan.lengths))
        seconds += (5 * needed + whole) * batch.a_number(tokens)
    return seconds


@dataclass(frozen=True)
class Pace:
    """Seconds that a batch takes for each number of the weights: fixed + a_token × its tokens."""

    fixed: float
    a_token: float

    @classmethod
    def of(cls, run: CorpusRun, tokens: int) -> Pace:
        """Measured with few tokens and with `tokens`."""
        few, many = costs.pace(run.opened, _STEP), costs.pace(run.opened, max(tokens, 2 * _STEP))
        a_token = max(0.0, many - few) / (max(tokens, 2 * _STEP) - _STEP)
        return cls(max(0.0, few - a_token * _STEP), a_token)

    def a_number(self, tokens: int) -> float:
        """For a batch of so many tokens."""
        return self.fixed + self.a_token * tokens
