"""The command train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from geometry_of_trust.cli.common import OK, STEPS, Flat, Many, Switch, app, progress_on, talk
from geometry_of_trust.cli.layer_spelling import layers_of
from geometry_of_trust.cli.places import inputs_of
from geometry_of_trust.errors import BadOption
from geometry_of_trust.extraction.options import LoadingOptions
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from geometry_of_trust.corpus.shifting import Shifter


@app.command(group=STEPS, sort_key=4)
def train(
    *,
    activations: Path,
    unembedding: Path,
    output: Path,
    labels: Path | None = None,
    label_column: Annotated[list[str] | None, Many] = None,
    layer: int | None = None,
    layers: Annotated[list[str] | None, Many] = None,
    ood: Annotated[list[Path] | None, Many] = None,
    benign: Path | None = None,
    shifts: Annotated[bool, Switch] = False,
    model: str | None = None,
    input_file: str | None = None,
    text_column: str | None = None,
    loading: Annotated[LoadingOptions, Flat] = LoadingOptions(),
    options: Annotated[TrainingOptions, Flat] = TrainingOptions(),
    plot: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """4. Train linear probes on labelled activations, and print how far to trust them.

    Rows of one group, by the row table beside the activations, stay on one side of every split.

    Parameters
    ----------
    activations
        The .gotact file.
    unembedding
        The .gotue file, for the inner product.
    output
        Where the probe set (JSON) goes; with several layers p.json becomes p.layer8.json ...
    labels
        One 0 or 1 a position; or a .csv, .tsv or .parquet with such a column for each dimension.
    label_column
        Columns of --labels that count [default: all], or without it of the row table; a probe each.
    layer
        Which of the layers in the file.
    layers
        Several of them, spelled as for extract, a probe set each; -1 is the last in the file.
    ood
        Other activations of the same model, labelled as these: how the probe does there.
    benign
        Such without the property: the threshold for 1 % false positives is set on these.
    shifts
        Run the texts in other styles, too (upper case, quoted, as a chat turn ...), as they were
        extracted: how far does the held-out AUROC fall? Needs --model and --input-file.
    model
        With --shifts: hub name, local directory, or .gguf file of the activations.
    input_file
        With --shifts: the corpus of the activations.
    text_column
        With --shifts: its column of texts [default: text].
    plot
        A picture of reliability, scores, AUROC by layer and the spectrum, .png or .svg.
    json
        Print the result as JSON.
    """
    if (layer is None) == (not layers):
        raise BadOption("--layer", expected="either it or --layers",
                        found="none" if layer is None else "both")  # fmt: skip
    chosen = layers_of(layers) if layer is None else [layer]
    from geometry_of_trust.plotting.image_files import check_picture
    from geometry_of_trust.plotting.pictures import training_picture
    from geometry_of_trust.probing.probe_set_files import write_probe_sets
    from geometry_of_trust.probing.training_files import train_layers
    from geometry_of_trust.showing import probes
    from geometry_of_trust.showing.cards import warnings
    from geometry_of_trust.showing.text import as_json

    if plot is not None:
        check_picture(plot)
    shifter = _shifter(
        activations, model, input_file, text_column=text_column, loading=loading, shifts=shifts
    )
    with progress_on("Training") as progress:
        results = train_layers(
            activations=activations,
            unembedding=unembedding,
            layers=chosen,
            labels=labels,
            label_columns=label_column or (),
            ood=ood or (),
            benign=benign,
            shifting=shifter,
            options=options,
            progress=progress,
        )
        picture = {} if plot is None else {plot: training_picture(results, plot)}
        read = inputs_of(
            {"activations": activations, "unembedding": unembedding, "labels": labels,
             "ood": ood, "benign": benign}
        )  # fmt: skip
        written = write_probe_sets(
            results, output, by_layer=layer is None, beside=picture, inputs=read
        )
    shown = list(zip(results, written, strict=True))
    if json:
        trees = [probes.training_tree(result, place) for result, place in shown]
        print(as_json(trees[0] if layer is not None else trees))
    else:
        print("\n\n".join(probes.training(result, place) for result, place in shown))
    for result in results:
        for card in result.training.cards:
            for line in warnings(card):
                talk(f"warning: {line}")
    if any(result.unread for result in results):
        talk(
            "warning: the unembedding does not read these states, says their extraction record: "
            "the causal inner product has no meaning for them; --inner-product euclidean"
        )
    if plot is not None:
        talk(f"wrote {escaped(plot)}")
    return OK


def _shifter(
    activations: Path,
    model: str | None,
    corpus: str | None,
    *,
    text_column: str | None,
    loading: LoadingOptions,
    shifts: bool,
) -> Shifter | None:
    """What runs the texts in other styles, if that was asked for.

    Raises:
        BadOption: options that do not go together, or activations that are not of a corpus.
        Unreadable: there is no extraction record beside the activations.
    """
    given = (model, corpus, text_column, None if loading == LoadingOptions() else loading)
    if not shifts:
        if any(value is not None for value in given):
            raise BadOption("--shifts", expected="it, for options of a model and its texts",
                            found="them without it")  # fmt: skip
        return None
    if model is None or corpus is None:
        raise BadOption("--shifts", expected="--model and --input-file with it",
                        found="not both of them")  # fmt: skip
    from geometry_of_trust.corpus.shifting import Shifter
    from geometry_of_trust.documents.extraction_record_reading import read_record
    from geometry_of_trust.documents.names_beside import record_path

    shifter = Shifter.as_recorded(
        model, corpus, read_record(record_path(activations)), text_column=text_column or "text",
        loading=loading,
    )  # fmt: skip
    shifter.check()
    return shifter
