"""An extraction record's text back into its value, strictly. Needs neither torch nor numpy.

The text has sections, the value has none: the private dataclasses here are the sections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from geometry_of_trust.documents.extraction_record import (
    FORMAT,
    LIBRARIES,
    STORED,
    VERSION,
    Check,
    Corpus,
    Record,
    RecordedAdapter,
    RecordedGguf,
    Token,
    Tower,
    UnusedWeights,
    WrittenFile,
)
from geometry_of_trust.documents.recorded_identity import (
    RecordedFile,
    RecordedIdentity,
    RecordedTensor,
    manifest_root,
)
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    PRECISION,
    STRING,
    U32,
    U64,
    Kind,
    mapping,
    member,
    optional,
    record,
    vector,
)
from geometry_of_trust.documents.strictjson import loads
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import Inconsistent, NotOurSpelling, UnsupportedVersion, WrongType
from geometry_of_trust.files import PathLike, read_bounded

_FILES = ("activations", "unembedding")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True)
class _Blocks:
    path: str
    total: int


@dataclass(frozen=True)
class _Unembedding:
    path: str
    tied: bool
    bias: bool


@dataclass(frozen=True)
class _Run:
    layers: tuple[int, ...]
    dtype: str
    precision: str
    reproducible: bool
    arithmetic: str | None
    quantization: str | None
    bidirectional: bool
    stored: str | None
    streams: int | None
    stream: str | None


@dataclass(frozen=True)
class _File:
    sha256: str


@dataclass(frozen=True)
class _Environment:
    tool_version: str
    argument: str
    revision: str | None
    commit: str | None
    identity: RecordedIdentity | None
    blocks_loaded: int
    whole_because: str | None
    left_out: tuple[str, ...]
    device: str
    attention: str | None
    low_memory: bool | None
    quantization_library: str | None
    unembedding_reads: str | None
    unused_weights: UnusedWeights | None
    unproved: tuple[str, ...]
    libraries: Mapping[str, str]
    files: Mapping[str, str]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class _Sections:
    format: str
    version: int
    model: Mapping[str, str]
    adapter: RecordedAdapter | None
    gguf: RecordedGguf | None
    tower: Mapping[str, str] | None
    blocks: _Blocks
    unembedding: _Unembedding
    run: _Run
    files: Mapping[str, _File]
    prompt_sha256: str
    corpus: Corpus | None
    tokens: tuple[Token, ...]
    environment: _Environment


def _read_span(value: object, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    span = vector(U32).read(value, where)
    if len(span) != 2 or span[0] >= span[1]:
        raise WrongType(where, expected="[start, end], start < end", found=list(span))
    return span[0], span[1]


def _read_types(value: object, where: str) -> Mapping[str, int]:
    if type(value) is not dict or not value:
        raise WrongType(where, expected="an object with members", found=repr(value)[:80])
    return {name: U32.read(count, f"{where}.{name}") for name, count in value.items()}


_TOKEN = record(
    Token,
    member("id", U32),
    member("text", STRING),
    member("span", Kind(_read_span, lambda span: span and list(span))),
    member("special", BOOL),
)
_CHECK = record(
    Check,
    member("name", STRING),
    member("bit_equal", BOOL),
    member("largest", FLOAT),
    member("bound", FLOAT),
)
_TENSOR = record(
    RecordedTensor,
    member("name", STRING),
    member("dtype", STRING),
    member("shape", vector(U64)),
    member("sha256", DIGEST),
    member("index", U64),
    member("count", U64),
    member("path", vector(DIGEST)),
)
_IDENTITY = record(
    RecordedIdentity,
    member("manifest_root", DIGEST),
    member("tensor_root", optional(DIGEST)),
    member(
        "files",
        vector(
            record(
                RecordedFile,
                member("name", STRING),
                member("sha256", DIGEST),
                member("size", U64),
            )
        ),
    ),
    member("not_covered", vector(STRING)),
    member("unembedding", optional(_TENSOR)),
)
_UNUSED = record(UnusedWeights, member("count", U64), member("first", vector(STRING)))
_ENVIRONMENT = record(
    _Environment,
    member("tool_version", STRING),
    member("argument", STRING),
    member("revision", optional(STRING)),
    member("commit", optional(STRING)),
    member("identity", _IDENTITY, default=None, omitted=True),
    member("blocks_loaded", U32),
    member("whole_because", optional(STRING)),
    member("left_out", vector(STRING), default=(), omitted=True),
    member("device", STRING),
    member("attention", optional(STRING)),
    member("low_memory", BOOL, default=None, omitted=True),
    member("quantization_library", STRING, default=None, omitted=True),
    member("unembedding_reads", STRING, default=None, omitted=True),
    member("unused_weights", _UNUSED, default=None, omitted=True),
    member("unproved", vector(STRING)),
    member("libraries", mapping(LIBRARIES, STRING)),
    member("files", mapping(_FILES, STRING)),
    member("checks", vector(_CHECK), default=(), omitted=True),
)
_CORPUS = record(
    Corpus,
    member("texts", U64),
    member("rows", U64),
    member("position", STRING),
    member("skip_special_tokens", BOOL),
    member("add_generation_prompt", BOOL),
    member("chat_template_sha256", optional(DIGEST)),
    member("rows_sha256", DIGEST),
    member("tokens", STRING, default=ALL, omitted=True),
    member("date", STRING, default=None, omitted=True),
)
_ADAPTER = record(
    RecordedAdapter,
    member("sha256", DIGEST),
    member("kind", STRING),
    member("base", optional(STRING)),
)
_GGUF = record(RecordedGguf, member("sha256", DIGEST), member("types", Kind(_read_types, dict)))
_SECTIONS = record(
    _Sections,
    member("format", STRING),
    member("version", U32),
    member("model", mapping(("id", "class"), STRING)),
    member("adapter", _ADAPTER, default=None, omitted=True),
    member("gguf", _GGUF, default=None, omitted=True),
    member("tower", mapping(("class", "path"), STRING), default=None, omitted=True),
    member("blocks", record(_Blocks, member("path", STRING), member("total", U32))),
    member(
        "unembedding",
        record(_Unembedding, member("path", STRING), member("tied", BOOL), member("bias", BOOL)),
    ),
    member(
        "run",
        record(
            _Run,
            member("layers", vector(U32)),
            member("dtype", STRING),
            member("precision", PRECISION),
            member("reproducible", BOOL),
            member("arithmetic", STRING, default=None, omitted=True),
            member("quantization", STRING, default=None, omitted=True),
            member("bidirectional", BOOL, default=False, omitted=True),
            member("stored", STRING, default=None, omitted=True),
            member("streams", U32, default=None, omitted=True),
            member("stream", STRING, default=None, omitted=True),
        ),
    ),
    member("files", mapping(_FILES, record(_File, member("sha256", DIGEST)))),
    member("prompt_sha256", DIGEST),
    member("corpus", optional(_CORPUS), default=None, omitted=True),
    member("tokens", vector(_TOKEN)),
    member("environment", _ENVIRONMENT),
)


def read_record(path: PathLike) -> Record:
    """Read an extraction record strictly.

    Raises:
        Unreadable, TooLarge, BadText, BadJson, DuplicateMember: as any document.
        UnsupportedVersion: a version other than 1.
        UnknownMember, MissingMember, WrongType, NonFinite: not the record's members.
        Inconsistent: the digests of the model's files do not lead to the root beside them, or other
            members contradict each other.
        NotOurSpelling: not the text that is written for its content.
        LimitExceeded: the text that is written for its content is too long.
    """
    where = str(path)
    data = read_bounded(path)
    tree = loads(data, where)
    if isinstance(tree, dict) and tree.get("version", VERSION) != VERSION:
        # First, because the members of another version may be others.
        raise UnsupportedVersion(where, expected=VERSION, found=tree["version"])
    sections = _SECTIONS.read(tree, where)
    if sections.format != FORMAT:
        raise WrongType(f"{where}.format", expected=repr(FORMAT), found=repr(sections.format))
    _check_agreement(sections, where)
    found = _joined(sections)
    if (identity := found.identity) is not None:
        root = manifest_root(file.sha256 for file in identity.files)
        if root != identity.manifest_root:
            raise Inconsistent(
                f"{where}.environment.identity", expected=f"root {root}, as its files lead to",
                found=identity.manifest_root,
            )  # fmt: skip
    if found.to_json() != data:
        raise NotOurSpelling(
            where, expected="the text that is written for its content", found="another spelling"
        )
    return found


def _check_agreement(sections: _Sections, where: str) -> None:
    """What members say of streams and of files agrees with each other.

    Raises:
        Inconsistent: it does not. WrongType: weights came in something unknown.
    """
    run, place = sections.run, f"{where}.run"
    if (run.streams is None) != (run.stream is None):
        raise Inconsistent(
            f"{place}.stream",
            expected="streams and stream, or neither",
            found=f"{run.streams} streams, of which {run.stream} was read",
        )
    if run.streams is not None and run.stream not in (None, "mean"):
        number = _NUMBER.fullmatch(run.stream)
        if not number or int(run.stream) >= run.streams:
            raise Inconsistent(
                f"{place}.stream",
                expected=f"mean, or a number below {run.streams}, as there are so many streams",
                found=repr(run.stream[:20]),
            )
    if run.stored not in (None, *STORED):
        raise WrongType(f"{place}.stored", expected=", ".join(STORED), found=repr(run.stored))
    # A GGUF file of weights that are not rounded is there without.
    agrees = run.stored != "gguf" if sections.gguf is None else run.stored in (None, "gguf")
    if not agrees:
        raise Inconsistent(
            f"{place}.stored",
            expected="gguf if and only if weights came from a GGUF file, and are rounded",
            found=run.stored or "none",
        )


def _joined(sections: _Sections) -> Record:
    """The record of these sections."""
    environment, run, tower = sections.environment, sections.run, sections.tower
    activations, unembedding = (
        WrittenFile(environment.files[name], sections.files[name].sha256) for name in _FILES
    )
    return Record(
        tool_version=environment.tool_version,
        model=environment.argument,
        model_id=sections.model["id"],
        revision=environment.revision,
        commit=environment.commit,
        model_class=sections.model["class"],
        blocks_path=sections.blocks.path,
        blocks_total=sections.blocks.total,
        blocks_loaded=environment.blocks_loaded,
        whole_because=environment.whole_because,
        tower=None if tower is None else Tower(tower["class"], tower["path"]),
        left_out=environment.left_out,
        unembedding_path=sections.unembedding.path,
        tied=sections.unembedding.tied,
        bias=sections.unembedding.bias,
        layers=run.layers,
        dtype=run.dtype,
        precision=run.precision,
        reproducible=run.reproducible,
        device=environment.device,
        attention=environment.attention,
        low_memory=environment.low_memory,
        libraries=environment.libraries,
        activations=activations,
        unembedding=unembedding,
        prompt_sha256=sections.prompt_sha256,
        tokens=sections.tokens,
        unproved=environment.unproved,
        quantization=run.quantization,
        stored=run.stored,
        adapter=sections.adapter,
        gguf=sections.gguf,
        arithmetic=run.arithmetic,
        streams=run.streams,
        stream=run.stream,
        quantization_library=environment.quantization_library,
        corpus=sections.corpus,
        checks=environment.checks,
        bidirectional=run.bidirectional,
        unembedding_reads=environment.unembedding_reads,
        unused_weights=environment.unused_weights,
        identity=environment.identity,
    )
