"""The extraction record: what was run, on what text, and the digests of what came out.

It stands beside the activations (`files.record_path`). Nothing in it depends on the clock or on
where the files are, so the same extraction writes the same bytes. Its last member, `environment`,
is what must not matter to a reproducible run: another machine has another one. All others are what
was measured, and are the same wherever such a run is repeated. Needs neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from geometry_of_trust.documents.codes import Mode
from geometry_of_trust.documents.recorded_identity import RecordedIdentity, Weights
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import LimitExceeded
from geometry_of_trust.files import MAX_DOCUMENT_BYTES

FORMAT = "geometry-of-trust extraction record"
VERSION = 1
EQUAL = "equal"
SCALED = "equal up to a scale"
RISING = "equal up to an increasing function"
TRANSFORMED = "not equal: the model transforms the state before U by more than a norm"
NO_NORM = "no norm found"
STORED = ("gguf", "fp8", "mxfp4", "mxfp8")
"""What weights can have been rounded to in the model's own files."""
LIBRARIES = ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy")


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
class RecordedAdapter:
    """What was put into a model beside its weights.

    Attributes:
        sha256: of its two files (`adapter_digest`).
        kind: what peft calls its kind.
        base: the model that its configuration names, None if it names none.
    """

    sha256: str
    kind: str
    base: str | None


def adapter_digest(digests: Mapping[str, str]) -> str:
    """SHA-256, in hex, of the lines that `sha256sum` prints of files: digests by name, in hex."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class RecordedGguf:
    """The GGUF file that a model is.

    Attributes:
        sha256: of the file. types: how many of its tensors have each type, by ggml's names.
    """

    sha256: str
    types: Mapping[str, int]


@dataclass(frozen=True)
class Tower:
    """The model of text inside of a model of text and other things: its class, and where it is."""

    class_name: str
    path: str


@dataclass(frozen=True)
class Corpus:
    """What makes rows of many texts.

    Attributes:
        texts, rows: how many.
        position: which tokens give rows, as of `corpus.Position`.
        skip_special_tokens: whether special tokens gave none.
        add_generation_prompt: whether chats end with what makes the assistant's turn begin.
        chat_template_sha256: of the template that chats were put through; None if there was none.
        rows_sha256: digest of the row table's content (`formats.row_table`).
        tokens: which tokens the position picked among, as of `TokenChoice.parse`.
        date: what day it was for the template, if that was said.
    """

    texts: int
    rows: int
    position: str
    skip_special_tokens: bool
    add_generation_prompt: bool
    chat_template_sha256: str | None
    rows_sha256: str
    tokens: str = ALL
    date: str | None = None

    def to_tree(self) -> dict[str, object]:
        """As JSON has it."""
        tree: dict[str, object] = dict(vars(self))
        if self.tokens == ALL:
            del tree["tokens"]
        if self.date is None:
            del tree["date"]
        return tree


@dataclass(frozen=True)
class Check:
    """One self-check before a corpus run, on its first texts.

    Attributes:
        name: what was compared with what.
        bit_equal: whether the two were the same bit for bit.
        largest: largest difference, relative to the largest value; a float32 value.
        bound: what it may be.
    """

    name: str
    bit_equal: bool
    largest: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within its bound."""
        return self.largest <= self.bound


@dataclass(frozen=True)
class UnusedWeights:
    """How many, and the names of the first few, as the model would have them."""

    count: int
    first: tuple[str, ...]

    @classmethod
    def of(cls, names: Collection[str]) -> UnusedWeights | None:
        """Those of these names; None if there are none."""
        return cls(len(names), tuple(sorted(names)[:3])) if names else None

    def to_tree(self) -> dict[str, object]:
        """As JSON has it."""
        return {"count": self.count, "first": list(self.first)}


@dataclass(frozen=True)
class Record:
    """What was run, on what text, and what came out.

    Attributes:
        model: the model as it was asked for; `model_id` is what stands in the activations.
        revision: what was asked for; `commit` the hub's hash that it stood for. None if unknown.
        model_class: name of the model's class.
        blocks_path: where in the model its blocks are; `blocks_total` of them exist, and the
            first `blocks_loaded` were loaded.
        whole_because: why the model could not be cut after the deepest layer, or do without other
            parts, or None.
        tower: the model of text, None if the model is nothing else.
        left_out: paths of the parts beside it that were not loaded.
        unembedding_path: where the module is whose weight is the unembedding.
        tied: whether that weight is also another parameter of the model.
        bias: whether the unembedding has a bias (which is not in the file).
        layers: ascending.
        dtype, precision: the type of the weights, by torch's name and by its tag; also of the
            whole run unless that was reproducible.
        reproducible: whether the run gives the same bytes on every machine.
        arithmetic: name of what it then computed in; None of a fast run, and of those in float64.
        attention: the attention implementation, None if the model does not say.
        libraries: versions by name, for the names in `LIBRARIES`.
        prompt_sha256: of the text in UTF-8; of a corpus, of its texts with their lengths.
        tokens: one for each position; of a corpus none, as its row table has them.
        streams: how many residual streams the model has, None for one; then `stream` says which was
            read: its number, or `mean`.
        quantization: what the linear layers of the blocks were held in, None if in `dtype`; then
            `precision` is its tag, and `dtype` the type that the weights were computed with.
        quantization_library: name and version of what quantised them, or None.
        stored: what the weights had been rounded to before, in the model's own files, if to 8 bits
            or fewer: `gguf`, or the method as transformers calls it; then `precision` is `Int8`.
        adapter, gguf: what else the weights came from.
        corpus: what made the rows of many texts; None for one text.
        checks: self-checks before the run.
        unproved: operations of a reproducible run of which it is not proved that they have one
            value on every machine, by torch's names; for all families that are tested, none.
        low_memory: of a record of version 0.1, whether weights stayed in their files; else None.
        bidirectional: whether states depend on later tokens too, which was allowed.
        unembedding_reads: how the model's logits for its first text follow from the last block's
            state through at most a norm and the unembedding: `EQUAL`, `SCALED`, `RISING` (as by
            a soft-cap), `TRANSFORMED`, `NO_NORM`, or why it was not compared. None: nobody looked.
        identity: which model it was; None of a record of before that was looked at.
        unused_weights: weights in the model's files that the whole model does not use, or None.
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
    reproducible: bool
    device: str
    attention: str | None
    libraries: Mapping[str, str]
    activations: WrittenFile
    unembedding: WrittenFile
    prompt_sha256: str
    tokens: tuple[Token, ...]
    unproved: tuple[str, ...] = ()
    quantization: str | None = None
    quantization_library: str | None = None
    arithmetic: str | None = None
    streams: int | None = None
    stream: str | None = None
    tower: Tower | None = None
    left_out: tuple[str, ...] = ()
    corpus: Corpus | None = None
    checks: tuple[Check, ...] = ()
    low_memory: bool | None = None
    bidirectional: bool = False
    unembedding_reads: str | None = None
    unused_weights: UnusedWeights | None = None
    stored: str | None = None
    adapter: RecordedAdapter | None = None
    gguf: RecordedGguf | None = None
    identity: RecordedIdentity | None = None

    @property
    def positions(self) -> int:
        """Rows of the activations."""
        return len(self.tokens) if self.corpus is None else self.corpus.rows

    @property
    def weights(self) -> Weights | None:
        """Which model it was; None if nobody looked."""
        return None if self.identity is None else self.identity.weights

    @property
    def mode(self) -> Mode:
        """`reproducible` or `fast`."""
        return "reproducible" if self.reproducible else "fast"

    @property
    def measured_digest(self) -> str:
        """SHA-256, in hex, of the record's text without its last member, `environment`."""
        return hashlib.sha256(_text(self.measured(), self.tokens)).hexdigest()

    @property
    def digest(self) -> str:
        """What an attestation is bound to, in hex.

        Of a reproducible run `measured_digest`, which whoever repeats it obtains again; of a fast
        one the SHA-256 of the whole text.

        Raises:
            LimitExceeded: of a fast run, whose text is longer than what a reader takes.
        """
        if self.reproducible:
            return self.measured_digest
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON, a token a line.

        Raises:
            LimitExceeded: longer than what a reader takes.
        """
        data = _text(self.measured(), self.tokens, self._environment())
        if len(data) > MAX_DOCUMENT_BYTES:
            raise LimitExceeded(
                "extraction record",
                expected=f"at most {MAX_DOCUMENT_BYTES} bytes",
                found=f"{len(data)} bytes",
                hint="Extract from a shorter text.",
            )
        return data

    def measured(self) -> dict[str, object]:
        """What was measured, as the text has it, but for the tokens."""
        tree: dict[str, object] = {
            "format": FORMAT,
            "version": VERSION,
            "model": {"id": self.model_id, "class": self.model_class},
            **_present(
                adapter=self.adapter and dict(vars(self.adapter)),
                gguf=self.gguf
                and {"sha256": self.gguf.sha256, "types": dict(sorted(self.gguf.types.items()))},
                tower=self.tower and {"class": self.tower.class_name, "path": self.tower.path},
            ),
            "blocks": {"path": self.blocks_path, "total": self.blocks_total},
            "unembedding": {
                "path": self.unembedding_path,
                "tied": self.tied,
                "bias": self.bias,
            },
            "run": {
                "layers": list(self.layers),
                "dtype": self.dtype,
                "precision": self.precision,
                "reproducible": self.reproducible,
                **_present(
                    arithmetic=self.arithmetic,
                    quantization=self.quantization,
                    bidirectional=self.bidirectional or None,
                    stored=self.stored,
                    streams=self.streams,
                    stream=self.stream,
                ),
            },
            "files": {
                "activations": {"sha256": self.activations.sha256},
                "unembedding": {"sha256": self.unembedding.sha256},
            },
            "prompt_sha256": self.prompt_sha256,
        }
        return tree if self.corpus is None else {**tree, "corpus": self.corpus.to_tree()}

    def _environment(self) -> dict[str, object]:
        tree: dict[str, object] = {
            "tool_version": self.tool_version,
            "argument": self.model,
            "revision": self.revision,
            "commit": self.commit,
            **_present(identity=self.identity and _identity(self.identity)),
            "blocks_loaded": self.blocks_loaded,
            "whole_because": self.whole_because,
            **({"left_out": list(self.left_out)} if self.left_out else {}),
            "device": self.device,
            "attention": self.attention,
            **_present(low_memory=self.low_memory, quantization_library=self.quantization_library),
            **_present(
                unembedding_reads=self.unembedding_reads,
                unused_weights=self.unused_weights and self.unused_weights.to_tree(),
            ),
            "unproved": list(self.unproved),
            "libraries": {name: self.libraries[name] for name in LIBRARIES},
            "files": {"activations": self.activations.name, "unembedding": self.unembedding.name},
        }
        return tree | (
            {"checks": [dict(vars(check)) for check in self.checks]} if self.checks else {}
        )


def _identity(identity: RecordedIdentity) -> dict[str, object]:
    tensor = identity.unembedding
    return {
        "manifest_root": identity.manifest_root,
        "tensor_root": identity.tensor_root,
        "files": [dict(vars(file)) for file in identity.files],
        "not_covered": list(identity.not_covered),
        "unembedding": tensor
        and {**vars(tensor), "shape": list(tensor.shape), "path": list(tensor.path)},
    }


def _present(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


def _text(
    measured: dict[str, object],
    tokens: tuple[Token, ...],
    environment: dict[str, object] | None = None,
) -> bytes:
    """The text of a record: two spaces of indentation, a token a line, a line break at the end."""
    head = json.dumps(measured, indent=2, ensure_ascii=False)
    on_one_line = json.JSONEncoder(ensure_ascii=False).encode
    lines = (
        on_one_line(
            {"id": token.id, "text": token.text, "span": token.span, "special": token.special}
        )
        for token in tokens
    )
    tail = '  "tokens": [\n    ' + ",\n    ".join(lines) + "\n  ]"
    if environment is not None:
        tail += ",\n" + json.dumps({"environment": environment}, indent=2, ensure_ascii=False)[2:-2]
    return f"{head[:-2]},\n{tail}\n}}\n".encode()
