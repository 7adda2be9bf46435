"""Φ = UᵀU with every entry the exact sum rounded once to float32: the same on every machine.

Three stages, each for what the one before left open: float64 BLAS with a proved bound, error-free
extraction, `math.fsum`. Proofs: docs/mathematics.md, section 2.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dsyrk

from geometry_of_trust.exact import SLACK, UNIT, bracket32, gamma, round32

Array = NDArray[np.float64]

BLOCK_ROWS = 512
"""Rows whose products one call of the BLAS adds up; error bounds and speed both hang on it."""

TILE_COLUMNS = 1536
"""Columns of a tile: its partial sums (18 MB) stay in cache while rows are added to them."""

BUFFER_BYTES = 96 * 2**20
"""What the float64 copy of rows may take."""

PAIR_CHUNK = 2**16
"""Undecided entries that are computed again in one pass over the matrix."""

WORKERS = min(4, os.cpu_count() or 1)


def gram(
    U: NDArray[np.float32], *, block_rows: int = BLOCK_ROWS, tile_columns: int = TILE_COLUMNS
) -> NDArray[np.float32]:
    """Φ_ij = RN₃₂(Σ_v U_vi·U_vj), the sum over the reals.

    Products of two float32 are exact in float64, so only additions err: by at most
    γ_D·‖u_i‖·‖u_j‖ when no product passes through more than D of them.

    Args:
        U: shape (V, d), float32; may be an unaligned memory map, read in blocks, at most twice
            unless very many entries stay undecided.
        block_rows, tile_columns: how the work is cut up; no bit of the result depends on them.

    Returns:
        Φ, shape (d, d), float32, symmetric, without −0. An entry beyond the float32 range is
        infinite; one that a NaN or infinity of U reaches is not finite, and so is a diagonal one.
    """
    d = U.shape[1]
    sums, depth = _block_sums(U, block_rows, tile_columns)
    with np.errstate(invalid="ignore"):
        norms = np.sqrt(np.diagonal(sums)) * SLACK
    phi = np.empty((d, d), np.float32)
    if not np.isfinite(norms).all():
        phi[...] = np.nan
        return phi
    # 4u more: |sum| ≤ (1 + γ)‖u_i‖‖u_j‖, and computing sum ± bound rounds twice.
    pairs = _round_rows(sums, (gamma(depth) + 4 * UNIT) * SLACK, norms, phi)
    del sums
    for start in range(0, pairs.shape[1], PAIR_CHUNK):
        chunk = pairs[:, start : start + PAIR_CHUNK]
        phi[chunk[0], chunk[1]] = _entries(U, chunk, norms)
    for i in range(1, d):
        phi[i, :i] = phi[:i, i]
    return phi


def _block_sums(U: NDArray[np.float32], rows: int, columns: int) -> tuple[Array, int]:
    """Upper triangle of UᵀU in float64, and the most additions that a product passes through."""
    V, d = U.shape
    tiles = [slice(start, min(start + columns, d)) for start in range(0, d, columns)]
    # With one tile the partial sums are the result; else many blocks are added up in cache
    # before the matrix of results, which is not in cache, is touched.
    blocks = 1 if len(tiles) == 1 else max(1, BUFFER_BYTES // (8 * d * rows))
    super_rows = rows * blocks
    sums = np.zeros((d, d), order="F")
    width = tiles[0].stop
    buffers = [np.empty((min(super_rows, V), t.stop - t.start)) for t in tiles]
    product = np.zeros(width * width)
    total = np.empty(width * width if blocks > 1 else 0)
    for start in range(0, V, super_rows):
        part = U[start : start + super_rows]
        for tile, buffer in zip(tiles, buffers, strict=True):
            buffer[: len(part)] = part[:, tile]
        for b, right in enumerate(tiles):
            for a, left in enumerate(tiles[: b + 1]):
                target = sums[left, right]
                shape = target.shape
                scratch = product[: target.size].reshape(shape, order="F")
                inner = total[: target.size].reshape(shape, order="F") if blocks > 1 else target
                for first in range(0, len(part), rows):
                    chunk = slice(first, min(first + rows, len(part)))
                    x, y = buffers[a][chunk].T, buffers[b][chunk].T
                    if a == b:
                        scratch = dsyrk(1.0, x, c=scratch, overwrite_c=1)
                    else:
                        scratch = dgemm(1.0, x, y, trans_b=1, c=scratch, overwrite_c=1)
                    if inner is not target and first == 0:
                        inner[...] = scratch
                    else:
                        np.add(inner, scratch, out=inner)
                if inner is not target:
                    np.add(target, inner, out=target)
    return sums, min(rows, V) + blocks + math.ceil(V / super_rows)


def _round_rows(
    sums: Array, factor: float, norms: Array, phi: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Fill the upper triangle of Φ; the (2, k) indices of the entries that stay open."""
    d = len(norms)
    step = max(1, 2**20 // d)
    undecided = []
    for start in range(0, d, step):
        columns = slice(start, min(start + step, d))
        value = sums[: columns.stop, columns].T
        bound = factor * norms[columns, np.newaxis] * norms[: columns.stop]
        with np.errstate(over="ignore"):
            low = (value - bound).astype(np.float32)
            high = (value + bound).astype(np.float32)
        phi[: columns.stop, columns] = low.T + np.float32(0)
        j, i = np.nonzero(low != high)
        keep = i <= j + start
        undecided.append(np.stack([i[keep], j[keep] + start]))
    return np.concatenate(undecided, axis=1)


def _entries(U: NDArray[np.float32], pairs: NDArray[np.intp], norms: Array) -> Array:
    """Entries of Φ by error-free extraction (Rump, Ogita and Oishi 2008, algorithm 3.1).

    With σ a power of two ≥ 4Σ|p|, the heads q = (p + σ) − σ add up without any error, in any
    order, and the tails p − q are at most uσ each.
    """
    i, j = pairs
    V = len(U)
    sigma = 2.0 ** (np.frexp(norms[i] * norms[j])[1] + 2.0)
    share = -(-V // WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = list(
            pool.map(lambda v: _extracted(U[v : v + share], pairs, sigma), range(0, V, share))
        )
    head: Array = np.sum([p[0] for p in parts], axis=0)
    tail: Array = np.sum([p[1] for p in parts], axis=0)
    inexact = np.logical_or.reduce([p[2] for p in parts])
    value = head + tail
    part = value - head
    missing = (head - (value - part)) + (tail - part)  # two-sum: nothing is lost
    bound = gamma(V) * V * UNIT * sigma * SLACK
    low, high = bracket32(value + (missing - bound))[0], bracket32(value + (missing + bound))[1]
    result = np.where(inexact, low, (head + 0.0).astype(np.float32)).astype(np.float64)
    for k in np.flatnonzero(inexact & (low != high)):
        result[k] = _entry(U, int(i[k]), int(j[k]))
    return result


def _extracted(
    U: NDArray[np.float32], pairs: NDArray[np.intp], sigma: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Sums of heads, sums of tails, and whether any tail was not zero."""
    i, j = pairs
    head, tail, inexact = np.zeros(len(i)), np.zeros(len(i)), np.zeros(len(i), bool)
    rows = max(1, 2**16 // max(len(i), 1))
    for start in range(0, len(U), rows):
        block = np.ascontiguousarray(U[start : start + rows])
        tails = np.multiply(block.take(i, axis=1), block.take(j, axis=1), dtype=np.float64)
        heads = tails + sigma
        heads -= sigma
        tails -= heads
        head += heads.sum(axis=0)
        rest = tails.sum(axis=0)
        tail += rest
        inexact |= rest != 0
        if not inexact.all():  # tails that cancel
            inexact |= tails.any(axis=0)
    return head, tail, inexact


def _entry(U: NDArray[np.float32], i: int, j: int) -> float:
    """One entry of Φ, exactly: `math.fsum` rounds the exact sum of doubles once."""
    products = np.multiply(U[:, i], U[:, j], dtype=np.float64).tolist()
    nearest = math.fsum(products)
    products.append(-nearest)
    return round32(nearest, math.fsum(products))
