"""The extraction record: what was run, on what text, and the digests of what came out.

It stands beside the activations (`files.record_path`). Nothing in it depends on the clock or on
where the files are, so the same extraction writes the same bytes. Needs neither torch nor numpy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from geometry_of_trust.canonical import (
    BOOL,
    DIGEST,
    PRECISION,
    STRING,
    U32,
    Member,
    optional,
    read_members,
    structure,
    vector,
)
from geometry_of_trust.errors import LimitExceeded, UnsupportedVersion, WrongType
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike, read_bounded
from geometry_of_trust.strictjson import loads

FORMAT = "geometry-of-trust extraction record"
VERSION = 1
LIBRARIES = ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy")

_FILE = structure(Member("name", STRING), Member("sha256", DIGEST))
_MEMBERS = (
    Member("format", STRING),
    Member("version", U32),
    Member("tool_version", STRING),
    Member(
        "model",
        structure(
            Member("argument", STRING),
            Member("id", STRING),
            Member("revision", optional(STRING)),
            Member("commit", optional(STRING)),
            Member("class", STRING),
        ),
    ),
    Member(
        "blocks",
        structure(
            Member("path", STRING),
            Member("total", U32),
            Member("loaded", U32),
            Member("whole_because", optional(STRING)),
        ),
    ),
    Member(
        "unembedding",
        structure(Member("path", STRING), Member("tied", BOOL), Member("bias", BOOL)),
    ),
    Member(
        "run",
        structure(
            Member("layers", vector(U32)),
            Member("dtype", STRING),
            Member("precision", PRECISION),
            Member("device", STRING),
            Member("attention", optional(STRING)),
        ),
    ),
    Member("libraries", structure(*(Member(name, STRING) for name in LIBRARIES))),
    Member("files", structure(Member("activations", _FILE), Member("unembedding", _FILE))),
    Member("prompt_sha256", DIGEST),
    Member(
        "tokens",
        vector(
            structure(
                Member("id", U32),
                Member("text", STRING),
                Member("span", optional(vector(U32))),
                Member("special", BOOL),
            )
        ),
    ),
)


@dataclass(frozen=True)
class Token:
    """What stands at one position.

    Attributes:
        id: the token's number in the vocabulary.
        text: the token decoded alone.
        span: the characters of the prompt that it covers, from start to before end; None for a
            token that covers none, and with a tokenizer that does not tell.
        special: whether it is one of the tokenizer's special tokens, such as a start token.
    """

    id: int
    text: str
    span: tuple[int, int] | None
    special: bool


@dataclass(frozen=True)
class WrittenFile:
    """An output: its name, without the folder, and the SHA-256 of its content in hex."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """What was run, on what text, and what came out.

    Attributes:
        model: the model as it was asked for; `model_id` is what stands in the activations.
        revision: what was asked for; `commit` the hub's hash that it stood for. None if unknown.
        model_class: name of the model's class.
        blocks_path: where in the model its blocks are; `blocks_total` of them exist, and the
            first `blocks_loaded` were loaded.
        whole_because: why the model could not be cut after the deepest layer, or None.
        unembedding_path: where the module is whose weight is the unembedding.
        tied: whether that weight is also another parameter of the model.
        bias: whether the unembedding has a bias (which is not in the file).
        layers: ascending.
        dtype, precision: the type that the model ran in, by torch's name and by its tag.
        attention: the attention implementation, None if the model does not say.
        libraries: versions by name, for the names in `LIBRARIES`.
        prompt_sha256: of the text in UTF-8.
        tokens: one for each position.
    """

    tool_version: str
    model: str
    model_id: str
    revision: str | None
    commit: str | None
    model_class: str
    blocks_path: str
    blocks_total: int
    blocks_loaded: int
    whole_because: str | None
    unembedding_path: str
    tied: bool
    bias: bool
    layers: tuple[int, ...]
    dtype: str
    precision: str
    device: str
    attention: str | None
    libraries: dict[str, str]
    activations: WrittenFile
    unembedding: WrittenFile
    prompt_sha256: str
    tokens: tuple[Token, ...]

    @property
    def truncated(self) -> bool:
        """Whether blocks after the deepest layer were left out."""
        return self.blocks_loaded < self.blocks_total

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON, a token a line.

        Raises:
            LimitExceeded: longer than what a reader takes.
        """
        head = json.dumps(self._tree(), indent=2, ensure_ascii=False)
        lines = (
            json.dumps(
                {
                    "id": token.id,
                    "text": token.text,
                    "span": None if token.span is None else list(token.span),
                    "special": token.special,
                },
                ensure_ascii=False,
            )
            for token in self.tokens
        )
        tail = ",\n    ".join(lines)
        data = f'{head[:-2]},\n  "tokens": [\n    {tail}\n  ]\n}}\n'.encode()
        if len(data) > MAX_DOCUMENT_BYTES:
            raise LimitExceeded(
                "extraction record",
                expected=f"at most {MAX_DOCUMENT_BYTES} bytes",
                found=f"{len(data)} bytes",
                hint="Extract from a shorter text.",
            )
        return data

    def _tree(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "tool_version": self.tool_version,
            "model": {
                "argument": self.model,
                "id": self.model_id,
                "revision": self.revision,
                "commit": self.commit,
                "class": self.model_class,
            },
            "blocks": {
                "path": self.blocks_path,
                "total": self.blocks_total,
                "loaded": self.blocks_loaded,
                "whole_because": self.whole_because,
            },
            "unembedding": {
                "path": self.unembedding_path,
                "tied": self.tied,
                "bias": self.bias,
            },
            "run": {
                "layers": list(self.layers),
                "dtype": self.dtype,
                "precision": self.precision,
                "device": self.device,
                "attention": self.attention,
            },
            "libraries": {name: self.libraries[name] for name in LIBRARIES},
            "files": {
                "activations": vars(self.activations),
                "unembedding": vars(self.unembedding),
            },
            "prompt_sha256": self.prompt_sha256,
        }


def read_record(path: PathLike) -> Record:
    """Read an extraction record strictly.

    Raises:
        Unreadable, TooLarge, BadText, BadJson, DuplicateMember: as any document.
        UnsupportedVersion: a version other than 1.
        UnknownMember, MissingMember, WrongType: not the record's members.
    """
    where = str(path)
    tree = loads(read_bounded(path), where)
    if isinstance(tree, dict) and tree.get("version", VERSION) != VERSION:
        # First, because the members of another version may be others.
        raise UnsupportedVersion(where, expected=VERSION, found=tree["version"])
    members = read_members(tree, _MEMBERS, where)
    if members["format"] != FORMAT:
        raise WrongType(f"{where}.format", expected=repr(FORMAT), found=repr(members["format"]))
    model, blocks, unembedding, run = (
        members[name] for name in ("model", "blocks", "unembedding", "run")
    )
    files = {name: WrittenFile(**file) for name, file in members["files"].items()}
    return Record(
        tool_version=members["tool_version"],
        model=model["argument"],
        model_id=model["id"],
        revision=model["revision"],
        commit=model["commit"],
        model_class=model["class"],
        blocks_path=blocks["path"],
        blocks_total=blocks["total"],
        blocks_loaded=blocks["loaded"],
        whole_because=blocks["whole_because"],
        unembedding_path=unembedding["path"],
        tied=unembedding["tied"],
        bias=unembedding["bias"],
        **run,
        libraries=members["libraries"],
        activations=files["activations"],
        unembedding=files["unembedding"],
        prompt_sha256=members["prompt_sha256"],
        tokens=tuple(
            Token(
                token["id"],
                token["text"],
                _span(token["span"], f"{where}.tokens[{i}]"),
                token["special"],
            )
            for i, token in enumerate(members["tokens"])
        ),
    )


def _span(span: tuple[int, ...] | None, where: str) -> tuple[int, int] | None:
    if span is None:
        return None
    if len(span) != 2 or span[0] >= span[1]:
        raise WrongType(f"{where}.span", expected="[start, end], start < end", found=list(span))
    return span[0], span[1]
