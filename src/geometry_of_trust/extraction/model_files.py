"""A model's own files, which may be a stranger's: which they are, and what they can hold.

A few numbers in a configuration decide how many modules and how much memory a library makes of
them, and an index names files; both are checked before a library follows them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers.utils.hub import cached_file

from geometry_of_trust.errors import (
    IncompleteModel,
    LimitExceeded,
    OutsideOfModel,
    QuantizedModel,
    TooLarge,
    brief,
)
from geometry_of_trust.extraction.architectures import check_layers, without
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, read_bounded
from geometry_of_trust.memory import check_memory

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

MAX_MODULES = 2**17
"""Most modules that a model may consist of."""

MAX_VALUES = 2**16
"""How many a model's configuration may have, in lists and objects: labels, factors, modules."""

MAX_TEXT_BYTES = 256 * 2**20
"""Largest file of a model's folder that is read as text: a tokenizer, an index of weights."""

NUMBERS_A_BYTE = 8
"""Most numbers that a byte of a file of weights can hold: one bit each."""

_TEXTS = (".json", ".txt", ".jinja", ".model")
_COUNTS = re.compile(
    r".*(layers?|blocks?|block_count|depth|dense_replace)|num_labels|attention_types|extra_ids"
)
"""How members are called to whose number a library counts: of layers, of labels, of tokens."""

MAX_GROWTH = 2**16
"""How many characters a tokenizer's replacements may make of one."""

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class Source:
    """Where a model is.

    Attributes:
        argument: what was asked for.
        location: a folder, or a name on the hub.
        gguf: the file in it that holds everything, or None.
        commit: the hub's hash of the version found; None for a folder.
        trust: whether to run code that comes with the model.
    """

    argument: str
    location: str
    gguf: str | None
    commit: str | None
    trust: bool

    @property
    def options(self) -> dict[str, str | bool]:
        """What every `from_pretrained` needs; the commit, so that all is of one version."""
        options: dict[str, str | bool] = {"trust_remote_code": self.trust}
        if self.commit is not None:
            options["revision"] = self.commit
        if self.gguf is not None:
            options["gguf_file"] = self.gguf
        return options

    @property
    def folder(self) -> str:
        """The folder that it is in on this machine, once it is downloaded."""
        if os.path.isdir(self.location):
            return self.location
        name = self.gguf or "config.json"
        return (self.find(name, local=True) or name).removesuffix(name).rstrip("/\\")

    def find(self, name: str, *, local: bool = False) -> str | None:
        """The path of one of the model's files, None if there is none.

        Args:
            local: download nothing.

        Raises:
            OSError: the hub cannot be reached.
        """
        try:
            file = cached_file(
                self.location,
                name,
                revision=self.commit,
                local_files_only=local,
                _raise_exceptions_for_missing_entries=False,
            )
        except OSError:
            if not local:
                raise
            file = None
        return None if file is None else str(file)


# --- texts ------------------------------------------------------------------------------------


def check_texts(source: Source) -> None:
    """The texts of a local folder are not too large to be read into memory.

    Raises:
        TooLarge: one is.
    """
    if not os.path.isdir(source.location):
        return
    for entry in os.scandir(source.location):
        size = entry.stat().st_size if entry.is_file() else 0
        if entry.name.endswith(_TEXTS) and size > MAX_TEXT_BYTES:
            expected = f"at most {MAX_TEXT_BYTES} bytes"
            raise TooLarge(entry.path, expected=expected, found=f"{size} bytes")


def check_configuration(source: Source) -> None:
    """The configurations promise little, so that a library may count to their numbers.

    Raises:
        TooLarge: that of the model has more than 16 MiB.
        LimitExceeded: more than `MAX_LAYERS` layers, labels, or tokens of the tokenizer's own; or
            that of the model has more than `MAX_VALUES`.
        QuantizedModel: that of the model says what weights are packed by, but in no object.
    """
    if source.gguf is not None:
        return
    for name, largest in (
        ("config.json", MAX_DOCUMENT_BYTES),
        ("tokenizer_config.json", MAX_TEXT_BYTES),
    ):
        file = None
        with contextlib.suppress(OSError):  # no hub: the library says so, or needs none
            file = source.find(name)
        if file is None:
            continue
        data = read_bounded(file, largest)
        values = data.count(b",") + 1  # what is between them
        if name == "config.json" and values > MAX_VALUES:
            expected = f"at most {MAX_VALUES} values"
            raise LimitExceeded(f"{source.argument}, {name}", expected=expected, found=values)
        with contextlib.suppress(ValueError, RecursionError):  # no JSON: the library says so
            tree = json.loads(data)
            _check_quantization(source, tree)
            for member, count in _numbers(tree):
                if _COUNTS.fullmatch(member):
                    check_layers(source.argument, member, count)


def _check_quantization(source: Source, tree: object) -> None:
    """What a configuration says of packed weights is an object, or nothing."""
    said = tree.get("quantization_config") if isinstance(tree, dict) else None
    if said is not None and not isinstance(said, dict):
        raise QuantizedModel(
            f"{source.argument}, quantization_config",
            expected="an object with a quant_method, which says how the weights are packed",
            found=f"{said!r:.80}",
            hint="If its weights are plain, take quantization_config out of config.json.",
        )


def _numbers(tree: object) -> Iterator[tuple[str, int]]:
    """The integers of a tree, each with the name of the member that it is, or is in a list of."""
    waiting = [("", tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, list):
            waiting += ((name, item) for item in node)
        elif isinstance(node, dict):
            waiting += node.items()
        elif type(node) is int:
            yield name, node


def check_growth(source: Source, tokenizer: Tokenizer) -> None:
    """A tokenizer's replacements, one after another, do not make a text very much longer.

    Ten of them that write ten letters for one make 10¹⁰ of it.

    Raises:
        LimitExceeded: of one character more than `MAX_GROWTH` can come.
    """
    for name, part in (("normalizer", tokenizer.normalizer), ("decoder", tokenizer.decoder)):
        growth, waiting = 1.0, [None if part is None else json.loads(part.__getstate__())]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting += node
            elif isinstance(node, dict):
                waiting += node.values()
                if node.get("type") == "Replace":
                    pattern, content = node["pattern"], len(node["content"])
                    plain = pattern.get("String")
                    # A regular expression may match between any two characters.
                    growth *= max(1.0, content / len(plain)) if plain else content + 1
                elif node.get("type") == "Prepend":
                    growth *= 1 + len(node["prepend"])
        if growth > MAX_GROWTH:
            raise LimitExceeded(
                f"{source.argument}, tokenizer, {name}",
                expected=f"at most {MAX_GROWTH} characters for one", found=f"up to {growth:.3g}",
            )  # fmt: skip


# --- modules ----------------------------------------------------------------------------------


@contextlib.contextmanager
def few_modules(where: str) -> Iterator[None]:
    """Around the making of a model, which has at most `MAX_MODULES` modules.

    Raises:
        LimitExceeded: it made more; nothing of it is kept.
    """
    made = 0

    def count(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        nonlocal made
        made += 1
        if made > MAX_MODULES:
            raise LimitExceeded(where, expected=f"at most {MAX_MODULES} modules", found="more")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


# --- weights ----------------------------------------------------------------------------------


def weight_files(
    source: Source, kind: str = SAFETENSORS, *, local: bool = False
) -> list[str | None]:
    """The files of weights of one kind, each once; None for one that is not there.

    Args:
        kind: what the file is called if it is one, and has an index if there are several.
        local: download nothing.

    Raises:
        IncompleteModel: the index is none.
        OutsideOfModel: it names files elsewhere.
        OSError: the hub cannot be reached.
    """
    index = source.find(f"{kind}.index.json", local=local)
    names = [kind] if index is None else _named(source, index)
    return [source.find(name, local=local) for name in names]


def _named(source: Source, index: str) -> list[str]:
    try:
        names: Iterable[object] = set(
            json.loads(read_bounded(index, MAX_TEXT_BYTES))["weight_map"].values()
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        expected = "an index of weights with a weight_map"
        raise IncompleteModel(index, expected=expected, found=brief(error)) from None
    inside = [name for name in names if isinstance(name, str) and _is_inside(name)]
    for name in set(names).difference(inside):
        raise OutsideOfModel(
            f"{source.argument}, {os.path.basename(index)}",
            expected="files in the model's own folder",
            found=name,
            hint="Do not use a model that reaches for other files.",
        )
    return sorted(inside)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name != "" and not set(name) & {"\\", "\0", ":"}
    return plain and not path.is_absolute() and ".." not in path.parts


def check_weights(source: Source, skeleton: PreTrainedModel, left_out: Sequence[str] = ()) -> None:
    """The files of weights are the model's own, and can hold what it promises to have.

    Args:
        skeleton: the whole model without weights.
        left_out: paths of parts of it that are not loaded.

    Raises:
        OutsideOfModel: an index names files elsewhere.
        IncompleteModel: the model has more numbers than its files have bits, or is compressed.
        NotEnoughMemory: what its code computes once, such as masks, does not fit in memory.
    """
    files = _files(source)
    for file in files:
        _check_not_compressed(file)
    size = sum(map(os.path.getsize, files))
    numbers = sum(p.numel() for p in without(skeleton.named_parameters(), left_out))
    if size and numbers > NUMBERS_A_BYTE * size:
        raise IncompleteModel(
            source.argument,
            expected=f"files with the {numbers} numbers that its configuration promises",
            found=f"{size} bytes",
        )
    buffers = sum(buffer.nbytes for buffer in without(skeleton.named_buffers(), left_out))
    check_memory(source.argument, buffers, "what the model computes once")


def _check_not_compressed(file: str) -> None:
    """A file of torch, which is a zip archive, is as long as what comes of it.

    Raises:
        IncompleteModel: it is not.
    """
    if file.endswith(".safetensors"):
        return
    with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):  # the library says so
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > os.path.getsize(file):
            raise IncompleteModel(
                file, expected="weights that are not compressed", found=f"{unpacked} bytes in it"
            )


def _files(source: Source) -> list[str]:
    """All files of weights; where none has one of the usual names, all files of the folder."""
    if source.gguf is not None:
        file = source.find(source.gguf)
        return [] if file is None else [file]
    for kind in (SAFETENSORS, PICKLED):
        if found := [file for file in weight_files(source, kind) if file is not None]:
            return found
    folder = Path(source.location)
    return [str(path) for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
