"""The command that runs a model: extract, on one text or on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Dropped,
    Flat,
    Many,
    Switch,
    app,
    arithmetic,
    bar_on,
    progress_on,
    warn,
    warn_of_low_memory,
    warn_of_rows,
)
from geometry_of_trust.cli.layer_spelling import as_typed, layers_of
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.errors import BadOption
from geometry_of_trust.extraction.options import ExtractionOptions


@app.command(group=STEPS, sort_key=1)
def extract(
    *,
    model: str,
    input: str | None = None,  # noqa: A002 - the reference's name of the option
    input_file: str | None = None,
    layers: Annotated[list[str], Many],
    output_activations: Path = Path("activations.gotact"),
    output_unembedding: Path = Path("unembedding.gotue"),
    options: Annotated[ExtractionOptions, Flat] = ExtractionOptions(),
    fast: Annotated[bool, Switch] = False,
    corpus_options: Annotated[CorpusOptions, Flat] = CorpusOptions(),
    dry_run: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Dropped] = False,
) -> int:
    """1. Run a model on a text or a corpus; write residual stream and unembedding matrix.

    Of one text (--input) every token gives a row; beside the activations come a labels stub (one
    0 a token; edit it: that is step 2) and an extraction record. Of a corpus (--input-file) the
    last token of each text gives a row, or what --position says; the labels come from
    --label-column, and a row table says which text, group and token each row is of.

    Parameters
    ----------
    model
        Hub name, local directory, or .gguf file.
    input
        The text.
    input_file
        The texts: .txt (one a line), .jsonl, .csv, .parquet, an evaluation log of Inspect (.eval),
        or a folder or name for datasets.
    layers
        Blocks to read, 0-based: 8 15, 8-15, 0:3 (0, 1, 2), -1 (the last) or all. Of each, the
        residual stream after it.
    output_activations
        Where the activations go.
    output_unembedding
        Where the unembedding matrix goes.
    fast
        Compute in --dtype itself. The last bits then depend on the machine.
    dry_run
        Load no weights; print rows, bytes, memory and time that the run would take.
    low_memory
        Does nothing any more.
    """
    warn_of_low_memory(low_memory)
    options, blocks = arithmetic(options, fast=fast), layers_of(layers)
    if (input is None) == (input_file is None):
        found = "neither" if input is None else "both"
        raise BadOption("--input", expected="--input or --input-file", found=found)
    warn(options, corpus_options)
    chosen = corpus_options if input is None else corpus_options.of_one_text()
    corpus = [input] if input is not None else input_file or ""
    to = {"output_activations": output_activations, "output_unembedding": output_unembedding}
    if dry_run:
        from geometry_of_trust.corpus.extracting import estimate_corpus

        with as_typed(layers), progress_on("Reading the corpus") as progress:
            estimate = estimate_corpus(
                model, corpus, blocks, **to, options=options,
                corpus_options=chosen or CorpusOptions(position="all"), once=chosen is None,
                say=progress,
            )  # fmt: skip
        from geometry_of_trust.showing import extractions  # only now: a run needs the memory

        print(extractions.estimate(estimate))
    elif input is not None and chosen is None:
        from geometry_of_trust.extraction.one_text import extract as extract_text

        with as_typed(layers), progress_on("Loading") as progress:
            one = extract_text(model, input, blocks, **to, options=options, progress=progress)
        from geometry_of_trust.showing import extractions

        warn_of_rows(one.begun_twice, 1, 0)
        print(extractions.extraction(one))
    else:
        from geometry_of_trust.corpus.extracting import extract_corpus

        with as_typed(layers), bar_on("Loading") as listener:
            many = extract_corpus(
                model, corpus, blocks, **to, options=options,
                corpus_options=chosen or corpus_options, listener=listener,
            )  # fmt: skip
        from geometry_of_trust.showing import extractions

        texts = 1 if many.record.corpus is None else many.record.corpus.texts
        warn_of_rows(many.begun_twice, texts, many.dated)
        print(extractions.corpus_extraction(many))
    return OK
