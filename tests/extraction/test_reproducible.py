"""The same bytes under every setting: float32 throughout, each operation of one value."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from arithmetic.oracle import fused
from arithmetic.row_oracle import lane_sum
from geometry_of_trust import errors
from geometry_of_trust.arithmetic import ARITHMETIC, library
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction import capture, loading, preparing, running, tokenizing
from geometry_of_trust.extraction.float32 import as_written, float32
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Runner
from geometry_of_trust.extraction.weights import Weights
from geometry_of_trust.formats.gotact import read_activations
from options import arguments_of
from oracle import nearest32, same_bits
from tiny_models import FAMILIES, LAYERS, TEXT, VARIANTS, Family, TinyModel, build, stored_as

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


# --- float32 throughout ---------------------------------------------------------------------------


_Mode: Any = TorchDispatchMode  # which has no types
HALVES = (torch.float16, torch.bfloat16)


class Types(_Mode):  # type: ignore[misc]
    """Keeps the names of the kernels that give halves, and of those that give float64."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: set[str] = set()
        self.doubles: set[str] = set()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.dtype in HALVES:
                self.halves.add(str(func))
            if isinstance(x, torch.Tensor) and x.dtype == torch.float64:
                self.doubles.add(str(func))
        return result


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_every_kernel_gives_float32(
    name: str,
    stored: torch.dtype,
    tiny_model: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left: weights as they are held, and what is chosen of them."""
    watch = Types()

    @contextlib.contextmanager
    def watched(unproved: set[str], scales: Any) -> Iterator[None]:
        with float32(unproved, scales), watch:
            yield

    monkeypatch.setattr(capture, "float32", watched)
    model = tiny_model(name)
    if stored != torch.float32:
        model = stored_as(model, tmp_path / "model", stored)
    record = run(model, tmp_path, reproducible=True).record
    assert (record.unproved, record.arithmetic) == ((), ARITHMETIC)
    assert watch.calls > 150
    assert watch.doubles == set()
    moves = {"aten.embedding.default", "aten.detach.default", "aten.t.default"}
    moves |= {"aten.transpose.int", "aten.view.default", "aten.select.int", "aten.split.Tensor"}
    rounded: set[str] = set()
    if name == "falcon":  # its code rounds its slopes: element by element, one rounding each
        rounded = {"aten._to_copy.default", "aten.view.default", "aten.mul.Tensor"}
        assert watch.halves >= {"aten._to_copy.default"}
    assert watch.halves <= rounded | (moves if stored != torch.float32 else set())


def test_a_model_that_is_merely_loaded_computes_in_its_type(tiny_model: TinyModel) -> None:
    """The control: the watch sees it."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.bfloat16)
    with torch.no_grad(), Types() as watch:
        model(torch.tensor([[1, 2, 3]]))
    assert "aten.mm.default" in watch.halves


def prepared(
    folder: Path, to: Path, layers: tuple[int, ...] = (0, 1, 2, 3), **options: Any
) -> Runner:
    """A model that was loaded, for a reproducible run unless `options` say otherwise."""
    named: dict[str, Any] = {"device": "cpu", "reproducible": True} | options
    chosen = ExtractionOptions(**named)
    request = Request.of(folder, layers, to / "a", to / "u", chosen)
    with loading.silence():
        opened = running.open_model(request, lambda text: None)
        batch = capture.Batch.of_text([5, 6])
        return running.start(opened, batch, lambda text: None, once=False)[0]


@pytest.mark.parametrize("name", ["llama", "gpt-j", "gemma2", "llama3-rope", "phi"])
def test_buffers_are_computed_by_their_code_in_float32(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    buffers = dict(prepared(tiny_model(name), tmp_path).loaded.model.named_buffers())
    computed = {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}
    assert computed
    assert {buffer.dtype for buffer in computed.values()} == {torch.float32}


def test_rotary_frequencies_are_powers_correctly_rounded(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    """1 / 10000^(2i/d), each step rounded to float32 from many decimal digits."""
    for name, d in (("llama", 8), ("qwen3", 16)):
        buffers = dict(prepared(tiny_model(name), tmp_path).loaded.model.named_buffers())
        expected = []
        with decimal.localcontext(prec=60):
            for i in range(0, d, 2):
                exponent = Fraction(float(np.float32(i) / np.float32(d)))
                power = Decimal(10000) ** (Decimal(exponent.numerator) / exponent.denominator)
                near = nearest32(Fraction(power))
                expected.append(nearest32(1 / Fraction(float(near))))
        assert same_bits(buffers["model.rotary_emb.inv_freq"].numpy(), expected)


Matrix = NDArray[np.float32]


def product(a: Matrix, b: Matrix) -> Matrix:
    """Rule 2, for stacks of matrices: fused operations in order, blocks of 256."""
    blocks = []
    for start in range(0, a.shape[-1], 256):
        s = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
        for k in range(start, min(start + 256, a.shape[-1])):
            s = fused(a[..., k, None], b[..., k, None, :], s)
        blocks.append(s)
    result = blocks[0]
    for s in blocks[1:]:
        result = result + s
    return result + np.float32(0)


def total(x: Matrix) -> NDArray[np.float64]:
    """Rule 3 along the last dimension, not rounded."""
    return np.apply_along_axis(lambda row: lane_sum(row.tolist()), -1, x)


def rounded(function: Callable[[Any], Any], x: Matrix) -> Matrix:
    """Rule 4, where float64 does not lie next to the middle of two float32."""
    result: Matrix = function(x.astype(np.float64)).astype(np.float32)
    return result


def llama_by_the_rules(folder: Path, token_ids: list[int], config: Any) -> list[Matrix]:
    """A Llama in numpy alone, by docs/arithmetic.md: the output of each block."""
    W = {name: w.float().numpy() for name, w in load_file(folder / "model.safetensors").items()}
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    P, size = len(token_ids), config.hidden_size // heads
    eps, scale = np.float32(config.rms_norm_eps), np.float32(1 / np.sqrt(size))

    def norm(x: Matrix, weight: Matrix) -> Matrix:
        squares = (total(x * x) / x.shape[-1]).astype(np.float32)
        root = rounded(lambda v: 1 / np.sqrt(v), squares + eps)
        return weight * (x * root[:, None])

    exponents = np.arange(0, size, 2).astype(np.float32) / np.float32(size)
    frequencies = np.float32(1) / rounded(lambda e: 10000.0**e, exponents)
    angles = np.tile(np.outer(np.arange(P, dtype=np.float32), frequencies), 2)
    cos, sin = rounded(np.cos, angles), rounded(np.sin, angles)

    def turned(x: Matrix) -> Matrix:
        half: Matrix = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
        result: Matrix = x * cos + half * sin
        return result

    x = W["model.embed_tokens.weight"][token_ids]
    outputs = []
    for layer in range(config.num_hidden_layers):
        w = {name.split(f"layers.{layer}.")[-1].removesuffix(".weight"): v for name, v in W.items()}
        h = norm(x, w["input_layernorm"])
        q, k, v = (
            product(h, w[f"self_attn.{c}_proj"].T).reshape(P, -1, size).transpose(1, 0, 2)
            for c in "qkv"
        )
        k, v = (np.repeat(a, heads // groups, 0) for a in (k, v))
        scores = product(turned(q), turned(k).transpose(0, 2, 1)) * scale
        scores[:, *np.triu_indices(P, 1)] = -np.inf
        powers = rounded(np.exp, scores - scores.max(-1, keepdims=True))
        weights = (powers / total(powers)[..., None]).astype(np.float32)
        mixed = product(weights, v).transpose(1, 0, 2).reshape(P, -1)
        x = x + product(mixed, w["self_attn.o_proj"].T)
        h = norm(x, w["post_attention_layernorm"])
        gate = rounded(lambda g: g / (1 + np.exp(-g)), product(h, w["mlp.gate_proj"].T))
        up = product(h, w["mlp.up_proj"].T)
        x = x + product(gate * up, w["mlp.down_proj"].T)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("kernels", library.forms())
def test_llama_is_what_the_rules_give(
    kernels: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An oracle with neither torch nor transformers: equal bits."""
    monkeypatch.setenv(library.VARIABLE, kernels)
    extraction = run(tiny_model("llama"), tmp_path, tuple(range(LAYERS)))
    config = AutoModelForCausalLM.from_pretrained(tiny_model("llama")).config
    ids = [token.id for token in extraction.record.tokens]
    for layer, expected in enumerate(llama_by_the_rules(tiny_model("llama"), ids, config)):
        assert same_bits(extraction.activations.values[layer], expected)


@pytest.mark.parametrize("name", ALL)
def test_close_to_the_fast_path_and_to_float64(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    fast = run(tiny_model(name), tmp_path / "fast", reproducible=False)
    exact = run(tiny_model(name), tmp_path / "exact", reproducible=True)
    assert apart(exact.activations.values, fast.activations.values) < 1e-5
    assert exact.record.unembedding == fast.record.unembedding
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(name), dtype=torch.float64)
    ids = torch.tensor([[token.id for token in exact.record.tokens]])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    double = torch.stack([states[layer + 1][0] for layer in MIDDLE]).numpy()
    assert apart(exact.activations.values, double) < 1e-5


def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max())


# --- in company -----------------------------------------------------------------------------------


TEXTS = (TEXT, TEXT[:40], TEXT[20:70], TEXT[:31])


def token_ids(runner: Runner) -> list[list[int]]:
    texts = (tokenizing.tokenize(runner.opened.tokenizer, text) for text in TEXTS)
    return [[token.id for token in text] for text in texts]


def together(runner: Runner, texts: list[list[int]]) -> list[Matrix]:
    """The states of each text, from one batch."""
    batch = capture.Batch(texts, [range(len(ids)) for ids in texts])
    ends = np.cumsum([len(ids) for ids in texts])[:-1]
    return np.split(runner.states(batch), ends, axis=1)


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_no_bit(name: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Texts of several lengths beside each other, padded on the right, and each alone."""
    runner = prepared(tiny_model(name), tmp_path)
    texts = token_ids(runner)
    if name == "phi3-longrope":  # it turns by the longest of a batch: all longer than 16, or none
        texts = [ids for ids in texts if len(ids) > 16]
    assert len({len(ids) for ids in texts}) > 1
    for ids, states in zip(texts, together(runner, texts), strict=True):
        assert same_bits(states, runner.states(capture.Batch.of_text(ids)))


def test_padding_over_the_ends_of_blocks_changes_no_bit(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Sums over the keys are made in blocks of 256, and padding adds blocks."""
    runner = prepared(tiny_model("llama"), tmp_path)
    texts = [[(7 * i + n) % 300 for i in range(length)] for n, length in enumerate((600, 250, 3))]
    for ids, states in zip(texts, together(runner, texts), strict=True):
        assert same_bits(states, runner.states(capture.Batch.of_text(ids)))


def test_the_fast_path_does_not_promise_that(tiny_model: TinyModel, tmp_path: Path) -> None:
    """The control: of some family a batch has other bits there."""
    different = []
    for name in ("llama", "gpt2", "gpt-j", "phi"):
        runner = prepared(tiny_model(name), tmp_path)
        texts = token_ids(runner)
        loaded = dataclasses.replace(runner.loaded, weights=Weights())
        fast = dataclasses.replace(runner, loaded=loaded)
        different += [
            not same_bits(states, fast.states(capture.Batch.of_text(ids)))
            for ids, states in zip(texts, together(fast, texts), strict=True)
        ]
    assert any(different)


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
    assert record.low_memory is None


# --- weights in their files -----------------------------------------------------------------------


@pytest.fixture
def loads_as_asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called on, weights are loaded in the type that is asked for."""
    return lambda: monkeypatch.setattr(preparing, "_held_type", lambda *arguments: None)


@pytest.mark.parametrize("mode", ["reproducible", "fast"])
@pytest.mark.parametrize(
    ("stored", "dtype"),
    [(torch.float32, "bfloat16"), (torch.bfloat16, "float32"), (torch.float16, "bfloat16")],
    ids=str,
)
@pytest.mark.parametrize("name", ["llama", "gemma2", "opt", "gpt2", "falcon"])
def test_weights_that_stay_in_their_files_give_the_same_bytes(  # noqa: PLR0917 - parameters
    name: str,
    stored: torch.dtype,
    dtype: str,
    mode: str,
    tiny_model: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loads_as_asked: Callable[[], None],
) -> None:
    """Also of weights that are not small, which a tiny model has none of."""
    monkeypatch.setattr("geometry_of_trust.extraction.weights._SMALL", 16)
    model = stored_as(tiny_model(name), tmp_path / "model", stored)
    options: dict[str, Any] = {"dtype": dtype, "reproducible": mode == "reproducible"}
    left = run(model, tmp_path / "left", **options)
    loads_as_asked()
    loaded = run(model, tmp_path / "loaded", **options)
    assert digests(left) == digests(loaded)
    assert left.record.to_json() == loaded.record.to_json()


def mixed(tiny_model: TinyModel, folder: Path, stored: torch.dtype, **others: torch.dtype) -> Path:
    return stored_as(tiny_model("llama"), folder / "model", stored, **others)


def merged(folder: Path, stored: torch.dtype) -> Path:
    """Transformers stacks the experts of a block, which the file holds one by one."""
    experts = {"num_local_experts": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2}
    model = build(Family("mixtral", experts), folder / "built")
    return stored_as(model, folder / "model", stored)


def in_bin(tiny_model: TinyModel, folder: Path, stored: torch.dtype) -> Path:
    model = stored_as(tiny_model("llama"), folder / "model", stored)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    return model


@pytest.mark.parametrize("mode", ["reproducible", "fast"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["bin", "merged", "wide norms", "few halves"])
def test_weights_that_cannot_stay_in_their_files(  # noqa: PLR0917 - parameters
    kind: str,
    dtype: str,
    mode: str,
    tiny_model: TinyModel,
    tmp_path: Path,
    loads_as_asked: Callable[[], None],
) -> None:
    """They are loaded in the type asked for, or in the file's where that takes less memory."""
    if kind == "bin":
        model = in_bin(tiny_model, tmp_path, torch.float32)
    elif kind == "merged":
        model = merged(tmp_path, torch.float32)
    elif kind == "wide norms":
        model = mixed(tiny_model, tmp_path, torch.bfloat16, norm=torch.float32)
    else:
        model = mixed(tiny_model, tmp_path, torch.float32, input_layer=torch.bfloat16)
    options: dict[str, Any] = {"dtype": dtype, "reproducible": mode == "reproducible"}
    found = run(model, tmp_path / "found", **options)
    loads_as_asked()
    assert digests(found) == digests(run(model, tmp_path / "loaded", **options))


@pytest.mark.parametrize(
    ("kind", "stored", "dtype", "held"),
    [
        ("llama", torch.float32, "bfloat16", torch.float32),
        ("llama", torch.bfloat16, "float32", torch.bfloat16),
        ("merged", torch.bfloat16, "float32", torch.bfloat16),
        pytest.param(
            "merged", torch.float32, "bfloat16", torch.bfloat16,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells pages"),
        ),
        ("bin", torch.bfloat16, "float32", torch.float32),
        ("wide norms", torch.bfloat16, "float32", torch.float32),
        ("float64", torch.float64, "float32", torch.float64),
    ],
    ids=str,
)  # fmt: skip
def test_the_type_that_weights_are_held_in(  # noqa: PLR0917 - parameters
    kind: str,
    stored: torch.dtype,
    dtype: str,
    held: torch.dtype,
    tiny_model: TinyModel,
    tmp_path: Path,
) -> None:
    model = {
        "merged": lambda: merged(tmp_path, stored),
        "bin": lambda: in_bin(tiny_model, tmp_path, stored),
        "wide norms": lambda: mixed(tiny_model, tmp_path, stored, norm=torch.float32),
    }.get(kind, lambda: mixed(tiny_model, tmp_path, stored))()
    runner = prepared(model, tmp_path, dtype=dtype, reproducible=False)
    assert {p.dtype for p in runner.blocks.parameters()} == {held}


@pytest.mark.parametrize("where", ["buffer", "tensor beside"])
def test_what_was_computed_in_the_type_of_the_files_and_cannot_be_again(
    where: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast run then loads the model in the type asked for, in which its code computes it."""
    made = torch.nn.Linear.__init__

    def with_more(self: torch.nn.Linear, *sizes: Any, **options: Any) -> None:
        made(self, *sizes, **options)
        third = torch.full((1,), 1 / 3, dtype=torch.get_default_dtype())
        if where == "buffer":
            self.register_buffer("third", third, persistent=False)
        else:
            self.third = third

    monkeypatch.setattr(torch.nn.Linear, "__init__", with_more)
    model = stored_as(tiny_model("llama"), tmp_path / "model", torch.bfloat16)
    runner = prepared(model, tmp_path, reproducible=False)
    assert {p.dtype for p in runner.blocks.parameters()} == {torch.float32}


def test_shards(tiny_model: TinyModel, tmp_path: Path) -> None:
    sharded = build(FAMILIES["llama"], tmp_path / "model", max_shard_size="40KB")
    options: dict[str, Any] = {"model_id": "m", "dtype": "bfloat16"}
    one = run(tiny_model("llama"), tmp_path / "one", **options)
    assert digests(run(sharded, tmp_path / "shards", **options)) == digests(one)


@pytest.mark.parametrize("mode", ["reproducible", "fast"])
def test_broken_files(mode: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    model = stored_as(tiny_model("llama"), tmp_path / "model", torch.float32)
    (model / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(errors.IncompleteModel):
        run(model, tmp_path / "out", reproducible=mode == "reproducible")


MEASURED = """
import sys
from pathlib import Path
from geometry_of_trust.extraction import preparing
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions

model, to, how, reproducible = sys.argv[1:]
if how == "loaded":
    preparing._held_type = lambda *arguments: None
outputs = {"output_activations": f"{to}/a.gotact", "output_unembedding": f"{to}/u.gotue"}
options = ExtractionOptions(device="cpu", reproducible=reproducible == "True")
result = extract(model, "The river", [7], **outputs, options=options)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(peak, result.record.activations.sha256)
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells peaks on Linux")
def test_weights_in_their_files_take_little_memory(tmp_path: Path) -> None:
    """A checkpoint in bfloat16 run in float32: in memory as a whole, or a block at a time."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    model = build(Family("llama", sizes), tmp_path / "model", max_shard_size="1GB")
    model = stored_as(model, tmp_path / "halved", torch.bfloat16)
    blocks = 8 * (4 * 512**2 + 3 * 512 * 2048)
    peaks, found = [], []
    for how, reproducible in (("loaded", False), ("left", False), ("left", True)):
        command = [sys.executable, "-c", MEASURED, model, tmp_path, how, reproducible]
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
            assert x.dtype == torch.float32
            x = self.blocks[0](x)
            assert x.dtype == torch.float32
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
        "weights": Weights(reproducible=True),
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
        "y.float()",
        "y.to(torch.float16)",
        "y.to(dtype=torch.bfloat16)",
        "y.to('cpu', torch.float16)",
        "y.to(z)",
        "y.type(torch.bfloat16)",
        "y.type('torch.HalfTensor')",
        "y.type_as(z)",
        "y.to(z.dtype)",
        "y.new_zeros(2, dtype=torch.float16)",
        "y + z",
        "z.float() * 2",
        "y * 2.5",
        "torch.cat([y, y])",
        "torch.softmax(y, 0, torch.bfloat16)",
        "torch.nn.functional.softmax(y, dim=0, dtype=torch.float16)",
        "torch.zeros(2, dtype=torch.float16)",
        "torch.tensor(0.1)",
        "torch.arange(0, 1, 0.25)",
        "torch.arange(3) / 3",
        "torch.empty_like(y, dtype=torch.bfloat16)",
        "torch.nn.functional.embedding(torch.tensor([1]), y[:, None])",
        "torch.nn.functional.embedding(torch.tensor([1]), z[:, None])",
        "torch.nn.functional.embedding(torch.tensor([1]), p)",
        "p[0]",
        "p.data",
        "p + 1",
        "p.T",
        "torch.nn.functional.linear(y, p)",
        "torch.nn.functional.layer_norm(y, (2,), p[0], p[1])",
        "torch.polar(y, y).real",
        "torch.view_as_complex(torch.stack([y, y], -1)).imag",
        "torch.nn.Linear(2, 2)(y)",
    ],
)
def test_whatever_code_asks_for(expression: str) -> None:
    y = torch.tensor([0.1, 0.2], dtype=torch.float32)
    p = torch.nn.Parameter(torch.eye(2, dtype=torch.bfloat16))
    names = {"torch": torch, "y": y, "z": y.bfloat16(), "p": p}
    with float32():
        result = eval(expression, names)  # noqa: S307 - from the list above
        with torch.autocast("cpu", dtype=torch.bfloat16):
            linear = torch.nn.functional.linear(y[None], y[None])
        with as_written():
            assert p.dtype == torch.bfloat16
            assert y.half().dtype == y.to(torch.float16).dtype == torch.float16
    assert result.dtype == linear.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


def test_what_is_meant_stays() -> None:
    """Bits, integers, float64, a tensor's own memory, and roundings that code spells out."""
    y = torch.tensor([0.1, 0.2], dtype=torch.float32)
    bits = y.view(torch.int32)
    with float32():
        assert torch.equal(y.view(torch.int32), bits)
        assert bits.to(torch.int64).dtype == torch.int64
        assert y.double().dtype == (y.to(torch.float64) * 2).dtype == torch.float64
        assert y.add_(1.0) is y
        half = torch.tensor(1.001).bfloat16() * torch.arange(3)
        with as_written():
            assert half.dtype == torch.bfloat16
        assert torch.arange(3).dtype == torch.int64


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_is_no_cpu(
    device: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused; where none is named the CPU computes."""
    monkeypatch.setattr(
        "geometry_of_trust.extraction.loading.find_device", lambda name: torch.device(device)
    )
    with pytest.raises(errors.BadOption):
        run(tiny_model("llama"), tmp_path, device=device, reproducible=True)
    record = run(tiny_model("llama"), tmp_path, device="auto", reproducible=True).record
    assert record.device == "cpu"
