"""How a model is run, as a user says it: values that are checked where they are made.

No library but the standard one is needed to make them. The options of the command line are these
fields, with what is said of them here as its help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from geometry_of_trust.documents.codes import Layout
from geometry_of_trust.errors import BadOption, BadText
from geometry_of_trust.option_types import check_choice, check_types

Dtype = Literal["float32", "float16", "bfloat16"]
Quantization = Literal["int8"]
PRECISION_OF: Mapping[Dtype, str] = {"float32": "Fp32", "float16": "Fp16", "bfloat16": "Bfloat16"}
"""The tag of states that a model of plain weights computes in a type."""
DTYPE_OF: Mapping[str, Dtype] = {tag: dtype for dtype, tag in PRECISION_OF.items()} | {
    "Int8": "float32"
}
"""The type in which states of a tag were computed."""
MEAN = "mean"
"""The name of the mean of all residual streams."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """Where a model comes from, and where it runs: what a reproducible run's bytes do not show.

    Attributes:
        device: auto, cpu, cuda, cuda:0 ...
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model. Only for models that you trust.
        adapter: Folder of an adapter of peft, such as a LoRA, to put into the model.

    Raises:
        BadOption: a value of another type. BadText: characters that UTF-8 does not have.
    """

    device: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    adapter: str | None = None

    def __post_init__(self) -> None:
        check_types(self)
        utf8(self.device, "device")
        utf8(self.revision or "", "revision")
        utf8(self.adapter or "", "adapter")


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions(LoadingOptions):
    """How a model is run on texts, and how its activations are written.

    Attributes:
        dtype: What the model runs in; the file holds float32 always.
        quantization: int8: the blocks' weights rounded to 8 bits.
        stream: Of a model with several residual streams: the number of one, or mean (of all).
        model_id: Name written into the file [default: that of the hub, or of the folder or file].
        layout: Where the layer index stands; see docs/formats.md.
        reproducible: Compute in a fixed order: the same bytes on every machine [default: for
            float32].
        allow_bidirectional: Run a model whose states depend on later tokens too; the record and
            attestations say so.
        rehash: Digest the model's files anew: trust no digest computed earlier, and no name in
            the hub's cache.

    Raises:
        BadOption: an unknown dtype, layout, stream or quantization; or quantization with what it
            excludes.
        BadText: as `LoadingOptions`.
    """

    dtype: Dtype = "float32"
    quantization: Quantization | None = None
    stream: str | None = None
    model_id: str | None = None
    layout: Layout = "per-layer"
    reproducible: bool | None = None
    allow_bidirectional: bool = False
    rehash: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("dtype", self.dtype, get_args(Dtype))
        check_choice("layout", self.layout, get_args(Layout))
        if self.stream is not None and not is_stream(self.stream):
            raise BadOption("stream", expected=f"a number or {MEAN}", found=repr(self.stream))
        if self.quantization is not None:
            self._check_quantization()

    def _check_quantization(self) -> None:
        check_choice("quantization", self.quantization, get_args(Quantization))
        if self.reproducible and self.dtype != "float32":
            raise BadOption(
                "quantization",
                expected="dtype float32 for a reproducible run of quantised weights",
                found=self.dtype,
            )

    @property
    def computes_exactly(self) -> bool:
        """Whether a run is reproducible, asked for or not: if the weights are plain float32."""
        if self.reproducible is not None:
            return self.reproducible
        return self.dtype == "float32" and self.quantization is None


def is_stream(name: str) -> bool:
    """Whether some model may have a residual stream of that name."""
    return name == MEAN or _NUMBER.fullmatch(name) is not None


def utf8(text: str, where: str) -> bytes:
    """The text's bytes; BadText for characters that UTF-8 does not have."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadText(where, expected="UTF-8", found="other bytes") from None
