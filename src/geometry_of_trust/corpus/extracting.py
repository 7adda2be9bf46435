"""`extract_corpus` and its dry run: the arguments of a user, and what stands behind them."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.corpus.entries import Columns, Entry, read_corpus
from geometry_of_trust.corpus.options import CorpusOptions, Listener, RowOptions
from geometry_of_trust.corpus.partial import Partial, partial_path
from geometry_of_trust.documents.names_beside import labels_path, rows_path
from geometry_of_trust.errors import BadOption, EmptyText, RunInProgress
from geometry_of_trust.extraction.identifying import Identifying
from geometry_of_trust.extraction.options import ExtractionOptions, utf8
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.files import PathLike
from geometry_of_trust.outputs.folder_locks import only_run_into
from geometry_of_trust.outputs.places import check_outputs
from geometry_of_trust.outputs.temporary_files import scratch_folder

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction, EngineOf
    from geometry_of_trust.corpus.estimating import Estimate


def extract_corpus(
    model: PathLike,
    corpus: PathLike | Iterable[str],
    layers: Sequence[int] | None,
    *,
    output_activations: PathLike = "activations.gotact",
    output_unembedding: PathLike = "unembedding.gotue",
    options: ExtractionOptions = ExtractionOptions(),
    corpus_options: CorpusOptions = CorpusOptions(),
    listener: Listener = Listener(),
) -> CorpusExtraction:
    """Run a causal language model on many texts; write a row a text, or a row a token.

    Beside the activations come a row table, which says which text, group and token each row is
    of, the labels, and the extraction record. All appear together. Until then the run lies in
    a folder beside the activations (`….gotact.partial`), from which it can be resumed.

    Args:
        model: name on the hub, folder, or `.gguf` file.
        corpus: a `.txt`, `.jsonl`, `.csv` or `.parquet` file, a folder or a name for `datasets`;
            or texts.
        layers: block indices, in any order, -1 for the last; None: all blocks.
        output_activations, output_unembedding: the files to write (`.gotact`, `.gotue`).
        options: how the model is run. corpus_options: how the corpus is read and run.
        listener: told how the run goes on.

    Returns:
        The activations, float32, shape (layers, rows, d), mapped from their file, and where the
        files are.

    Raises:
        RunInProgress: an interrupted run is there, and `resume` was not asked for.
        ResumeMismatch: it was started with other options, or on other data.
        NoSpace, CheckFailed, Interrupted, Unwritable.
        NoCluster, WorkerDiffers, WorkerLost: with `engine` ray.
        BadOption: columns or a split of texts that are no table.
        As `read_corpus`, `make_plan` and `extract`; errors of one text name it.
    """
    request = Request.of(model, layers, output_activations, output_unembedding, options)
    outputs = (*request.outputs, rows_path(request.activations))
    inputs = [corpus] if isinstance(corpus, str | os.PathLike) else []
    check_outputs(outputs, inputs, kept=[labels_path(request.activations)])
    _check_outside(outputs, partial_path(request.activations))
    entries = entries_of(corpus, corpus_options)
    with (
        only_run_into(*request.outputs),
        running_model(),
        Identifying(request) as identifying,
        Partial(request.activations) as partial,
        _kept_if_begun(partial),
    ):
        from geometry_of_trust.corpus import checking, corpus_run  # noqa: PLC0415 - heavy
        from geometry_of_trust.extraction import running  # noqa: PLC0415 - heavy

        if partial.started and not corpus_options.resume:
            raise RunInProgress(
                partial.folder,
                expected="no interrupted run",
                found="one that can go on",
                hint="Go on with --resume, or remove this folder to start anew.",
            )
        opened = running.open_model(request, listener.say)
        listener.say("Reading the corpus")
        run = corpus_run.prepare(opened, entries, partial, corpus_options)
        with _engine(corpus_options, options.device, listener.say) as engine_of:
            return corpus_run.execute(
                run,
                identifying,
                engine_of,
                lambda runner, batch: checking.check(runner, batch, strict=corpus_options.strict),
                listener,
            )


def _check_outside(outputs: Iterable[Path], folder: Path) -> None:
    """No output lies where the run is made, or it would go with that in the end.

    Raises:
        BadOption: one does.
    """
    for path in outputs:
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise BadOption(path, expected="a place outside the folder of the run",
                            found=os.fspath(folder))  # fmt: skip


@contextlib.contextmanager
def _kept_if_begun(partial: Partial) -> Iterator[None]:
    """Leave nothing of a run that failed before its first rows."""
    try:
        yield
    except BaseException:
        if not partial.started:
            partial.remove()
        raise


@contextlib.contextmanager
def _engine(options: CorpusOptions, device: str, say: Callable[[str], None]) -> Iterator[EngineOf]:
    """How to make the engine of a loaded model; a cluster is there until the `with` ends."""
    from geometry_of_trust.corpus import engines  # noqa: PLC0415 - heavy

    if options.engine == "local":
        yield lambda runner: contextlib.nullcontext(engines.LocalEngine(runner))
        return
    from geometry_of_trust.corpus import cluster  # noqa: PLC0415 - heavy

    say("Looking for the cluster" if options.ray_address else "Starting Ray")
    with cluster.connected(options.ray_address):
        share = cluster.shared(options.workers, device)
        yield lambda runner: contextlib.nullcontext(cluster.RayEngine(runner, share))


def estimate_corpus(
    model: PathLike,
    corpus: PathLike | Iterable[str],
    layers: Sequence[int] | None,
    *,
    output_activations: PathLike = "activations.gotact",
    output_unembedding: PathLike = "unembedding.gotue",
    options: ExtractionOptions = ExtractionOptions(),
    corpus_options: CorpusOptions = CorpusOptions(),
    once: bool = False,
    say: Callable[[str], None] | None = None,
) -> Estimate:
    """What `extract_corpus` would take, without loading a weight: a dry run.

    The corpus is read and tokenized, into a temporary folder; nothing stays. Of a model on the
    hub, its configuration and its tokenizer are enough.

    Args:
        once: it is one text for `extract`, which makes no self-checks and no row table.
        say: told what is being done.
        All others: as of `extract_corpus`.

    Raises:
        As `extract_corpus`, except what only loading and running a model raise.
    """
    begun = time.perf_counter()
    request = Request.of(model, layers, output_activations, output_unembedding, options)
    entries = entries_of(corpus, corpus_options)
    say = say or Listener().say
    with (
        running_model(),
        scratch_folder() as folder,
        Partial(Path(folder, "dry")) as partial,
    ):
        from geometry_of_trust.corpus import corpus_run, estimating  # noqa: PLC0415 - heavy
        from geometry_of_trust.extraction import running  # noqa: PLC0415 - heavy

        opened = running.open_model(request, say)
        before = estimating.resident() if once else None  # `extract` loads no tables' library
        say("Reading the corpus")
        run = corpus_run.prepare(opened, entries, partial, corpus_options)
        say("Estimating")
        elapsed = time.perf_counter() - begun
        return estimating.estimate(run, elapsed, once=once, before=before)


def entries_of(corpus: PathLike | Iterable[str], options: RowOptions) -> Iterator[Entry]:
    """The entries of a file, folder or name, or of texts.

    Raises:
        BadOption: columns or a split of texts; and as `read_corpus`, at the first entry.
    """
    if isinstance(corpus, str | os.PathLike):
        return read_corpus(
            corpus, columns=options.columns, split=options.split, limit=options.limit
        )
    if options.columns != Columns() or options.split is not None:
        raise BadOption("--input", expected="no columns and no split", found="one")
    texts = itertools.islice(corpus, options.limit)
    return (_entry(text, f"text {n + 1}") for n, text in enumerate(texts))


def _entry(text: str, where: str) -> Entry:
    utf8(text, where)
    if not text:
        raise EmptyText(where, expected="at least one character", found="none")
    return Entry(text, None, {}, None, where)
