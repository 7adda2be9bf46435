"""That an unembedding file is a tensor of a model, converted to float32 and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import NotTheMatrix
from geometry_of_trust.formats.arrays import CHUNK_BYTES, Unembedding
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.identity.model_identity import ModelIdentity
from geometry_of_trust.identity.tensor_tree import TensorProof

EXACT = ("F32", "BF16", "F16")
"""Types whose every number is a float32, so that there is one way back to them."""


def stored_digest(unembedding: Unembedding, dtype: str) -> str | None:
    """SHA-256 of a matrix (V, d) as a file of weights of this type has its bytes.

    Args:
        dtype: one of `EXACT`.

    Returns:
        64 hex digits; None if a number of the matrix is not one of that type.

    Raises:
        FileChanged, Unreadable: its file has changed, or cannot be read.
    """
    digest = hashlib.sha256()
    for block in _blocks(unembedding):
        stored = _as_stored(block, dtype)
        if stored is None:
            return None
        digest.update(stored.data)
    return digest.hexdigest()


def _blocks(unembedding: Unembedding) -> Iterator[NDArray[np.float32]]:
    rows = max(1, CHUNK_BYTES // (4 * unembedding.hidden_dim))
    for start in range(0, unembedding.vocab_size, rows):
        yield np.ascontiguousarray(settled(unembedding.values[start : start + rows]), "<f4")


def _as_stored(block: NDArray[np.float32], dtype: str) -> NDArray[np.uint8] | None:
    """The bytes of the same numbers in another type; None if there is one that it lacks."""
    bits = block.view("<u4")
    if dtype == "F32":
        return bits.view(np.uint8)
    if dtype == "BF16":
        exact = not (bits & 0xFFFF).any()
        return (bits >> 16).astype("<u2").view(np.uint8) if exact else None
    with np.errstate(over="ignore", invalid="ignore"):
        halves = block.astype("<f2")
        exact = np.array_equal(halves.astype("<f4").view("<u4"), bits)
    return halves.view(np.uint8) if exact else None


def check_matrix(proof: TensorProof, root: str, unembedding: Unembedding) -> None:
    """Return if a matrix (V, d) is this tensor, and that one of the model with this tensor root.

    Raises:
        NotTheMatrix: it is not, or the tensor's type has numbers that float32 lacks.
        OtherModel: the tensor is not under this root.
        FileChanged, Unreadable: as `stored_digest`.
    """
    entry, where = proof.entry, unembedding.source
    proof.check(root, where)
    shape = unembedding.values.shape
    if entry.dtype not in EXACT:
        raise NotTheMatrix(
            where, expected=f"a tensor of {' or '.join(EXACT)}",
            found=f"{entry.name} of {entry.dtype}",
            hint="Of this type there is no way back from float32: extract again to compare.",
        )  # fmt: skip
    if entry.shape != shape:
        raise NotTheMatrix(
            where, expected=f"{entry.name} of shape {entry.shape}", found=f"shape {shape}"
        )
    found = stored_digest(unembedding, entry.dtype)
    if found != entry.sha256:
        expected = f"{entry.name}: {entry.dtype} numbers of SHA-256 {entry.sha256}"
        raise NotTheMatrix(
            where, expected=expected, found=found or f"numbers that are not {entry.dtype}"
        )


def find_matrix(
    identity: ModelIdentity, unembedding: Unembedding, preferred: str = ""
) -> TensorProof | None:
    """The tensor of a model that a matrix (V, d) is; arguments and result as of `MatrixFinder`.

    Raises:
        FileChanged, Unreadable: as `stored_digest`.
    """
    with MatrixFinder(identity, unembedding.values.shape) as finder:
        for _ in finder.seen(_blocks(unembedding)):
            pass
        return finder.proof(preferred)


class MatrixFinder:
    """Finds the tensor of a model that a matrix (V, d) is, by its bytes and not by its name.

    So a tied matrix is found under the embedding's name, and a checkpoint's name need not be known.
    A thread digests each block while whoever asked for it writes it; leaving the `with` ends it.
    """

    def __init__(self, identity: ModelIdentity, shape: tuple[int, ...]) -> None:
        self._identity = identity
        self._fitting = [t for t in identity.tensors or () if t.shape == shape and t.dtype in EXACT]
        self._digests = {tensor.dtype: hashlib.sha256() for tensor in self._fitting}
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def seen(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The same blocks of rows of the matrix, shape (rows, d), all of which are to be taken."""
        for block in blocks:
            digested = self._pool.submit(self._see, block)
            yield block
            digested.result()  # before its pages are given back, not after

    def _see(self, block: NDArray[np.float32]) -> None:
        for dtype in tuple(self._digests):
            stored = _as_stored(np.ascontiguousarray(block, "<f4"), dtype)
            if stored is None:
                del self._digests[dtype]
            else:
                self._digests[dtype].update(stored.data)

    def proof(self, preferred: str = "") -> TensorProof | None:
        """Its place in the tree, once all blocks were seen; None if no tensor is it exactly.

        Args:
            preferred: the end of the name to take, if several tensors have these bytes, as in a
                checkpoint that has a tied matrix twice: `lm_head.weight`. Else the first by name.
        """
        found = {dtype: digest.hexdigest() for dtype, digest in self._digests.items()}
        names = [t.name for t in self._fitting if found.get(t.dtype) == t.sha256]
        if not names:
            return None
        ends = [name for name in names if preferred and name.endswith(preferred)]
        return self._identity.proof((ends or names)[0])
