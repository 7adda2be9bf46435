"""The command transfer: probes under other weights, and on other corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import MORE, OK, Flat, Many, Switch, app, progress_on, talk
from geometry_of_trust.cli.evidence_files import check_transfer, transfer_key, write_transfer
from geometry_of_trust.cli.layer_spelling import layers_of
from geometry_of_trust.errors import BadOption
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import FittingOptions
from geometry_of_trust.terminal import escaped


@app.command(group=MORE)
def transfer(
    *,
    unembedding: Path,
    probes: Annotated[list[Path] | None, Many] = None,
    activations: Path | None = None,
    to: Path | None = None,
    unlabelled: Annotated[list[Path] | None, Many] = None,
    labels: Path | None = None,
    label_column: Annotated[list[str] | None, Many] = None,
    threshold: float | None = None,
    margin: float | None = None,
    anyway: Annotated[bool, Switch] = False,
    key: Path | None = None,
    dsse: Path | None = None,
    timestamp: int | None = None,
    passphrase_file: Path | None = None,
    check: Path | None = None,
    pubkey: Path | None = None,
    corpora: Annotated[list[Path] | None, Many] = None,
    layer: int | None = None,
    layers: Annotated[list[str] | None, Many] = None,
    options: Annotated[FittingOptions, Flat] = FittingOptions(),
    plot: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Ask whether probes survive other weights (--to), or carry to other corpora (--corpora).

    With --to: VALID, REALIGNABLE or STALE, from the same texts through both models. With --corpora:
    probes are trained on each corpus and tested on each.

    Parameters
    ----------
    unembedding
        The .gotue file, for the inner product; with --to that of the old weights.
    probes
        With --to: probe sets of the old weights.
    activations
        With --to: the .gotact file of the old weights, of texts that were not trained on.
    to
        The .gotact file of the same rows under other weights: fine-tuned, quantised, an adapter.
    unlabelled
        With --to: two .gotact files, old and new weights, of texts to fit maps to [default: the
        rows themselves, by group].
    labels
        With --to, as for train; with several probes, a column of each one's name.
    label_column
        As for train; with --corpora, columns of all their row tables.
    threshold
        With --to: the probability from which a row is called positive [default: above the
        probe's own threshold, or if it has none 0.5].
    margin
        With --to: what AUROC and balanced accuracy may lose [default: 0.05].
    anyway
        With --to: also take rows of other tokens than the probes were trained on.
    key
        With --to: the secret key that signs what was found, into --dsse.
    dsse
        Where that goes, as an in-toto statement in a DSSE envelope.
    timestamp
        Unix seconds of it [default: SOURCE_DATE_EPOCH, else now].
    passphrase_file
        First line: the passphrase of an encrypted key.
    check
        With --to and --pubkey: such an envelope, which must say what is found here.
    pubkey
        The public key that it must be signed with.
    corpora
        Two or more .gotact files of one model, each with its row table.
    layer
        With --corpora: which of the layers in the files.
    layers
        With --corpora: several of them, spelled as for extract.
    plot
        With --corpora: a picture of the matrix, .png or .svg.
    json
        Print the result as JSON.
    """
    survives = {"--probes": probes, "--activations": activations, "--to": to,
                "--unlabelled": unlabelled, "--labels": labels, "--threshold": threshold,
                "--margin": margin, "--anyway": anyway or None, "--key": key, "--dsse": dsse,
                "--timestamp": timestamp, "--passphrase-file": passphrase_file, "--check": check,
                "--pubkey": pubkey}  # fmt: skip
    carries = {"--corpora": corpora, "--layer": layer, "--layers": layers, "--plot": plot}
    if corpora:
        _only(survives, "--corpora")
        if (layer is None) == (not layers):
            raise BadOption("--layer", expected="either it or --layers",
                            found="none" if layer is None else "both")  # fmt: skip
        chosen = layers_of(layers) if layer is None else [layer]
        return _matrix(
            corpora=corpora,
            unembedding=unembedding,
            label_columns=label_column or (),
            layers=chosen,
            options=options,
            plot=plot,
            json=json,
        )
    _only(carries, "--to")
    if options != FittingOptions():
        raise BadOption("--to", expected="no options of a fit: nothing is trained", found="some")
    if not probes or activations is None or to is None:
        raise BadOption(
            "--to", expected="it with --probes and --activations, or --corpora",
            found="only some of them" if probes or activations or to else "neither",
        )  # fmt: skip
    _together({"--key": key, "--dsse": dsse})
    if dsse is None:
        _only({"--timestamp": timestamp, "--passphrase-file": passphrase_file}, "no --dsse")
    _together({"--check": check, "--pubkey": pubkey})
    secret = None
    if key is not None and dsse is not None:
        secret = transfer_key(dsse, key, passphrase_file)
    from geometry_of_trust.probing.survival import MARGIN
    from geometry_of_trust.probing.survival_files import measure_survival
    from geometry_of_trust.showing import transfers

    with progress_on("Reading the probes") as progress:
        report = measure_survival(
            activations=activations,
            to=to,
            probes=probes,
            unembedding=unembedding,
            labels=labels,
            label_columns=label_column or (),
            unlabelled=unlabelled or (),
            threshold=threshold,
            margin=MARGIN if margin is None else margin,
            anyway=anyway,
            progress=progress,
        )
    checked = ""
    if check is not None and pubkey is not None:
        checked = check_transfer(check, pubkey, report.files.new, report.signed_part())
    print(transfers.survival_json(report) if json else transfers.survival(report))
    if dsse is not None and secret is not None:
        write_transfer(dsse, secret, report.files.new, report.signed_part(), timestamp)
    if checked:
        talk(checked)
    if report.nothing_changed:
        talk("warning: both have the same weights and precision: nothing changed that could matter")
    for found in report.layers:
        if found.trained_on:
            talk(
                "warning: the probes were trained on the old states, so that their figures there "
                f"are too good: {escaped(found.path)}"
            )
    return OK


def _matrix(
    *,
    corpora: list[Path],
    unembedding: Path,
    label_columns: Sequence[str],
    layers: Sequence[int] | None,
    options: FittingOptions,
    plot: Path | None,
    json: bool,
) -> int:
    from geometry_of_trust.plotting.image_files import check_picture
    from geometry_of_trust.plotting.pictures import matrix_picture
    from geometry_of_trust.probing.transfer_matrix import transfer_matrix
    from geometry_of_trust.showing import transfers

    if plot is not None:
        check_picture(plot)
    with progress_on("Training") as progress:
        result = transfer_matrix(
            corpora=corpora,
            unembedding=unembedding,
            label_columns=label_columns,
            layers=layers,
            options=options,
            progress=progress,
        )
    if plot is not None:
        write_file(plot, matrix_picture(result, plot))
    print(transfers.matrix_json(result) if json else transfers.matrix(result))
    if plot is not None:
        talk(f"wrote {escaped(plot)}")
    return OK


def _together(options: Mapping[str, object]) -> None:
    """Two options that need each other are both given, or neither.

    Raises:
        BadOption: one is.
    """
    missing = [name for name, value in options.items() if value is None]
    if len(missing) == 1:
        raise BadOption(missing[0], expected=f"{' and '.join(options)}, or neither", found="none")


def _only(others: Mapping[str, object], mode: str) -> None:
    """No option of the other question is given.

    Raises:
        BadOption: one is.
    """
    for name, value in others.items():
        if value is not None:
            raise BadOption(name, expected=f"none with {mode}", found="one")
