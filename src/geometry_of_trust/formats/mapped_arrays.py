"""Arrays that are views of a large file, and their values in memory of our own."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from geometry_of_trust.files import FileMap

Number = TypeVar("Number", bound=np.generic)


def settled(values: NDArray[Number]) -> NDArray[Number]:
    """The same numbers, read from the file they lie in; itself, if they lie in none.

    What computes with values of a file asks for them by this, in parts that fit into memory. They
    are those that were digested, and stay as they are, whatever happens to the file.

    Args:
        values: any shape, type and strides; a view of a `FileMap`, or any other array.

    Returns:
        Of the same shape, type and strides, read-only if it was read.

    Raises:
        FileChanged, Unreadable: the file has changed, or cannot be read.
    """
    base: object = values
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, FileMap) or not values.size:
        return values
    origin = np.frombuffer(base, np.uint8).ctypes.data
    low, high = byte_bounds(values)
    data = np.empty(high - low, np.uint8)
    base.steady.read_into(data.data, low - origin)
    data.flags.writeable = False
    return np.ndarray(
        values.shape, values.dtype, buffer=data.data, offset=values.ctypes.data - low,
        strides=values.strides,
    )  # fmt: skip
