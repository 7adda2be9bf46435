"""The spectrum of Φ, and how many dimensions a probe set spans (reference.md 7.7).

Eigenvalues come from LAPACK, whose last bits differ between machines; all figures are therefore
rounded to four significant digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import DimensionMismatch
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry

Array = NDArray[np.float64]

DIGITS = 4


@dataclass(frozen=True)
class Spectrum:
    """The shape of Φ, rounded to four digits. docs/mathematics.md, section 8.

    Attributes:
        condition: greatest eigenvalue over the least.
        effective_rank: exp of the entropy of the eigenvalues, from 1 to d.
        mean_share: share of the trace of UᵀU that is the mean row of U; None if U was not given.
    """

    condition: float
    effective_rank: float
    mean_share: float | None


def eigenvalues(geometry: Geometry) -> Array:
    """The eigenvalues of Φ.

    Returns:
        Shape (d,), float64, largest first; their last bits differ between machines.
    """
    if geometry.phi is None:
        return np.ones(geometry.hidden_dim)
    with threadpool_limits(1, user_api="blas"):
        values: Array = np.linalg.eigvalsh(geometry.phi.astype(np.float64))[::-1]
    return values


def spectrum(geometry: Geometry, unembedding: Unembedding | None = None) -> Spectrum:
    """Condition number, effective rank, and what of Φ is the mean row of U.

    Effective rank is exp(−Σ q_i ln q_i), q_i the eigenvalues over their sum (Roy and Vetterli
    2007). The share of the mean is V‖ū‖²/trace(UᵀU): what centring U would take from the trace.

    Args:
        geometry: the inner product, of dimension d.
        unembedding: U, shape (V, d), float32, for the share of its mean; or None.

    Returns:
        Three float32 values of four significant digits.

    Raises:
        DimensionMismatch: Φ and U are not of one dimension. NonFinite: U, naming the row.
    """
    values = eigenvalues(geometry)
    q = np.maximum(values, 0.0) / values.sum()
    rank = math.exp(-math.fsum(x * math.log(x) for x in q.tolist() if x > 0))
    share = None
    if unembedding is not None:
        if unembedding.hidden_dim != geometry.hidden_dim:
            raise DimensionMismatch(
                unembedding.source, expected=geometry.hidden_dim, found=unembedding.hidden_dim
            )
        share = _rounded(_mean_share(unembedding))
    return Spectrum(_rounded(float(values[0] / values[-1])), _rounded(rank), share)


def _mean_share(unembedding: Unembedding) -> float:
    total, squares = np.zeros(unembedding.hidden_dim), 0.0
    for block in unembedding.blocks(4096):
        rows = block.astype(np.float64)
        total += rows.sum(axis=0)
        squares += float(np.square(rows).sum())
    return float(total @ total) / unembedding.vocab_size / squares if squares else 0.0


def effective_dimension(weights: Sequence[NDArray[np.float32]], geometry: Geometry) -> float:
    """(Σλ)²/Σλ² over the positive eigenvalues λ of WᵀΦW, W of the probes as long as they are.

    The reference's figure: 1 where Σλ² ≤ 2^-23. W is first divided by the Φ-length of its longest
    probe, which the ratio does not notice: probes of states a thousand long are a thousandth long,
    and would all fall under the bound.

    Args:
        weights: of each probe, shape (d,), float32; at least one.
        geometry: the inner product, of dimension d.

    Returns:
        A float32 value of four significant digits, from 1 to the number of probes.

    Raises:
        DimensionMismatch: the weights are not of dimension d.
    """
    G = _products(weights, geometry)
    return _participation(G / (np.diagonal(G).max() or 1.0))


def unit_effective_dimension(weights: Sequence[NDArray[np.float32]], geometry: Geometry) -> float:
    """The same of W whose probes have Φ-length 1, so that directions alone count.

    A probe's length follows from its penalty: with a tenth of λ it is several times longer, and
    one long probe among short ones makes `effective_dimension` near 1, wherever they point.

    Args, returns and raises as `effective_dimension`; a probe of zeros spans nothing.
    """
    G = _products(weights, geometry)
    lengths = np.sqrt(np.diagonal(G))
    lengths = np.where(lengths > 0, lengths, 1.0)
    return _participation(G / lengths / lengths[:, np.newaxis])


def _products(weights: Sequence[NDArray[np.float32]], geometry: Geometry) -> Array:
    W = np.array(weights, np.float64)
    G: Array = geometry.apply(W) @ W.T
    return (G + G.T) / 2


def _participation(G: Array) -> float:
    values = np.linalg.eigvalsh(G)
    positive = values[values > 0]
    squares = float(np.square(positive).sum())
    return 1.0 if squares <= 2.0**-23 else _rounded(float(positive.sum()) ** 2 / squares)


def _rounded(x: float) -> float:
    return exact.round32(float(f"{x:.{DIGITS - 1}e}"))
