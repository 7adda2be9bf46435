"""Numbers drawn by counting, the same on every machine and with every version of numpy.

Philox is a cipher on a counter (Salmon et al. 2011), and its raw output, unlike numpy's
distributions, is fixed.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from geometry_of_trust.probing.array_types import Array, Indices


def stream(seed: int) -> np.random.Philox:
    """Where numbers come from in turn, however many are asked for at a time."""
    return np.random.Philox(key=seed)


def uniform(source: int | np.random.Philox, *shape: int) -> Array:
    """Odd multiples of 2^-53 in the open interval from 0 to 1, of a shape.

    Args:
        source: a seed, or a stream to go on with.
    """
    numbers = stream(source) if isinstance(source, int) else source
    raw = numbers.random_raw(int(np.prod(shape)))
    values: Array = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return values.reshape(shape)


def integers(source: int | np.random.Philox, limit: int, *shape: int) -> Indices:
    """Integers from 0 to limit − 1, of a shape; `source` as of `uniform`."""
    return (uniform(source, *shape) * limit).astype(np.intp)


def normal(seed: int, *shape: int) -> Array:
    """Normal deviates of mean 0 and variance 1, of a shape."""
    values: Array = ndtri(uniform(seed, *shape))
    return values


def permutation(seed: int, count: int) -> Indices:
    """An order of 0 … count − 1, shape (count,)."""
    return np.argsort(uniform(seed, count), kind="stable")
