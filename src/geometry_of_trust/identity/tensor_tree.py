"""A tree of hashes over a model's tensors (RFC 9162 section 2.1): one root for any sharding.

Byte by byte in docs/identity.md. An audit path shows that one tensor is of a model whose root is
known, without the others.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geometry_of_trust.errors import OtherModel

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, order=True)
class TensorEntry:
    """A tensor of a model, as it is stored.

    Attributes:
        name: in the checkpoint. dtype: as the file calls its type.
        shape: in row-major order.
        sha256: of its little-endian bytes in that order, 64 lower-case hex digits.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def encoded(self) -> bytes:
        """The bytes of the leaf: one for each entry, and no other entry has the same."""
        name, dtype = self.name.encode(), self.dtype.encode()
        return b"".join(
            (
                struct.pack("<I", len(name)), name,
                struct.pack("<I", len(dtype)), dtype,
                struct.pack(f"<I{len(self.shape)}Q", len(self.shape), *self.shape),
                bytes.fromhex(self.sha256),
            )
        )  # fmt: skip


@dataclass(frozen=True)
class TensorProof:
    """A tensor's place in the tree of its model.

    Attributes:
        entry: the tensor. index: its place among all, ordered by name. count: how many there are.
        path: the digests beside the way from its leaf to the root, 64 hex digits each.
    """

    entry: TensorEntry
    index: int
    count: int
    path: tuple[str, ...]

    def check(self, root: str, where: str = "tensor tree") -> None:
        """Return if the tensor is in the tree of this root (RFC 9162 section 2.1.3.2).

        Raises:
            OtherModel: it is not.
        """
        found = self._root()
        if found != root:
            raise OtherModel(
                f"{where}, {self.entry.name}", expected=f"a tensor under root {root}",
                found="none that can be" if found is None else f"root {found}",
            )  # fmt: skip

    def _root(self) -> str | None:
        """The root that the path leads to, None if none can have such a path."""
        if not 0 <= self.index < self.count:
            return None
        here, last, digest = self.index, self.count - 1, _leaf(self.entry)
        for beside in map(bytes.fromhex, self.path):
            if last == 0:
                return None
            if here % 2 or here == last:
                digest = _node(beside, digest)
                while here % 2 == 0 and here:  # a subtree that has no right half
                    here, last = here >> 1, last >> 1
            else:
                digest = _node(digest, beside)
            here, last = here >> 1, last >> 1
        return digest.hex() if last == 0 else None


def root_of(entries: Sequence[TensorEntry]) -> str:
    """The root over entries in the order of their names, 64 hex digits."""
    return _root([_leaf(entry) for entry in entries]).hex() if entries else _EMPTY


def proof_of(entries: Sequence[TensorEntry], index: int) -> TensorProof:
    """The audit path of one of them (RFC 9162 section 2.1.3.1)."""
    leaves = [_leaf(entry) for entry in entries]
    path = [digest.hex() for digest in _path(leaves, index)]
    return TensorProof(entries[index], index, len(entries), tuple(path))


def by_name(entries: Iterable[TensorEntry]) -> tuple[TensorEntry, ...]:
    """In the order of the tree: by the code points of the names."""
    return tuple(sorted(entries))


def _leaf(entry: TensorEntry) -> bytes:
    return hashlib.sha256(b"\0" + entry.encoded).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return _node(_root(leaves[:k]), _root(leaves[k:]))


def _path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*_path(leaves[:k], index), _root(leaves[k:])]
    return [*_path(leaves[k:], index - k), _root(leaves[:k])]
