"""The command that compares layers: sweep."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from geometry_of_trust.cli.common import (
    MORE,
    OK,
    Many,
    Switch,
    app,
    bar_on,
    progress_on,
    talk,
)
from geometry_of_trust.errors import BadOption, escaped
from geometry_of_trust.files import write_file


@app.command(group=MORE)
def sweep(
    *,
    activations: Path | None = None,
    unembedding: Path | None = None,
    model: str | None = None,
    input_file: str | None = None,
    layers: Annotated[list[int] | None, Many] = None,
    labels: Path | None = None,
    label_column: Annotated[list[str] | None, Many] = None,
    group_column: str | None = None,
    text_column: str | None = None,
    position: str | None = None,
    limit: int | None = None,
    fast: Annotated[bool, Switch] = False,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    device: str | None = None,
    output_activations: Path | None = None,
    output_unembedding: Path | None = None,
    dimension: str | None = None,
    epsilon: float = 1e-6,
    l2: float | None = None,
    inner_product: Literal["causal", "euclidean"] = "causal",
    plot: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Find the layer at which labels can be read best, and test it on groups held out before.

    Of activations that were extracted already, or of a model and a corpus, which then runs once,
    for all layers together. Prints a table of the layers, the recommended one, and its figures on
    a test fold that played no part in the choice.

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
        Which layers [default: all].
    labels
        As for train.
    label_column
        As for train; with --model and without --labels, columns of the corpus.
    group_column
        Column of the corpus that says what belongs together.
    text_column
        Column of the texts [default: text].
    position
        Token of each text to read: last, first, mean, all or a number [default: last].
    limit
        Only the first so many texts.
    fast
        As for extract.
    dtype
        As for extract.
    device
        As for extract.
    output_activations
        Keep the activations of the run here; with --output-unembedding.
    output_unembedding
        Keep the unembedding here.
    dimension
        As for train.
    epsilon
        As for train.
    l2
        As for train.
    inner_product
        As for train.
    plot
        A picture of AUROC against depth, .png or .svg.
    json
        Print the result as JSON.
    """
    ran: dict[str, object] = {
        "--input-file": input_file, "--group-column": group_column, "--text-column": text_column,
        "--position": position, "--limit": limit, "--fast": fast or None, "--dtype": dtype,
        "--device": device,
        "--output-activations": output_activations, "--output-unembedding": output_unembedding,
    }  # fmt: skip
    _check(model, activations, unembedding, ran)
    from geometry_of_trust.plotting.image_files import check_picture
    from geometry_of_trust.plotting.pictures import sweep_picture
    from geometry_of_trust.probing.layer_sweep import sweep_files
    from geometry_of_trust.showing import sweeps

    if plot is not None:
        check_picture(plot)
    with contextlib.ExitStack() as stack:
        if model is not None:
            activations, unembedding = stack.enter_context(
                _outputs(output_activations, output_unembedding)
            )
            options = {
                "output_activations": activations, "output_unembedding": unembedding,
                "position": position or "last", "limit": limit, "dtype": dtype or "float32",
                "device": device or "auto",
                "reproducible": False if fast else None,
            }  # fmt: skip
            of_corpus = () if labels is not None else tuple(label_column or ())
            columns = (text_column or "text", of_corpus, group_column)
            _run(model, input_file or "", layers, columns, options)
        with progress_on("Comparing layers") as progress:
            result = sweep_files(
                activations=activations or "",
                unembedding=unembedding or "",
                layers=layers,
                labels=labels,
                label_columns=label_column or (),
                dimension=dimension,
                epsilon=epsilon,
                l2=l2,
                inner_product=inner_product,
                progress=progress,
            )
    if plot is not None:
        write_file(plot, sweep_picture(result, plot))
    print(sweeps.sweep_json(result) if json else sweeps.sweep(result))
    if plot is not None:
        talk(f"wrote {escaped(plot)}")
    return OK


def _check(
    model: str | None,
    activations: Path | None,
    unembedding: Path | None,
    ran: dict[str, object],
) -> None:
    """Either files or a model, with all that it takes.

    Raises:
        BadOption.
    """
    files = {"--activations": activations, "--unembedding": unembedding}
    needed = files if model is None else {"--input-file": ran["--input-file"]}
    useless = ran if model is None else files
    for name, value in useless.items():
        if value is not None:
            other = "with --model only" if model is None else "none with --model"
            raise BadOption(name, expected=other, found=value)
    for name, value in needed.items():
        if value is None:
            other = "a file, as there is no --model" if model is None else "a corpus for --model"
            raise BadOption(name, expected=other, found="none")
    kept = [ran["--output-activations"], ran["--output-unembedding"]]
    if kept.count(None) == 1:
        raise BadOption("--output-activations", expected="it and --output-unembedding, or neither",
                        found="one of them")  # fmt: skip


@contextlib.contextmanager
def _outputs(activations: Path | None, unembedding: Path | None) -> Iterator[tuple[Path, Path]]:
    """Where the run writes: where it is kept, or a folder that goes away."""
    if activations is not None and unembedding is not None:
        yield activations, unembedding
        return
    with tempfile.TemporaryDirectory(prefix="got-sweep-") as folder:
        yield Path(folder, "a.gotact"), Path(folder, "u.gotue")


def _run(
    model: str,
    corpus: str,
    layers: Sequence[int] | None,
    columns: tuple[str, tuple[str, ...], str | None],
    options: dict[str, Any],
) -> None:
    from geometry_of_trust.corpus.entries import Columns
    from geometry_of_trust.corpus.extracting import extract_corpus, running_model

    with bar_on("Loading") as bar:
        if layers is None:
            with running_model():
                from geometry_of_trust.extraction.running import layer_count

                layers = range(layer_count(model))
        extract_corpus(
            model, corpus, layers, columns=Columns(*columns), **options,
            say=bar.say, advance=bar.advance,
        )  # fmt: skip
