"""What to extract, and where to: checked as far as it can be without a model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.documents.model_names import model_name
from geometry_of_trust.documents.names_beside import labels_path, record_path
from geometry_of_trust.errors import BadOption, RepeatedLayers
from geometry_of_trust.extraction.options import ExtractionOptions, utf8
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import MAX_MODEL_ID_BYTES
from geometry_of_trust.outputs.places import check_outputs


def check_each_once(layers: Sequence[int]) -> None:
    """RepeatedLayers if one stands twice in `layers`, which ascend."""
    for layer, following in itertools.pairwise(layers):
        if layer == following:
            raise RepeatedLayers("layers", expected="each layer once", found=f"{layer} again")


@dataclass(frozen=True)
class Request:
    """A model, its layers, the files to write, and how to run it. The texts come apart from it.

    Attributes:
        model: a hub name, a folder or a `.gguf` file.
        layers: ascending; below 0: counted from the last; None: all that the model has.
        activations, unembedding: the files.

    Raises:
        BadText: characters that UTF-8 does not have.
        RepeatedLayers: a layer twice.
        BadOption: no layers, a model id that does not fit its field.
        BadOption, OutputIsInput, OutputExists, NotAFile, UnsafeFolder, Unwritable: of the outputs,
            as `check_outputs`.
    """

    model: str
    layers: tuple[int, ...] | None
    activations: Path
    unembedding: Path
    options: ExtractionOptions

    @classmethod
    def of(
        cls,
        model: PathLike,
        layers: Sequence[int] | None,
        activations: PathLike,
        unembedding: PathLike,
        options: ExtractionOptions,
    ) -> Request:
        """The request of a caller, whose layers may stand in any order; raises as the class."""
        ascending = None if layers is None else tuple(sorted(layers))
        return cls(os.fspath(model), ascending, Path(activations), Path(unembedding), options)

    def __post_init__(self) -> None:
        utf8(self.model, "model")
        size = len(utf8(self.model_id, "model id"))
        if size > MAX_MODEL_ID_BYTES:
            limit = f"at most {MAX_MODEL_ID_BYTES} bytes"
            raise BadOption("model id", expected=limit, found=f"{size} bytes")
        if self.layers == ():
            raise BadOption("layers", expected="at least one layer", found="none")
        check_each_once(self.layers or ())
        for path in (self.activations, self.unembedding):
            utf8(path.name, "output")  # the record says what it is called
        check_outputs(self.outputs, [self.model], kept=[labels_path(self.activations)])

    @property
    def model_id(self) -> str:
        """What the activations call the model."""
        given = self.options.model_id
        return model_name(self.model) if given is None else given

    @property
    def reproducible(self) -> bool:
        """Whether the run is to give the same bytes on every machine."""
        return self.options.computes_exactly

    @property
    def outputs(self) -> tuple[Path, Path, Path, Path]:
        """Where activations, unembedding, labels and record go."""
        return (
            self.activations,
            self.unembedding,
            labels_path(self.activations),
            record_path(self.activations),
        )
