"""Which model it was, as extraction records, probe sets and bindings have it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

MAX_NOT_COVERED = 100
"""How many names of files that do not define the model are written; of more, how many they are."""


def manifest_root(digests: Iterable[str]) -> str:
    """SHA-256 over digests in the order given, 64 hex digits each and as much itself."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


@dataclass(frozen=True)
class Weights:
    """What tells one model from another: roots of 64 hex digits.

    Attributes:
        manifest_root: over the files that define it.
        tensor_root: over its tensors; None if they were not read.
    """

    manifest_root: str
    tensor_root: str | None

    def are(self, other: Weights) -> bool:
        """Whether they have the same tensors; where these were not read, the same files."""
        if self.tensor_root is None or other.tensor_root is None:
            return self.manifest_root == other.manifest_root
        return self.tensor_root == other.tensor_root

    def __str__(self) -> str:
        if self.tensor_root is None:
            return f"files of root {self.manifest_root}"
        return f"tensors of root {self.tensor_root}"


@dataclass(frozen=True)
class RecordedFile:
    """A file that defines a model: its name in the model's folder, SHA-256 and bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class RecordedTensor:
    """A tensor's place in the tree of its model, as of `identity.tensor_tree.TensorProof`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    index: int
    count: int
    path: tuple[str, ...]


@dataclass(frozen=True)
class RecordedIdentity:
    """Which model it was.

    Attributes:
        manifest_root, tensor_root: as of `Weights`.
        files: what defines it, by name; the manifest root is over their digests.
        not_covered: what else was in its folder.
        unembedding: the tensor that the unembedding file is, converted; None if it is none exactly.
    """

    manifest_root: str
    tensor_root: str | None
    files: tuple[RecordedFile, ...]
    not_covered: tuple[str, ...]
    unembedding: RecordedTensor | None

    @property
    def weights(self) -> Weights:
        """Its roots."""
        return Weights(self.manifest_root, self.tensor_root)


def shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first `MAX_NOT_COVERED` of some names, and how many more there are."""
    more = len(names) - MAX_NOT_COVERED
    return (*names[:MAX_NOT_COVERED], f"and {more} more") if more > 0 else names
