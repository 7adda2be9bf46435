"""The values alone, as numpy's `.npy`: (layers, P, d) or, for an unembedding, (V, d)."""

from __future__ import annotations

import os

import numpy as np

from geometry_of_trust.converting.exchange import Held, Names, pieces, spooled
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import PathLike, StagedFiles, opened
from geometry_of_trust.formats.arrays import FLOAT32, Unembedding, check_counts


def read(path: PathLike, given: Names, near: PathLike) -> Held:
    """An array of three dimensions as activations, one of two as an unembedding.

    float32 is mapped; float16, and float32 of the other byte order, are spooled.

    Raises:
        Unreadable: the file cannot be opened.
        BadTensors: it is not a `.npy` file of such an array.
        NotNamed, BadOption: the options do not name model, precision and as many layers.
    """
    where = os.fspath(path)
    with opened(path):
        pass
    try:
        # Maps, and neither unpickles nor evaluates anything.
        values = np.asarray(np.lib.format.open_memmap(where, mode="r"))
    except (ValueError, OSError) as error:
        found = str(error).partition("\n")[0]
        raise BadTensors(where, expected="a .npy file of numbers", found=found) from None
    if values.ndim not in (2, 3) or values.dtype.kind != "f" or values.dtype.itemsize > 4:
        raise BadTensors(
            where,
            expected="float32 or float16 of shape (layers, positions, d) or (tokens, d)",
            found=f"{values.dtype} of shape {values.shape}",
            hint="Values that float32 cannot hold are not rounded here.",
        )
    check_counts(where, **{f"size {k}": n for k, n in enumerate(values.shape)})
    if values.dtype != FLOAT32:
        matrices = values if values.ndim == 3 else values[np.newaxis]
        parts = (part for matrix in matrices for part in pieces(matrix))
        values = spooled(near, values.shape, parts)
    if values.ndim == 2:
        return Unembedding(values, where)
    return given.activations(where, values, given.layers_for(where, len(values)))


def stage(staged: StagedFiles, path: PathLike, held: Held) -> None:
    """Write a `.npy` file (C order, float32) that appears together with the others of `staged`."""
    handle, values = staged.open(path), held.values
    np.lib.format.write_array_header_1_0(
        handle, {"descr": "<f4", "fortran_order": False, "shape": values.shape}
    )
    for matrix in values if values.ndim == 3 else [values]:
        for part in pieces(matrix):
            handle.write(part.data)
