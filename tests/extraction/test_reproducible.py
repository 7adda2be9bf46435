"""The same bytes under every setting: float64 throughout, rounded once, whatever the kernels."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction import capture, preparing
from geometry_of_trust.extraction.float64 import WIDE, as_written, float64
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.weights import Weights
from geometry_of_trust.formats.gotact import read_activations
from options import arguments_of
from tiny_models import FAMILIES, LAYERS, TEXT, VARIANTS, Family, TinyModel, build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM, AutoTokenizer

TEN = (
    "llama", "mistral", "gpt2", "gpt-neo", "gpt-j", "opt", "gpt-neox", "qwen3", "gemma2", "phi",
)  # fmt: skip
ALL = FAMILIES | VARIANTS
MIDDLE = (0, 2)

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, to: Path, layers: tuple[int, ...] = MIDDLE, **options: Any) -> Extraction:
    names = {"output_activations": to / "a.gotact", "output_unembedding": to / "u.gotue"}
    return extract(model, TEXT, layers, **arguments_of(**(names | options)))


def digests(extraction: Extraction) -> tuple[str, str]:
    return extraction.record.activations.sha256, extraction.record.unembedding.sha256


# --- the same bytes -------------------------------------------------------------------------------

# That the reproducible path gives the same bytes with other kernels and numbers of threads, for
# all families: test_reproducibility_benchmark.py.

COMPATIBLE = {
    "OMP_NUM_THREADS": "1",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
}
ELSEWHERE = """
import json, sys
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions

text, to, reproducible, *models = sys.argv[1:]
outputs = {"output_activations": to + "/a.gotact", "output_unembedding": to + "/u.gotue"}
options = ExtractionOptions(device="cpu", reproducible=reproducible == "True")
found = {}
for model in models:
    extraction = extract(model, text, [0, 2, 3], **outputs, options=options)
    found[model] = extraction.record.activations.sha256
print(json.dumps(found))
"""


def elsewhere(models: list[Path], to: Path, *, reproducible: bool) -> dict[str, str]:
    """Digests of the activations of models, extracted by another process with other kernels."""
    command = [sys.executable, "-c", ELSEWHERE, TEXT, to, str(reproducible), *models]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | COMPATIBLE,
    )
    return {Path(model).name: digest for model, digest in json.loads(done.stdout).items()}


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64")
    or torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="the setting changes the kernels of x86 processors with AVX2",
)
def test_the_fast_path_differs_under_other_kernels(tiny_model: TinyModel, tmp_path: Path) -> None:
    """The control: kernels do differ."""
    models = [tiny_model(name) for name in ("llama", "gpt2", "gpt-j")]
    here = {
        model.name: digests(run(model, tmp_path, (0, 2, 3), reproducible=False))[0]
        for model in models
    }
    assert here.keys() == (there := elsewhere(models, tmp_path, reproducible=False)).keys()
    assert here != there


@pytest.mark.parametrize("name", TEN)
def test_a_cut_model_gives_the_bytes_of_the_whole(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    cut = run(tiny_model(name), tmp_path / "cut")
    whole = run(tiny_model(name), tmp_path / "whole", (*MIDDLE, LAYERS - 1))
    assert cut.record.blocks_loaded < cut.record.blocks_total
    assert whole.record.blocks_loaded == whole.record.blocks_total
    np.testing.assert_array_equal(cut.activations.values, whole.activations.values[:2])


# --- float64 throughout ---------------------------------------------------------------------------


_Mode: Any = TorchDispatchMode  # which has no types


class Narrow(_Mode):  # type: ignore[misc]
    """Keeps the names of the kernels that give something narrower than float64."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.halves: list[str] = []
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if any(isinstance(x, torch.Tensor) and x.dtype in WIDE for x in tree_leaves(result)):
            same = isinstance(args[0], torch.Tensor) and args[0].dtype == result.dtype
            name = str(func)
            if not (same and name == "aten.to.dtype"):
                (self.kernels if result.dtype == torch.float32 else self.halves).append(name)
        return result


@pytest.mark.parametrize("name", ALL)
def test_no_kernel_gives_less_than_float64(
    name: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left: rows of embeddings, weights as they are held, and the rounding at the end."""
    narrow = Narrow()

    @contextlib.contextmanager
    def watched(unproved: set[str]) -> Iterator[None]:
        with float64(unproved), narrow:
            yield

    monkeypatch.setattr(capture, "float64", watched)
    record = run(tiny_model(name), tmp_path, reproducible=True).record
    assert record.unproved == ()
    assert narrow.calls > 200
    exact = {"aten.embedding.default", "aten.detach.default", "aten.select.int"}
    # The states that are kept: rounded once, then moved to their place.
    for kernel in (kept := {"aten._to_copy.default", "aten.copy_.default"}):
        assert narrow.kernels.count(kernel) == len(MIDDLE)
    assert set(narrow.kernels) - exact == kept
    if name == "falcon":  # its code rounds its slopes: element by element, one rounding each
        assert set(narrow.halves) <= {
            "aten._to_copy.default",
            "aten.view.default",
            "aten.mul.Tensor",
        }
    else:
        assert narrow.halves == []


def test_a_model_that_is_merely_double_goes_through_float32(tiny_model: TinyModel) -> None:
    """The control: transformers' own code narrows, and the watch sees it."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float64)
    with torch.no_grad(), Narrow() as narrow:
        model(torch.tensor([[1, 2, 3]]))
    assert "aten._to_copy.default" in narrow.kernels


@pytest.mark.parametrize("name", ["llama", "gpt-j", "gemma2", "llama3-rope", "phi"])
def test_buffers_are_computed_and_not_converted(
    name: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Any] = []

    def prepare(*arguments: Any, **options: Any) -> Any:
        prepared.append(preparing.prepare(*arguments, **options))
        return prepared[0]

    monkeypatch.setattr("geometry_of_trust.extraction.running.prepare", prepare)
    run(tiny_model(name), tmp_path)
    computed = [buffer for buffer in prepared[0].model.buffers() if buffer.is_floating_point()]
    assert computed
    for buffer in computed:
        assert buffer.dtype == torch.float64
        assert not torch.equal(buffer, buffer.float().double())


def float64_llama(folder: Path, token_ids: list[int], config: Any) -> list[NDArray[np.float64]]:
    """A Llama in numpy alone, in float64: the output of each block."""
    W = {name: w.double().numpy() for name, w in load_file(folder / "model.safetensors").items()}
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    P, size = len(token_ids), config.hidden_size // heads

    def norm(x: Any, weight: Any) -> Any:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.rms_norm_eps) * weight

    frequencies = 10000.0 ** -(np.arange(0, size, 2) / size)
    angles = np.tile(np.outer(np.arange(P), frequencies), 2)

    def turned(x: Any) -> Any:
        half = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * np.cos(angles) + half * np.sin(angles)

    x = W["model.embed_tokens.weight"][token_ids]
    outputs = []
    for layer in range(config.num_hidden_layers):
        w = {name.split(f"layers.{layer}.")[-1].removesuffix(".weight"): v for name, v in W.items()}
        h = norm(x, w["input_layernorm"])
        q, k, v = (
            (h @ w[f"self_attn.{c}_proj"].T).reshape(P, -1, size).transpose(1, 0, 2) for c in "qkv"
        )
        k, v = (np.repeat(a, heads // groups, 0) for a in (k, v))
        scores = turned(q) @ turned(k).transpose(0, 2, 1) / np.sqrt(size)
        scores[:, *np.triu_indices(P, 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ v
        x = x + mixed.transpose(1, 0, 2).reshape(P, -1) @ w["self_attn.o_proj"].T
        h = norm(x, w["post_attention_layernorm"])
        gate = h @ w["mlp.gate_proj"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
        outputs.append(x)
    return outputs


def test_llama_is_what_the_formulas_give(tiny_model: TinyModel, tmp_path: Path) -> None:
    """An oracle with neither torch nor transformers: equal bits after rounding."""
    extraction = run(tiny_model("llama"), tmp_path, tuple(range(LAYERS)))
    config = AutoModelForCausalLM.from_pretrained(tiny_model("llama")).config
    ids = [token.id for token in extraction.record.tokens]
    for layer, expected in enumerate(float64_llama(tiny_model("llama"), ids, config)):
        np.testing.assert_array_equal(
            extraction.activations.values[layer], expected.astype(np.float32)
        )


@pytest.mark.parametrize("name", ["gpt2", "falcon"])
def test_a_family_that_stays_in_its_type_is_transformers_double(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(name), dtype=torch.float64)
    extraction = run(tiny_model(name), tmp_path, (0, 1, 2))
    ids = torch.tensor([[token.id for token in extraction.record.tokens]])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    for layer in range(3):
        np.testing.assert_array_equal(
            extraction.activations.values[layer], states[layer + 1][0].float().numpy()
        )


@pytest.mark.parametrize("name", ALL)
def test_close_to_the_fast_path(name: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    fast = run(tiny_model(name), tmp_path / "fast", reproducible=False)
    exact = run(tiny_model(name), tmp_path / "exact", reproducible=True)
    np.testing.assert_allclose(
        exact.activations.values, fast.activations.values, rtol=1e-4, atol=2e-5
    )
    assert exact.record.unembedding == fast.record.unembedding


# --- dtype ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "Fp16"), ("bfloat16", "Bfloat16")])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_weights_of_half_precision(
    name: str, dtype: str, precision: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """The weights are rounded to dtype, and nothing else is: a checkpoint of that type agrees."""
    halved = run(tiny_model(name), tmp_path / "halved", dtype=dtype, reproducible=True)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(name), dtype=getattr(torch, dtype))
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_model(name)).save_pretrained(tmp_path / "model")
    stored = run(tmp_path / "model", tmp_path / "stored", dtype=dtype, reproducible=True)
    widened = run(tmp_path / "model", tmp_path / "widened", reproducible=True)
    assert digests(halved) != digests(run(tiny_model(name), tmp_path / "full"))
    assert read_activations(halved.activations_path).precision == precision
    assert (halved.record.dtype, halved.record.reproducible) == (dtype, True)
    for other in (stored, widened):
        np.testing.assert_array_equal(halved.activations.values, other.activations.values)
        assert halved.record.unembedding.sha256 == other.record.unembedding.sha256


@pytest.mark.parametrize(
    ("dtype", "asked", "given"),
    [
        ("float32", None, True),
        ("float32", False, False),
        ("bfloat16", None, False),
        ("float16", None, False),
        ("bfloat16", True, True),
    ],
)
def test_the_default(
    dtype: str, asked: bool | None, given: bool, tiny_model: TinyModel, tmp_path: Path
) -> None:
    run(tiny_model("llama"), tmp_path, (0,), dtype=dtype, reproducible=asked)
    record = read_record(tmp_path / "a.record.json")
    assert record.reproducible is given
    assert record.attention == "sdpa"
    assert not record.low_memory


# --- low memory -----------------------------------------------------------------------------------


def stored_as(folder: Path, to: Path, dtype: torch.dtype, **others: torch.dtype) -> Path:
    """A copy of a model with its weights in a type; those whose name holds a word, in another."""
    to.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            to.joinpath(file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        kind = next((kind for word, kind in others.items() if word in name), dtype)
        weights[name] = weight.to(kind)
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.mark.parametrize("mode", ["reproducible", "fast"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["llama", "gemma2", "opt", "gpt-j"])
def test_low_memory_gives_the_same_bytes(  # noqa: PLR0917 - parameters
    name: str, stored: torch.dtype, dtype: str, mode: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = stored_as(tiny_model(name), tmp_path / "model", stored)
    options: dict[str, Any] = {"dtype": dtype, "reproducible": mode == "reproducible"}
    normal = run(model, tmp_path / "normal", **options)
    low = run(model, tmp_path / "low", low_memory=True, **options)
    assert digests(low) == digests(normal)
    assert low.record.low_memory
    assert (low.record.digest == normal.record.digest) is options["reproducible"]


def test_kinds_of_weights_in_one_file(tiny_model: TinyModel, tmp_path: Path) -> None:
    """The widest is what all are loaded as; what has to be converted for that stays in memory."""
    mixed = {"norm": torch.float32}
    model = stored_as(tiny_model("llama"), tmp_path / "mixed", torch.bfloat16, **mixed)
    with pytest.raises(errors.NotInFiles):
        run(model, tmp_path / "low", low_memory=True)


def test_a_few_weights_of_another_type_do_no_harm(tiny_model: TinyModel, tmp_path: Path) -> None:
    model = stored_as(
        tiny_model("llama"), tmp_path / "m", torch.float32, input_layer=torch.bfloat16
    )
    normal = run(model, tmp_path / "normal")
    assert digests(run(model, tmp_path / "low", low_memory=True)) == digests(normal)


def test_low_memory_of_shards(tiny_model: TinyModel, tmp_path: Path) -> None:
    sharded = build(FAMILIES["llama"], tmp_path / "model", max_shard_size="40KB")
    low = run(sharded, tmp_path / "low", low_memory=True, model_id="m")
    assert digests(low) == digests(run(tiny_model("llama"), tmp_path / "normal", model_id="m"))


@pytest.mark.parametrize("kind", ["bin", "merged"])
def test_weights_that_cannot_be_left_in_their_files(
    kind: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    if kind == "bin":
        model = stored_as(tiny_model("llama"), tmp_path / "model", torch.float32)
        torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
        (model / "model.safetensors").unlink()
    else:  # transformers stacks the experts of a block, which the file holds one by one
        experts = {"num_local_experts": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2}
        model = build(Family("mixtral", experts), tmp_path / "model")
    run(model, tmp_path / "normal")
    with pytest.raises(errors.NotInFiles) as caught:
        run(model, tmp_path / "low", low_memory=True)
    assert caught.value.hint
    assert not (tmp_path / "low").exists()


def test_low_memory_of_broken_files(tiny_model: TinyModel, tmp_path: Path) -> None:
    model = stored_as(tiny_model("llama"), tmp_path / "model", torch.float32)
    (model / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(errors.IncompleteModel):
        run(model, tmp_path / "low", low_memory=True)


MEASURED = """
import sys
from pathlib import Path
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions

model, to, low, reproducible = sys.argv[1:]
def extracted(name):
    outputs = {"output_activations": f"{to}/{name}", "output_unembedding": f"{to}/u.gotue"}
    options = ExtractionOptions(
        device="cpu", low_memory=low == "True", reproducible=reproducible == "True"
    )
    return extract(model, "The river", [7], **outputs, options=options)
result = extracted("a.gotact")
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(peak, result.record.activations.sha256)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells peaks on Linux")
def test_low_memory_is_low(tmp_path: Path) -> None:
    """A checkpoint in bfloat16 run in float32: in memory as a whole, or a block at a time."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    model = build(Family("llama", sizes), tmp_path / "model", max_shard_size="1GB")
    model = stored_as(model, tmp_path / "halved", torch.bfloat16)
    blocks = 8 * (4 * 512**2 + 3 * 512 * 2048)
    peaks, found = [], []
    for low, reproducible in ((False, False), (True, False), (True, True)):
        command = [sys.executable, "-c", MEASURED, model, tmp_path, low, reproducible]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        peak, digest = done.stdout.split()
        peaks.append(int(peak) * 1024)
        found.append(digest)
    assert found[0] == found[1]
    for other in peaks[1:]:
        assert peaks[0] - other > 3 * blocks  # of 4 bytes each


# --- manners --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails: bool) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(2))

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            x = torch.ones(1, input_ids.shape[1], 3)
            assert x.dtype == torch.float64
            x = self.blocks[0](x)
            assert x.dtype == torch.float64
            if fails:
                self.blocks[1].register_forward_pre_hook(stop)
            result: torch.Tensor = self.blocks[1](x)
            return result

    def stop(*_: Any) -> None:
        raise RuntimeError

    model = Model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    arguments: dict[str, Any] = {
        "pages": FilePages(),
        "weights": Weights(wide=True),
        "unproved": set(),
    }
    outcome = pytest.raises(errors.ModelFailed) if fails else contextlib.nullcontext()
    with outcome:
        batch = capture.Batch.of_text([5, 6])
        capture.residual_stream(model, model.blocks, (0, 1), batch, hidden_dim=3, **arguments)
    assert torch.get_default_dtype() == torch.float32
    modes: Any = torch.overrides
    assert modes._get_current_function_mode_stack() == []
    assert torch.is_grad_enabled()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, old)
    assert not any(block._forward_hooks for block in model.blocks)
    assert len(model.blocks[0]._forward_pre_hooks) == 0


@pytest.mark.parametrize(
    "expression",
    [
        "x.float()",
        "x.to(torch.float32)",
        "x.to(dtype=torch.bfloat16)",
        "x.to('cpu', torch.float16)",
        "x.to(y)",
        "x.type(torch.float32)",
        "x.type('torch.FloatTensor')",
        "x.type_as(y)",
        "x.to(y.dtype)",
        "x.new_zeros(2, dtype=torch.float32)",
        "x + y",
        "y * 2",
        "torch.cat([y, y])",
        "torch.stack(y.split(1))",
        "torch.softmax(x, 0, torch.float32)",
        "torch.nn.functional.softmax(x, dim=0, dtype=torch.float32)",
        "torch.zeros(2, dtype=torch.float16)",
        "torch.tensor(0.1)",
        "torch.arange(0, 1, 0.25)",
        "torch.arange(3) / 3",
        "torch.empty_like(y)",
        "torch.nn.functional.embedding(torch.tensor([1]), y[:, None])",
        "torch.nn.functional.embedding(torch.tensor([1]), z[:, None])",
        "x.to(z.dtype)",
        "z + x",
        "torch.polar(x, x).real",
        "torch.view_as_complex(torch.stack([y, y], -1)).imag",
        "torch.nn.Linear(2, 2)(x)",
    ],
)
def test_whatever_code_asks_for(expression: str) -> None:
    x = torch.tensor([0.1, 0.2], dtype=torch.float64)
    y = torch.tensor([0.1, 0.2], dtype=torch.float32)
    names = {"torch": torch, "x": x, "y": y, "z": y.bfloat16()}
    with float64():
        result = eval(expression, names)  # noqa: S307 - from the list above
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = torch.nn.functional.linear(x[None], x[None])
        with as_written():
            assert y.dtype == torch.float32
            assert x.float().dtype == torch.float32
    assert result.dtype == product.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_what_is_meant_stays() -> None:
    """Bits, integers, a tensor's own memory, and roundings that code spells out."""
    y = torch.tensor([0.1, 0.2], dtype=torch.float32)
    bits = y.view(torch.int32)
    with float64():
        assert torch.equal(y.view(torch.int32), bits)
        assert bits.to(torch.int64).dtype == torch.int64
        assert y.add_(1.0) is y
        half = torch.tensor(1.001).bfloat16() * torch.arange(3)
        with as_written():
            assert half.dtype == torch.bfloat16
        assert torch.arange(3).dtype == torch.int64


def test_a_device_without_float64(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "geometry_of_trust.extraction.loading.find_device", lambda name: torch.device("mps")
    )
    chosen: Any = ({"reproducible": True}, {"low_memory": True, "reproducible": False})
    for options in chosen:
        with pytest.raises(errors.BadOption):
            run(tiny_model("llama"), tmp_path, device="mps", **options)
        record = run(tiny_model("llama"), tmp_path, device="auto", **options).record
        assert record.device == "cpu"
