"""Models of strangers: files that promise too much, name others, or make a library panic."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors, memory
from geometry_of_trust.cli import main
from geometry_of_trust.extraction import loading, model_files
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.panics import PanicError, panics_as_errors
from gguf_files import write_gguf
from options import arguments_of
from places import ROOT
from tiny_models import TEXT, TinyModel

pytestmark = pytest.mark.usefixtures("quickly")

BACKTRACKING = "(a+)+$"
"""A regular expression that needs twice as long for each further letter."""

DEEP = "[" * 100_000


@pytest.fixture
def model(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A tiny Llama of the test's own."""
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "llama"))


def run(model: Path, **options: Any) -> None:
    """Extract one layer; whatever refuses it does so soon."""
    to = model.parent
    names = {"output_activations": to / "a.gotact", "output_unembedding": to / "u.gotue"}
    start = time.perf_counter()
    try:
        extract(model, options.pop("text", TEXT), [1], **arguments_of(**(names | options)))
    finally:
        assert time.perf_counter() - start < 20  # seconds of work in place of hours
    pytest.fail("it was taken")


def configure(model: Path, **values: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


def tokenize_by(model: Path, pattern: str) -> None:
    tree = json.loads((model / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    tree["pre_tokenizer"] = split | {"invert": False}
    (model / "tokenizer.json").write_text(json.dumps(tree))


# --- numbers in a configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 10**6},
        {"num_hidden_layers": 1025},
        {"text_config": {"model_type": "llama", "num_hidden_layers": 10**9}},
        {"more": [{"decoder_layers": 10**9}]},
        {"num_blocks": 10**9},
        {"num_labels": 10**8},
        {"attention_types": [[["global", "local"], 10**9]]},
        {"first_k_dense_replace": 10**9},
        {"id2label": {str(n): "x" for n in range(100_000)}},
        {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0] * 100_000}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_numbers_are_looked_at_before_a_library_counts_to_them(
    values: dict[str, object], model: Path
) -> None:
    configure(model, **values)
    with pytest.raises(errors.LimitExceeded) as caught:
        run(model)
    assert int(str(caught.value.found)) > 1024


def test_tokens_that_a_tokenizer_makes_itself_are_counted(model: Path) -> None:
    made = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 10**8}
    (model / "tokenizer_config.json").write_text(json.dumps(made))
    with pytest.raises(errors.LimitExceeded) as caught:
        run(model)
    assert caught.value.where.endswith("extra_ids")


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 500}, {"hidden_size": 10**9}, {"vocab_size": 10**12},
        {"intermediate_size": 10**7}, {"head_dim": 10**9},
        {"model_type": "mixtral", "num_local_experts": 10**7},
    ],
    ids=str,
)  # fmt: skip
def test_weights_that_no_file_can_hold_are_not_made(values: dict[str, object], model: Path) -> None:
    configure(model, **values)
    with pytest.raises(errors.IncompleteModel):
        run(model)


def test_modules_are_counted_while_they_are_made(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "MAX_MODULES", 40)
    with pytest.raises(errors.LimitExceeded) as caught:
        run(model)
    assert "40" in caught.value.expected


def test_weights_that_are_compressed(model: Path) -> None:
    for path in model.glob("*.safetensors"):
        path.unlink()
    with zipfile.ZipFile(model / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**24))
    with pytest.raises(errors.IncompleteModel) as caught:
        run(model)
    assert caught.value.where.endswith("pytorch_model.bin")


def test_what_a_model_computes_once_must_fit_in_memory(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1)
    with pytest.raises(errors.NotEnoughMemory):
        run(model)


def test_layers_of_a_gguf_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    data = (tmp_path / "x.gguf").read_bytes()
    at = data.index(name := b"llama.block_count") + len(name) + 4
    lie = data[:at] + (10**6).to_bytes(4, "little") + data[at + 4 :]
    (tmp_path / "x.gguf").write_bytes(lie)
    with pytest.raises(errors.LimitExceeded):
        run(tmp_path / "x.gguf")


# --- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("config.json", DEEP, errors.UnsupportedArchitecture),
        ("config.json", "{", errors.UnsupportedArchitecture),
        ("config.json", '{"a": "' + "x" * 2**24 + '"}', errors.TooLarge),
        ("tokenizer.json", DEEP, errors.NoTokenizer),
        ("tokenizer_config.json", DEEP, errors.NoTokenizer),
        ("generation_config.json", DEEP, errors.ModelFailed),
        ("model.safetensors.index.json", DEEP, errors.IncompleteModel),
        ("model.safetensors.index.json", "[]", errors.IncompleteModel),
        ("model.safetensors.index.json", '{"weight_map": 1}', errors.IncompleteModel),
        ("model.safetensors.index.json", '{"weight_map": {"a": []}}', errors.IncompleteModel),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else value.__name__,
)
def test_texts(name: str, content: str, error: type[errors.GotError], model: Path) -> None:
    (model / name).write_text(content)
    with pytest.raises(error):
        run(model)


def test_a_text_that_is_too_large_is_not_read(model: Path) -> None:
    with (model / "merges.txt").open("wb") as handle:
        handle.truncate(model_files.MAX_TEXT_BYTES + 1)
    with pytest.raises(errors.TooLarge) as caught:
        run(model)
    assert caught.value.where == str(model / "merges.txt")


# --- names in an index ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/passwd", "a/../../x", "..", "C:\\x", "..\\x", "a\0", "", 5, None],
    ids=repr,
)
def test_an_index_names_files_of_its_own_folder(kind: str, name: object, model: Path) -> None:
    shutil.copy(model / "model.safetensors", model.parent / "x.safetensors")
    (model / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (model / f"{kind}.index.json").write_text(json.dumps(index))
    with pytest.raises(errors.OutsideOfModel) as caught:
        run(model)
    assert caught.value.found == str(name)


def test_an_index_beside_the_weights_is_looked_at_too(model: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "../x.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(errors.OutsideOfModel):
        run(model)


@pytest.mark.parametrize("inside", ["part.safetensors", "parts/1.safetensors"])
def test_parts_in_the_folder_are_taken(inside: str, model: Path, tmp_path: Path) -> None:
    names = {"output_activations": tmp_path / "a", "output_unembedding": tmp_path / "u"}
    whole = extract(model, TEXT, [1], **arguments_of(**names))
    from safetensors import safe_open

    opened: Any = safe_open
    with opened(model / "model.safetensors", "pt") as file:
        weights = dict.fromkeys(file.keys(), inside)
    (model / inside).parent.mkdir(exist_ok=True)
    (model / "model.safetensors").rename(model / inside)
    index = {"metadata": {"total_size": 1}, "weight_map": weights}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    parts = extract(model, TEXT, [1], **arguments_of(**names))
    np.testing.assert_array_equal(parts.activations.values, whole.activations.values)


def test_weights_of_any_name_are_counted(model: Path) -> None:
    """A configuration may name the file; without one of a usual name, all of the folder count."""
    os.rename(model / "model.safetensors", model / "other.safetensors")
    configure(model, transformers_weights="other.safetensors", hidden_size=10**6)
    with pytest.raises(errors.IncompleteModel):
        run(model)


def test_a_name_without_files_is_left_to_the_library(model: Path) -> None:
    source = loading.find_model(str(model), revision=None, trust=False)
    elsewhere = model_files.Source("nobody/nothing", "nobody/nothing", None, None, False)
    whole = loading.skeleton(source, loading.load_config(source))
    assert model_files.weight_files(elsewhere, local=True) == [None]
    model_files.check_weights(elsewhere, whole)


@pytest.mark.parametrize("part", ["normalizer", "decoder"])
@pytest.mark.parametrize("pattern", [{"String": "a"}, {"Regex": "a*"}], ids=str)
def test_replacements_that_make_a_text_a_million_times_longer(
    part: str, pattern: dict[str, str], model: Path
) -> None:
    tree = json.loads((model / "tokenizer.json").read_text())
    one = {"type": "Replace", "pattern": pattern, "content": "a" * 10}
    tree[part] = {"type": "Sequence", f"{part}s": [one] * 6}
    (model / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(errors.LimitExceeded) as caught:
        run(model)
    assert caught.value.where.endswith(part)


def test_what_is_put_before_a_text_again_and_again(model: Path) -> None:
    tree = json.loads((model / "tokenizer.json").read_text())
    one = {"type": "Prepend", "prepend": "a" * 1000}
    tree["normalizer"] = {"type": "Sequence", "normalizers": [one] * 1000}
    (model / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(errors.LimitExceeded):
        run(model)


# --- libraries that panic ---------------------------------------------------------------------


def test_a_regular_expression_that_makes_the_tokenizer_panic(model: Path) -> None:
    tokenize_by(model, BACKTRACKING)
    with pytest.raises(errors.TokenizerFailed):
        run(model, text="a" * 60 + "!")


def test_a_panic_is_one_line(model: Path) -> None:
    """In a process of its own, to whose standard error the library prints by itself."""
    tokenize_by(model, BACKTRACKING)
    command = [sys.executable, "-m", "geometry_of_trust", "extract", "--model", str(model),
               "--input", "a" * 60 + "!", "--layers", "1",
               "--output-activations", str(model / "a.gotact")]  # fmt: skip
    environment = os.environ | {"RUST_BACKTRACE": "1", "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("got-cli: ")
    assert not (model / "a.gotact").exists()


def test_a_corpus_with_a_text_that_makes_the_tokenizer_panic(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize_by(model, BACKTRACKING)
    (model / "c.txt").write_text("The river.\n" + "a" * 60 + "!\n")
    line = ["extract", "--model", str(model), "--input-file", str(model / "c.txt")]
    assert main([*line, "--layers", "1", "--output-activations", str(model / "a.gotact")]) == 1
    assert "got-cli: " in capsys.readouterr().err
    assert not list(model.glob("a.*"))


class PanicException(BaseException):
    """What the class of a library written in Rust looks like from here."""


@panics_as_errors()
def panic(error: BaseException) -> None:
    """As a library that says something and stops."""
    os.write(2, b"a warning\n")
    raise error


def test_what_is_printed_meanwhile_is_passed_on_and_a_panic_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with panics_as_errors():
        os.write(2, b"a warning\n")
    assert capfd.readouterr().err == "a warning\n"
    with pytest.raises(PanicError, match="boom"):
        panic(PanicException("boom"))
    assert capfd.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt):
        panic(KeyboardInterrupt())
    assert capfd.readouterr().err == "a warning\n"


def test_standard_error_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geometry_of_trust.extraction.panics._STANDARD_ERROR", 10**6)
    with pytest.raises(PanicError), panics_as_errors():
        raise PanicException("boom")
    with panics_as_errors():
        pass


class Broken:
    """A tokenizer that stops with an error of its own."""

    is_fast = True

    def __call__(self, *arguments: object, **options: object) -> None:
        raise OverflowError

    def decode(self, *arguments: object, **options: object) -> None:
        raise PanicException


def test_any_error_of_a_tokenizer_is_a_refusal() -> None:
    from geometry_of_trust.extraction.tokenizing import encode, token_text

    broken: Any = Broken()
    with pytest.raises(errors.TokenizerFailed):
        encode(broken, ["a"])
    with pytest.raises(errors.TokenizerFailed):
        token_text(broken, 1)
