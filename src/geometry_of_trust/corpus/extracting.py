"""`extract_corpus` and its dry run: the arguments of a user, and what stands behind them."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from geometry_of_trust.corpus.choosing import Position
from geometry_of_trust.corpus.entries import Columns, Entry, read_corpus
from geometry_of_trust.corpus.partial import Partial
from geometry_of_trust.errors import BadOption, EmptyText, RunInProgress
from geometry_of_trust.extraction.pipeline import calm
from geometry_of_trust.extraction.request import Request, utf8
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import Layout

if TYPE_CHECKING:
    from geometry_of_trust.corpus.estimating import Estimate
    from geometry_of_trust.corpus.pipeline import CorpusExtraction, EngineOf

Say = Callable[[str], None]
Advance = Callable[[int, int], None]


def extract_corpus(
    model: PathLike,
    corpus: PathLike | Iterable[str],
    layers: Sequence[int],
    *,
    output_activations: PathLike,
    output_unembedding: PathLike,
    columns: Columns | None = None,
    split: str | None = None,
    limit: int | None = None,
    position: str = "last",
    skip_special_tokens: bool = False,
    add_generation_prompt: bool = False,
    batch_size: int | None = None,
    resume: bool = False,
    strict: bool = False,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    quantization: Literal["int8"] | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    model_id: str | None = None,
    layout: Layout = "per-layer",
    reproducible: bool | None = None,
    low_memory: bool = False,
    say: Say | None = None,
    advance: Advance | None = None,
) -> CorpusExtraction:
    """Run a causal language model on many texts; write a row a text, or a row a token.

    Beside the activations come a row table, which says which text, group and token each row is
    of, the labels, and the extraction record. All appear together. Until then the run lies in
    a folder beside the activations (`….gotact.partial`), from which it can be resumed.

    Args:
        corpus: a `.txt`, `.jsonl`, `.csv` or `.parquet` file, a folder or a name for `datasets`;
            or texts.
        columns: names of the columns with the text, the labels and the group.
        split: of a dataset.
        limit: only the first so many texts.
        position: `all`, `last`, `first`, `mean` or a number: the tokens of each text to keep.
        skip_special_tokens: keep none of the tokenizer's special tokens.
        add_generation_prompt: end chats with what makes the assistant's turn begin.
        batch_size: texts that run together; None: chosen from memory. Without `reproducible`
            the last bits depend on it.
        resume: go on with an interrupted run, if there is one.
        strict: refuse to go on when a self-check exceeds its bound.
        engine: `local`, or `ray`: workers on several machines, to the same bytes.
        ray_address: of a running cluster; None: one of its own on this machine.
        workers: of Ray, each with the model; None: one a machine.
        say: told what is being done. advance: told rows done and rows in all.
        All others: as of `extract`.

    Raises:
        RunInProgress: an interrupted run is there, and `resume` was not asked for.
        ResumeMismatch: it was started with other options, or on other data.
        NoSpace, CheckFailed, Interrupted.
        NoCluster, WorkerDiffers, WorkerLost: with `engine` ray.
        As `read_corpus`, `make_plan` and `extract`; errors of one text name it.
    """
    request = Request.asked(
        model,
        layers,
        output_activations=output_activations,
        output_unembedding=output_unembedding,
        device=device,
        dtype=dtype,
        quantization=quantization,
        trust_remote_code=trust_remote_code,
        revision=revision,
        model_id=model_id,
        layout=layout,
        reproducible=reproducible,
        low_memory=low_memory,
    )
    where = Position(position, skip_special_tokens)
    _check_batch_size(batch_size)
    _check_engine(engine, ray_address, workers)
    columns = columns or Columns()
    entries = _entries(corpus, columns, split, limit)
    say, advance = say or (lambda text: None), advance or (lambda done, total: None)
    with running_model(), Partial(request.activations) as partial, _kept_if_begun(partial):
        from geometry_of_trust.corpus import checking, pipeline  # noqa: PLC0415 - heavy
        from geometry_of_trust.extraction import running  # noqa: PLC0415 - heavy

        if partial.started and not resume:
            raise RunInProgress(
                partial.folder,
                expected="no interrupted run",
                found="one that can go on",
                hint="Go on with --resume, or remove this folder to start anew.",
            )
        opened = running.open_model(request, say)
        say("Reading the corpus")
        run = pipeline.prepare(
            opened,
            entries,
            partial,
            position=where,
            batch_size=batch_size,
            add_generation_prompt=add_generation_prompt,
            label_columns=columns.labels,
        )
        with _engine(engine, ray_address, workers, device, say) as engine_of:
            return pipeline.execute(
                run,
                engine_of,
                lambda runner, batch: checking.check(runner, batch, strict=strict),
                say,
                advance,
            )


@contextlib.contextmanager
def _kept_if_begun(partial: Partial) -> Iterator[None]:
    """Leave nothing of a run that failed before its first rows."""
    try:
        yield
    except BaseException:
        if not partial.started:
            partial.remove()
        raise


def _check_engine(engine: str, ray_address: str | None, workers: int | None) -> None:
    if engine not in ("local", "ray"):
        raise BadOption("--engine", expected="local or ray", found=engine)
    if workers is not None and workers < 1:
        raise BadOption("--workers", expected="1 or more", found=workers)
    for name, value in (("--ray-address", ray_address), ("--workers", workers)):
        if value is not None and engine != "ray":
            raise BadOption(name, expected="--engine ray with it", found=f"--engine {engine}")


@contextlib.contextmanager
def _engine(
    engine: str, address: str | None, workers: int | None, device: str, say: Say
) -> Iterator[EngineOf]:
    """How to make the engine of a loaded model; a cluster is there until the `with` ends."""
    from geometry_of_trust.corpus import engines  # noqa: PLC0415 - heavy

    if engine == "local":
        yield lambda runner: contextlib.nullcontext(engines.LocalEngine(runner))
        return
    from geometry_of_trust.corpus import cluster  # noqa: PLC0415 - heavy

    say("Looking for the cluster" if address else "Starting Ray")
    with cluster.connected(address):
        share = cluster.shared(workers, device)
        yield lambda runner: contextlib.nullcontext(cluster.RayEngine(runner, share))


def estimate_corpus(
    model: PathLike,
    corpus: PathLike | Iterable[str],
    layers: Sequence[int],
    *,
    output_activations: PathLike,
    output_unembedding: PathLike,
    columns: Columns | None = None,
    split: str | None = None,
    limit: int | None = None,
    position: str = "last",
    skip_special_tokens: bool = False,
    add_generation_prompt: bool = False,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    quantization: Literal["int8"] | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    model_id: str | None = None,
    layout: Layout = "per-layer",
    reproducible: bool | None = None,
    low_memory: bool = False,
    once: bool = False,
    say: Say | None = None,
    **_others: object,
) -> Estimate:
    """What `extract_corpus` would take, without loading a weight: a dry run.

    The corpus is read and tokenized, into a temporary folder; nothing stays. Of a model on the
    hub, its configuration and its tokenizer are enough.

    Args:
        once: it is one text for `extract`, which makes no self-checks and no row table.
        All others: as of `extract_corpus`. Those not named here change nothing of what it takes.

    Raises:
        As `extract_corpus`, except what only loading and running a model raise.
    """
    begun = time.perf_counter()
    request = Request.asked(
        model,
        layers,
        output_activations=output_activations,
        output_unembedding=output_unembedding,
        device=device,
        dtype=dtype,
        quantization=quantization,
        trust_remote_code=trust_remote_code,
        revision=revision,
        model_id=model_id,
        layout=layout,
        reproducible=reproducible,
        low_memory=low_memory,
    )
    where = Position(position, skip_special_tokens)
    _check_batch_size(batch_size)
    columns = columns or Columns()
    entries = _entries(corpus, columns, split, limit)
    say = say or (lambda text: None)
    with (
        running_model(),
        tempfile.TemporaryDirectory(prefix="got-") as folder,
        Partial(Path(folder, "dry")) as partial,
    ):
        from geometry_of_trust.corpus import estimating, pipeline  # noqa: PLC0415 - heavy
        from geometry_of_trust.extraction import running  # noqa: PLC0415 - heavy

        opened = running.open_model(request, say)
        say("Reading the corpus")
        run = pipeline.prepare(
            opened,
            entries,
            partial,
            position=where,
            batch_size=batch_size,
            add_generation_prompt=add_generation_prompt,
            label_columns=columns.labels,
        )
        say("Estimating")
        return estimating.estimate(run, time.perf_counter() - begun, once=once)


def _check_batch_size(batch_size: int | None) -> None:
    if batch_size is not None and batch_size < 1:
        raise BadOption("--batch-size", expected="auto, or 1 or more", found=batch_size)


def _entries(
    corpus: PathLike | Iterable[str], columns: Columns, split: str | None, limit: int | None
) -> Iterator[Entry]:
    if isinstance(corpus, str | os.PathLike):
        return read_corpus(corpus, columns=columns, split=split, limit=limit)
    if columns != Columns() or split is not None:
        raise BadOption("--input", expected="no columns and no split", found="one")
    if limit is not None and limit < 1:
        raise BadOption("--limit", expected="1 or more", found=limit)
    texts = itertools.islice(corpus, limit)
    return (_entry(text, f"text {n + 1}") for n, text in enumerate(texts))


def _entry(text: str, where: str) -> Entry:
    utf8(text, where)
    if not text:
        raise EmptyText(where, expected="at least one character", found="none")
    return Entry(text, None, {}, None, where)


@contextlib.contextmanager
def running_model() -> Iterator[None]:
    """Whatever runs a model: quiet, and with a clear refusal where its libraries are missing.

    Raises:
        MissingExtra.
    """
    with calm():
        with optional():
            from geometry_of_trust.extraction import loading  # noqa: PLC0415 - heavy
        with loading.silence():
            yield
