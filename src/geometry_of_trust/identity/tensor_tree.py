"""A tree of hashes over a model's tensors (RFC 9162 section 2.1): one root for any sharding.

Byte by byte in docs/identity.md. An audit path shows that one tensor is of a model whose root is
known, without the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from geometry_of_trust import hash_tree
from geometry_of_trust.errors import OtherModel
from geometry_of_trust.hash_tree import leaf_hash, path_of, root_by_path


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
        leaf, path = leaf_hash(self.entry.encoded), [bytes.fromhex(digest) for digest in self.path]
        digest = root_by_path(leaf, self.count, self.index, path)
        found = None if digest is None else digest.hex()
        if found != root:
            raise OtherModel(
                f"{where}, {self.entry.name}", expected=f"a tensor under root {root}",
                found="none that can be" if found is None else f"root {found}",
            )  # fmt: skip


def root_of(entries: Sequence[TensorEntry]) -> str:
    """The root over entries in the order of their names, 64 hex digits."""
    return hash_tree.root_of(_leaves(entries)).hex()


def proof_of(entries: Sequence[TensorEntry], index: int) -> TensorProof:
    """The audit path of one of them (RFC 9162 section 2.1.3.1)."""
    path = path_of(_leaves(entries), len(entries), index)
    return TensorProof(entries[index], index, len(entries), tuple(map(bytes.hex, path)))


def by_name(entries: Iterable[TensorEntry]) -> tuple[TensorEntry, ...]:
    """In the order of the tree: by the code points of the names."""
    return tuple(sorted(entries))


def _leaves(entries: Iterable[TensorEntry]) -> Iterator[bytes]:
    return (leaf_hash(entry.encoded) for entry in entries)
