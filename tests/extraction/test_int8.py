"""Weights held in 8-bit integers: what they stand for, what stays as it is, and what is refused."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions, Quantization
from geometry_of_trust.formats.gotact import read_activations
from gguf_files import write_gguf
from options import arguments_of
from tiny_models import LAYERS, TEXT, Family, TinyModel, build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

INT8: dict[str, Any] = {"quantization": "int8"}
MIDDLE = (0, 2)

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, to: Path, layers: tuple[int, ...] = MIDDLE, **options: Any) -> Extraction:
    chosen: dict[str, Any] = {"device": "cpu", "model_id": "m"} | options
    return extract(
        model,
        TEXT,
        layers,
        output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue",
        **arguments_of(**chosen),
    )


def files(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("a.gotact", "u.gotue", "a.record.json")]


def apart(a: Extraction, b: Extraction) -> float:
    """The largest difference, relative to the largest value."""
    x, y = (e.activations.values.astype(np.float64) for e in (a, b))
    return float(np.abs(x - y).max() / np.abs(y).max())


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    result: NDArray[np.float64] = (x * y).sum(axis=-1) / norms
    return result


class Rounded:
    """The whole model as a user of transformers has it, its blocks' weights rounded by hand."""

    def __init__(self, folder: Path) -> None:
        auto: Any = AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, dtype=torch.float32).eval()
        for path, module in self.model.named_modules():
            inside = ".layers." in path or ".h." in path
            if not inside or getattr(module, "weight", None) is None or module.weight.ndim != 2:
                continue
            weight = module.weight.data
            rows = weight.T if type(module).__name__ == "Conv1D" else weight
            half = rows.half().float()
            largest = half.abs().amax(dim=1, keepdim=True)
            rows.copy_((half * (127.0 / largest)).round() * (largest / 127))
        ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
        with torch.no_grad():
            states = self.model(**ids, output_hidden_states=True).hidden_states
        self.residual = [state[0].numpy() for state in states[1:]]


# --- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "phi"])
def test_the_weights_are_rounded_row_by_row(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Against transformers with weights that this test has rounded; gpt2 has its transposed."""
    quantised = run(tiny_model(name), tmp_path / "int8", **INT8)
    rounded = Rounded(tiny_model(name))
    for k, layer in enumerate(MIDDLE):
        largest = np.abs(rounded.residual[layer]).max()
        difference = np.abs(quantised.activations.values[k] - rounded.residual[layer]).max()
        assert difference < 1e-5 * largest
    plain = run(tiny_model(name), tmp_path / "plain", reproducible=False)
    assert 2e-3 < apart(quantised, plain) < 5e-2


def test_the_files_say_int8(tiny_model: TinyModel, tmp_path: Path) -> None:
    record = run(tiny_model("llama"), tmp_path, **INT8).record
    assert (tmp_path / "a.gotact").read_bytes()[11] == 3
    assert read_activations(tmp_path / "a.gotact").precision == record.precision == "Int8"
    assert (record.dtype, record.quantization, record.mode) == ("float32", "int8", "fast")
    assert record.quantization_library is not None
    assert record.quantization_library.startswith("bitsandbytes ")
    assert read_record(tmp_path / "a.record.json") == record


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
def test_the_unembedding_is_not_quantised(name: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    quantised = run(tiny_model(name), tmp_path / "int8", **INT8)
    plain = run(tiny_model(name), tmp_path / "plain", reproducible=False)
    assert quantised.record.tied == plain.record.tied
    assert files(tmp_path / "int8")[1] == files(tmp_path / "plain")[1]


@pytest.mark.parametrize("reproducible", [False, True])
def test_twice_the_same(reproducible: bool, tiny_model: TinyModel, tmp_path: Path) -> None:
    for name in "ab":
        run(tiny_model("llama"), tmp_path / name, reproducible=reproducible, **INT8)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_truncated_as_the_whole_model(tiny_model: TinyModel, tmp_path: Path) -> None:
    cut = run(tiny_model("llama"), tmp_path / "cut", **INT8)
    whole = run(tiny_model("llama"), tmp_path / "whole", (*MIDDLE, LAYERS - 1), **INT8)
    assert (cut.record.blocks_loaded, whole.record.blocks_loaded) == (3, LAYERS)
    np.testing.assert_array_equal(cut.activations.values, whole.activations.values[:2])


def test_earlier_tokens_do_not_depend_on_later_ones(tiny_model: TinyModel, tmp_path: Path) -> None:
    """bitsandbytes' own products would fail here; see decision 0008."""
    options: dict[str, Any] = {"reproducible": True, "device": "cpu"} | INT8
    names: dict[str, Any] = {
        "output_activations": tmp_path / "a.gotact",
        "output_unembedding": tmp_path / "u.gotue",
    }
    short, long = (
        extract(tiny_model("llama"), text, MIDDLE, **names, **arguments_of(**options))
        for text in (TEXT[:9], TEXT[:9] + " \x00\x01 and more, of another kind")
    )
    same = [
        k
        for k, (one, other) in enumerate(zip(short.record.tokens, long.record.tokens, strict=False))
        if short.record.tokens[: k + 1] == long.record.tokens[: k + 1] and one == other
    ]
    assert len(same) >= 3
    np.testing.assert_array_equal(
        short.activations.values[:, same], long.activations.values[:, same]
    )


def test_reproducible_is_the_exact_product(tiny_model: TinyModel, tmp_path: Path) -> None:
    """The weights of both runs are integer × scale; only the arithmetic on them differs."""
    fast = run(tiny_model("llama"), tmp_path / "fast", **INT8)
    exact = run(tiny_model("llama"), tmp_path / "exact", reproducible=True, **INT8)
    assert (exact.record.mode, exact.record.unproved) == ("reproducible", ())
    assert 0 < apart(fast, exact) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_computed_in_half_precision(dtype: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    half = run(tiny_model("llama"), tmp_path / "half", dtype=dtype, **INT8)
    full = run(tiny_model("llama"), tmp_path / "full", **INT8)
    assert (half.record.dtype, half.record.precision) == (dtype, "Int8")
    assert 0 < apart(half, full) < 5e-2


def test_a_checkpoint_that_is_quantised_already(tiny_model: TinyModel, tmp_path: Path) -> None:
    auto: Any = AutoModelForCausalLM
    config: Any = BitsAndBytesConfig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = auto.from_pretrained(
            tiny_model("llama"), quantization_config=config(load_in_8bit=True), device_map="cpu"
        )
        model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_model("llama")).save_pretrained(tmp_path / "model")
    saved = run(tmp_path / "model", tmp_path / "saved", **INT8)
    made = run(tiny_model("llama"), tmp_path / "made", **INT8)
    np.testing.assert_array_equal(saved.activations.values, made.activations.values)
    with pytest.raises(errors.BadOption) as caught:
        run(tmp_path / "model", tmp_path / "plain")
    assert (caught.value.where, caught.value.found) == ("quantization", "none")


def test_smollm2(smollm2: Path, tmp_path: Path) -> None:
    quantised = run(smollm2, tmp_path / "int8", (15,), **INT8)
    plain = run(smollm2, tmp_path / "plain", (15,), reproducible=False)
    similar = cosines(quantised.activations.values, plain.activations.values)
    assert 0.999 < similar.min() < 0.99999
    assert files(tmp_path / "int8")[1] == files(tmp_path / "plain")[1]


def test_the_blocks_take_a_quarter_of_the_memory(tiny_model: TinyModel, tmp_path: Path) -> None:
    from geometry_of_trust.extraction import running as model_running
    from geometry_of_trust.extraction.request import Request

    sizes = []
    quantizations: tuple[Quantization | None, ...] = (None, "int8")
    for quantization in quantizations:
        options = ExtractionOptions(device="cpu", reproducible=False, quantization=quantization)
        request = Request.of(tiny_model("llama"), (2,), tmp_path / "a", tmp_path / "u", options)
        opened = model_running.open_model(request, lambda text: None)
        runner = model_running.load(opened, 3, once=False)
        weights = [weight for weight in runner.blocks.parameters() if weight.ndim == 2]
        scales = runner.loaded.weights.scales
        sizes.append(sum(map(bytes_of, weights)) + sum(map(bytes_of, scales.values())))
    rows = sum(len(weight) for weight in weights)
    assert sizes[1] - 4 * rows == sizes[0] / 4


def bytes_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def test_the_command(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "geometry_of_trust", "extract", "--model", str(tiny_model("llama")),
         "--input", TEXT, "--layers", "1", "--quantization", "int8"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "int8 ('bitsandbytes " in done.stdout
    assert read_activations(tmp_path / "activations.gotact").precision == "Int8"


def test_a_corpus_is_its_texts(tiny_model: TinyModel, tmp_path: Path) -> None:
    """Also where a run of many texts converts the weights once, not for every batch."""
    texts = ["The river Seine", "naive cafe", "The Thames flows through London"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    names = ["--output-activations", "a.gotact", "--output-unembedding", "u.gotue"]
    with contextlib.chdir(tmp_path):
        command = ["extract", "--model", str(tiny_model("llama")), "--input-file", "texts.txt"]
        options = ["--layers", "0", "2", "--position", "all", "--device", "cpu", "--reproducible"]
        assert main([*command, *options, *names, "--quantization", "int8"]) == 0
    activations = read_activations(tmp_path / "a.gotact")
    alone = [
        extract(
            tiny_model("llama"), text, MIDDLE,
            **arguments_of(reproducible=True, quantization="int8"),
            output_activations=tmp_path / "b.gotact", output_unembedding=tmp_path / "v.gotue",
        ).activations.values
        for text in texts
    ]  # fmt: skip
    assert activations.precision == "Int8"
    np.testing.assert_array_equal(activations.values, np.concatenate(alone, axis=1))


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"quantization": "int4"}, "int4"),
        ({"quantization": "int8", "dtype": "bfloat16", "reproducible": True}, "bfloat16"),
    ],
    ids=str,
)
def test_options_that_exclude_each_other(
    options: dict[str, Any], found: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    with pytest.raises(errors.BadOption) as caught:
        run(tiny_model("llama"), tmp_path / "out", **options)
    assert (caught.value.where, caught.value.found) == ("quantization", found)
    assert not (tmp_path / "out").exists()


def test_a_gguf_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(errors.BadOption) as caught:
        run(tmp_path / "tiny.gguf", tmp_path, **INT8)
    assert caught.value.where == "quantization"


def test_blocks_without_layers_that_can_be_quantised(tiny_model: TinyModel, tmp_path: Path) -> None:
    """Falcon's linear layers are of a class of its own."""
    with pytest.raises(errors.UnsupportedArchitecture):
        run(tiny_model("falcon"), tmp_path, **INT8)


def test_without_the_library(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(errors.MissingExtra) as caught:
        run(tiny_model("llama"), tmp_path, **INT8)
    assert "[int8]" in caught.value.hint
    with contextlib.chdir(tmp_path):
        command = ["extract", "--model", str(tiny_model("llama")), "--input", TEXT, "--layers", "1"]
        assert main([*command, "--quantization", "int8"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    run(tiny_model("llama"), tmp_path)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("bloom", {"n_head": 4, "n_layer": 4, "pretraining_tp": 2, "slow_but_exact": True}),
        ("mamba", {"state_size": 8, "time_step_rank": 4}),
    ],
)
def test_weights_that_code_takes_apart(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    """Slices of a linear layer's weight, or its product by hand: integers go with their scale."""
    model = build(Family(kind, config), tmp_path / "model")
    fast = run(model, tmp_path / "fast", reproducible=False, **INT8)
    exact = run(model, tmp_path / "exact", reproducible=True, **INT8)
    assert exact.record.unproved == ()
    theirs = fast.activations.values
    assert np.abs(exact.activations.values - theirs).max() <= 1e-5 * np.abs(theirs).max()
