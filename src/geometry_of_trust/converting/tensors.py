"""Activations and unembeddings in safetensors: one tensor a layer, or one for the matrix."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.converting.exchange import (
    Convertible,
    Names,
    as_float32,
    check_version,
    float32_pieces,
    metadata_of,
    names_said,
    spooled,
)
from geometry_of_trust.converting.tensorfile import TensorFile, write_header
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import FLOAT32, Activations, Unembedding, check_counts
from geometry_of_trust.outputs.staged_files import StagedFiles

_LAYER = re.compile(r"layer\.(0|[1-9][0-9]{0,9})")
_MATRIX = "unembedding"
_FLOATS = ("F32", "F16", "BF16")


def read(file: TensorFile, given: Names, near: PathLike) -> Convertible:
    """What a safetensors file of ours holds; float32 is mapped, narrower types are spooled.

    Raises:
        BadTensors: other tensors than `layer.{index}` of one shape, or `unembedding`.
        NotNamed: it has no metadata, and the options do not say what that would.
    """
    if set(file.tensors) == {_MATRIX}:
        check_version(file.where, file.metadata)
        check_tensor(file, _MATRIX, 2)
        return Unembedding(as_float32(near, file.view(_MATRIX)), file.where)
    matches = [_LAYER.fullmatch(name) for name in file.tensors]
    if not matches or None in matches:
        raise BadTensors(
            file.where,
            expected="tensors named layer.{index}, or unembedding, or hidden_states and token_ids",
            found=", ".join(list(file.tensors)[:20]) or "no tensor",
        )
    layers = sorted(int(match[1]) for match in matches if match)
    return names_said(file.where, file.metadata, given).activations(
        file.where, _stacked(file, [f"layer.{layer}" for layer in layers], near), tuple(layers)
    )


def _stacked(file: TensorFile, layers: list[str], near: PathLike) -> NDArray[np.float32]:
    """The tensors as one array: a view if they are float32 and lie in order, else spooled."""
    first = file.tensors[layers[0]]
    check_tensor(file, layers[0], 2)
    for name in layers:
        tensor = file.tensors[name]
        if (tensor.dtype, tensor.shape) != (first.dtype, first.shape):
            raise BadTensors(
                f"{file.where}, {name}",
                expected=f"{first.dtype} of shape {first.shape}, as {layers[0]}",
                found=f"{tensor.dtype} of shape {tensor.shape}",
            )
    starts = [file.tensors[name].start for name in layers]
    size = first.stop - first.start
    shape = (len(layers), *first.shape)
    if first.dtype == "F32" and starts == [starts[0] + k * size for k in range(len(layers))]:
        data = file.data[starts[0] : starts[0] + math.prod(shape) * 4]
        return data.view(FLOAT32).reshape(shape)
    return spooled(
        near, shape, (part for name in layers for part in float32_pieces(file.view(name)))
    )


def check_tensor(file: TensorFile, name: str, dimensions: int) -> None:
    """BadTensors unless a tensor is of a floating-point type read here and of so many dimensions.

    BadHeader if it is empty.
    """
    tensor = file.tensors[name]
    if tensor.dtype not in _FLOATS or len(tensor.shape) != dimensions:
        raise BadTensors(
            f"{file.where}, {name}",
            expected=f"{', '.join(_FLOATS)} of {dimensions} dimensions",
            found=f"{tensor.dtype} of shape {tensor.shape}",
        )
    check_counts(f"{file.where}, {name}", **{f"size {k}": n for k, n in enumerate(tensor.shape)})


def stage(staged: StagedFiles, path: PathLike, content: Convertible) -> None:
    """Write a safetensors file that appears together with the others of `staged`."""
    handle = staged.open(path)
    if isinstance(content, Activations):
        shapes = {f"layer.{layer}": content.values.shape[1:] for layer in content.layers}
        matrices = list(content.values)
    else:
        shapes = {_MATRIX: content.values.shape}
        matrices = [content.values]
    write_header(handle, metadata_of(content), shapes)
    for matrix in matrices:
        for part in float32_pieces(matrix):
            handle.write(part.data)
