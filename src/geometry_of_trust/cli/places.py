"""What a command reads and where it writes, by the names of its options: never the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from geometry_of_trust.cli.layer_spelling import layers_of
from geometry_of_trust.documents.names_beside import (
    labels_path,
    readings_path,
    record_path,
    rows_path,
)
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.outputs.places import check_outputs

_WRITTEN = frozenset(
    {
        *("output", "output_activations", "output_unembedding", "plot", "html", "destination"),
        *("dsse", "bundle", "svr"),
    }
)
_NAMED_IN_TEXT = frozenset(("model", "input_file", "intervention_input_file"))
"""Inputs that may be files or folders, or names of something else."""


def check_places(arguments: Mapping[str, object]) -> None:
    """No option says to write where another one says to read, or another one to write.

    Nor where something lies beside an input that is read with it, or what must be kept.

    Args:
        arguments: of one command, by the names of its parameters.

    Raises:
        BadOption, OutputIsInput, OutputExists, NotAFile, UnsafeFolder, Unwritable: as
            `check_outputs`.
    """
    outputs = [
        path
        for name in sorted(_WRITTEN & arguments.keys())
        for path in _written(name, arguments)
    ]  # fmt: skip
    if outputs:
        check_outputs(outputs, inputs_of(arguments))


def inputs_of(arguments: Mapping[str, object]) -> list[Path]:
    """What a command reads, by the names of its parameters; what lies beside it, too."""
    return [
        path
        for name, value in arguments.items()
        if name not in _WRITTEN
        for path in _read(name, value)
    ]


def _written(name: str, arguments: Mapping[str, object]) -> Iterator[Path]:
    """The outputs that one option names; a file a layer, where there are several layers."""
    path, layers = arguments[name], arguments.get("layers")
    if not isinstance(path, Path):
        return
    if name == "output" and isinstance(layers, list):
        from geometry_of_trust.probing.probe_set_files import layer_path

        chosen = layers_of(layers) or ()  # of all, and of the last, only `train` knows which
        yield from (layer_path(path, layer) for layer in dict.fromkeys(chosen) if layer >= 0)
        return
    yield path
    if name == "output" and arguments.get("position") == EVERY:
        yield readings_path(path)
    if name == "output_activations":
        from geometry_of_trust.extraction.recording import is_edited

        yield from (record_path(path), rows_path(path))
        if not is_edited(labels_path(path)):  # else they are kept
            yield labels_path(path)


def _read(name: str, value: object) -> Iterator[Path]:
    """The inputs that one option names, and what is read beside them."""
    for path in value if isinstance(value, list) else (value,):
        if isinstance(path, str) and name in _NAMED_IN_TEXT:
            yield Path(path)
        elif isinstance(path, Path):
            yield path
            if name in ("activations", "source", "ood", "benign", "to", "unlabelled", "corpora"):
                yield from (beside(path) for beside in (record_path, rows_path, labels_path))
            if name == "attestation":
                yield readings_path(path)
            if name in ("key", "svr_key"):
                yield from (path.with_name(f"{path.name}.pub"), path.with_suffix(".pub"))
