"""The identity of a model: a manifest of its files with its root, and a tree over its tensors.

Neither torch nor transformers is needed, nor numpy. docs/identity.md has all of it byte by byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import Literal

from geometry_of_trust.documents.recorded_identity import (
    RecordedFile,
    RecordedIdentity,
    RecordedTensor,
    Weights,
    manifest_root,
    shortened,
)
from geometry_of_trust.errors import BadTensors, IncompleteModel, OtherModel
from geometry_of_trust.files import PathLike
from geometry_of_trust.identity.digest_cache import DigestCache
from geometry_of_trust.identity.digesting import DigestedFile, Origin, digest_files
from geometry_of_trust.identity.model_folder import ADAPTER, ModelFile, find_files
from geometry_of_trust.identity.tensor_tree import (
    TensorEntry,
    TensorProof,
    by_name,
    proof_of,
    root_of,
)

_MOST_THREADS = 4
"""More read no faster from most disks."""


@dataclass(frozen=True)
class CoveredFile:
    """A file that defines a model.

    Attributes:
        name: the path from the model's folder, with `/`. sha256: 64 lower-case hex digits.
        size: its bytes. origin: where the digest comes from.
    """

    name: str
    sha256: str
    size: int
    origin: Origin = "bytes"


@dataclass(frozen=True)
class ModelIdentity:
    """Which model it is. `identity_of` makes it.

    Attributes:
        files: what defines the model, by name.
        tensors: what is in the files of weights, by name; None if these are pickled, and not read.
        tensors_remembered: files whose tensors' digests come from the digest cache.
        not_covered: what else is in the folder; as `ModelFolder`.
        repository, commit: of a snapshot in the hub's cache: as the cache names them.
    """

    files: tuple[CoveredFile, ...]
    tensors: tuple[TensorEntry, ...] | None
    tensors_remembered: tuple[str, ...] = ()
    not_covered: tuple[str, ...] = ()
    repository: str | None = None
    commit: str | None = None

    @cached_property
    def manifest_root(self) -> str:
        """SHA-256 over the files' digests in the order of their names (OpenSSF Model Signing)."""
        return manifest_root(file.sha256 for file in self.files)

    @cached_property
    def tensor_root(self) -> str | None:
        """The root of the tree over the tensors; None if they are not read."""
        return None if self.tensors is None else root_of(self.tensors)

    @property
    def trusted(self) -> Mapping[str, Origin]:
        """Files with a digest that was not computed now, and where it comes from instead."""
        found = {file.name: file.origin for file in self.files if file.origin != "bytes"}
        for name in self.tensors_remembered:
            found.setdefault(name, "remembered")
        return found

    @property
    def weights(self) -> Weights:
        """Its roots."""
        return Weights(self.manifest_root, self.tensor_root)

    def recorded(self, unembedding: TensorProof | None) -> RecordedIdentity:
        """What an extraction record says of it, and of the tensor that the unembedding is."""
        tensor = None
        if unembedding is not None:
            entry = unembedding.entry
            tensor = RecordedTensor(
                entry.name, entry.dtype, entry.shape, entry.sha256,
                unembedding.index, unembedding.count, unembedding.path,
            )  # fmt: skip
        files = tuple(RecordedFile(f.name, f.sha256, f.size) for f in self.files)
        return RecordedIdentity(
            self.manifest_root, self.tensor_root, files, shortened(self.not_covered), tensor
        )

    def proof(self, name: str) -> TensorProof:
        """The place of one tensor in the tree.

        Raises:
            OtherModel: there is no such tensor, or none is read.
        """
        names = [entry.name for entry in self.tensors or ()]
        if name not in names:
            raise OtherModel("tensor tree", expected=f"a tensor {name}", found="none")
        return proof_of(self.tensors or (), names.index(name))


def identity_of(
    model: PathLike,
    *,
    gguf: str | None = None,
    code: bool = False,
    adapter: PathLike | None = None,
    rehash: bool = False,
    cache: PathLike | None = None,
    threads: int | None = None,
    given_up: Event | None = None,
) -> ModelIdentity:
    """The identity of a model on this machine.

    Args:
        model: its folder, which may be a snapshot in the hub's cache; or a `.gguf` file.
        gguf: the one file of the folder that is the model.
        code: cover the Python files in the folder, for a model whose code is run.
        adapter: the folder of an adapter that is put into the model.
        rehash: trust no name in the hub's cache: digest each file.
        cache: a folder in which digests computed earlier are found and kept (`user_cache`), if it
            is the user's own; None: none is, as for a verifier.
        threads: how many digest at a time; None: as many as there are processors, up to four.
        given_up: as of `digest_files`.

    Raises:
        UnknownModel, AdapterNotNamed, IncompleteModel, OutsideOfModel, LimitExceeded, Unreadable,
            TooLarge, BadJson: as `find_files`.
        FileChanged, AlteredDownload, BadTensors, BadGguf, BadText: as `digest_files`.
        BadTensors: two files have different tensors of one name.
        IncompleteModel: no shard has a tensor that the index names.
    """
    found = find_files(model, gguf=gguf, code=code, adapter=adapter)
    digested = digest_files(
        found.files,
        rehash=rehash,
        cache=None if cache is None else DigestCache(cache),
        threads=threads or min(_MOST_THREADS, os.cpu_count() or 1),
        given_up=given_up,
    )
    pairs = list(zip(found.files, digested, strict=True))
    tensors = _tensors(pairs)
    if tensors is not None:
        missing = sorted(found.indexed - {entry.name for entry in tensors})
        if missing:
            raise IncompleteModel(
                found.path, expected="the tensors that the index of its weights names",
                found=f"{len(missing)} in no shard, such as {missing[0]}",
                hint="Download the model again.",
            )  # fmt: skip
    return ModelIdentity(
        files=tuple(CoveredFile(f.name, d.sha256, d.size, d.origin) for f, d in pairs),
        tensors=tensors,
        tensors_remembered=tuple(f.name for f, d in pairs if d.tensors and d.tensors_remembered),
        not_covered=found.not_covered,
        repository=found.repository,
        commit=found.commit,
    )


def _tensors(pairs: Iterable[tuple[ModelFile, DigestedFile]]) -> tuple[TensorEntry, ...] | None:
    """All tensors by name; None if those of a file of weights are not read."""
    entries: dict[str, TensorEntry] = {}
    for file, digested in pairs:
        if not file.weights:
            continue
        if digested.tensors is None:
            return None
        prefix = ADAPTER if file.name.startswith(ADAPTER) else ""
        for tensor in digested.tensors:
            name = prefix + tensor.name
            entry = TensorEntry(name, tensor.dtype, tensor.shape, tensor.sha256)
            if entries.setdefault(name, entry) != entry:
                raise BadTensors(
                    f"{file.path}, {name}",
                    expected="the tensor that another file has",
                    found="another",
                )
    return by_name(entries.values())


# --- two identities ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Something in which two models differ.

    Attributes:
        kind: a file or a tensor. name: its name.
        how: it is another, or only the first or only the second model has it.
    """

    kind: Literal["file", "tensor"]
    name: str
    how: Literal["differs", "only in the first", "only in the second"]


def identity_differences(one: ModelIdentity, other: ModelIdentity) -> tuple[Difference, ...]:
    """Where two models differ: files by name, then tensors by name.

    Nothing is said of tensors if those of one are not read.
    """
    found = list(
        _differing("file", {f.name: f.sha256 for f in one.files},
                   {f.name: f.sha256 for f in other.files})
    )  # fmt: skip
    if one.tensors is not None and other.tensors is not None:
        found += _differing(
            "tensor", {t.name: t for t in one.tensors}, {t.name: t for t in other.tensors}
        )
    return tuple(found)


def _differing(
    kind: Literal["file", "tensor"], one: Mapping[str, object], other: Mapping[str, object]
) -> Iterable[Difference]:
    for name in sorted(one.keys() | other.keys()):
        if name not in other:
            yield Difference(kind, name, "only in the first")
        elif name not in one:
            yield Difference(kind, name, "only in the second")
        elif one[name] != other[name]:
            yield Difference(kind, name, "differs")
