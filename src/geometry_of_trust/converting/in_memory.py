"""Activations and unembeddings for numpy, torch and pandas, without a copy where that is possible.

What they give is not checked for NaN and infinities; `Activations.layer` and `Unembedding.blocks`
do that, and copy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadOption, BadRowTable
from geometry_of_trust.extras import optional
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.row_writer import LABEL_PREFIX

if TYPE_CHECKING:
    import pandas as pd
    import torch


def to_numpy(content: Activations | Unembedding, layer: int | None = None) -> NDArray[np.float32]:
    """The values as a read-only view: never a copy.

    Of a file it is a view of the memory map, strided and perhaps unaligned, which numpy takes;
    `np.ascontiguousarray` copies it.

    Args:
        content: what to look at.
        layer: one layer of activations, of shape (P, d); all of them (layers, P, d) if None.

    Returns:
        float32; of an unembedding (V, d).

    Raises:
        LayerMissing: the activations do not hold this layer.
        BadOption: a layer of an unembedding.
    """
    if layer is None:
        return content.values
    if isinstance(content, Unembedding):
        raise BadOption("layer", expected="none for an unembedding", found=layer)
    return content.states(layer)


def to_torch(content: Activations | Unembedding, layer: int | None = None) -> torch.Tensor:
    """The values as a float32 tensor on the CPU; shapes and errors as `to_numpy`.

    It shares the memory of the values where they are aligned to four bytes, and is a copy where
    they are not, as torch needs aligned numbers. A `.gotact` file is aligned if its model id has
    4k + 1 bytes, a `.gotue` never; what was built in memory is. Torch has no read-only tensors:
    writing to a tensor that shares memory is undefined, and of a file it kills the process.

    Raises:
        MissingExtra: torch is not installed.
    """
    values = to_numpy(content, layer)
    with optional():
        import torch  # noqa: PLC0415 - most users of this room do not need it
    if not values.flags.aligned or min(values.strides) < 0:
        return torch.from_numpy(np.array(values, order="C"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        return torch.from_numpy(values)


def to_pandas(
    content: Activations | Unembedding, layer: int | None = None, *, rows: RowTable | None = None
) -> pd.DataFrame:
    """One layer of activations, or an unembedding, as a DataFrame of d float32 columns 0 … d − 1.

    The index is `position`, or `token` of an unembedding. With a row table it is a MultiIndex of
    `position`, then text, group, token_index, token_id, token, start, end, special, of chosen
    tokens turn and role, and the labels, so that `frame.groupby(level="text")` works and
    `frame.to_numpy()` is the states alone. Missing numbers are −1, missing strings NaN, as pandas
    has them. The values are not copied where they are aligned, as for `to_torch`.

    Args:
        content: what to look at.
        layer: which layer of activations.
        rows: the row table that belongs to the activations, from `read_rows`.

    Raises:
        LayerMissing, BadOption: as `to_numpy`; also activations without a layer.
        BadRowTable: `rows` has not one row a position.
        MissingExtra: pandas is not installed.
    """
    with optional():
        import pandas as pd  # noqa: PLC0415 - most users of this room do not need it
    if isinstance(content, Activations) and layer is None:
        raise BadOption("layer", expected=f"one of {content.layers}", found="none")
    values = to_numpy(content, layer)
    index = pd.RangeIndex(len(values), name="position" if layer is not None else "token")
    if rows is not None:
        if isinstance(content, Unembedding) or len(rows) != len(values):
            raise BadRowTable("rows", expected=f"{len(values)} positions", found=len(rows))
        index = pd.MultiIndex.from_arrays([index, *_columns(rows).values()],
                                          names=["position", *_columns(rows)])  # fmt: skip
    if not values.flags.aligned:
        values = np.array(values, order="C")
    return pd.DataFrame(values, index=index, copy=False)


def _columns(rows: RowTable) -> dict[str, Sequence[str | None] | NDArray[np.generic]]:
    return {
        "text": rows.text,
        "group": list(rows.group),
        "token_index": rows.token_index,
        "token_id": rows.token_id,
        "token": list(rows.token),
        "start": rows.start,
        "end": rows.end,
        "special": rows.special,
        **({} if rows.turn is None else {"turn": rows.turn}),
        **({} if rows.role is None else {"role": list(rows.role)}),
        **{LABEL_PREFIX + name: labels for name, labels in rows.labels.items()},
    }
