"""Φ = UᵀU with every entry the exact sum rounded once to float32: the same on every machine.

Three stages, each for what the one before left open: float64 BLAS with a proved bound, error-free
extraction, two-sums of what repeated extraction leaves. Proofs: docs/mathematics.md, section 2.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.geometry.exact import SLACK, UNIT, bracket32, gamma, head_sums, sums32
from geometry_of_trust.progress import Progress

Array = NDArray[np.float64]

CHUNK_ROWS = 240
"""Rows whose products one call of the BLAS adds up; error bound and speed both hang on it."""

BLOCK_ROWS = 5 * CHUNK_ROWS
"""Rows that one thread takes at a time."""

CHUNK_SUMS = 16
"""Chunk sums that are added up before they are added to the total: keeps the bound small."""

TILE_COLUMNS = 704
"""Columns of a tile, at most about."""

MAX_THREADS = 8
"""Eight blocks of the map and chunks in float64: 53,760·d bytes < 2.5d² doubles + 128 MB."""

KEPT_BYTES = 200 * 2**20
"""A matrix up to this size stays mapped: giving its pages back costs a tenth of the time.

With it, sums and Φ (1.5d² doubles) and what threads hold stay under 4d² doubles + 256 MB.
"""

PAIR_CHUNK = 2**16
"""Open entries that are computed again in one pass over the matrix."""

PASS_ROWS, PASS_PRODUCTS = 400, 2**17
"""What is made of it at a time: many products, or threads wait for each other between calls."""

EXACT_PRODUCTS = 2**17
"""Products of the last open entries that one thread takes at a time: what stays in its cache."""


def gram(U: NDArray[np.float32], progress: Progress | None = None) -> NDArray[np.float32]:
    """Φ_ij = RN₃₂(Σ_v U_vi·U_vj), the sum over the reals.

    Products of two float32 are exact in float64, so only additions err: by at most
    γ_D·‖u_i‖·‖u_j‖ when no product passes through more than D of them.

    Args:
        U: shape (V, d), float32; may be an unaligned memory map, which is read in blocks, at most
            twice unless very many entries stay open. Pages of a read-only map are given back.
        progress: called with what is being done, after each block of rows.

    Returns:
        Φ, shape (d, d), float32, symmetric, without −0. An entry beyond the float32 range is
        infinite; if U holds a NaN or an infinity, all of Φ is NaN.
    """
    tell = progress or (lambda text: None)
    d = U.shape[1]
    tiles = _tiles(d)
    chunks = _add_products(U, tiles, tell)
    norms = np.empty(d)
    for tile in tiles:
        if tile.i == tile.j:
            norms[tile.i] = np.sqrt(np.diagonal(tile.sums)) * SLACK
    if not np.isfinite(norms).all():
        return np.full((d, d), np.nan, np.float32)
    depth = CHUNK_ROWS + CHUNK_SUMS + math.ceil(chunks / CHUNK_SUMS)
    phi, pairs = _rounded(tiles, norms, depth)
    del tiles
    for start in range(0, pairs.shape[1], PAIR_CHUNK):
        chunk = pairs[:, start : start + PAIR_CHUNK]
        phi[chunk[0], chunk[1]] = phi[chunk[1], chunk[0]] = _entries(U, chunk, norms, tell)
    return phi


# --- blocks of rows, in parallel ----------------------------------------------------------------


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _threads() -> int:
    """As many as the BLAS would use."""
    threads = max((library["num_threads"] for library in _blas().info()), default=1)
    return min(threads, MAX_THREADS)


def _each_block(
    U: NDArray[np.float32], work: Callable[[NDArray[np.float32]], None], tell: Progress, what: str
) -> None:
    """Call `work` on blocks of rows, in parallel, each with a BLAS of one thread.

    So that all that is done to a block runs in parallel, not its products alone.
    """

    def run(start: int) -> int:
        block = settled(U[start : start + BLOCK_ROWS])
        with np.errstate(invalid="ignore"):
            work(block)
        if U.nbytes > KEPT_BYTES:
            _give_back(block)
        return start + len(block)

    threads = _threads()  # asked for before the limit, which would answer 1
    with _blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
        for done in pool.map(run, range(0, len(U), BLOCK_ROWS)):
            tell(f"{what} {100 * done // len(U)} %")


def _give_back(block: NDArray[np.float32]) -> None:
    """Give back the pages of a block that lies in a read-only memory map, and in no other."""
    base: object = block
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        whole = np.frombuffer(base, np.uint8)
        start = block.ctypes.data - whole.ctypes.data
        first = start - start % mmap.PAGESIZE
        if not whole.flags.writeable and block.flags.c_contiguous:
            base.madvise(mmap.MADV_DONTNEED, first, start + block.nbytes - first)


# --- stage 1: BLAS ------------------------------------------------------------------------------


class _Tile:
    """Sums over v of U_vi·U_vj for a range of i and a range of j."""

    def __init__(self, i: slice, j: slice) -> None:
        self.i, self.j = i, j
        shape = i.stop - i.start, j.stop - j.start
        self.sums, self._recent = np.zeros(shape), np.zeros(shape)
        self.chunks = 0
        self._lock = Lock()

    def add(self, product: Array) -> None:
        """Add the products of a chunk: to few others first, so that few additions see each."""
        with self._lock:
            if self.chunks % CHUNK_SUMS == 0:
                self.flush()
                np.copyto(self._recent, product)
            else:
                np.add(self._recent, product, out=self._recent)
            self.chunks += 1

    def flush(self) -> None:
        """Add what is not in `sums` yet."""
        np.add(self.sums, self._recent, out=self.sums)


def _tiles(d: int) -> list[_Tile]:
    """The upper triangle of UᵀU, all zeros, in tiles."""
    # Of equal width, an odd number of cache lines: powers of two would collide in the cache.
    # Two at least: numpy mirrors a product on the diagonal, and that is slow where it is large.
    width = 8 * (math.ceil(d / max(2, math.ceil(d / TILE_COLUMNS)) / 8) | 1)
    cuts = [slice(start, min(start + width, d)) for start in range(0, d, width)]
    return [_Tile(i, j) for n, j in enumerate(cuts) for i in cuts[: n + 1]]


def _add_products(U: NDArray[np.float32], tiles: list[_Tile], tell: Progress) -> int:
    """Add UᵀU to the tiles; return the number of chunks."""
    size = max(tile.sums.size for tile in tiles)

    def add(rows: NDArray[np.float32]) -> None:
        buffer, scratch = np.empty((min(CHUNK_ROWS, len(rows)), U.shape[1])), np.empty(size)
        for start in range(0, len(rows), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            chunk = buffer[: len(part)]
            np.copyto(chunk, part)
            for tile in tiles:
                product = scratch[: tile.sums.size].reshape(tile.sums.shape)
                tile.add(_product(chunk[:, tile.i], chunk[:, tile.j], product))

    _each_block(U, add, tell, "Inner product")
    for tile in tiles:
        tile.flush()
    return tiles[0].chunks


def _product(x: Array, y: Array, out: Array) -> Array:
    """xᵀy by BLAS: each entry the sum of its products, added up in any order."""
    return np.matmul(x.T, y, out=out)


def _rounded(
    tiles: list[_Tile], norms: Array, depth: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Φ, and the (2, k) indices, i ≤ j, of the entries whose rounding the bound leaves open."""
    phi = np.empty((len(norms), len(norms)), np.float32)
    # 4u more: |sum| ≤ (1 + γ)‖u_i‖‖u_j‖, and computing sum ± bound rounds twice.
    factor = (gamma(depth) + 4 * UNIT) * SLACK
    pairs = []
    for tile in tiles:
        i, j, sums = tile.i, tile.j, tile.sums
        bound = factor * norms[i, np.newaxis] * norms[j]
        with np.errstate(over="ignore"):
            low = (sums - bound).astype(np.float32) + np.float32(0)
            high = (sums + bound).astype(np.float32)
        if i == j:  # a BLAS may add up the two halves in different orders
            low = np.triu(low) + np.triu(low, 1).T
        phi[i, j], phi[j, i] = low, low.T
        row, column = np.nonzero(low != high)
        keep = row + i.start <= column + j.start
        pairs.append(np.stack([row[keep] + i.start, column[keep] + j.start]))
    return phi, np.concatenate(pairs, axis=1)


# --- stages 2 and 3: one entry after the other ---------------------------------------------------


def _entries(
    U: NDArray[np.float32], pairs: NDArray[np.intp], norms: Array, tell: Progress
) -> Array:
    """Entries of Φ by error-free extraction (Rump, Ogita and Oishi 2008, algorithm 3.1).

    With σ a power of two ≥ 4Σ|p|, the heads q = (p + σ) − σ add up without any error, in any
    order, and the tails p − q are at most uσ each.
    """
    i, j = pairs
    V, k = len(U), len(i)
    sigma = 2.0 ** (np.frexp(norms[i] * norms[j])[1] + 2.0)
    head, tail, inexact = np.zeros(k), np.zeros(k), np.zeros(k, bool)
    lock = Lock()

    def add(rows: NDArray[np.float32]) -> None:
        nonlocal head, tail, inexact
        heads, tails, left = _extracted(rows, pairs, sigma)
        with lock:
            head, tail, inexact = head + heads, tail + tails, inexact | left

    _each_block(U, add, tell, f"Inner product, {k} entries again")
    value = head + tail
    part = value - head
    missing = (head - (value - part)) + (tail - part)  # two-sum: nothing is lost
    bound = gamma(V) * V * UNIT * sigma * SLACK
    low, high = bracket32(value + (missing - bound), value + (missing + bound))
    result = np.where(inexact, low, (head + 0.0).astype(np.float32)).astype(np.float64)
    left = np.flatnonzero(inexact & (low != high))
    rows = max(1, EXACT_PRODUCTS // V)
    groups = [left[start : start + rows] for start in range(0, len(left), rows)]
    with ThreadPoolExecutor(_threads()) as pool:
        sums = pool.map(lambda some: _exact(U, i[some], j[some]), groups)
        for done, (some, exact) in enumerate(zip(groups, sums, strict=True)):
            result[some] = exact
            tell(f"Inner product, {len(left)} entries exactly {100 * done // len(groups)} %")
    return result


def _extracted(
    U: NDArray[np.float32], pairs: NDArray[np.intp], sigma: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Sums of heads, sums of tails, and whether any tail was not zero."""
    i, j = pairs
    head, tail, inexact = np.zeros(len(i)), np.zeros(len(i)), np.zeros(len(i), bool)
    rows = min(PASS_ROWS, max(1, PASS_PRODUCTS // len(i)))
    # Made once: new pages cost more than what is done with them.
    buffer = np.empty((rows, U.shape[1]))
    first, second = np.empty((2, rows, len(i)))
    for start in range(0, len(U), rows):
        part = U[start : start + rows]
        block, tails, heads = buffer[: len(part)], first[: len(part)], second[: len(part)]
        np.copyto(block, part)
        # All indices are within; with another mode, take() would make a copy of its own.
        block.take(i, axis=1, out=tails, mode="clip")
        block.take(j, axis=1, out=heads, mode="clip")
        tails *= heads
        np.add(tails, sigma, out=heads)
        heads -= sigma
        tails -= heads
        head += heads.sum(axis=0)
        rest = tails.sum(axis=0)
        tail += rest
        inexact |= rest != 0
        if not inexact.all():  # tails that cancel
            inexact |= tails.any(axis=0)
    return head, tail, inexact


def _exact(U: NDArray[np.float32], i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float32]:
    """Entries of Φ, exactly: all products, and of these the few numbers that they add up to."""
    products = np.empty((len(i), len(U)))
    for start in range(0, len(U), BLOCK_ROWS):
        block = settled(U[start : start + BLOCK_ROWS])
        np.multiply(
            block[:, i].T, block[:, j].T, dtype=np.float64,
            out=products[:, start : start + BLOCK_ROWS],
        )  # fmt: skip
    heads = np.array([np.zeros(len(i)), *head_sums(products)])
    return sums32(heads.T)
