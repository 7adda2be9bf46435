"""The command that runs a model: extract, on one text or on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Many,
    Switch,
    app,
    bar_on,
    of_one_text,
    progress_on,
    talk,
)
from geometry_of_trust.errors import BadOption


@app.command(group=STEPS, sort_key=1)
def extract(
    *,
    model: str,
    input: str | None = None,  # noqa: A002 - the reference's name of the option
    input_file: str | None = None,
    layers: Annotated[list[int], Many],
    output_activations: Path = Path("activations.gotact"),
    output_unembedding: Path = Path("unembedding.gotue"),
    device: str = "auto",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    quantization: Literal["int8"] | None = None,
    trust_remote_code: Annotated[bool, Switch] = False,
    revision: str | None = None,
    model_id: str | None = None,
    gotact_layout: Literal["per-layer", "per-position"] = "per-layer",
    reproducible: Annotated[bool, Switch] = False,
    fast: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Switch] = False,
    position: str | None = None,
    skip_special_tokens: Annotated[bool, Switch] = False,
    text_column: str = "text",
    label_column: Annotated[list[str] | None, Many] = None,
    group_column: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    add_generation_prompt: Annotated[bool, Switch] = False,
    batch_size: Literal["auto"] | int = "auto",
    dry_run: Annotated[bool, Switch] = False,
    resume: Annotated[bool, Switch] = False,
    strict: Annotated[bool, Switch] = False,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    workers: int | None = None,
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
        The texts: .txt (one a line), .jsonl, .csv, .parquet, or a folder or name for datasets.
    layers
        Blocks to read, 0-based: the residual stream after each of them.
    output_activations
        Where the activations go.
    output_unembedding
        Where the unembedding matrix goes.
    device
        auto, cpu, cuda, cuda:0 ...
    dtype
        What the model runs in; the file holds float32 always.
    quantization
        int8: the blocks' weights rounded to 8 bits.
    trust_remote_code
        Run code that comes with the model. Only for models that you trust.
    revision
        Branch, tag or commit on the hub.
    model_id
        Name written into the file [default: what --model says].
    gotact_layout
        Where the layer index stands; see docs/formats.md.
    reproducible
        Compute in 64 bits and round once: the same bytes on every machine. The default for
        float32.
    fast
        Compute in --dtype itself. The last bits then depend on the machine.
    low_memory
        Read each block from disk when it is needed, for a model that memory does not hold.
    position
        Tokens of each text that give rows: all, last, first, mean (of all, one row) or a number
        [default: all for --input, last for --input-file].
    skip_special_tokens
        Special tokens give no rows, and count neither for a position nor in a mean.
    text_column
        Column of the texts, or of chats (lists of role and content).
    label_column
        Columns of 0 and 1.
    group_column
        Column that says what belongs together; no split of training will part it.
    split
        Of a dataset [default: train].
    limit
        Only the first so many texts.
    add_generation_prompt
        End a chat with what makes the assistant's turn begin.
    batch_size
        Texts that run together [default: chosen from memory].
    dry_run
        Load no weights; print rows, bytes, memory and time that the run would take.
    resume
        Go on where an interrupted run ended.
    strict
        Refuse to go on when a self-check exceeds its bound.
    engine
        local, or ray: workers on several machines.
    ray_address
        A running Ray cluster [default: one of its own on this machine].
    workers
        How many workers of Ray hold the model [default: one a machine].
    """
    if reproducible and fast:
        raise BadOption("--fast", expected="it or --reproducible", found="both")
    if (input is None) == (input_file is None):
        found = "neither" if input is None else "both"
        raise BadOption("--input", expected="--input or --input-file", found=found)
    if trust_remote_code:
        talk("warning: --trust-remote-code runs code that comes with the model")
    if engine == "ray" and not reproducible and (fast or dtype != "float32" or quantization):
        talk(
            "warning: the last bits depend on the machine, and Ray may use several; --reproducible"
        )
    options: dict[str, Any] = {
        "output_activations": output_activations,
        "output_unembedding": output_unembedding,
        "device": device,
        "dtype": dtype,
        "quantization": quantization,
        "trust_remote_code": trust_remote_code,
        "revision": revision,
        "model_id": model_id,
        "layout": gotact_layout,
        "reproducible": True if reproducible else False if fast else None,
        "low_memory": low_memory,
    }
    if input is not None:
        position = of_one_text(
            position, skip_special_tokens, text_column != "text", label_column, group_column,
            split, limit, add_generation_prompt, resume, strict, batch_size != "auto",
            engine != "local", ray_address, workers,
        )  # fmt: skip
        if position is None and not dry_run:
            return _one_text(model, input, layers, options)
    many: dict[str, Any] = {
        "corpus": [input] if input is not None else input_file,
        "columns": (text_column, tuple(label_column or ()), group_column),
        "split": split,
        "limit": limit,
        "position": position or ("last" if input is None else "all"),
        "skip_special_tokens": skip_special_tokens,
        "add_generation_prompt": add_generation_prompt,
        "batch_size": None if batch_size == "auto" else batch_size,
        "resume": resume,
        "strict": strict,
        "engine": engine,
        "ray_address": ray_address,
        "workers": workers,
    }
    if dry_run:
        many["once"] = input is not None and position is None
        return _dry(model, layers, options, many)
    return _corpus(model, layers, options, many)


def _one_text(model: str, text: str, layers: list[int], options: dict[str, Any]) -> int:
    from geometry_of_trust.extraction.pipeline import extract as run

    with progress_on("Loading") as progress:
        result = run(model, text, layers, **options, progress=progress)
    from geometry_of_trust.showing import extractions  # only now: the run needs the memory

    print(extractions.extraction(result))
    return OK


def _columns(many: dict[str, Any]) -> None:
    from geometry_of_trust.corpus.entries import Columns

    many["columns"] = Columns(*many["columns"])


def _corpus(model: str, layers: list[int], options: dict[str, Any], many: dict[str, Any]) -> int:
    from geometry_of_trust.corpus.extracting import extract_corpus

    _columns(many)
    with bar_on("Loading") as bar:
        result = extract_corpus(
            model, many.pop("corpus"), layers, **options, **many, say=bar.say, advance=bar.advance
        )
    from geometry_of_trust.showing import extractions  # only now: the run needs the memory

    print(extractions.corpus_extraction(result))
    return OK


def _dry(model: str, layers: list[int], options: dict[str, Any], many: dict[str, Any]) -> int:
    from geometry_of_trust.corpus.extracting import estimate_corpus
    from geometry_of_trust.showing import extractions

    _columns(many)
    with progress_on("Reading the corpus") as progress:
        result = estimate_corpus(model, many.pop("corpus"), layers, **options, **many, say=progress)
    print(extractions.estimate(result))
    return OK
