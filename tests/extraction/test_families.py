"""What is extracted means what it says: against whole models run by others.

That the states of every family are the right ones is shown by tests/families.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from options import arguments_of
from tiny_models import FAMILIES, HIDDEN, LAYERS, TEXT, VOCABULARY, TinyModel, build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM, AutoTokenizer

SOME = ("llama", "gpt2", "gemma2")
MIDDLE = (0, 2)  # deepest is 2 of 0..3: one block can be left out

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, layers: tuple[int, ...], to: Path, **options: Any) -> Extraction:
    """Extract as transformers computes; test_extraction_reproducible.py has the other way."""
    chosen: dict[str, Any] = {"device": "cpu", "reproducible": False} | options
    return extract(
        model,
        TEXT,
        layers,
        output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue",
        **arguments_of(**chosen),
    )


class Whole:
    """The whole model as a user of transformers runs it, with hooks of this test's own."""

    def __init__(self, model: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        inputs = AutoTokenizer.from_pretrained(model)(TEXT, return_tensors="pt")
        blocks = next(m for m in self.model.modules() if isinstance(m, torch.nn.ModuleList))
        assert len(blocks) == LAYERS
        self.residual: list[torch.Tensor] = []

        def keep(module: Any, arguments: Any, output: Any) -> None:
            state = output if isinstance(output, torch.Tensor) else output[0]
            self.residual.append(state[0].detach().clone())

        handles = [block.register_forward_hook(keep) for block in blocks]
        with torch.no_grad():
            output = self.model(**inputs, output_hidden_states=True)
        for handle in handles:
            handle.remove()
        self.hidden_states = [state[0] for state in output.hidden_states]
        self.logits = output.logits[0]


def bits(values: Any) -> bytes:
    return np.ascontiguousarray(values, np.float32).tobytes()


@pytest.mark.parametrize("name", SOME)
def test_layers_are_the_outputs_of_the_blocks(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    whole = Whole(tiny_model(name))
    every = tuple(range(LAYERS))
    run(tiny_model(name), every, tmp_path)
    read = read_activations(tmp_path / "a.gotact")
    assert read.layers == every
    assert read.precision == "Fp32"
    for layer in every:
        assert bits(read.values[layer]) == bits(whole.residual[layer])
    for layer in every[:-1]:
        assert bits(read.values[layer]) == bits(whole.hidden_states[layer + 1])
    # The last hidden state of transformers has been normed: it is not the residual stream.
    assert bits(read.values[-1]) != bits(whole.hidden_states[-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_norm_and_unembedding_give_the_logits(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    family, whole = FAMILIES[name], Whole(tiny_model(name))
    extraction = run(tiny_model(name), (LAYERS - 1,), tmp_path)
    residual = torch.from_numpy(read_activations(tmp_path / "a.gotact").values[0].copy())
    unembedding = torch.from_numpy(read_unembedding(tmp_path / "u.gotue").values.copy())
    head = whole.model.get_output_embeddings()

    def logits(states: torch.Tensor) -> torch.Tensor:
        result = states @ unembedding.T * family.scale
        if family.bias:
            result = result + head.bias
        if family.softcap:
            result = family.softcap * torch.tanh(result / family.softcap)
        return result

    with torch.no_grad():
        normed = whole.model.get_submodule(family.norm)(residual)
        torch.testing.assert_close(logits(normed), whole.logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(logits(residual), whole.logits, rtol=1e-2, atol=1e-2)
    assert extraction.unembedding_shape == (VOCABULARY, HIDDEN)
    assert extraction.record.tied is family.tied
    assert extraction.record.bias is family.bias


@pytest.mark.parametrize("name", SOME)
def test_a_cut_model_gives_the_bytes_of_the_whole(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    whole = Whole(tiny_model(name))
    cut = run(tiny_model(name), MIDDLE, tmp_path / "cut")
    full = run(tiny_model(name), (*MIDDLE, LAYERS - 1), tmp_path / "full")
    assert cut.record.blocks_loaded == 3
    assert full.record.blocks_loaded == LAYERS
    assert cut.record.whole_because is full.record.whole_because is None
    for k, layer in enumerate(MIDDLE):
        assert bits(cut.activations.values[k]) == bits(whole.residual[layer])
        assert bits(cut.activations.values[k]) == bits(full.activations.values[k])
    files = [to / "u.gotue" for to in (tmp_path / "cut", tmp_path / "full")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "Fp16"), ("bfloat16", "Bfloat16")])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_type_that_the_model_ran_in(
    name: str, dtype: str, precision: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    whole = Whole(tiny_model(name), getattr(torch, dtype))
    run(tiny_model(name), MIDDLE, tmp_path, dtype=dtype)
    read = read_activations(tmp_path / "a.gotact")
    assert read.precision == precision
    for k, layer in enumerate(MIDDLE):
        assert bits(read.values[k]) == bits(whole.residual[layer].float())
    weight = whole.model.get_output_embeddings().weight.detach()
    assert bits(read_unembedding(tmp_path / "u.gotue").values) == bits(weight.float())


def test_a_half_precision_checkpoint_run_in_float32(tiny_model: TinyModel, tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_model("llama")).save_pretrained(tmp_path / "model")
    run(tmp_path / "model", MIDDLE, tmp_path)
    whole = Whole(tmp_path / "model")
    read = read_activations(tmp_path / "a.gotact")
    assert read.precision == "Fp32"
    for k, layer in enumerate(MIDDLE):
        assert bits(read.values[k]) == bits(whole.residual[layer])


def test_sharded_checkpoint(tiny_model: TinyModel, tmp_path: Path) -> None:
    sharded = build(FAMILIES["llama"], tmp_path / "model", max_shard_size="40KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    one = run(tiny_model("llama"), MIDDLE, tmp_path / "one")
    many = run(sharded, MIDDLE, tmp_path / "many")
    assert bits(one.activations.values) == bits(many.activations.values)
    assert one.record.unembedding.sha256 == many.record.unembedding.sha256
