"""The extraction record: strict to read, readable without torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record import (
    Corpus,
    Record,
    RecordedAdapter,
    RecordedGguf,
    Token,
    Tower,
    UnusedWeights,
    WrittenFile,
    adapter_digest,
)
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


@pytest.mark.parametrize("low", [False, True])
def test_a_record_of_an_earlier_version(low: bool, tmp_path: Path) -> None:
    """It says whether weights stayed in their files, which they always do now."""
    earlier = replace(RECORD, low_memory=low)
    assert b'"attention": "eager",\n    "low_memory": ' in earlier.to_json()
    assert read(earlier.to_json(), tmp_path) == earlier
    assert earlier.digest == RECORD.digest
    assert b"low_memory" not in RECORD.to_json()


def test_quantization_is_there_only_if_something_was(tmp_path: Path) -> None:
    quantised = replace(
        RECORD, precision="Int8", quantization="int8", quantization_library="bitsandbytes 0.50.2"
    )
    assert read(quantised.to_json(), tmp_path) == quantised
    assert b'"quantization": "int8"' in quantised.to_json()
    assert b"quantization" not in RECORD.to_json()


def test_where_weights_came_from_is_there_only_if_there_is_something_to_say(
    tmp_path: Path,
) -> None:
    adapter = RecordedAdapter("12" * 32, "LORA", "somebody/a model")
    gguf = RecordedGguf("34" * 32, {"Q8_0": 7, "F32": 2})
    full = replace(RECORD, precision="Int8", stored="gguf", adapter=adapter, gguf=gguf)
    assert read(full.to_json(), tmp_path) == full
    tree = json.loads(full.to_json())
    assert list(tree)[2:6] == ["model", "adapter", "gguf", "blocks"]
    assert list(tree["gguf"]["types"]) == ["F32", "Q8_0"]
    assert tree["run"]["stored"] == "gguf"
    nothing: dict[str, Any] = {"stored": None, "adapter": None, "gguf": None}
    for name, none in nothing.items():
        assert f'"{name}"'.encode() not in RECORD.to_json()
        assert full.digest != replace(full, **{name: none}).digest
    without = replace(full, adapter=replace(adapter, base=None))
    assert read(without.to_json(), tmp_path) == without


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("adapter", "sha256"), "12", errors.WrongType),
        (("adapter", "kind"), None, errors.WrongType),
        (("adapter", "more"), 1, errors.UnknownMember),
        (("gguf", "types"), {}, errors.WrongType),
        (("gguf", "types"), ["Q8_0"], errors.WrongType),
        (("gguf", "types"), {"Q8_0": -1}, errors.WrongType),
        (("gguf", "types"), {"Q8_0": 7, "F32": 2}, errors.NotOurSpelling),
        (("run", "stored"), 8, errors.WrongType),
    ],
    ids=str,
)
def test_where_weights_came_from_is_read_strictly(
    path: tuple[str, str], value: Any, error: type[errors.GotError], tmp_path: Path
) -> None:
    full = replace(
        RECORD, stored="gguf", adapter=RecordedAdapter("12" * 32, "LORA", None),
        gguf=RecordedGguf("34" * 32, {"F32": 2, "Q8_0": 7}),
    )  # fmt: skip
    tree = json.loads(full.to_json())
    tree[path[0]][path[1]] = value
    with pytest.raises(error):
        read(json.dumps(tree, indent=2, ensure_ascii=False).encode(), tmp_path)


def test_the_digest_of_an_adapter() -> None:
    """As `sha256sum a b | sha256sum` has it."""
    listed = f"{'ab' * 32}  a\n{'cd' * 32}  b\n"
    digest = adapter_digest({"b": "cd" * 32, "a": "ab" * 32})
    assert digest == hashlib.sha256(listed.encode()).hexdigest()


def test_the_arithmetic_is_there_only_if_the_run_had_a_name_for_it(tmp_path: Path) -> None:
    """Not of a fast run, and not of those in float64, whose records stay as they were."""
    named = replace(RECORD, arithmetic="some-1", quantization="int8")
    assert read(named.to_json(), tmp_path) == named
    assert b'"reproducible": true,\n    "arithmetic": "some-1",\n    "quant' in named.to_json()
    assert b"arithmetic" not in RECORD.to_json()
    assert named.digest != replace(named, arithmetic="some-2").digest


def test_a_bidirectional_run_says_so_and_others_say_nothing(tmp_path: Path) -> None:
    both = replace(RECORD, bidirectional=True)
    assert read(both.to_json(), tmp_path) == both
    assert b',\n    "bidirectional": true\n  },' in both.to_json()
    assert b"bidirectional" not in RECORD.to_json()
    spelled_out = both.to_json().replace(b'"bidirectional": true', b'"bidirectional": false')
    with pytest.raises(errors.NotOurSpelling):
        read(spelled_out, tmp_path)


def test_what_the_first_text_and_the_files_showed(tmp_path: Path) -> None:
    """Where that was not looked at, as in records of before, nothing is said."""
    unused = UnusedWeights.of([f"w{k}" for k in (3, 1, 2, 4)])
    seen = replace(RECORD, unembedding_reads="equal", unused_weights=unused)
    assert unused == UnusedWeights(4, ("w1", "w2", "w3"))
    assert read(seen.to_json(), tmp_path) == seen
    environment = json.loads(seen.to_json())["environment"]
    assert environment["unembedding_reads"] == "equal"
    assert environment["unused_weights"] == {"count": 4, "first": ["w1", "w2", "w3"]}
    assert UnusedWeights.of([]) is None
    assert b"unembedding_reads" not in RECORD.to_json()
    assert b"unused_weights" not in RECORD.to_json()


def test_streams_and_towers_are_there_only_if_the_model_has_them(tmp_path: Path) -> None:
    """Records of other models stay as they were."""
    chosen = replace(
        RECORD,
        streams=4,
        stream="mean",
        tower=Tower("LlamaModel", "model.language_model"),
        left_out=("model.vision_tower",),
    )
    assert read(chosen.to_json(), tmp_path) == chosen
    tree = json.loads(chosen.to_json())
    assert tree["tower"] == {"class": "LlamaModel", "path": "model.language_model"}
    assert (tree["run"]["streams"], tree["run"]["stream"]) == (4, "mean")
    assert tree["environment"]["left_out"] == ["model.vision_tower"]
    plain = json.loads(RECORD.to_json())
    assert not {"tower", "streams", "stream", "left_out"} & {
        *plain, *plain["run"], *plain["environment"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "place"),
    [
        ({"streams": 4}, errors.Inconsistent, "stream"),
        ({"stream": "0"}, errors.Inconsistent, "stream"),
        ({"streams": 4, "stream": "4"}, errors.Inconsistent, "stream"),
        ({"streams": 4, "stream": "01"}, errors.Inconsistent, "stream"),
        ({"streams": 4, "stream": "all"}, errors.Inconsistent, "stream"),
        ({"stored": "packed"}, errors.WrongType, "stored"),
        ({"stored": "gguf"}, errors.Inconsistent, "stored"),
        ({"stored": "fp8", "gguf": RecordedGguf("34" * 32, {"F32": 2})}, errors.Inconsistent,
         "stored"),
    ],
    ids=str,
)  # fmt: skip
def test_members_that_contradict_each_other(
    changes: dict[str, Any], error: type[errors.GotError], place: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        read(replace(RECORD, **changes).to_json(), tmp_path)
    assert caught.value.where.endswith(f".run.{place}")


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": 4, "stream": "3"},
        {"stored": "mxfp4"},
        {"gguf": RecordedGguf("34" * 32, {"F32": 2})},  # which is not rounded
    ],
    ids=str,
)
def test_members_that_agree(changes: dict[str, Any], tmp_path: Path) -> None:
    record = replace(RECORD, **changes)
    assert read(record.to_json(), tmp_path) == record


def test_a_token_a_line() -> None:
    lines = RECORD.to_json().decode().splitlines()
    assert '    {"id": 0, "text": "<s>", "span": null, "special": true},' in lines
    assert '  "prompt_sha256": "' + "ef" * 32 + '",' in lines


def test_chosen_tokens_and_a_date_are_there_only_if_they_were_given(tmp_path: Path) -> None:
    corpus = Corpus(1, 2, "all", False, False, None, "ab" * 32)
    digests = set()
    given: Any
    for given in ({}, {"tokens": "user"}, {"date": "2026-02-01"}):
        record = replace(RECORD, corpus=replace(corpus, **given), tokens=())
        assert read(record.to_json(), tmp_path) == record
        said = json.loads(record.to_json())["corpus"]
        assert {name: said.get(name) for name in ("tokens", "date")} == {
            "tokens": None, "date": None, **given,
        }  # fmt: skip
        digests.add(record.digest)
    assert len(digests) == 3


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
        left_out=("model.vision",),
        device="cuda:0",
        attention=None,
        low_memory=True,
        unembedding_reads="equal",
        unused_weights=UnusedWeights(1, ("w",)),
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
        {"arithmetic": "other"},
        {"bidirectional": True},
        {"streams": 2},
        {"stream": "0"},
        {"tower": Tower("Text", "model.text")},
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


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable):
        read_record(tmp_path / "none.record.json")


def test_needs_no_torch() -> None:
    code = (
        "import sys; import geometry_of_trust.documents.extraction_record;"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
