"""The values alone, as numpy's `.npy`: (layers, P, d) or, for an unembedding, (V, d)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.converting.exchange import Convertible, Names, as_float32, float32_pieces
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import Unembedding, check_counts
from geometry_of_trust.outputs.staged_files import StagedFiles


def read(file: FileBytes, given: Names, near: PathLike) -> Convertible:
    """An array of three dimensions as activations, one of two as an unembedding.

    float32 is a view of the file's bytes; float16, and float32 of the other byte order, are
    spooled.

    Args:
        file: the bytes of the `.npy` file.
        given: what the options say.
        near: where the spooled values may lie: beside this file.

    Raises:
        BadTensors: it is not a `.npy` file of such an array.
        BadHeader, LayerOrder, UnknownPrecision: an empty array, or names that are impossible.
        NotNamed, BadOption: the options do not name model, precision and as many layers.
        Unwritable: there is no room for what is spooled.
    """
    where, values = file.path, _array(file)
    if values.ndim not in (2, 3) or values.dtype.kind != "f" or values.dtype.itemsize > 4:
        raise BadTensors(
            where,
            expected="float32 or float16 of shape (layers, positions, d) or (tokens, d)",
            found=f"{values.dtype} of shape {values.shape}",
            hint="Values that float32 cannot hold are not rounded here.",
        )
    check_counts(where, **{f"size {k}": n for k, n in enumerate(values.shape)})
    numbers = as_float32(near, values)
    if numbers.ndim == 2:
        return Unembedding(numbers, where)
    return given.activations(where, numbers, given.layers_for(where, len(numbers)))


def _array(file: FileBytes) -> NDArray[np.generic]:
    """The array of a `.npy` file, of whatever numbers, as a view; unpickles and evaluates nothing.

    Raises:
        BadTensors: it is none.
    """
    where = file.path
    with file.reader() as reader:
        try:
            version = np.lib.format.read_magic(reader)
            read_header = np.lib.format.read_array_header_1_0
            if version == (2, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read_header(reader)
        except ValueError as error:
            found = str(error).partition("\n")[0]
            raise BadTensors(where, expected="a .npy file of numbers", found=found) from None
        start = reader.tell()
    if version not in ((1, 0), (2, 0)) or dtype.hasobject:
        raise BadTensors(where, expected="a .npy file of numbers", found="Python objects")
    end = start + dtype.itemsize * math.prod(shape)
    if end > len(file):
        raise BadTensors(where, expected=f"{end} bytes, as its shape says", found=len(file))
    return np.ndarray(
        shape, dtype, buffer=file.data, offset=start, order="F" if fortran_order else "C"
    )


def stage(staged: StagedFiles, path: PathLike, content: Convertible) -> None:
    """Write a `.npy` file (C order, float32) that appears together with the others of `staged`.

    Raises:
        BadOption: `path` is staged already.
        Unwritable: the file cannot be made. OSError: nor be written to, which `staged` translates.
    """
    handle, values = staged.open(path), content.values
    np.lib.format.write_array_header_1_0(
        handle, {"descr": "<f4", "fortran_order": False, "shape": values.shape}
    )
    for matrix in values if values.ndim == 3 else [values]:
        for part in float32_pieces(matrix):
            handle.write(part.data)
