"""Which model to run, how, and where to: checked as far as it can be without a model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from geometry_of_trust.documents.names_beside import labels_path, record_path
from geometry_of_trust.errors import BadOption, BadText, RepeatedLayers
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import MAX_MODEL_ID_BYTES, Layout

PRECISION_OF = {"float32": "Fp32", "float16": "Fp16", "bfloat16": "Bfloat16"}
"""Names of the types that a model runs in, with their precision tags."""

QUANTIZATIONS = ("int8",)


@dataclass(frozen=True)
class Request:
    """What to extract, and where to; as the arguments of `extract`. The texts come apart from it.

    `layers` ascend.

    Raises:
        BadText: characters that UTF-8 does not have.
        RepeatedLayers: a layer twice.
        BadOption: no layers, an unknown dtype, layout or quantization, a model id that does not
            fit its field, outputs that are the same file, or quantization with what it excludes.
    """

    model: str
    model_id: str
    layers: tuple[int, ...]
    activations: Path
    unembedding: Path
    device: str
    dtype: str
    trust_remote_code: bool
    revision: str | None
    layout: Layout
    reproducible: bool
    low_memory: bool
    quantization: str | None = None

    @classmethod
    def asked(
        cls,
        model: PathLike,
        layers: Sequence[int],
        *,
        output_activations: PathLike,
        output_unembedding: PathLike,
        model_id: str | None,
        dtype: str,
        quantization: str | None,
        reproducible: bool | None,
        **others: Any,
    ) -> Request:
        """The request of a caller, with what was left to be decided; arguments as of `extract`."""
        exact = dtype == "float32" and quantization is None
        return cls(
            model=os.fspath(model),
            model_id=os.fspath(model) if model_id is None else model_id,
            layers=tuple(sorted(layers)),
            activations=Path(output_activations),
            unembedding=Path(output_unembedding),
            dtype=dtype,
            quantization=quantization,
            reproducible=exact if reproducible is None else reproducible,
            **others,
        )

    @property
    def precision(self) -> str:
        """The precision tag of the activations."""
        return "Int8" if self.quantization == "int8" else PRECISION_OF[self.dtype]

    def __post_init__(self) -> None:
        utf8(self.model, "model")
        size = len(utf8(self.model_id, "model id"))
        if size > MAX_MODEL_ID_BYTES:
            limit = f"at most {MAX_MODEL_ID_BYTES} bytes"
            raise BadOption("model id", expected=limit, found=f"{size} bytes")
        if not self.layers:
            raise BadOption("layers", expected="at least one layer", found="none")
        for layer, following in itertools.pairwise(self.layers):
            if layer == following:
                raise RepeatedLayers("layers", expected="each layer once", found=f"{layer} again")
        for name, value, known in (
            ("dtype", self.dtype, tuple(PRECISION_OF)),
            ("layout", self.layout, get_args(Layout)),
        ):
            if value not in known:
                raise BadOption(name, expected=" or ".join(known), found=value)
        self._check_quantization()
        names = {os.path.realpath(path) for path in self.outputs}
        if len(names) < len(self.outputs):
            found = ", ".join(str(path) for path in self.outputs)
            raise BadOption("outputs", expected="four different files", found=found)

    def _check_quantization(self) -> None:
        if self.quantization is None:
            return
        if self.quantization not in QUANTIZATIONS:
            known = " or ".join(QUANTIZATIONS)
            raise BadOption("quantization", expected=known, found=self.quantization)
        if self.low_memory:
            raise BadOption(
                "quantization",
                expected="none with low memory, which leaves weights as they are in their files",
                found=self.quantization,
                hint="Choose one of the two.",
            )
        if self.reproducible and self.dtype != "float32":
            raise BadOption(
                "quantization",
                expected="dtype float32 for a reproducible run of quantised weights",
                found=self.dtype,
            )

    @property
    def outputs(self) -> tuple[Path, Path, Path, Path]:
        """Where activations, unembedding, labels and record go."""
        return (
            self.activations,
            self.unembedding,
            labels_path(self.activations),
            record_path(self.activations),
        )


def utf8(text: str, where: str) -> bytes:
    """The text's bytes; BadText for characters that UTF-8 does not have."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadText(where, expected="UTF-8", found="other bytes") from None
