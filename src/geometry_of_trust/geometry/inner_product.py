"""The inner product of the residual stream: Φ = UᵀU, its regularisation and its digest.

Formulas and proofs: docs/mathematics.md, sections 1 to 3. Digest: reference.md 5.2.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.codes import InnerProduct
from geometry_of_trust.errors import (
    BadArray,
    BadOption,
    DimensionMismatch,
    NonFinite,
    NotPositiveDefinite,
    TooLarge,
)
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.gram import gram
from geometry_of_trust.memory import check_memory
from geometry_of_trust.progress import Progress

Array = NDArray[np.float64]

MAX_DIMENSION = 32768
"""Largest hidden dimension d of a Φ."""

SMALL_DIMENSION, TOKEN_DIMENSIONS = 1024, 16
"""Up to the first, d may be anything; beyond, at most so many times the number of tokens.

So that memory is at most 128 times the size of the file, or 34 MB.
"""

PANEL = 32
"""Columns that `ldl` makes at a time: those of a large Φ stay in a cache."""

PHI_BYTES = 32
"""What Φ and its Cholesky factors need at their peak: so much times d²."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """An inner product ⟨x, y⟩ = xᵀΦy on states of dimension d.

    Attributes:
        inner_product: `Causal` (Φ = UᵀU), `CausalRegularised` (Φ = UᵀU + epsilon·I) or
            `Euclidean` (Φ = I).
        epsilon: what was added to the diagonal, a float32 value; 0.0 if nothing was.
        hidden_dim: d.
        phi: Φ, shape (d, d), float32, symmetric, read-only; None for the identity.
    """

    inner_product: InnerProduct
    epsilon: float
    hidden_dim: int
    phi: NDArray[np.float32] | None

    @classmethod
    def from_unembedding(
        cls,
        unembedding: Unembedding | NDArray[np.float32],
        epsilon: float = 1e-6,
        inner_product: Literal["causal", "euclidean"] = "causal",
        *,
        added: float | None = None,
        progress: Progress | None = None,
    ) -> Geometry:
        """Φ_ij = RN₃₂(Σ_v U_vi·U_vj), regularised only if it has to be.

        If Φ is not numerically positive definite (see `numerically_definite`), the float32
        nearest to epsilon·trace(Φ)/d is added to its diagonal.

        Args:
            unembedding: U, shape (V, d), float32.
            epsilon: relative to the mean of the diagonal; finite, not negative.
            inner_product: `euclidean` takes from U its dimension only.
            added: for a verifier, instead of epsilon: the amount itself, a float32 value. It is
                added under the same rule.
            progress: called with what is being done.

        Returns:
            The inner product on d dimensions, with Φ of shape (d, d), float32.

        Raises:
            BadArray: an array that is no unembedding, as `Unembedding`.
            BadOption: epsilon or `added` negative or not finite, or another inner product.
            TooLarge: d is beyond `MAX_DIMENSION`, or far beyond the number of tokens.
            NotEnoughMemory: Φ does not fit in memory.
            NonFinite: U is not finite, or an entry of Φ is beyond the float32 range.
            NotPositiveDefinite: Φ is not positive definite, even with what was added.
        """
        for name, value in (("--epsilon", epsilon), ("added", added or 0.0)):
            if not (math.isfinite(value) and value >= 0):
                raise BadOption(name, expected="a finite number from 0 up", found=value)
        if not isinstance(unembedding, Unembedding):
            unembedding = Unembedding(unembedding)
        if inner_product == "euclidean":
            return cls("Euclidean", 0.0, unembedding.hidden_dim, None)
        if inner_product != "causal":
            raise BadOption("--inner-product", expected="causal or euclidean", found=inner_product)
        _check_size(unembedding)
        phi = _checked_gram(unembedding, progress)
        return cls._definite(phi, epsilon, added, unembedding.source)

    @classmethod
    def from_gram(cls, phi: NDArray[Any], epsilon: float = 1e-6) -> Geometry:
        """The geometry of a given Φ, rounded to float32; regularised as by `from_unembedding`.

        Args:
            phi: symmetric, shape (d, d), of any type of real numbers.
            epsilon: as of `from_unembedding`.

        Raises:
            BadArray: not a symmetric matrix of finite numbers.
            BadOption, NotPositiveDefinite: as `from_unembedding`.
        """
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise BadOption("epsilon", expected="a finite number from 0 up", found=epsilon)
        with np.errstate(over="ignore"):
            rounded = np.array(phi, np.float32)
        square = rounded.ndim == 2 and rounded.shape[0] == rounded.shape[1] > 0
        finite = square and bool(np.isfinite(rounded).all())
        if not finite or not np.array_equal(rounded, rounded.T):
            expected = "a symmetric matrix of finite float32"
            raise BadArray("Φ", expected=expected, found=rounded.shape)
        return cls._definite(rounded, epsilon, None, "Φ")

    @classmethod
    def _definite(
        cls, phi: NDArray[np.float32], epsilon: float, added: float | None, where: str
    ) -> Geometry:
        amount = 0.0
        if not numerically_definite(phi):
            mean = math.fsum(np.diagonal(phi).tolist()) / len(phi)
            amount = exact.round32(epsilon * mean if added is None else added)
            _regularise(phi, amount, where)
        phi.flags.writeable = False
        tag: InnerProduct = "CausalRegularised" if amount else "Causal"
        return cls(tag, amount, len(phi), phi)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of d, epsilon and Φ, 64 hex digits: the geometry hash of reference.md 5.2."""
        return geometry_digest(self.hidden_dim, self.epsilon, self.phi)

    def matrix(self) -> NDArray[np.float32]:
        """Φ, shape (d, d), float32; of the Euclidean inner product the identity."""
        return np.eye(self.hidden_dim, dtype=np.float32) if self.phi is None else self.phi

    def apply(self, h: Array) -> Array:
        """Φh for each of the vectors h.

        Args:
            h: shape (…, d), float64.

        Returns:
            Of the same shape, float64; as a BLAS adds up, not rounded once (see `exact.reading`).

        Raises:
            DimensionMismatch: the last axis is not of length d.
        """
        if h.shape[-1:] != (self.hidden_dim,):
            raise DimensionMismatch("vectors", expected=self.hidden_dim, found=h.shape)
        if self.phi is None:
            return h.astype(np.float64)
        image: Array = h @ self.phi.astype(np.float64)
        return image

    def inner(self, x: Array, y: Array) -> Array:
        """⟨x, y⟩ = xᵀΦy along the last axis.

        Args:
            x, y: shape (…, d), float64; they broadcast.

        Returns:
            Shape (…), float64.

        Raises:
            DimensionMismatch: the last axis of x is not of length d.
        """
        product: Array = (self.apply(x) * y).sum(axis=-1)
        return product


def geometry_digest(d: int, epsilon: float, phi: NDArray[np.float32] | None) -> str:
    """SHA-256(u64 d ‖ f32 epsilon ‖ Φ row by row, f32), −0 as +0; the identity adds no bytes.

    Args:
        d: the dimension. epsilon: a float32 value. phi: shape (d, d), float32, or None.

    Returns:
        64 lower-case hex digits.
    """
    digest = hashlib.sha256(struct.pack("<Qf", d, epsilon + 0.0))
    if phi is not None:
        rows = max(1, 2**20 // d)
        for start in range(0, d, rows):
            block = phi[start : start + rows] + np.float32(0)
            digest.update(np.ascontiguousarray(block, "<f4").data)
    return digest.hexdigest()


def _check_size(unembedding: Unembedding) -> None:
    """Refuse a Φ of d² numbers that d numbers in a file ask for.

    Raises:
        TooLarge, NotEnoughMemory.
    """
    V, d = unembedding.vocab_size, unembedding.hidden_dim
    limit = min(MAX_DIMENSION, max(SMALL_DIMENSION, TOKEN_DIMENSIONS * V))
    if d > limit:
        raise TooLarge(
            unembedding.source,
            expected=f"a hidden dimension of at most {limit} for {V} tokens",
            found=d,
            hint="Perhaps the matrix is transposed." if d > V else "",
        )
    check_memory(unembedding.source, PHI_BYTES * d * d, f"the inner product in {d} dimensions")


def _checked_gram(unembedding: Unembedding, progress: Progress | None) -> NDArray[np.float32]:
    phi = gram(unembedding.values, progress)
    if not np.isfinite(phi).all():
        for _ in unembedding.blocks(1024):
            pass  # names the row, if U itself is at fault
        i, j = np.argwhere(~np.isfinite(phi))[0]
        raise NonFinite(
            f"{unembedding.source}, Φ[{i}, {j}]",
            expected="within the range of float32",
            found="an overflow",
        )
    return phi


def _regularise(phi: NDArray[np.float32], amount: float, where: str) -> None:
    """Add `amount` to the diagonal of Φ, in place, each sum rounded once."""
    if amount > 0 and math.isfinite(amount):
        # Rounding the float64 sum of two float32 again to float32 is rounding once: 53 ≥ 2·24 + 2.
        diagonal = np.diagonal(phi).astype(np.float64) + amount
        with np.errstate(over="ignore"):
            phi[np.diag_indices(len(phi))] = diagonal.astype(np.float32)
        if np.isfinite(phi).all() and cholesky_exists(phi.astype(np.float64)):
            return
    raise NotPositiveDefinite(
        f"{where}, Φ",
        expected="positive definite, once regularised",
        found=f"not so after {amount:.9g} was added to the diagonal",
        hint="Raise --epsilon.",
    )


# --- definiteness, decided alike on every machine ---------------------------------------------


def numerically_definite(phi: NDArray[np.float32]) -> bool:
    """Whether Φ is positive definite beyond what its rounding to float32 can feign.

    True if the Cholesky factorisation of Φ − δ·diag(Φ), δ = d·2^-24, exists: the correlation
    matrix of Φ has no eigenvalue below δ, the most that rounding its entries can move one.

    Args:
        phi: Φ, shape (d, d), float32, symmetric and finite.
    """
    d = len(phi)
    A = phi.astype(np.float64)
    A[np.diag_indices(d)] *= 1 - d * 2.0**-24
    return cholesky_exists(A)


def cholesky_exists(A: Array) -> bool:
    """Whether the Cholesky factorisation of symmetric A runs through, on any machine alike.

    Normative is `ldl`, whose operations IEEE 754 fixes. LAPACK is asked first,
    twice: its answer counts when a shift of the diagonal by m = 4d(d + 8)u of itself, which
    exceeds the backward errors of both factorisations (Demmel; Higham 2002, theorem 10.7), does
    not change it. So it does not matter whose LAPACK it is.

    Args:
        A: shape (d, d), float64, symmetric and finite.
    """
    d = len(A)
    if not (np.diagonal(A) > 0).all():
        return False
    margin = 4 * d * (d + 8) * exact.UNIT
    if _lapack_cholesky(A, 1 - margin):
        return True
    if not _lapack_cholesky(A, 1 + margin):
        return False
    return ldl(A) is not None


def _lapack_cholesky(A: Array, scale: float) -> bool:
    """Whether LAPACK factorises A with its diagonal scaled; A is the same afterwards."""
    diagonal = np.diagonal(A).copy()
    A[np.diag_indices(len(A))] = diagonal * scale  # in place: numpy makes two copies of its own
    try:
        np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    finally:
        A[np.diag_indices(len(A))] = diagonal
    return True


def ldl(A: Array) -> tuple[Array, Array] | None:
    """Unit lower L and pivots D with A = L·diag(D)·Lᵀ, the same bits on every machine.

    By single multiplications, subtractions and divisions, in one order for each entry: of the lower
    triangle, some columns at a time, what earlier columns k take from entry (i, j) is subtracted as
    k ascends. So the work is that of the columns before the first bad pivot.

    Args:
        A: shape (d, d), float64, symmetric and finite.

    Returns:
        Lᵀ, of which only the upper triangle is to be read, shape (d, d), and D, shape (d,); None if
        a pivot is not above 0.
    """
    d = len(A)
    columns, ratios = np.empty((d, d)), np.empty((d, d))  # by k, then by i; pages are not touched
    for start in range(0, d, PANEL):
        stop = min(start + PANEL, d)
        panel = A[start:stop, start:].copy()  # by j, then by i; A is symmetric
        taken = np.empty_like(panel)
        for k in range(start):
            np.multiply(columns[k, start:stop, np.newaxis], ratios[k, start:], out=taken)
            panel -= taken
        for k in range(start, stop):
            column = panel[k - start, k - start :]
            pivot = column[0]
            if not pivot > 0:
                return None
            columns[k, k:] = column
            ratios[k, k:] = column / pivot
            rest = panel[k - start + 1 :, k - start + 1 :]
            rest -= columns[k, k + 1 : stop, np.newaxis] * ratios[k, k + 1 :]
    return ratios, np.diagonal(columns).copy()
