"""What vLLM's hidden-state export writes, one safetensors file a request.

Method `extract_hidden_states`, connector `ExampleHiddenStatesConnector`, seen in vLLM 0.18 to 0.22:
`hidden_states` of shape (tokens, layers, d) in the model's type, layers in the order in which the
model runs them, and `token_ids` of shape (tokens,). No metadata: neither the model nor the layers
are named. How its layer numbers relate to ours: docs/bridges.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.converting.exchange import Names, as_float32
from geometry_of_trust.converting.tensorfile import TensorFile
from geometry_of_trust.converting.tensors import check_tensor
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.outputs.staged_files import StagedFiles

_STATES, _TOKENS = "hidden_states", "token_ids"
_PRECISIONS = {"F32": "Fp32", "F16": "Fp16", "BF16": "Bfloat16"}


def recognised(file: TensorFile) -> bool:
    """Whether this is such a file."""
    return {_STATES, _TOKENS} <= set(file.tensors)


def read(file: TensorFile, given: Names, near: PathLike) -> Activations:
    """Its states under our names; the precision is the tensor's type unless an option gives one.

    Raises:
        BadTensors: `hidden_states` is not of the shape and types above.
        NotNamed, BadOption: the options do not name the model, or not as many layers.
    """
    check_tensor(file, _STATES, 3)
    tensor, states = file.tensors[_STATES], file.view(_STATES).transpose(1, 0, 2)
    layers = given.layers_for(file.where, len(states))
    chosen = replace(given, precision=given.precision or _PRECISIONS[tensor.dtype])
    return chosen.activations(file.where, as_float32(near, states), layers)


def token_ids(file: TensorFile) -> NDArray[np.int64]:
    """The id of each token, shape (P,), int64.

    Raises:
        BadTensors: not one integer from 0 to 2³¹ − 1 for each token of `hidden_states`.
    """
    tensor, count = file.tensors[_TOKENS], file.tensors[_STATES].shape[0]
    if tensor.dtype not in ("I64", "I32") or tensor.shape != (count,):
        raise BadTensors(
            f"{file.where}, {_TOKENS}",
            expected=f"I64 of shape ({count},)",
            found=f"{tensor.dtype} of shape {tensor.shape}",
        )
    numbers = settled(file.view(_TOKENS)).astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= 2**31:
        raise BadTensors(
            f"{file.where}, {_TOKENS}",
            expected="ids from 0 to 2^31 - 1",
            found=f"{numbers.min()} to {numbers.max()}",
        )
    return numbers


def stage_rows(staged: StagedFiles, path: PathLike, numbers: NDArray[np.int64]) -> None:
    """Write the row table beside the activations at `path`: one text, its token ids, no spans.

    Args:
        numbers: ids of the tokens, shape (P,).
    """
    count = len(numbers)
    with RowWriter(staged.open(rows_path(path))) as writer:
        writer.add(
            TextRows(
                text=0,
                group=None,
                token_index=range(count),
                token_id=numbers.tolist(),
                token=[None] * count,
                span=[None] * count,
                special=[False] * count,
            )
        )
