"""Which files define a model, and which of its folder do not: one rule, in docs/identity.md.

It follows what transformers reads, links too; from a snapshot of the hub's cache only to that
cache's files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from geometry_of_trust.documents.strictjson import MAX_VALUES
from geometry_of_trust.errors import (
    AdapterNotNamed,
    BadJson,
    IncompleteModel,
    LimitExceeded,
    OutsideOfModel,
    TooLarge,
    UnknownModel,
    Unreadable,
)
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike, read_bounded, reason

TEMPLATES = "additional_chat_templates"
"""A folder of further chat templates."""

TEXTS = (
    "config.json", "generation_config.json",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "tekken.json",
    "chat_template.jinja", "chat_template.json", f"{TEMPLATES}/*.jinja",
    "*vocab*.json", "vocab*.txt", "merges.txt", "dict.txt", "bpe.codes", "*.model", "*.spm",
    "tokenizer.model.*", "*.tiktoken", "prophetnet.tokenizer", "normalizer.json",
    "emoji.json", "byte_maps.json", "word_shape.json",
    "word_pronunciation.json",
)  # fmt: skip
"""Configuration, and whatever a tokenizer of transformers reads, as patterns of names."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Weights in the order of preference; each may have an index and shards instead."""

ADAPTER_CONFIGURATION = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER = "adapter/"
"""What the names of an adapter's files, and of its tensors, begin with."""

MAX_ENTRIES = 2**16
"""Most files and folders that a model's folder may have."""

MAX_INDEX_BYTES = 64 * 2**20

_HUB_FOLDER = re.compile(r"models--(.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFile:
    """A file that defines a model.

    Attributes:
        name: in the manifest: the path from the folder, with `/`.
        path: where it lies, its links followed.
        blob: what the hub's cache calls it, which is its digest: 64 hex digits of SHA-256, or 40 of
            git's SHA-1 of a blob; None of a file that is not in such a cache.
        weights: whether it holds tensors.
    """

    name: str
    path: Path
    blob: str | None
    weights: bool


@dataclass(frozen=True)
class ModelFolder:
    """The files of a model.

    Attributes:
        path: the folder.
        files: what defines the model, by name.
        not_covered: names of what else is in the folder; of a folder, ending in `/`, all that is in
            it and not among `files`; code of other places as it is named. Of a `.gguf` file none.
        repository, commit: of a snapshot in the hub's cache, what that says of it; else None.
        indexed: names of tensors that an index of shards says there are.
    """

    path: str
    files: tuple[ModelFile, ...]
    not_covered: tuple[str, ...]
    repository: str | None
    commit: str | None
    indexed: frozenset[str]


def find_files(
    model: PathLike,
    *,
    gguf: str | None = None,
    code: bool = False,
    adapter: PathLike | None = None,
) -> ModelFolder:
    """Find the files that define a model.

    Args:
        model: its folder, or a `.gguf` file.
        gguf: the one file of the folder that is the model.
        code: cover all Python files in the folder, too, for a model whose code is run.
        adapter: the folder of an adapter that is put into the model.

    Raises:
        UnknownModel: there is no such folder.
        AdapterNotNamed: an adapter lies beside the weights, and none was named.
        IncompleteModel: it has no weights, or lacks some that its index names; or an index is none.
        OutsideOfModel: an index leads out of the folder, or a link out of the hub's cache.
        LimitExceeded: it holds very many files, or one whose name is not UTF-8.
        Unreadable, TooLarge, BadJson: a configuration or an index cannot be read.
    """
    where = os.fspath(model)
    if gguf is None and where.endswith(".gguf") and os.path.isfile(where):
        where, gguf = os.path.split(where)
        where = where or "."
    place = _Place.of(where)
    if gguf is not None:
        # Nothing beside it is read, or anybody's business: it may lie among private files.
        found, indexed, not_covered = [place.weights(gguf)], frozenset[str](), list[str]()
    else:
        found, indexed = place.all_weights()
        found += [*place.texts(), *(place.code() if code else ())]
        names = {file.name for file in found}
        not_covered = [_readable(name) for name in place.entries() if name not in names]
        not_covered += place.foreign_code() if code else ()
    if adapter is not None:
        found += _adapter_files(adapter)
    elif gguf is None and place.has(ADAPTER_CONFIGURATION):
        raise AdapterNotNamed(
            where,
            expected="a model alone, or --adapter with the folder of what is put into it",
            found=f"{ADAPTER_CONFIGURATION} beside its weights",
            hint=f"Name it (--adapter {where}), or use a copy of the model without "
            f"{ADAPTER_CONFIGURATION}.",
        )
    found = sorted({file.name: file for file in found}.values(), key=lambda file: file.name)
    return ModelFolder(
        where,
        tuple(found),
        tuple(sorted(not_covered)),
        place.repository,
        place.commit,
        indexed,
    )


def find_named(folder: PathLike, names: Iterable[str]) -> tuple[ModelFile, ...]:
    """Those of these relative names that the folder has, whether or not they define the model.

    Raises:
        UnknownModel, IncompleteModel, OutsideOfModel, LimitExceeded, Unreadable: as `find_files`.
    """
    place = _Place.of(os.fspath(folder))
    return tuple(place.file(name) for name in names if os.path.lexists(place.real / name))


def would_be_covered(name: str, covered: Iterable[str]) -> bool:
    """Whether a file that is not there would be covered beside these, or in the place of some."""
    own = {other for other in covered if not other.startswith(ADAPTER)}
    if all(other.endswith(".gguf") for other in own):
        return False
    order = [file for kind in WEIGHTS for file in (kind, f"{kind}.index.json")]
    used = next((k for k, file in enumerate(order) if file in own), 0)
    if name in order[:used] or any(_fits(name, pattern) for pattern in TEXTS):
        return True
    return name.endswith(".py") and any(other.endswith(".py") for other in own)


def _adapter_files(adapter: PathLike) -> list[ModelFile]:
    place = _Place.of(os.fspath(adapter))
    name = next((name for name in ADAPTER_WEIGHTS if place.has(name)), ADAPTER_WEIGHTS[0])
    files = [place.file(ADAPTER_CONFIGURATION), place.weights(name)]
    return [ModelFile(ADAPTER + f.name, f.path, f.blob, f.weights) for f in files]


@dataclass(frozen=True)
class _Place:
    """A folder, with what it is of the hub's cache."""

    where: str
    real: Path
    blobs: Path | None
    repository: str | None
    commit: str | None

    @classmethod
    def of(cls, where: str) -> _Place:
        try:
            real = Path(os.path.realpath(where, strict=True))
        except (OSError, ValueError) as error:
            raise UnknownModel(where, expected="a model's folder", found=reason(error)) from None
        if not real.is_dir():
            raise UnknownModel(where, expected="a model's folder", found="something else")
        hub = real.parents[1] if len(real.parents) > 1 else real
        match = _HUB_FOLDER.fullmatch(hub.name)
        if match is None or real.parent.name != "snapshots" or not _COMMIT.fullmatch(real.name):
            return cls(where, real, None, None, None)
        return cls(where, real, hub / "blobs", match[1].replace("--", "/"), real.name)

    def has(self, name: str) -> bool:
        return os.path.isfile(self.real / name)

    def file(self, name: str, *, weights: bool = False) -> ModelFile:
        """One file by its name in the folder, which is checked."""
        path = self.real / name
        try:
            name.encode()
            real = Path(os.path.realpath(path, strict=True))
        except UnicodeEncodeError:
            raise LimitExceeded(self.where, expected="names in UTF-8", found=ascii(name)) from None
        except (OSError, ValueError) as error:
            raise IncompleteModel(
                self.where, expected=name, found=reason(error), hint="Download the model again."
            ) from None
        blob = None
        if self.blobs is not None:
            if real.parent == self.blobs:
                blob = real.name if _BLOB.fullmatch(real.name) else None
            elif self.real not in real.parents:
                raise OutsideOfModel(
                    f"{self.where}, {name}",
                    expected="a file of the hub's cache",
                    found=f"a link to {real}",
                    hint="Download the model again.",
                )
        if not real.is_file():
            raise Unreadable(path, expected="a regular file", found="something else")
        return ModelFile(name, real, blob, weights)

    def weights(self, name: str) -> ModelFile:
        return self.file(self._inside(name, self.where), weights=True)

    def all_weights(self) -> tuple[list[ModelFile], frozenset[str]]:
        """The files of weights with the index that names them, and the tensors in that, if any."""
        named = self._configuration().get("transformers_weights")
        if isinstance(named, str):
            kinds: tuple[str, ...] = (named.removesuffix(".index.json"),)
        else:
            kinds = WEIGHTS
        for kind in kinds:
            index = f"{kind}.index.json"
            if named != index and self.has(self._inside(kind, "config.json")):
                return [self.weights(kind)], frozenset()
            if self.has(index):
                shards = self._shards(index)
                files = sorted(set(shards.values()))
                return [self.file(index), *map(self.weights, files)], frozenset(shards)
        raise IncompleteModel(
            self.where, expected=f"weights: {' or '.join(kinds)}, or an index of them", found="none"
        )

    def _shards(self, index: str) -> dict[str, str]:
        """The file of each tensor."""
        tree = _json(self.real / index, MAX_INDEX_BYTES)
        named = tree.get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
            raise IncompleteModel(
                os.fspath(self.real / index), expected="a weight_map", found="none of names"
            )
        if not named:
            raise IncompleteModel(
                os.fspath(self.real / index),
                expected="a weight_map of tensors",
                found="an empty one",
            )
        return {tensor: self._inside(name, index) for tensor, name in named.items()}

    def _inside(self, name: str, by: str) -> str:
        """A name of a file in the folder, in the one spelling that manifests have.

        Raises:
            OutsideOfModel: it is none.
        """
        path = PurePosixPath(name)
        if set(name) & {"\\", "\0", ":"} or path.is_absolute() or ".." in path.parts or not name:
            raise OutsideOfModel(
                f"{self.where}, {by}", expected="files in the model's own folder", found=name,
                hint="Do not use a model that reaches for other files.",
            )  # fmt: skip
        return str(path)

    def _configuration(self) -> dict[str, object]:
        return _json(self.file("config.json").path) if self.has("config.json") else {}

    def texts(self) -> Iterator[ModelFile]:
        """Configuration, tokenizer and chat templates, as far as they are there."""
        for name in self.entries():
            if any(_fits(name, pattern) for pattern in TEXTS):
                yield self.file(name)

    def code(self) -> Iterator[ModelFile]:
        """All Python files, in folders inside the folder too, hidden ones apart."""
        seen = 0
        for folder, folders, names in os.walk(self.real):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            seen += len(folders) + len(names)
            self._check_count(seen)
            for name in names:
                if name.endswith(".py"):
                    yield self.file((Path(folder) / name).relative_to(self.real).as_posix())

    def foreign_code(self) -> list[str]:
        """What the configurations name as code in other repositories."""
        found = set()
        for name in ("config.json", "tokenizer_config.json"):
            if self.has(name):
                named = _json(self.file(name).path).get("auto_map")
                for value in named.values() if isinstance(named, dict) else ():
                    for part in value if isinstance(value, list) else [value]:
                        if isinstance(part, str) and "--" in part:
                            found.add(f"code of {part.partition('--')[0]}, named in {name}")
        return sorted(found)

    def entries(self) -> list[str]:
        """What is in the folder: files by name, folders with a slash; of templates their files."""
        found = []
        for name, is_folder in self._scanned(self.real):
            if name == TEMPLATES and is_folder:
                inner = self._scanned(self.real / name)
                found += [f"{name}/{n}{'/' * folder}" for n, folder in inner]
            else:
                found.append(f"{name}{'/' * is_folder}")
        return sorted(found)

    def _scanned(self, folder: Path) -> Iterable[tuple[str, bool]]:
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    found.append((entry.name, os.path.isdir(entry.path)))
                    self._check_count(len(found))
        except OSError as error:
            raise Unreadable(folder, expected="a readable folder", found=reason(error)) from None
        return found

    def _check_count(self, count: int) -> None:
        if count > MAX_ENTRIES:
            raise LimitExceeded(self.where, expected=f"at most {MAX_ENTRIES} files", found="more")


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is of a pattern, whose `*` stands for no slash."""
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _readable(name: str) -> str:
    """A name that may hold bytes that are not UTF-8, as text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _json(path: Path, limit: int = MAX_DOCUMENT_BYTES) -> dict[str, object]:
    """A JSON object of somebody else's, read as transformers does: not strictly."""
    data = read_bounded(path, limit)
    values = sum(map(data.count, (b",", b"[", b"{")))
    if values > MAX_VALUES:
        raise TooLarge(path, expected=f"at most {MAX_VALUES} values", found=f"up to {values}")
    try:
        tree: object = json.loads(data)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise BadJson(path, expected="a JSON object", found="something else")
    return tree
