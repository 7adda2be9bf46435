"""The extraction record: strict to read, readable without torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record import Record, Token, WrittenFile
from geometry_of_trust.documents.extraction_record_reading import read_record

RECORD = Record(
    tool_version="0.1.0",
    model='a "tokens": [] b',
    model_id="naïve",
    revision=None,
    commit="0" * 40,
    model_class="LlamaForCausalLM",
    blocks_path="model.layers",
    blocks_total=4,
    blocks_loaded=3,
    whole_because=None,
    unembedding_path="lm_head",
    tied=True,
    bias=False,
    layers=(0, 2),
    dtype="bfloat16",
    precision="Bfloat16",
    reproducible=True,
    device="cpu",
    attention="eager",
    low_memory=False,
    libraries=dict.fromkeys(
        ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy"), "1.0"
    ),
    activations=WrittenFile("a.gotact", "ab" * 32),
    unembedding=WrittenFile("u.gotue", "cd" * 32),
    prompt_sha256="ef" * 32,
    tokens=(Token(0, "<s>", None, True), Token(17, ' "é"\n', (0, 4), False)),
)


def read(data: bytes, folder: Path) -> Record:
    path = folder / "x.record.json"
    path.write_bytes(data)
    return read_record(path)


def test_read_back(tmp_path: Path) -> None:
    assert read(RECORD.to_json(), tmp_path) == RECORD


def test_quantization_is_there_only_if_something_was(tmp_path: Path) -> None:
    quantised = replace(
        RECORD, precision="Int8", quantization="int8", quantization_library="bitsandbytes 0.50.2"
    )
    assert read(quantised.to_json(), tmp_path) == quantised
    assert b'"quantization": "int8"' in quantised.to_json()
    assert b"quantization" not in RECORD.to_json()


def test_a_token_a_line() -> None:
    lines = RECORD.to_json().decode().splitlines()
    assert '    {"id": 0, "text": "<s>", "span": null, "special": true},' in lines
    assert '  "prompt_sha256": "' + "ef" * 32 + '",' in lines


def test_the_digest_of_a_reproducible_run_leaves_the_environment_out() -> None:
    """The rule as docs/formats.md states it: the text without its last member."""
    text = RECORD.to_json().decode()
    measured = text[: text.index(',\n  "environment": {')] + "\n}\n"
    assert json.loads(text) == json.loads(measured) | {
        "environment": json.loads(text)["environment"]
    }
    digest = hashlib.sha256(measured.encode()).hexdigest()
    assert RECORD.measured_digest == RECORD.digest == digest
    elsewhere = replace(
        RECORD,
        tool_version="9",
        model="/elsewhere",
        revision="main",
        commit=None,
        blocks_loaded=4,
        whole_because="of that",
        device="cuda:0",
        attention=None,
        low_memory=True,
        quantization_library="other 1.0",
        libraries=dict.fromkeys(RECORD.libraries, "2.0"),
        activations=WrittenFile("b.gotact", RECORD.activations.sha256),
        unembedding=WrittenFile("v.gotue", RECORD.unembedding.sha256),
    )
    assert elsewhere.to_json() != RECORD.to_json()
    assert elsewhere.digest == RECORD.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "other"},
        {"model_class": "Other"},
        {"blocks_path": "other"},
        {"blocks_total": 5},
        {"unembedding_path": "other"},
        {"tied": False},
        {"bias": True},
        {"layers": (0, 1)},
        {"dtype": "float32"},
        {"precision": "Fp32"},
        {"reproducible": False},
        {"quantization": "int8"},
        {"activations": WrittenFile("a.gotact", "00" * 32)},
        {"unembedding": WrittenFile("u.gotue", "00" * 32)},
        {"prompt_sha256": "00" * 32},
        {"tokens": RECORD.tokens[:1]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_was_measured_is_in_the_digest(changes: dict[str, Any]) -> None:
    assert replace(RECORD, **changes).measured_digest != RECORD.measured_digest


def test_the_digest_of_a_fast_run_is_of_the_whole_record() -> None:
    fast = replace(RECORD, reproducible=False)
    assert (RECORD.mode, fast.mode) == ("reproducible", "fast")
    assert fast.digest == hashlib.sha256(fast.to_json()).hexdigest() != fast.measured_digest
    assert replace(fast, device="cuda:0").digest != fast.digest


def test_too_long_to_be_read() -> None:
    many = replace(RECORD, tokens=(Token(1, "x" * 1000, None, False),) * 17_000)
    with pytest.raises(errors.LimitExceeded):
        many.to_json()


def change(path: str, value: Any) -> Callable[[Any], None]:
    def apply(tree: Any) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            tree = tree[int(parent)] if parent.isdigit() else tree[parent]
        if value is ...:
            del tree[name]
        else:
            tree[name] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("version", 2, errors.UnsupportedVersion),
        ("version", "1", errors.UnsupportedVersion),
        ("format", "other", errors.WrongType),
        ("extra", 1, errors.UnknownMember),
        ("model.extra", 1, errors.UnknownMember),
        ("tokens.0.extra", 1, errors.UnknownMember),
        ("version", ..., errors.MissingMember),
        ("tokens", ..., errors.MissingMember),
        ("files.activations.sha256", ..., errors.MissingMember),
        ("files.activations.sha256", "AB" * 32, errors.WrongType),
        ("prompt_sha256", "ef", errors.WrongType),
        ("run.layers", [0, -1], errors.WrongType),
        ("run.precision", "fp32", errors.WrongType),
        ("run.reproducible", 1, errors.WrongType),
        ("run.quantization", None, errors.WrongType),
        ("environment.quantization_library", None, errors.WrongType),
        ("environment", ..., errors.MissingMember),
        ("environment.extra", 1, errors.UnknownMember),
        ("environment.attention", 1, errors.WrongType),
        ("environment.low_memory", None, errors.WrongType),
        ("environment.files.activations", ..., errors.MissingMember),
        ("unembedding.tied", 1, errors.WrongType),
        ("blocks.total", 1.0, errors.WrongType),
        ("environment.libraries.torch", None, errors.WrongType),
        ("tokens.1.id", True, errors.WrongType),
        ("tokens.1.span", [0], errors.WrongType),
        ("tokens.1.span", [4, 4], errors.WrongType),
        ("tokens.1.text", None, errors.WrongType),
    ],
)
def test_refused(path: str, value: Any, error: type[errors.GotError], tmp_path: Path) -> None:
    tree = json.loads(RECORD.to_json())
    change(path, value)(tree)
    with pytest.raises(error) as caught:
        read(json.dumps(tree).encode(), tmp_path)
    assert isinstance(caught.value, errors.MalformedInput)
    assert str(tmp_path) in caught.value.where


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.BadJson),
        (b"[]", errors.WrongType),
        (b"\xff", errors.BadText),
        (RECORD.to_json()[:-3], errors.BadJson),
        (RECORD.to_json().replace(b'"version"', b'"format"'), errors.DuplicateMember),
    ],
)
def test_not_a_record(data: bytes, error: type[errors.GotError], tmp_path: Path) -> None:
    with pytest.raises(error):
        read(data, tmp_path)


def test_another_spelling_of_the_same_record(tmp_path: Path) -> None:
    """Whose digest would be the same: what is shown would not be what was digested."""
    tree = json.loads(RECORD.to_json())
    reordered = dict(reversed(tree.items()))
    for other in (json.dumps(tree), json.dumps(reordered, indent=2)):
        with pytest.raises(errors.NotOurSpelling):
            read(other.encode(), tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable):
        read_record(tmp_path / "none.record.json")


def test_needs_no_torch() -> None:
    code = (
        "import sys; import geometry_of_trust.documents.extraction_record;"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
