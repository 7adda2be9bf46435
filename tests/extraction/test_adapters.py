"""Adapters: what they do to a model, what is said of them, and that none is applied unnamed."""

from __future__ import annotations

import contextlib
import hashlib
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
from geometry_of_trust.documents.extraction_record import RecordedAdapter
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.formats.gotue import read_unembedding
from options import arguments_of
from places import TESTS
from quantised_models import GPT_OSS, mxfp4
from tiny_models import FAMILIES, LAYERS, TEXT, Family, TinyModel, build, stored_as

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing these warns about others' deprecations
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = [
    pytest.mark.usefixtures("quickly"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft", "ignore::FutureWarning:peft"),
]

Named = Callable[[str], Path]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
QV = ["q_proj", "v_proj"]


def lora(**settings: Any) -> Any:
    chosen: dict[str, Any] = {"target_modules": QV, "lora_dropout": 0.5} | settings
    return peft.LoraConfig(**chosen)


def train(model: Path, config: Any, to: Path) -> Path:
    """An adapter with random weights, saved as its user would."""
    auto: Any = AutoModelForCausalLM
    torch.manual_seed(11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(auto.from_pretrained(model), config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        adapted.save_pretrained(to)
    return to


class Theirs:
    """The model with its adapter as a user of peft alone has it."""

    def __init__(self, model: Path, adapter: Path, dtype: str = "float32") -> None:
        auto: Any = AutoModelForCausalLM
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base = auto.from_pretrained(model, dtype=getattr(torch, dtype))
            adapted = peft.PeftModel.from_pretrained(base, adapter).eval()
        ids = AutoTokenizer.from_pretrained(model)(TEXT, return_tensors="pt")
        with torch.no_grad():
            output = adapted(**ids, output_hidden_states=True)
        self.residual = [state[0].float().numpy() for state in output.hidden_states[1:]]
        self.logits = output.logits[0].float().numpy()


def run(model: Path, adapter: Path | None, to: Path, **options: Any) -> Extraction:
    layers = options.pop("layers", [0, 2])
    chosen = {"model_id": "m", "adapter": None if adapter is None else str(adapter)} | options
    return extract(
        model, TEXT, layers, output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue", **arguments_of(**chosen),
    )  # fmt: skip


KINDS: dict[str, Callable[[], Any]] = {
    "LoRA": lora,
    "rsLoRA with biases, on all": lambda: lora(
        target_modules="all-linear", use_rslora=True, lora_bias=True, rank_pattern={"q_proj": 3}
    ),
    "DoRA": lambda: lora(use_dora=True),
    "IA3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "LoHa": lambda: peft.LoHaConfig(target_modules=QV),
    "LoKr": lambda: peft.LoKrConfig(target_modules=QV),
    "HRA": lambda: peft.HRAConfig(target_modules=QV),
    "on the embedding": lambda: lora(target_modules=[*QV, "embed_tokens"]),
    "new tokens": lambda: lora(trainable_token_indices=[5, 17, 40]),
    "norms saved": lambda: lora(modules_to_save=["input_layernorm", "norm"]),
    "the last block": lambda: lora(layers_to_transform=[LAYERS - 1]),
}


@pytest.fixture(scope="module")
def adapters(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Named:
    """The folder of a trained adapter of the tiny Llama, by its name in `KINDS`."""
    folder = tmp_path_factory.mktemp("adapters")

    def of(name: str) -> Path:
        to = folder / name
        return to if to.exists() else train(tiny_model("llama"), KINDS[name](), to)

    return of


@pytest.fixture(scope="module")
def half(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in a file of bfloat16."""
    return stored_as(tiny_model("llama"), tmp_path_factory.mktemp("x") / "half", torch.bfloat16)


# --- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_as_peft_itself(
    name: str, adapters: Named, tiny_model: TinyModel, half: Path, tmp_path: Path
) -> None:
    """Bit for bit in each type, whatever type the model's file has; and near it reproducibly."""
    adapter = adapters(name)
    for model, dtype in ((tiny_model("llama"), "float32"), (half, "float32"), (half, "bfloat16")):
        theirs = Theirs(model, adapter, dtype)
        fast = run(model, adapter, tmp_path, dtype=dtype, reproducible=False)
        for k, layer in enumerate((0, 2)):
            np.testing.assert_array_equal(fast.activations.values[k], theirs.residual[layer])
        if dtype == "float32":
            exact = run(model, adapter, tmp_path)
            assert exact.record.unproved == ()
            assert (exact.record.reproducible, exact.record.blocks_loaded) == (True, 3)
            for k, layer in enumerate((0, 2)):
                largest = np.abs(theirs.residual[layer]).max()
                difference = np.abs(exact.activations.values[k] - theirs.residual[layer]).max()
                assert difference < 1e-5 * largest


@pytest.mark.parametrize("name", ["LoRA", "DoRA", "norms saved", "the last block"])
def test_cut_as_whole(name: str, adapters: Named, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Weights for blocks that are left out are not weights that match nothing."""
    cut = run(tiny_model("llama"), adapters(name), tmp_path / "cut")
    whole = run(tiny_model("llama"), adapters(name), tmp_path / "w", layers=[0, 2, LAYERS - 1])
    assert (cut.record.blocks_loaded, whole.record.blocks_loaded) == (3, LAYERS)
    np.testing.assert_array_equal(cut.activations.values, whole.activations.values[:2])
    plain = run(tiny_model("llama"), None, tmp_path / "plain", layers=[2, LAYERS - 1])
    assert (plain.activations.values[1] != whole.activations.values[2]).any()
    same = (plain.activations.values[0] == whole.activations.values[1]).all()
    assert same == (name == "the last block")


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("llama-tied", True)])
@pytest.mark.parametrize("saved", [["lm_head"], ["lm_head", "embed_tokens"], ["embed_tokens"]])
def test_the_unembedding_is_what_the_model_multiplies_with(
    saved: list[str], family: str, tied: bool, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = tiny_model(family)
    adapter = train(model, lora(modules_to_save=saved), tmp_path / "adapter")
    extraction = run(model, adapter, tmp_path, reproducible=False, layers=[LAYERS - 1])
    theirs = Theirs(model, adapter)
    norm = load_file(model / "model.safetensors")["model.norm.weight"]
    state = torch.from_numpy(extraction.activations.values[0].copy())
    state = norm * state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + 1e-6)
    unembedding = read_unembedding(tmp_path / "u.gotue").values
    np.testing.assert_allclose(state.numpy() @ unembedding.T, theirs.logits, rtol=1e-3, atol=1e-4)
    plain = run(model, None, tmp_path / "plain", layers=[0])
    changed = extraction.record.unembedding.sha256 != plain.record.unembedding.sha256
    assert changed == ("lm_head" in saved)
    assert plain.record.tied == tied
    assert not extraction.record.tied


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_biases_and_transposed_weights(family: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """What it has of the model's own weights, in the model's type; the model's file stays."""
    model = stored_as(tiny_model(family), tmp_path / "half", torch.bfloat16)
    before = (model / "model.safetensors").read_bytes()
    names = ["c_attn", "c_proj"] if family == "gpt2" else ["q_proj", "fc1"]
    config = lora(target_modules=names, fan_in_fan_out=family == "gpt2", bias="all")
    adapter = train(tiny_model(family), config, tmp_path / "adapter")
    for dtype in ("float32", "bfloat16"):
        theirs = Theirs(model, adapter, dtype)
        fast = run(model, adapter, tmp_path, dtype=dtype, reproducible=False)
        np.testing.assert_array_equal(fast.activations.values[1], theirs.residual[2])
    exact = run(model, adapter, tmp_path)
    theirs = Theirs(model, adapter)
    difference = np.abs(exact.activations.values[1] - theirs.residual[2]).max()
    assert difference < 1e-5 * np.abs(theirs.residual[2]).max()
    assert exact.record.unproved == ()
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("quantised", [False, True])
def test_on_experts(quantised: bool, tmp_path: Path) -> None:
    """Parameters that are no modules; and beside weights that come in four bits."""
    model = build(Family("gpt_oss", GPT_OSS), tmp_path / "model")
    plain = model
    if quantised:
        model, plain = mxfp4(model, tmp_path / "four")
    config = lora(target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"],
                  lora_dropout=0.0)  # fmt: skip
    adapter = train(plain, config, tmp_path / "adapter")
    theirs = Theirs(plain, adapter)
    fast = run(model, adapter, tmp_path, reproducible=False)
    np.testing.assert_array_equal(fast.activations.values[1], theirs.residual[2])
    exact = run(model, adapter, tmp_path)
    assert exact.record.unproved == ()
    assert exact.record.stored == ("mxfp4" if quantised else None)


def test_beside_integers(adapters: Named, tiny_model: TinyModel, tmp_path: Path) -> None:
    """`--quantization int8` rounds the model's own weights; the adapter stays as it is."""
    integers = {"quantization": "int8", "reproducible": True}
    ours = run(tiny_model("llama"), adapters("LoRA"), tmp_path, **integers)
    plain = run(tiny_model("llama"), adapters("LoRA"), tmp_path)
    without = run(tiny_model("llama"), None, tmp_path, **integers)
    assert (ours.record.unproved, ours.record.precision) == ((), "Int8")
    largest = np.abs(plain.activations.values).max()
    assert np.abs(ours.activations.values - plain.activations.values).max() < 0.05 * largest
    assert np.abs(ours.activations.values - without.activations.values).max() > 0.1 * largest
    with pytest.raises(errors.BadAdapter) as caught:
        run(tiny_model("llama"), train(tiny_model("llama"), lora(modules_to_save=["up_proj"]),
                                       tmp_path / "saved"), tmp_path, **integers)  # fmt: skip
    assert "integers" in caught.value.expected


SCRIPT = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "extraction")!r}]
from pathlib import Path
from test_adapters import run
model, to, *adapters = map(Path, sys.argv[1:])
for adapter in adapters:
    print(run(model, adapter, to).record.measured_digest)
"""


@pytest.mark.heavy
def test_the_same_bytes_from_other_kernels(
    adapters: Named, tiny_model: TinyModel, tmp_path: Path
) -> None:
    chosen = [adapters(name) for name in ("LoRA", "DoRA", "IA3", "LoHa", "LoKr", "HRA")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tiny_model("llama"), tmp_path / "there", *chosen],
        capture_output=True, text=True, check=True,
        env=os.environ | {"GOT_KERNELS": "portable", "ATEN_CPU_CAPABILITY": "default"},
    )  # fmt: skip
    model = tiny_model("llama")
    ours = [run(model, adapter, tmp_path / "h").record.measured_digest for adapter in chosen]
    assert done.stdout.split() == ours


# --- what is said of it -----------------------------------------------------------------------


def test_what_is_said_of_it(
    adapters: Named, tiny_model: TinyModel, tmp_path: Path, capsys: Any
) -> None:
    adapter, model = adapters("LoRA"), tiny_model("llama")
    record = run(model, adapter, tmp_path).record
    digests = {name: hashlib.sha256((adapter / name).read_bytes()).hexdigest()
               for name in (CONFIG, WEIGHTS)}  # fmt: skip
    lines = f"{digests[CONFIG]}  {CONFIG}\n{digests[WEIGHTS]}  {WEIGHTS}\n"
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert record.adapter == RecordedAdapter(digest, "LORA", str(model))
    assert read_record(tmp_path / "a.record.json") == record
    assert main(["show", str(tmp_path / "a.gotact")]) == 0
    printed = capsys.readouterr().out
    assert f"LORA {digest}, made for " in printed
    other = shutil.copytree(adapter, tmp_path / "other")
    tensors = load_file(other / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, other / WEIGHTS)
    changed = run(model, other, tmp_path / "c").record
    assert changed.adapter is not None
    assert changed.adapter.sha256 != digest
    assert changed.measured_digest != record.measured_digest


def test_a_corpus(adapters: Named, tiny_model: TinyModel, tmp_path: Path, capsys: Any) -> None:
    """Of the command, with its self-checks: hooks, the cut model, batches."""
    (tmp_path / "c.txt").write_text(f"{TEXT}\nThe Thames\n")
    with contextlib.chdir(tmp_path):
        command = [
            "extract", "--model", str(tiny_model("llama")), "--input-file", "c.txt", "--strict",
            "--adapter", str(adapters("DoRA")), "--layers", "0", "2", "--position", "all",
        ]  # fmt: skip
        assert main([*command, "--dry-run"]) == 0
        assert main(command) == 0
    record = read_record(tmp_path / "activations.record.json")
    assert (len(record.checks), record.unproved) == (3, ())
    assert all(check.bit_equal for check in record.checks)
    assert record.adapter is not None
    alone = run(tiny_model("llama"), adapters("DoRA"), tmp_path / "alone").activations.values
    from geometry_of_trust.formats.gotact import read_activations

    values = read_activations(tmp_path / "activations.gotact").values
    np.testing.assert_array_equal(values[:, : alone.shape[1]], alone)


# --- none that was not named ------------------------------------------------------------------


@pytest.fixture
def both(adapters: Named, tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A model's folder with an adapter beside its weights."""
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "both")
    for name in (CONFIG, WEIGHTS):
        shutil.copy(adapters("LoRA") / name, folder)
    return folder


@pytest.mark.parametrize("installed", [True, False])
def test_one_beside_the_weights(
    installed: bool, both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same whether peft is installed or not, which decided it silently before."""
    if not installed:
        monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(errors.AdapterNotNamed) as caught:
        run(both, None, tmp_path)
    assert f"--adapter {both}" in caught.value.hint


def test_one_beside_the_weights_is_named(
    both: Path, adapters: Named, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """It is applied once; another one that is named instead, alone."""
    once = run(both, both, tmp_path / "a")
    apart = run(tiny_model("llama"), adapters("LoRA"), tmp_path / "b")
    assert once.record.measured_digest == apart.record.measured_digest
    other = run(both, adapters("IA3"), tmp_path / "c")
    apart = run(tiny_model("llama"), adapters("IA3"), tmp_path / "d")
    assert other.record.measured_digest == apart.record.measured_digest


def test_an_adapter_that_is_taken_for_a_model(
    adapters: Named, tiny_model: TinyModel, tmp_path: Path, capsys: Any
) -> None:
    adapter = adapters("LoRA")
    with pytest.raises(errors.AdapterNotNamed) as caught:
        run(adapter, None, tmp_path)
    assert caught.value.found == f"an adapter of {tiny_model('llama')}"
    assert f"--model {tiny_model('llama')} --adapter {adapter}" in caught.value.hint
    assert main(["extract", "--model", str(adapter), "--input", "a", "--layers", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_library(
    adapters: Named, tiny_model: TinyModel, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    adapter = adapters("LoRA")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(errors.MissingExtra) as caught:
        run(tiny_model("llama"), adapter, tmp_path)
    assert "[peft]" in caught.value.hint


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (lambda: lora(target_modules=[*QV, "lm_head"]), "LORA on lm_head"),
        (lambda: lora(init_lora_weights="pissa"), "init_lora_weights pissa"),
        (lambda: peft.BOFTConfig(target_modules=QV, boft_block_size=4), "BOFT"),
        (
            lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "PROMPT_TUNING, which adds tokens to the text",
        ),
        (
            lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "PREFIX_TUNING, which adds tokens to the text",
        ),
    ],
    ids=["the unembedding", "PiSSA", "BOFT", "prompt", "prefix"],
)
def test_what_is_not_applied(
    config: Callable[[], Any], found: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    adapter = train(tiny_model("llama"), config(), tmp_path / "adapter")
    with pytest.raises(errors.BadAdapter) as caught:
        run(tiny_model("llama"), adapter, tmp_path)
    assert (caught.value.where, caught.value.found) == (str(adapter), found)
    assert caught.value.hint


def test_new_tokens_of_a_tied_model(tiny_model: TinyModel, tmp_path: Path) -> None:
    """peft then changes rows of the unembedding, too, each time that it is used."""
    config = lora(trainable_token_indices=[5, 17])
    adapter = train(tiny_model("llama-tied"), config, tmp_path / "adapter")
    with pytest.raises(errors.BadAdapter) as caught:
        run(tiny_model("llama-tied"), adapter, tmp_path)
    assert caught.value.found == "LORA on lm_head"


def test_another_model(adapters: Named, tmp_path: Path) -> None:
    wide = dict(FAMILIES["llama"].config) | {"hidden_size": 64}
    models = (
        build(FAMILIES["gpt2"], tmp_path / "gpt2"),
        build(Family("llama", wide), tmp_path / "wide"),
        build(Family("llama", FAMILIES["llama"].config | {"num_hidden_layers": 2}), tmp_path / "s"),
    )
    for model in models:
        with pytest.raises(errors.BadAdapter):
            run(model, adapters("LoRA"), tmp_path, layers=[0])


def edited(adapter: Path, to: Path, **settings: Any) -> Path:
    shutil.copytree(adapter, to)
    tree = json.loads((to / CONFIG).read_text())
    (to / CONFIG).write_text(json.dumps(tree | settings))
    return to


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"a_newer_setting": True}, "a_newer_setting"),
        ({"layer_replication": [[0, 4], [2, 4]]}, "layer_replication"),
        ({"alora_invocation_tokens": [5, 6]}, "alora_invocation_tokens"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
        ({"peft_type": "A_NEWER_KIND"}, "A_NEWER_KIND"),
        ({"r": "many"}, None),
        ({"target_modules": ["nothing"]}, None),
        ({"target_modules": ["q_proj"]}, None),
        ({"target_modules": [*QV, "o_proj"]}, None),
    ],
    ids=str,
)
def test_settings_that_are_not_those_of_its_weights(
    settings: dict[str, Any], found: str | None, adapters: Named,
    tiny_model: TinyModel, tmp_path: Path,
) -> None:  # fmt: skip
    adapter = edited(adapters("LoRA"), tmp_path / "adapter", **settings)
    with pytest.raises(errors.BadAdapter) as caught:
        run(tiny_model("llama"), adapter, tmp_path)
    assert found in (caught.value.found, None)


def test_settings_of_an_older_version(
    adapters: Named, tiny_model: TinyModel, tmp_path: Path
) -> None:
    adapter = edited(adapters("LoRA"), tmp_path / "adapter", merge_weights=False, enable_lora=None)
    ours = run(tiny_model("llama"), adapter, tmp_path)
    theirs = run(tiny_model("llama"), adapters("LoRA"), tmp_path)
    assert ours.record.activations.sha256 == theirs.record.activations.sha256


def test_folders_that_are_none(adapters: Named, tiny_model: TinyModel, tmp_path: Path) -> None:
    def refused(folder: Path) -> errors.BadAdapter:
        with pytest.raises(errors.BadAdapter) as caught:
            run(tiny_model("llama"), folder, tmp_path)
        return caught.value

    assert refused(tmp_path / "nothing").found == "none"
    pickled = edited(adapters("LoRA"), tmp_path / "pickled")
    torch.save(load_file(pickled / WEIGHTS), pickled / "adapter_model.bin")
    (pickled / WEIGHTS).unlink()
    assert refused(pickled).found == "adapter_model.bin"
    (pickled / "adapter_model.bin").unlink()
    assert refused(pickled).found == "none"
    (pickled / WEIGHTS).write_bytes(b"no tensors")
    assert refused(pickled).expected == WEIGHTS
    for text in ("no JSON", "[]"):
        (pickled / CONFIG).write_text(text)
        assert refused(pickled).where == str(pickled / CONFIG)
