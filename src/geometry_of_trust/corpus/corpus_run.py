"""One corpus run: prepared without loading a weight, then executed, to its five files."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.corpus.choosing import Batching
from geometry_of_trust.corpus.engines import Engine, Job
from geometry_of_trust.corpus.entries import Entry
from geometry_of_trust.corpus.memory import automatic_batching, widen
from geometry_of_trust.corpus.options import CorpusOptions, Listener, RowOptions
from geometry_of_trust.corpus.partial import Journal, Partial, check_space
from geometry_of_trust.corpus.planning import Plan, Tokens, make_plan
from geometry_of_trust.corpus.settings import settings_of, template_digest
from geometry_of_trust.documents.extraction_record import Check, Corpus, Record
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import Interrupted, Unwritable
from geometry_of_trust.extraction import first_text, running
from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.first_text import Findings
from geometry_of_trust.extraction.identifying import Identifying
from geometry_of_trust.extraction.recording import is_edited, make_record, stage_arrays
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Opened, Runner
from geometry_of_trust.files import reason, sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import ActivationsSink, read_activations
from geometry_of_trust.identity.model_identity import ModelIdentity
from geometry_of_trust.outputs.staged_files import StagedFiles

MOST_TOKENS = 2**31
"""No limit: a batch of so many texts as was asked for."""

EngineOf = Callable[[Runner], contextlib.AbstractContextManager[Engine]]


@dataclass(frozen=True, eq=False)
class CorpusExtraction:
    """What a corpus run gives.

    Attributes:
        activations: the rows, mapped from their file.
        activations_path, unembedding_path, labels_path, rows_path, record_path: the files.
        record: what stands in the extraction record.
        labels_kept: an edited labels file was there, and was left as it was.
        unembedding_shape: (V, d) of the unembedding written.
        label_columns: columns that the labels came from; the file has those of the first.
        resumed_rows: rows that an interrupted run had already done.
        begun_twice: how many texts begin with the same special token twice.
        dated: in how many chats the template wrote today's date.
    """

    activations: Activations
    activations_path: Path
    unembedding_path: Path
    labels_path: Path
    rows_path: Path
    record_path: Path
    record: Record
    labels_kept: bool
    unembedding_shape: tuple[int, int]
    label_columns: tuple[str, ...]
    resumed_rows: int
    begun_twice: int
    dated: int


@dataclass(frozen=True)
class CorpusRun:
    """A run that is prepared: the model looked at, the corpus read, no weight loaded.

    Attributes:
        plan: what is to be run. partial: the folder in which it is made.
        rows: which rows the corpus gives. batching: which texts run together.
    """

    opened: Opened
    plan: Plan
    partial: Partial
    rows: RowOptions
    batching: Batching

    @property
    def request(self) -> Request:
        """Where things go."""
        return self.opened.request

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and d of the activations."""
        return self.plan.total_rows, self.opened.anatomy.hidden_dim

    def sink(self, handle: BinaryIO) -> ActivationsSink:
        """What writes the activations to a file."""
        request = self.request
        return ActivationsSink(
            handle,
            model_id=request.model_id,
            precision=self.opened.precision,
            layers=self.opened.layers,
            shape=self.shape,
            layout=request.options.layout,
        )

    def jobs(self, tokens: Tokens) -> Iterator[Job]:
        """All batches."""
        for number, unit in enumerate(self.batching.units(self.plan.lengths)):
            texts, kept = zip(*(tokens.text(n) for n in unit), strict=True)
            names = [f"text {n + 1}" for n in unit]
            yield Job(number, unit, Batch(texts, kept, self.rows.place.mean, names))


def execute(
    run: CorpusRun,
    identifying: Identifying,
    engine_of: EngineOf,
    checks: Callable[[Runner, Batch], tuple[Check, ...]],
    listener: Listener,
) -> CorpusExtraction:
    """Load the model, run what is not done yet, and let the files appear together.

    Args:
        identifying: of the model. engine_of: makes the engine of a loaded model.
        checks: the self-checks, on the first batch.
        listener: told how it goes on.

    Raises:
        Interrupted, Unwritable: what was done is kept, and can be resumed.
        ExtractionRefused, NonFinite, ZeroState, ConstantState: as `extract`.
    """
    if run.partial.started:
        run.partial.check(_settings(run))
    with _resumable(run.partial):
        tokens = run.plan.tokens()
        run.partial.file("values").touch()
        with run.partial.file("values").open("r+b") as values:
            sink = run.sink(values)
            _allocate(run, sink)
            counts = run.plan.rows
            starts = [0, *itertools.accumulate(counts)]
            journal = Journal(run.partial, values, sink, starts, counts)
            done = journal.done(run.batching.units(run.plan.lengths))
            todo = (job for job in run.jobs(tokens) if job.number not in done)
            first = next(todo, None) or next(run.jobs(tokens))
            runner, states = running.start(run.opened, first.batch, listener.say, once=False)
            widen(runner)
            listener.say("Checking")
            findings = first_text.look(runner, tokens.text(0)[0])
            checked = checks(runner, first.batch)
            identity = identifying.of(run.opened.source)
            # Which weights it began with is seen only now; files of one size and time may differ.
            weights = {"weights": str(identity.weights)}
            if run.partial.started:
                run.partial.check(weights)
            else:  # not before there is something to go on with
                run.partial.begin(_settings(run) | weights)
            with engine_of(runner) as engine:
                results = itertools.chain([(first, states)], engine.run(todo))
                _write_rows(
                    journal, results, run.plan.total_rows, sum(done.values()), listener.advance
                )
        listener.say("Writing")
        return replace(
            _finish(run, runner, findings, checked, identity), resumed_rows=sum(done.values())
        )


@contextlib.contextmanager
def _resumable(partial: Partial) -> Iterator[None]:
    """An interrupt of a run that has begun says that it can go on."""
    try:
        yield
    except KeyboardInterrupt:
        if not partial.started:
            raise
        raise Interrupted(
            "extract", expected="a whole run", found="an interrupt", hint="Go on with --resume."
        ) from None


def _settings(run: CorpusRun) -> dict[str, object]:
    return settings_of(run.opened, run.plan, run.rows, run.batching, running.libraries())


def _allocate(run: CorpusRun, sink: ActivationsSink) -> None:
    """Reserve the space of the activations, once there is enough for all outputs.

    Of a resumed run too, which changes no row and asks for no more.

    Raises:
        NoSpace, Unwritable.
    """
    anatomy = run.opened.anatomy
    there = run.partial.file("values").stat().st_size
    check_space(run.partial.folder, sink.size - there + 4 * anatomy.vocab_size * anatomy.hidden_dim)
    try:
        sink.allocate()
    except OSError as error:
        raise Unwritable(
            run.partial.folder, expected=f"room for {sink.size} bytes", found=reason(error)
        ) from None


def _write_rows(
    journal: Journal,
    results: Iterator[tuple[Job, NDArray[np.float32]]],
    total: int,
    done: int,
    advance: Callable[[int, int], None],
) -> None:
    """Write rows as they come; whatever stops it, what was written is vouched for first."""
    advance(done, total)
    try:
        for job, states in results:
            journal.write(job.number, job.unit, states)
            done = min(total, done + states.shape[1])
            advance(done, total)
    except OSError as error:
        with contextlib.suppress(OSError):  # a few bytes: they may fit where the rows did not
            journal.commit()
        raise Unwritable(
            journal.where,
            expected="a writable place",
            found=reason(error),
            hint="Rows that were written are kept: make room and go on with --resume.",
        ) from None
    except BaseException:
        with contextlib.suppress(OSError):
            journal.commit()
        raise
    journal.commit()


def _finish(
    run: CorpusRun,
    runner: Runner,
    findings: Findings,
    checks: tuple[Check, ...],
    identity: ModelIdentity,
) -> CorpusExtraction:
    """Let the five files appear; the folder of the run goes last."""
    partial, request = run.partial, run.request
    to_activations, to_unembedding, to_labels, to_record = request.outputs
    to_rows = rows_path(to_activations)
    vocab_size, hidden_dim = runner.weight.shape
    edited = is_edited(to_labels)
    labels_kept = edited and not _same(to_labels, partial.file("labels"))
    with StagedFiles() as staged:
        staged.link(partial.file("values"), to_activations)
        staged.link(partial.file("rows"), to_rows)
        if not edited:
            staged.link(partial.file("labels"), to_labels)
        written, recorded = stage_arrays(
            staged, runner, identity, activations=to_activations, unembedding=to_unembedding
        )
        record = replace(
            make_record(runner, findings, run.plan.corpus_sha256, (), written),
            corpus=_corpus(run),
            checks=checks,
            identity=recorded,
        )
        staged.write(to_record, record.to_json())
    partial.remove()
    return CorpusExtraction(
        activations=read_activations(to_activations),
        activations_path=to_activations,
        unembedding_path=to_unembedding,
        labels_path=to_labels,
        rows_path=to_rows,
        record_path=to_record,
        record=record,
        labels_kept=labels_kept,
        unembedding_shape=(vocab_size, hidden_dim),
        label_columns=run.rows.label_columns,
        resumed_rows=0,
        begun_twice=run.plan.begun_twice,
        dated=0 if run.rows.date is not None else run.plan.dated,
    )


def _same(path: Path, other: Path) -> bool:
    return path.is_file() and sha256_file(path) == sha256_file(other)


def _corpus(run: CorpusRun) -> Corpus:
    plan = run.plan
    return Corpus(
        texts=len(plan.lengths),
        rows=plan.total_rows,
        position=run.rows.place.name,
        skip_special_tokens=run.rows.skip_special_tokens,
        add_generation_prompt=run.rows.add_generation_prompt,
        chat_template_sha256=template_digest(run.opened.tokenizer) if plan.chats else None,
        rows_sha256=plan.rows_sha256,
        tokens=run.rows.tokens,
        date=run.rows.date,
    )


def prepare(
    opened: Opened, entries: Iterable[Entry], partial: Partial, options: CorpusOptions
) -> CorpusRun:
    """Read and tokenize a corpus into the folder of its run.

    If that holds an interrupted run, its batches are taken, unless others are asked for. Reading
    again writes what is there, unless the corpus changed; then `execute` refuses.

    Raises:
        As `make_plan`.
    """
    earlier = partial.settings()["batches"] if partial.started else None
    if earlier is None:
        partial.discard()
    partial.detach()
    with partial.file("rows").open("wb") as rows, partial.file("labels").open("wb") as labels:
        plan = make_plan(
            entries,
            opened,
            options,
            tokens_path=partial.file("tokens"),
            rows_file=rows,
            labels_file=labels,
        )
    if options.batch_size != "auto":
        padded = not opened.request.reproducible
        batching = Batching(options.batch_size, MOST_TOKENS, padded=padded)
    elif earlier is not None:
        batching = Batching(**earlier)
    else:
        batching = automatic_batching(opened, max(plan.lengths))
    return CorpusRun(opened, plan, partial, options, batching)
