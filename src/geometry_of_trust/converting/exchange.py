"""What every conversion passes through: the values of a file, and the names beside them.

Each reader gives activations or an unembedding whose values are a view of a file, each writer
takes them a few MB at a time. So memory does not grow with the file, and n kinds of file need n
readers and n writers, not n² conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadHeader,
    BadOption,
    NotNamed,
    UnknownPrecision,
    UnsupportedVersion,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import (
    CHUNK_BYTES,
    FLOAT32,
    PRECISIONS,
    Activations,
    Layout,
    Unembedding,
)
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.outputs.temporary_files import scratch

Convertible = Activations | Unembedding
"""What a conversion takes from one kind of file into another."""

ACTIVATIONS = "geometry-of-trust activations"
UNEMBEDDING = "geometry-of-trust unembedding"
VERSION = "1"


@dataclass(frozen=True)
class Names:
    """What goes with values: from the file itself, or from the options; None where unsaid."""

    model_id: str | None = None
    precision: str | None = None
    layers: tuple[int, ...] | None = None
    layout: Layout = "per-layer"

    def activations(
        self, where: str, values: NDArray[np.float32], layers: tuple[int, ...]
    ) -> Activations:
        """Activations of these values, shape (layers, P, d), and names.

        Raises:
            NotNamed: no model id or no precision.
            UnknownPrecision, BadHeader, LayerOrder: as `Activations`.
        """
        return Activations(
            model_id=required(where, "--model-id", self.model_id),
            precision=required(where, "--precision", self.precision),
            layers=layers,
            positions=range(values.shape[1]),
            values=values,
            layout=self.layout,
            source=where,
        )

    def layers_for(self, where: str, count: int) -> tuple[int, ...]:
        """The layers that the options name, for a file that holds `count` and no indices.

        Raises:
            NotNamed: the options name none.
            BadOption: another number of them, or not ascending.
        """
        layers = required(where, "--layers", self.layers)
        if len(layers) != count:
            raise BadOption(
                "--layers", expected=f"{count} layers, as {where} holds", found=len(layers)
            )
        if list(layers) != sorted(set(layers)):
            raise BadOption(
                "--layers",
                expected="ascending layers, each once",
                found=" ".join(map(str, layers)),
                hint="The values are not sorted: name the layers in the order of the file.",
            )
        return layers


T = TypeVar("T")


def required(where: str, option: str, value: T | None) -> T:
    """`value`, unless there is none.

    Raises:
        NotNamed: neither the file nor the option gave one.
    """
    if value is None:
        raise NotNamed(
            where, expected=option, found="no such thing in the file", hint=f"Give {option}."
        )
    return value


def metadata_of(content: Convertible) -> dict[str, str]:
    """What is written beside the values, so that they can be converted back to the same bytes."""
    if isinstance(content, Unembedding):
        return {"format": UNEMBEDDING, "version": VERSION}
    return {
        "format": ACTIVATIONS,
        "version": VERSION,
        "model_id": content.model_id,
        "precision": content.precision,
        "layout": content.layout,
    }


def check_version(where: str, found: Mapping[str, str]) -> None:
    """Metadata that are ours are of version 1.

    Raises:
        UnsupportedVersion: they are not.
    """
    if found.get("format") in (ACTIVATIONS, UNEMBEDDING) and found.get("version") != VERSION:
        raise UnsupportedVersion(where, expected=VERSION, found=found.get("version"))


def names_said(where: str, found: Mapping[str, str], given: Names) -> Names:
    """What the metadata of a file says; where it says nothing, what the options say.

    Raises:
        UnsupportedVersion: our metadata, of another version than 1.
        UnknownPrecision, BadHeader: a precision or layout that does not exist.
    """
    check_version(where, found)
    if found.get("format") != ACTIVATIONS:
        return given
    precision, layout = found.get("precision"), found.get("layout", "per-layer")
    if precision is not None and precision not in PRECISIONS:
        raise UnknownPrecision(where, expected=", ".join(PRECISIONS), found=precision)
    if layout not in get_args(Layout):
        raise BadHeader(where, expected=" or ".join(get_args(Layout)), found=layout)
    return Names(
        found.get("model_id", given.model_id),
        given.precision if precision is None else precision,
        given.layers,
        cast(Layout, layout),
    )


def rows_at_once(d: int) -> int:
    """How many rows of d float32 make about `CHUNK_BYTES`, at least one."""
    return max(1, CHUNK_BYTES // (4 * d))


def copied(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A contiguous copy, in the same shape; bit by bit, so that a NaN keeps its payload."""
    return np.array(settled(values).view(np.uint32), order="C").view(FLOAT32)


def float32_pieces(values: NDArray[np.generic]) -> Iterator[NDArray[np.float32]]:
    """The rows of an array of shape (n, d), a few MB at a time, as contiguous float32.

    float32 keeps its bits, the payload of a NaN included; float16 is widened, which is exact;
    uint16 is taken as the bits of a bfloat16, which is widened exactly, too.
    """
    rows = rows_at_once(values.shape[1])
    for start in range(0, len(values), rows):
        part = settled(values[start : start + rows])
        if part.dtype == FLOAT32:
            yield copied(part.view(FLOAT32))
        elif part.dtype == np.uint16:
            yield np.array(part, "<u4", order="C").__lshift__(16).view(FLOAT32)
        else:
            yield part.astype(FLOAT32, order="C")


def as_float32(near: PathLike, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Values of shape (n, d) or (layers, n, d) as float32: themselves if they are that, or spooled.

    Raises:
        Unwritable: there is no room for what is spooled beside `near`.
    """
    if values.dtype == FLOAT32:
        return values.view(FLOAT32)
    matrices = values if values.ndim == 3 else values[np.newaxis]
    return spooled(
        near, values.shape, (part for matrix in matrices for part in float32_pieces(matrix))
    )


def spooled(
    near: PathLike, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The rows of `blocks`, one after another, as an array of `shape` that lies on the disk.

    The file has no name, stands in the folder of `near`, and goes with the array.

    Raises:
        Unwritable: the disk is full.
    """
    with scratch(near) as handle:
        for block in blocks:
            handle.write(block.data)
        handle.flush()
        return np.asarray(np.memmap(handle, FLOAT32, "r", shape=shape))
