"""Models that come quantised: what their weights stand for, what is said of them, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record import STORED
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction import stored
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.formats.gotact import read_activations
from gguf_files import write_gguf
from options import arguments_of
from places import TESTS
from quantised_models import GPT_OSS, fp8, mxfp4, mxfp8, write
from tiny_models import TEXT, Family, TinyModel, build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

pytestmark = pytest.mark.usefixtures("quickly")

Made = Callable[[str], tuple[Path, Path]]


def run(model: Path, to: Path, **options: Any) -> Extraction:
    return extract(
        model, TEXT, [0, 2], output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
        **arguments_of(**({"model_id": "m"} | options)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The checkpoint of a method, and the plain one that it stands for."""
    folder = tmp_path_factory.mktemp("stored")
    plain = build(Family("gpt_oss", GPT_OSS), folder / "gpt-oss")
    both = {
        "fp8": fp8(tiny_model("llama"), folder / "a"),
        "fp8 with short scales": fp8(tiny_model("llama"), folder / "b", scales=torch.bfloat16),
        "mxfp8": mxfp8(tiny_model("llama"), folder / "d"),
        "mxfp4": mxfp4(plain, folder / "c"),
    }
    return lambda name: both[name]


DIGESTS = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "extraction")!r}]
from pathlib import Path
from test_stored import run
for model in sys.argv[2:]:
    print(run(Path(model), Path(sys.argv[1])).record.measured_digest)
"""
OTHER_KERNELS = {"GOT_KERNELS": "portable", "ATEN_CPU_CAPABILITY": "default"}
METHODS = ("fp8", "fp8 with short scales", "mxfp8", "mxfp4")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "options", [{}, {"reproducible": False}, {"dtype": "bfloat16"}], ids=["exact", "fast", "half"]
)
def test_the_weights_are_those_that_it_stands_for(
    name: str, options: dict[str, Any], made: Made, tmp_path: Path
) -> None:
    """Value × scale, rounded once: as a plain model with these weights, bit for bit."""
    checkpoint, plain = made(name)
    theirs = run(plain, tmp_path / "plain", **options)
    ours = run(checkpoint, tmp_path / "ours", **options)
    np.testing.assert_array_equal(ours.activations.values, theirs.activations.values)
    assert ours.record.unembedding.sha256 == theirs.record.unembedding.sha256
    assert (ours.record.unproved, ours.record.blocks_loaded) == ((), 3)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_said_of_them(name: str, made: Made, tmp_path: Path, capsys: Any) -> None:
    record = run(made(name)[0], tmp_path).record
    method = name.partition(" ")[0]
    assert (record.stored, record.precision, record.dtype) == (method, "Int8", "float32")
    assert (record.quantization, record.reproducible) == (None, True)
    assert read_activations(tmp_path / "a.gotact").precision == "Int8"
    assert read_record(tmp_path / "a.record.json") == record
    assert main(["show", str(tmp_path / "a.gotact")]) == 0
    assert f"{method}, computed in float32" in capsys.readouterr().out


def test_the_plain_ones_are_as_they_were(made: Made, tmp_path: Path) -> None:
    record = run(made("fp8")[1], tmp_path).record
    assert (record.stored, record.precision) == (None, "Fp32")
    text = (tmp_path / "a.record.json").read_text()
    assert not any(f'"{name}"' in text for name in ("stored", "adapter", "gguf"))


@pytest.mark.heavy
def test_the_same_bytes_from_other_kernels(made: Made, tmp_path: Path) -> None:
    """Of the weights made plain by torch's other kernels, and of the products by the portable."""
    write_gguf(tmp_path / "tiny.gguf", "Q4_0")
    models = [made("fp8")[0], made("mxfp4")[0], tmp_path / "tiny.gguf"]
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, tmp_path / "there", *models],
        capture_output=True, text=True, check=True, env=os.environ | OTHER_KERNELS,
    )  # fmt: skip
    ours = [run(model, tmp_path / "here").record.measured_digest for model in models]
    assert done.stdout.split() == ours


@pytest.mark.parametrize(
    ("options", "where", "found"),
    [
        ({"quantization": "int8"}, "quantization", "int8"),
        ({"dtype": "bfloat16", "reproducible": True}, "dtype", "bfloat16"),
    ],
)
def test_options_that_would_say_too_much(
    options: dict[str, Any], where: str, found: str, made: Made, tmp_path: Path
) -> None:
    """Rounded twice; or in a type that a tag of 8 bits cannot tell from another."""
    with pytest.raises(errors.BadOption) as caught:
        run(made("fp8")[0], tmp_path / "out", **options)
    assert (caught.value.where, caught.value.found) == (where, found)
    assert not (tmp_path / "out").exists()


def test_a_scale_that_is_missing(made: Made, tmp_path: Path) -> None:
    """transformers would take the short floats for the weights."""
    tensors = load_file(made("fp8")[0] / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_proj.weight_scale_inv"]
    method = json.loads((made("fp8")[0] / "config.json").read_text())["quantization_config"]
    model = write(tmp_path / "model", made("fp8")[0], tensors, method)
    with pytest.raises(errors.IncompleteModel) as caught:
        run(model, tmp_path)
    assert "layers.1.self_attn.q_proj" in caught.value.expected


def test_weights_of_which_the_configuration_says_nothing(
    made: Made, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Their scales would be left out, and the precision would be said to be that of float32."""
    short = tmp_path / "short"
    shutil.copytree(made("fp8")[0], short)
    config = json.loads((short / "config.json").read_text())
    del config["quantization_config"]
    (short / "config.json").write_text(json.dumps(config))
    tensors = load_file(tiny_model("llama") / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = (100 * tensors[name]).to(torch.int8)
    whole = tmp_path / "whole"
    shutil.copytree(tiny_model("llama"), whole)
    save_file(tensors, whole / "model.safetensors", {"format": "pt"})
    for model, found in ((short, "F8_E4M3, and none"), (whole, "I8, and none")):
        with pytest.raises(errors.QuantizedModel) as caught:
            run(model, tmp_path)
        assert caught.value.found == found
        assert caught.value.where.startswith(f"{model}, model.layers.")


# --- what cannot be loaded --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 16}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 16}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors"),
        ({"quant_method": "torchao", "quant_type": "int8wo"}, "torchao"),
        ({"quant_method": "a newer one"}, "a newer one"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["quant_method"],
)
def test_methods_of_other_kernels(
    method: dict[str, Any], package: str, tiny_model: TinyModel, tmp_path: Path, capsys: Any
) -> None:
    """Refused before a weight is read, by a name that says what it is, and what else there is."""
    model = write(tmp_path / "model", tiny_model("llama"), {}, method)
    with pytest.raises(errors.QuantizedModel) as caught:
        run(model, tmp_path)
    assert str(method["quant_method"]) in caught.value.found
    assert package in caught.value.found
    assert "GGUF" in caught.value.hint
    assert main(["extract", "--model", str(model), "--input", "a", "--layers", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ({"bits": 4, "group_size": 16}, "{'bits': 4, 'group_size': 16}"),
        ({}, "{}"),
        ({"quant_method": None}, "{'quant_method': None}"),
        ("gptq", "'gptq'"),
        (["gptq"], "['gptq']"),
    ],
    ids=str,
)
def test_configurations_that_name_no_method(
    method: Any, found: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = write(tmp_path / "model", tiny_model("llama"), {}, method)
    with pytest.raises(errors.QuantizedModel) as caught:
        run(model, tmp_path)
    assert caught.value.where == f"{model}, quantization_config"
    assert "quant_method" in caught.value.expected
    assert caught.value.found == found


def test_all_that_weights_can_be_stored_in_is_read_in_records() -> None:
    assert {"gguf", *stored.EXACT, *stored.ROUNDING} == set(STORED)


@pytest.mark.parametrize("options", [{}, {"quantization": "int8"}], ids=str)
def test_bitsandbytes_of_four_bits(
    options: dict[str, Any], tiny_model: TinyModel, tmp_path: Path
) -> None:
    auto: Any = AutoModelForCausalLM
    config: Any = BitsAndBytesConfig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = auto.from_pretrained(
            tiny_model("llama"), quantization_config=config(load_in_4bit=True), device_map="cpu"
        )
        model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_model("llama")).save_pretrained(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    assert saved["load_in_4bit"]
    with pytest.raises(errors.QuantizedModel) as caught:
        run(tmp_path / "model", tmp_path, **options)
    assert "4 bits" in caught.value.found
    assert "--quantization int8" in caught.value.hint
