"""An extraction record's text back into its value, strictly. Needs neither torch nor numpy."""

from __future__ import annotations

from geometry_of_trust.documents.extraction_record import (
    FORMAT,
    LIBRARIES,
    VERSION,
    Check,
    Corpus,
    Record,
    Token,
    WrittenFile,
)
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    PRECISION,
    STRING,
    U32,
    U64,
    Member,
    optional,
    read_members,
    structure,
    vector,
)
from geometry_of_trust.documents.strictjson import loads
from geometry_of_trust.errors import NotOurSpelling, UnsupportedVersion, WrongType
from geometry_of_trust.files import PathLike, read_bounded

_FILE = structure(Member("sha256", DIGEST))
_TOKEN = structure(
    Member("id", U32),
    Member("text", STRING),
    Member("span", optional(vector(U32))),
    Member("special", BOOL),
)
_CHECK = structure(
    Member("name", STRING),
    Member("bit_equal", BOOL),
    Member("largest", FLOAT),
    Member("bound", FLOAT),
)
_ENVIRONMENT = structure(
    Member("tool_version", STRING),
    Member("argument", STRING),
    Member("revision", optional(STRING)),
    Member("commit", optional(STRING)),
    Member("blocks_loaded", U32),
    Member("whole_because", optional(STRING)),
    Member("device", STRING),
    Member("attention", optional(STRING)),
    Member("low_memory", BOOL),
    Member("quantization_library", STRING, "absent", None),
    Member("unproved", vector(STRING)),
    Member("libraries", structure(*(Member(name, STRING) for name in LIBRARIES))),
    Member("files", structure(Member("activations", STRING), Member("unembedding", STRING))),
    Member("checks", vector(_CHECK), "empty", ()),
)
_CORPUS = structure(
    Member("texts", U64),
    Member("rows", U64),
    Member("position", STRING),
    Member("skip_special_tokens", BOOL),
    Member("add_generation_prompt", BOOL),
    Member("chat_template_sha256", optional(DIGEST)),
    Member("rows_sha256", DIGEST),
)
_MEMBERS = (
    Member("format", STRING),
    Member("version", U32),
    Member("model", structure(Member("id", STRING), Member("class", STRING))),
    Member("blocks", structure(Member("path", STRING), Member("total", U32))),
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
            Member("reproducible", BOOL),
            Member("quantization", STRING, "absent", None),
        ),
    ),
    Member("files", structure(Member("activations", _FILE), Member("unembedding", _FILE))),
    Member("prompt_sha256", DIGEST),
    Member("corpus", optional(_CORPUS), "absent", None),
    Member("tokens", vector(_TOKEN)),
    Member("environment", _ENVIRONMENT),
)


def read_record(path: PathLike) -> Record:
    """Read an extraction record strictly.

    Raises:
        Unreadable, TooLarge, BadText, BadJson, DuplicateMember: as any document.
        UnsupportedVersion: a version other than 1.
        UnknownMember, MissingMember, WrongType: not the record's members.
        NotOurSpelling: not the text that is written for its content.
    """
    where = str(path)
    data = read_bounded(path)
    tree = loads(data, where)
    if isinstance(tree, dict) and tree.get("version", VERSION) != VERSION:
        # First, because the members of another version may be others.
        raise UnsupportedVersion(where, expected=VERSION, found=tree["version"])
    members = read_members(tree, _MEMBERS, where)
    if members["format"] != FORMAT:
        raise WrongType(f"{where}.format", expected=repr(FORMAT), found=repr(members["format"]))
    model, blocks, unembedding, environment = (
        members[name] for name in ("model", "blocks", "unembedding", "environment")
    )
    activations, unembedding_file = (
        WrittenFile(environment["files"][name], members["files"][name]["sha256"])
        for name in ("activations", "unembedding")
    )
    record = Record(
        tool_version=environment["tool_version"],
        model=environment["argument"],
        model_id=model["id"],
        revision=environment["revision"],
        commit=environment["commit"],
        model_class=model["class"],
        blocks_path=blocks["path"],
        blocks_total=blocks["total"],
        blocks_loaded=environment["blocks_loaded"],
        whole_because=environment["whole_because"],
        unembedding_path=unembedding["path"],
        tied=unembedding["tied"],
        bias=unembedding["bias"],
        **members["run"],
        corpus=None if members["corpus"] is None else Corpus(**members["corpus"]),
        checks=tuple(Check(**check) for check in environment["checks"]),
        device=environment["device"],
        attention=environment["attention"],
        low_memory=environment["low_memory"],
        quantization_library=environment["quantization_library"],
        unproved=environment["unproved"],
        libraries=environment["libraries"],
        activations=activations,
        unembedding=unembedding_file,
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
    if record.to_json() != data:
        raise NotOurSpelling(
            where, expected="the text that is written for its content", found="another spelling"
        )
    return record


def _span(span: tuple[int, ...] | None, where: str) -> tuple[int, int] | None:
    if span is None:
        return None
    if len(span) != 2 or span[0] >= span[1]:
        raise WrongType(f"{where}.span", expected="[start, end], start < end", found=list(span))
    return span[0], span[1]
