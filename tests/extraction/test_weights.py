"""Weights as they are held and as they are computed with: what is converted, when, and to what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust.extraction import capture, loading, running
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Runner
from tiny_models import FAMILIES, Family, TinyModel, build, stored_as

pytestmark = pytest.mark.usefixtures("quickly")

IDS = [5, 17, 200, 5, 9, 33, 1]
EXPERTS = Family(
    "mixtral", {"num_local_experts": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2}
)


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model of millions of parameters, of which norms and biases are."""
    monkeypatch.setattr("geometry_of_trust.extraction.weights._SMALL", 100)


def loaded(model: Path, to: Path, **options: Any) -> Runner:
    chosen: dict[str, Any] = {"device": "cpu", "reproducible": True} | options
    request = Request.of(model, (0, 3), to / "a", to / "u", ExtractionOptions(**chosen))
    with loading.silence():
        opened = running.open_model(request, lambda text: None)
        batch = capture.Batch.of_text(IDS)
        return running.start(opened, batch, lambda text: None, once=False)[0]


def states(runner: Runner) -> Any:
    return runner.states(capture.Batch.of_text(IDS))


def held(runner: Runner) -> dict[str, torch.dtype]:
    """Of the first block's parameters."""
    return {name: p.dtype for name, p in runner.blocks[0].named_parameters()}


def model_of(name: str, folder: Path) -> Path:
    return build(EXPERTS if name == "mixtral" else FAMILIES[name], folder)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_a_file_of_halves_gives_the_bytes_of_one_that_was_widened(
    name: str, tmp_path: Path
) -> None:
    halves = stored_as(model_of(name, tmp_path / "m"), tmp_path / "halves", torch.bfloat16)
    wide = stored_as(halves, tmp_path / "wide", torch.float32)
    runner = loaded(halves, tmp_path)
    types = held(runner)
    linear = {"llama": "mlp.up_proj.weight", "gpt2": "mlp.c_fc.weight"}.get(
        name, "mlp.experts.down_proj"
    )
    assert types[linear] == torch.bfloat16
    assert {p.dtype for p in runner.blocks.parameters() if p.numel() <= 100} == {torch.float32}
    # Linear layers take them as they are held; others are converted block by block.
    assert runner.loaded.weights.settled(runner.blocks) is (name == "llama")
    first = states(runner)
    assert held(runner) == types
    np.testing.assert_array_equal(first, states(loaded(wide, tmp_path)))
    runner.loaded.weights.bring(runner.blocks)  # as a corpus run does
    assert runner.loaded.weights.settled(runner.blocks)
    np.testing.assert_array_equal(first, states(runner))
    assert held(runner)[linear] == (torch.bfloat16 if name == "llama" else torch.float32)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_weights_that_are_rounded_are_rounded_once_each_time(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Left in a file of float32, and computed with as bfloat16."""
    rounded = stored_as(tiny_model(name), tmp_path / "halves", torch.bfloat16)
    run = loaded(tiny_model(name), tmp_path, dtype="bfloat16")
    weights = run.loaded.weights
    assert not weights.settled(run.blocks)
    expected = states(loaded(rounded, tmp_path))
    for _ in range(2):
        np.testing.assert_array_equal(states(run), expected)
    plain = states(loaded(tiny_model(name), tmp_path))
    assert not np.array_equal(plain, expected)
    before = weights.bring(run.blocks)
    assert before
    assert weights.settled(run.blocks)
    assert weights.bring(run.blocks) == []
    np.testing.assert_array_equal(states(run), expected)
    weights.put_back(before)
    assert not weights.settled(run.blocks)
    assert before == []


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_integers_are_multiplied_with_as_they_are_held(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """integer × scale, rounded to float32: in the kernel, or before it."""
    runner = loaded(tiny_model(name), tmp_path, quantization="int8")
    assert runner.loaded.weights.settled(runner.blocks)
    assert torch.int8 in held(runner).values()
    first = states(runner)
    for parameter in runner.blocks.parameters():
        if not parameter.dtype.is_floating_point:
            parameter.data = parameter.data * runner.loaded.weights.scales[parameter]
    assert torch.int8 not in held(runner).values()
    np.testing.assert_array_equal(first, states(runner))
