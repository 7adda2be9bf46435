"""The values alone, as numpy's `.npy`: (layers, P, d) or, for an unembedding, (V, d)."""

from __future__ import annotations

import ast
import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.converting.exchange import Convertible, Names, as_float32, float32_pieces
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import Unembedding, check_counts
from geometry_of_trust.outputs.staged_files import StagedFiles

_MAX_HEADER, _MAX_DIMENSIONS, _MAX_SIZE = 4096, 64, 2**128
_MEMBERS = ("descr", "fortran_order", "shape")
_DTYPES = ("<f4", ">f4", "<f2", ">f2")


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
    where = file.path
    header = _header(file)
    if len(header.shape) not in (2, 3) or header.dtype not in _DTYPES:
        raise BadTensors(
            where,
            expected="float32 or float16 of shape (layers, positions, d) or (tokens, d)",
            found=f"{header.dtype} of shape {header.shape}",
            hint="Values that float32 cannot hold are not rounded here.",
        )
    check_counts(where, **{f"size {k}": n for k, n in enumerate(header.shape)})
    numbers = as_float32(near, _array(file, header))
    if numbers.ndim == 2:
        return Unembedding(numbers, where)
    return given.activations(where, numbers, given.layers_for(where, len(numbers)))


@dataclass(frozen=True)
class _Header:
    """What a `.npy` file says of its array, and at which byte that begins."""

    dtype: str
    fortran_order: bool
    shape: tuple[int, ...]
    start: int


def _header(file: FileBytes) -> _Header:
    """The header of a `.npy` file; nothing in it is run or reserved.

    Raises:
        BadTensors: it is none, is of a version that no array of numbers needs, or is longer than
            `_MAX_HEADER`.
    """
    start = file.data[:12]
    sizes = {b"\1\0": (8, 10), b"\2\0": (8, 12)}.get(start[6:8])
    if start[:6] != b"\x93NUMPY" or sizes is None:
        raise _bad(file, f"{start[:8]!r}")
    begin, end = sizes[1], sizes[1] + int.from_bytes(start[slice(*sizes)], "little")
    if end - begin > _MAX_HEADER:
        raise _bad(file, f"a header of {end - begin} bytes")
    text = file.data[begin:end].decode("latin-1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a string in it that Python would not write so
            said = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _bad(file, text) from None
    if not isinstance(said, dict) or len(said) != len(_MEMBERS):
        raise _bad(file, text)
    dtype, order, shape = (said.get(name) for name in _MEMBERS)
    if type(order) is not bool or not isinstance(dtype, str) or not isinstance(shape, tuple):
        raise _bad(file, text)
    if len(shape) > _MAX_DIMENSIONS or any(
        type(n) is not int or not 0 <= n < _MAX_SIZE for n in shape
    ):
        raise _bad(file, text)
    return _Header(dtype, order, shape, end)


def _bad(file: FileBytes, found: str) -> BadTensors:
    return BadTensors(file, expected="a .npy file of numbers", found=found)


def _array(file: FileBytes, header: _Header) -> NDArray[np.floating]:
    """The array of a `.npy` file as a view of its bytes.

    Raises:
        BadTensors: the file is shorter than its header says.
    """
    dtype = np.dtype(header.dtype)
    end = header.start + dtype.itemsize * math.prod(header.shape)
    if end > len(file):
        raise BadTensors(file, expected=f"{end} bytes, as its shape says", found=len(file))
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    return np.ndarray(header.shape, dtype, file.data, header.start, order=order)


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
