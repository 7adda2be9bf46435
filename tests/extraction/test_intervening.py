"""Going on from another state, against whole models of transformers with a hook of our own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.intervening import Continuing, divergence
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from tiny_models import HIDDEN, LAYERS, TinyModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.usefixtures("quickly")

IDS = (0, 40, 71, 12, 99, 30, 8)


def going_on(model: Path, layer: int, to: Path) -> Continuing:
    """A tiny model that goes on after a layer."""
    options = ExtractionOptions(device="cpu")
    request = Request.of(model, [layer], to / "a.gotact", to / "u.gotue", options)
    with running_model():
        opened = running.open_model(request, lambda message: None)
        return Continuing(running.load(opened, LAYERS, once=False), layer, (3, 5))


def by_transformers(model: Path, layer: int, states: np.ndarray[Any, Any]) -> torch.Tensor:
    """Logits at the last token where the state there is another one."""
    auto: Any = AutoModelForCausalLM
    whole = auto.from_pretrained(model, dtype=torch.float32)
    blocks = next(m for m in whole.modules() if isinstance(m, torch.nn.ModuleList))

    def other(_block: Any, _arguments: Any, output: Any) -> Any:
        state = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        state[:, -1] = torch.from_numpy(states)
        return state if isinstance(output, torch.Tensor) else (state, *output[1:])

    blocks[layer].register_forward_hook(other)
    ids = torch.tensor([IDS] * len(states))
    with torch.no_grad():
        logits: torch.Tensor = whole(input_ids=ids, use_cache=False).logits[:, -1]
    return logits


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "falcon", "opt"])
def test_what_comes_after_another_state(name: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    layer = 0 if name == "falcon" else LAYERS - 1 if name == "opt" else 1
    model = going_on(tiny_model(name), layer, tmp_path)
    (state,) = model.states([IDS])
    others = state + np.random.default_rng(1).normal(size=(5, HIDDEN)).astype(np.float32)
    logits, apart = model.effects(IDS, state, others, "text")
    assert model.shortened
    theirs = by_transformers(tiny_model(name), layer, np.concatenate([state[None], others]))
    np.testing.assert_allclose(logits, theirs[:, [3, 5]], rtol=2e-4, atol=2e-4)
    p, q = theirs[:1].double().softmax(1), theirs[1:].double().softmax(1)
    np.testing.assert_allclose(apart, (p * (p.log() - q.log())).sum(1), rtol=2e-3, atol=1e-6)
    # The whole model, on every token of every copy of the text, says the same to the last bit.
    model.shortened = False
    for ours, whole in zip((logits, apart), model.effects(IDS, state, others, "text"), strict=True):
        assert ours.tobytes() == whole.tobytes()
    assert not model.runner.unproved
    blocks = model.runner.blocks
    assert not any("forward" in vars(block) or block._forward_hooks for block in blocks)


def test_a_text_of_one_token_and_a_model_that_cannot_be_shortened(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = going_on(tiny_model("llama"), 1, tmp_path)
    (state,) = model.states([IDS[:1]])
    others = np.stack([state, 2 * state])
    logits, apart = model.effects(IDS[:1], state, others, "text")
    assert logits[0].tobytes() == logits[1].tobytes() != logits[2].tobytes()
    assert apart[0] == 0 < apart[1]
    assert model.shortened

    def none(*_: Any) -> None:
        raise RuntimeError("no cache")

    monkeypatch.setattr("geometry_of_trust.extraction.intervening._Shortened", none)
    again = going_on(tiny_model("llama"), 1, tmp_path)
    assert again.effects(IDS[:1], state, others, "text")[0].tobytes() == logits.tobytes()
    assert again.shortened is False


def test_a_small_divergence_keeps_its_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(50, generator=generator) * 5
    plain[7] = -torch.inf  # a token that the model leaves out
    moves = torch.randn(3, 50, generator=generator) * torch.tensor([[1e-4], [1e-2], [1.0]])
    others = plain + moves
    p, q = plain.double().softmax(0), others.double().softmax(1)
    terms = torch.where(p > 0, p * (p.log() - q.log()), 0.0)
    np.testing.assert_allclose(divergence(plain, others), terms.sum(1), rtol=2e-2)
    np.testing.assert_allclose(divergence(plain, others)[1:], terms.sum(1)[1:], rtol=1e-4)
