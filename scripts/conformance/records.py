"""Extraction records: docs/formats.md, member by member."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from conformance.documents import REMOVE, Path, Tree, changed, moved_last, swapped
from conformance.numbers import Json, text
from conformance.vector import Vector, accepted, refused

LIBRARIES = ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def record(activations: str, unembedding: str, *, reproducible: bool = True) -> Tree:
    """The record of one text of three tokens, layers 1 and 4."""
    return {
        "format": "geometry-of-trust extraction record", "version": 1,
        "model": {"id": "tiny", "class": "LlamaForCausalLM"},
        "blocks": {"path": "model.layers", "total": 6},
        "unembedding": {"path": "lm_head", "tied": True, "bias": False},
        "run": {"layers": [1, 4], "dtype": "float32", "precision": "Fp32",
                "reproducible": reproducible},
        "files": {"activations": {"sha256": activations}, "unembedding": {"sha256": unembedding}},
        "prompt_sha256": "ef" * 32,
        "tokens": [
            {"id": 0, "text": "<s>", "span": None, "special": True},
            {"id": 17, "text": ' "é"\n', "span": [0, 4], "special": False},
            {"id": 4, "text": "x", "span": [4, 5], "special": False},
        ],
        "environment": {
            "tool_version": "0.1.0", "argument": "models/tiny", "revision": None,
            "commit": "0" * 40, "blocks_loaded": 5, "whole_because": None, "device": "cpu",
            "attention": "eager", "low_memory": False, "unproved": [],
            "libraries": dict.fromkeys(LIBRARIES, "1.0"),
            "files": {"activations": "tiny.gotact", "unembedding": "unembedding.gotue"},
        },
    }  # fmt: skip


def record_text(tree: Tree, *, environment: bool = True) -> bytes:
    """Two spaces of indent, but each token on one line; a line feed at the end."""
    lines = []
    for name, value in tree.items():
        if name == "environment" and not environment:
            continue
        if name == "tokens" and isinstance(value, list):
            rows = ",\n    ".join(json.dumps(token, ensure_ascii=False) for token in value)
            body = f"[\n    {rows}\n  ]"
        else:
            body = text(value, "  ")
        lines.append(f"  {json.dumps(name)}: {body}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def record_digest(tree: Tree) -> str:
    """Of a reproducible run without the environment, of a fast one of the whole file."""
    run: Tree = tree["run"]  # type: ignore[assignment]
    return hashlib.sha256(record_text(tree, environment=not run["reproducible"])).hexdigest()


ARITHMETIC = "fixed-order-float32-1"


def with_arithmetic(tree: Tree) -> Tree:
    """The same of a run that says what it computed in, as since 0.2.0."""
    return changed(tree, ("run", "arithmetic"), ARITHMETIC)


PLAIN = record("ab" * 32, "cd" * 32)
FAST = changed(PLAIN, ("run", "reproducible"), False)
CORPUS: Tree = {
    "texts": 2, "rows": 5, "position": "last", "skip_special_tokens": True,
    "add_generation_prompt": False, "chat_template_sha256": None, "rows_sha256": "2c" * 32,
}  # fmt: skip


def _corpus() -> Tree:
    tree = changed(PLAIN, ("tokens",), [])
    tokens, environment = tree.pop("tokens"), tree.pop("environment")
    checks: Json = [{"name": "alone and in a batch", "bit_equal": False, "largest": 0.0009765625,
                     "bound": 0.001953125}]  # fmt: skip
    tree |= {"corpus": dict(CORPUS), "tokens": tokens, "environment": environment}
    return changed(tree, ("environment", "checks"), checks)


def _since_0_2() -> Tree:
    """Without `low_memory`, which only version 0.1 wrote."""
    return changed(with_arithmetic(PLAIN), ("environment", "low_memory"), REMOVE)


def _identified(root: str | None = None) -> Tree:
    """Which model it was, from two files; the root over their digests or another one."""
    digests = ["1a" * 32, "2b" * 32]
    files: Json = [
        {"name": name, "sha256": digest, "size": 2}
        for name, digest in zip(("a.json", "model.safetensors"), digests, strict=True)
    ]
    identity: Tree = {
        "manifest_root": root or hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest(),
        "tensor_root": "fb" * 32, "files": files, "not_covered": ["README.md"],
        "unembedding": {"name": "lm_head.weight", "dtype": "BF16", "shape": [3, 2],
                        "sha256": "3c" * 32, "index": 1, "count": 2, "path": ["4d" * 32]},
    }  # fmt: skip
    environment: Tree = PLAIN["environment"]  # type: ignore[assignment]
    before = ("tool_version", "argument", "revision", "commit")
    made = {name: environment[name] for name in before} | {"identity": identity}
    return changed(PLAIN, ("environment",), made | environment | {"identity": identity})


def _quantised() -> Tree:
    tree = changed(PLAIN, ("run", "precision"), "Int8")
    tree = changed(tree, ("run", "quantization"), "int8")
    environment: Tree = tree["environment"]  # type: ignore[assignment]
    names = list(environment)
    at = names.index("unproved")
    with_library = {name: environment[name] for name in names[:at]}
    with_library["quantization_library"] = "bitsandbytes 0.50.2"
    return changed(tree, ("environment",), with_library | {n: environment[n] for n in names[at:]})


def records() -> Iterator[Vector]:
    """Vectors of kind `record`."""
    elsewhere = changed(changed(PLAIN, ("environment", "device"), "cuda:0"),
                        ("environment", "tool_version"), "9")  # fmt: skip
    for name, tree, positions, comment in (
        ("reproducible", PLAIN, 3, "one text; the digest leaves the environment out"),
        ("reproducible-elsewhere", elsewhere, 3, "another environment, the same digest"),
        ("arithmetic", with_arithmetic(PLAIN), 3, "it says what it computed in"),
        ("no-low-memory", _since_0_2(), 3, "low_memory is left out, as since 0.2.0"),
        ("identity", _identified(), 3, "which model it was; the digest leaves it out"),
        ("fast", FAST, 3, "the digest is of the whole file"),
        ("corpus", _corpus(), 5, "two texts, five rows, one self-check"),
        ("quantised", _quantised(), 3, "the blocks' weights in 8-bit integers"),
    ):
        run: Tree = tree["run"]  # type: ignore[assignment]
        yield accepted("record", name, record_text(tree), comment, model_id='"tiny"',
                       mode="reproducible" if run["reproducible"] else "fast", layers="1 4",
                       positions=str(positions), digest=record_digest(tree))  # fmt: skip
    yield from _records_changed()
    yield refused(
        "record",
        "identity-of-other-files",
        "Inconsistent",
        record_text(_identified("5e" * 32)),
        "the digests lead to another root",
    )
    for name, path, value in (
        ("identity-null", ("identity",), None),
        ("identity-size-below-0", ("identity", "files", 0, "size"), -1),
        ("identity-path-short", ("identity", "unembedding", "path"), ["4d"]),
    ):  # fmt: skip
        tree = changed(_identified(), ("environment", *path), value)
        yield refused("record", name, "WrongType", record_text(tree), "not the member's type")
    yield from _records_text()


CHANGES: list[tuple[str, str, Path, object, str]] = [
    ("version-2", "UnsupportedVersion", ("version",), 2, "only version 1 is defined"),
    ("version-a-string", "UnsupportedVersion", ("version",), "1", "no version 1"),
    ("format-other", "WrongType", ("format",), "other", "the name of the format"),
    ("unknown-member", "UnknownMember", ("extra",), 1, "at the top"),
    ("unknown-in-model", "UnknownMember", ("model", "extra"), 1, "in model"),
    ("unknown-in-token", "UnknownMember", ("tokens", 0, "extra"), 1, "in a token"),
    ("unknown-in-environment", "UnknownMember", ("environment", "extra"), 1, "environment"),
    ("no-version", "MissingMember", ("version",), REMOVE, "version"),
    ("no-tokens", "MissingMember", ("tokens",), REMOVE, "tokens"),
    ("no-digest", "MissingMember", ("files", "activations", "sha256"), REMOVE, "sha256"),
    ("no-environment", "MissingMember", ("environment",), REMOVE, "environment"),
    ("no-library", "MissingMember", ("environment", "libraries", "numpy"), REMOVE, "numpy"),
    ("digest-upper-case", "WrongType", ("files", "activations", "sha256"), "AB" * 32, "lower"),
    ("digest-short", "WrongType", ("prompt_sha256",), "ef", "64 digits"),
    ("layer-negative", "WrongType", ("run", "layers"), [0, -1], "below 0"),
    ("precision-lower-case", "WrongType", ("run", "precision"), "fp32", "no such tag"),
    ("reproducible-a-number", "WrongType", ("run", "reproducible"), 1, "true or false"),
    ("arithmetic-null", "WrongType", ("run", "arithmetic"), None, "absent, or a string"),
    ("quantization-null", "WrongType", ("run", "quantization"), None, "absent, or a string"),
    ("attention-a-number", "WrongType", ("environment", "attention"), 1, "a string or null"),
    ("library-null", "WrongType", ("environment", "libraries", "torch"), None, "a string"),
    ("quantization-library-null", "WrongType", ("environment", "quantization_library"), None,
     "absent, or a string"),
    ("no-file-name", "MissingMember", ("environment", "files", "activations"), REMOVE, "a name"),
    ("low-memory-null", "WrongType", ("environment", "low_memory"), None, "true or false"),
    ("tied-a-number", "WrongType", ("unembedding", "tied"), 1, "true or false"),
    ("blocks-a-float", "WrongType", ("blocks", "total"), 6.0, "an integer"),
    ("token-id-a-boolean", "WrongType", ("tokens", 1, "id"), True, "an integer"),
    ("token-text-null", "WrongType", ("tokens", 1, "text"), None, "a string"),
    ("span-of-one", "WrongType", ("tokens", 1, "span"), [0], "start and end"),
    ("span-of-three", "WrongType", ("tokens", 1, "span"), [0, 1, 2], "start and end"),
    ("span-empty", "WrongType", ("tokens", 1, "span"), [4, 4], "from start to before end"),
    ("span-backwards", "WrongType", ("tokens", 1, "span"), [4, 0], "from start to before end"),
]  # fmt: skip


def _records_changed() -> Iterator[Vector]:
    for name, error, path, value, comment in CHANGES:
        yield refused("record", name, error, record_text(changed(PLAIN, path, value)), comment)


def _records_text() -> Iterator[Vector]:
    good = record_text(PLAIN)
    other = json.dumps(PLAIN, ensure_ascii=False)
    reordered = record_text(moved_last(PLAIN, "format"))
    tokens_apart = text(PLAIN).encode() + b"\n"
    spellings: list[tuple[str, bytes, str]] = [
        ("compact", other.encode(), "on one line"),
        ("another-order", reordered, "format stands last"),
        ("tokens-apart", tokens_apart, "tokens not on one line each"),
        ("no-line-feed", good[:-1], "no line feed at the end"),
        ("two-line-feeds", good + b"\n", "two line feeds at the end"),
        ("carriage-returns", good.replace(b"\n", b"\r\n"), "lines that end in CR LF"),
        ("escaped", swapped(good, "é", "\\u00e9"), "a character as an escape"),
        ("arithmetic-early", record_text(_arithmetic_early()), "arithmetic before reproducible"),
        ("environment-first", record_text(_first(PLAIN, "environment")), "environment not last"),
        ("quantization-library-null",
         record_text(changed(PLAIN, ("corpus",), None)), "corpus null instead of absent"),
    ]  # fmt: skip
    for name, data, comment in spellings:
        label = "corpus-null" if name == "quantization-library-null" else name
        yield refused("record", f"spelled-{label}", "NotOurSpelling", data, comment)
    for name, error, data, comment in (
        ("empty", "BadJson", b"", "no byte at all"),
        ("array", "WrongType", b"[]", "an object is needed"),
        ("not-utf-8", "BadText", b"\xff", "a byte that no UTF-8 has"),
        ("cut", "BadJson", good[:-3], "the end is missing"),
        ("duplicate-member", "DuplicateMember", swapped(good, '"version"', '"format"'), "twice"),
        ("check-beyond-float32", "NonFinite",
         swapped(record_text(_corpus()), "0.0009765625", "1e39"), "a self-check of 1e39"),
    ):  # fmt: skip
        yield refused("record", name, error, data, comment)
    yield refused("record", "too-many-values", "TooLarge", b"[1,1]",
                  "2097153 numbers and the array, in 4 MiB", repeats=((1, 2, 2**21),))  # fmt: skip
    yield refused("record", "too-large", "TooLarge", b" ", "a byte more than 16 MiB",
                  repeats=((0, 1, 2**24 + 1),))  # fmt: skip


def _arithmetic_early() -> Tree:
    run: Tree = with_arithmetic(PLAIN)["run"]  # type: ignore[assignment]
    return changed(PLAIN, ("run",), moved_last(run, "reproducible"))


def _first(tree: Tree, name: str) -> Tree:
    return {name: tree[name], **tree}
