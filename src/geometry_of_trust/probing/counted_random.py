"""Numbers drawn by counting, the same on every machine and with every version of numpy.

Philox is a cipher on a counter (Salmon et al. 2011), and its raw output, unlike numpy's
distributions, is fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]


def stream(seed: int) -> np.random.Philox:
    """Where numbers come from in turn, however many are asked for at a time."""
    return np.random.Philox(key=seed)


def uniform(source: int | np.random.Philox, *shape: int) -> Array:
    """Numbers in the open interval from 0 to 1, odd multiples of 2^-53; from a seed or a stream."""
    held = stream(source) if isinstance(source, int) else source
    raw = held.random_raw(int(np.prod(shape)))
    values: Array = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return values.reshape(shape)


def below(source: int | np.random.Philox, limit: int, *shape: int) -> NDArray[np.intp]:
    """Integers from 0 to limit − 1."""
    return (uniform(source, *shape) * limit).astype(np.intp)


def normal(seed: int, *shape: int) -> Array:
    """Normal deviates."""
    values: Array = ndtri(uniform(seed, *shape))
    return values


def permutation(seed: int, count: int) -> NDArray[np.intp]:
    """An order of 0 … count − 1."""
    return np.argsort(uniform(seed, count), kind="stable")
