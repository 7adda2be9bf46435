"""The command that compares layers: sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from geometry_of_trust.cli.common import (
    MORE,
    OK,
    Dropped,
    Flat,
    Many,
    Switch,
    app,
    arithmetic,
    bar_on,
    progress_on,
    talk,
    warn,
    warn_of_low_memory,
    warn_of_rows,
)
from geometry_of_trust.cli.layer_spelling import as_typed, layers_of
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.errors import BadOption
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.outputs.temporary_files import scratch_folder
from geometry_of_trust.probing.options import FittingOptions
from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from geometry_of_trust.corpus.shifting import Shifter


@app.command(group=MORE)
def sweep(
    *,
    activations: Path | None = None,
    unembedding: Path | None = None,
    model: str | None = None,
    input_file: str | None = None,
    layers: Annotated[list[str] | None, Many] = None,
    labels: Path | None = None,
    fitting: Annotated[FittingOptions, Flat] = FittingOptions(),
    output_activations: Path | None = None,
    output_unembedding: Path | None = None,
    options: Annotated[ExtractionOptions, Flat] = ExtractionOptions(),
    fast: Annotated[bool, Switch] = False,
    corpus_options: Annotated[CorpusOptions, Flat] = CorpusOptions(),
    shifts: Annotated[bool, Switch] = False,
    plot: Path | None = None,
    json: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Dropped] = False,
) -> int:
    """Find the layer at which labels can be read best, and test it on groups held out before.

    Of activations that were extracted already, or of a model and a corpus, which then runs once,
    for all layers together; the options of extract are for that. Prints a table of the layers, the
    recommended one, and its figures on a test fold that played no part in the choice.

    Parameters
    ----------
    activations
        A .gotact file with the layers.
    unembedding
        The .gotue file, for the inner product.
    model
        Instead: hub name, local directory, or .gguf file, to run on --input-file.
    input_file
        The corpus: .txt, .jsonl, .csv, .parquet, or a folder or name for datasets.
    layers
        Which layers, spelled as for extract [default: all].
    labels
        As for train. Without it, --label-column is of the row table, or of the corpus.
    output_activations
        Keep the activations of the run here; with --output-unembedding.
    output_unembedding
        Keep the unembedding here.
    fast
        As for extract.
    shifts
        Also run the texts of the test fold in other styles (upper case, quoted, as a chat turn ...)
        and print how far the AUROC falls; with --model.
    plot
        A picture of AUROC against depth, .png or .svg.
    json
        Print the result as JSON.
    low_memory
        Does nothing any more.
    """
    warn_of_low_memory(low_memory)
    options, chosen = arithmetic(options, fast=fast), layers_of(layers)
    label_columns = corpus_options.label_columns
    if labels is not None:  # then the columns are of that table, not of the corpus
        corpus_options = replace(corpus_options, label_columns=())
    run = _Run(model, input_file, chosen, options, corpus_options)
    _check(run, activations, unembedding, output_activations, output_unembedding)
    if shifts and model is None:
        raise BadOption("--shifts", expected="--model and --input-file with it", found="neither")
    from geometry_of_trust.plotting.image_files import check_picture
    from geometry_of_trust.plotting.pictures import sweep_picture
    from geometry_of_trust.probing.layer_sweep import sweep_files
    from geometry_of_trust.showing import sweeps

    if plot is not None:
        check_picture(plot)
    with contextlib.ExitStack() as stack:
        shifting = run.shifting() if shifts else None
        if model is not None:
            warn(options, corpus_options)
            activations, unembedding = stack.enter_context(
                _outputs(output_activations, output_unembedding)
            )
            with as_typed(layers):
                run.into(activations, unembedding)
        with progress_on("Comparing layers") as progress:
            result = sweep_files(
                activations=activations or "",
                unembedding=unembedding or "",
                layers=chosen,
                labels=labels,
                label_columns=label_columns,
                options=fitting,
                shifting=shifting,
                progress=progress,
            )
    if plot is not None:
        write_file(plot, sweep_picture(result, plot))
    print(sweeps.sweep_json(result) if json else sweeps.sweep(result))
    if plot is not None:
        talk(f"wrote {escaped(plot)}")
    return OK


@dataclass(frozen=True)
class _Run:
    """What is run before, if there is a model."""

    model: str | None
    corpus: str | None
    layers: list[int] | None
    options: ExtractionOptions
    corpus_options: CorpusOptions

    @property
    def asked_for(self) -> str | None:
        """An option that only a run has, if one was given other than it is by itself."""
        if self.corpus is not None:
            return "--input-file"
        columns = CorpusOptions(label_columns=self.corpus_options.label_columns)
        for given, plain in ((self.options, ExtractionOptions()), (self.corpus_options, columns)):
            for field in fields(given):
                value = getattr(given, field.name)
                if value != getattr(plain, field.name):
                    return f"--{field.name.replace('_', '-')} {value}"
        return None

    def shifting(self) -> Shifter:
        """What runs it on texts in other styles."""
        from geometry_of_trust.corpus.shifting import Shifter

        shifter = Shifter(
            model=self.model or "", corpus=self.corpus or "", options=self.options,
            corpus_options=self.corpus_options,
        )  # fmt: skip
        shifter.check()
        return shifter

    def into(self, activations: Path, unembedding: Path) -> None:
        """Run the model on the corpus."""
        from geometry_of_trust.corpus.extracting import extract_corpus

        with bar_on("Loading") as listener:
            many = extract_corpus(
                self.model or "", self.corpus or "", self.layers, output_activations=activations,
                output_unembedding=unembedding, options=self.options,
                corpus_options=self.corpus_options, listener=listener,
            )  # fmt: skip
        texts = 1 if many.record.corpus is None else many.record.corpus.texts
        warn_of_rows(many.begun_twice, texts, many.dated)


def _check(run: _Run, *files: Path | None) -> None:
    """Either files or a model, with all that it takes.

    Args:
        files: activations and unembedding to read, and those to write.

    Raises:
        BadOption.
    """
    read, written = files[:2], files[2:]
    if run.model is None:
        if None in read:
            raise BadOption("--activations", expected="it and --unembedding, or --model",
                            found="neither" if read == (None, None) else "only one")  # fmt: skip
        asked = run.asked_for if written == (None, None) else "an output"
        if asked is not None:
            raise BadOption("--model", expected="one, for options of extract",
                            found=f"{asked} without it")  # fmt: skip
        return
    if read != (None, None):
        raise BadOption("--activations", expected="neither it nor --unembedding with --model",
                        found="files and a model")  # fmt: skip
    if run.corpus is None:
        raise BadOption("--input-file", expected="a corpus for --model", found="none")
    if written.count(None) == 1:
        raise BadOption("--output-activations", expected="it and --output-unembedding, or neither",
                        found="one of them")  # fmt: skip


@contextlib.contextmanager
def _outputs(activations: Path | None, unembedding: Path | None) -> Iterator[tuple[Path, Path]]:
    """Where the run writes: where it is kept, or a folder that goes away."""
    if activations is not None and unembedding is not None:
        yield activations, unembedding
        return
    with scratch_folder() as folder:
        yield Path(folder, "a.gotact"), Path(folder, "u.gotue")
