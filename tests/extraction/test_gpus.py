"""Several GPUs: when accelerate places a model, and that its hooks and ours go together.

No GPU is needed: whether there are some is made up, and what accelerate places stays on the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.extraction import loading, preparing
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.request import Request
from tiny_models import FAMILIES, TEXT, build

pytestmark = pytest.mark.usefixtures("quickly")


def request_for(device: str) -> Request:
    return Request("m", (0,), Path("a"), Path("b"), ExtractionOptions(device=device))


@pytest.mark.parametrize(
    ("asked", "count", "all_gpus"),
    [("auto", 2, True), ("auto", 1, False), ("cuda", 2, False), ("cuda:1", 2, False)],
)
def test_when_all_gpus_are_used(
    asked: str, count: int, all_gpus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    device = loading.find_device(asked)
    assert device.type == "cuda"
    assert preparing.on_all_gpus(request_for(asked), device) is all_gpus


def test_without_a_gpu_nothing_is_placed() -> None:
    assert not preparing.on_all_gpus(request_for("auto"), torch.device("cpu"))


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_placed_model_has_the_same_states(
    family: str, reproducible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(FAMILIES[family], tmp_path / "model")

    def states(name: str) -> Any:
        done = extract(
            model, TEXT, [0, 2], output_activations=tmp_path / f"{name}.gotact",
            output_unembedding=tmp_path / "u.gotue",
            options=ExtractionOptions(reproducible=reproducible),
        )  # fmt: skip
        return done.activations.values

    alone = states("alone")
    hooked = place_on_cpu(monkeypatch)
    placed = states("placed")
    assert hooked
    assert np.array_equal(alone, placed)


def place_on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let accelerate place every block as if it were one of several devices; names of modules."""
    monkeypatch.setattr(preparing, "on_all_gpus", lambda request, device: True)
    load: Any = loading.load_model
    hooked: list[str] = []

    def load_placed(*arguments: Any, more: Any, **options: Any) -> Any:
        assert more == {"device_map": "auto"}
        model = load(*arguments, more={"device_map": {"": "cpu"}}, **options)
        places = {name: "cpu" for name, part in model.named_modules() if not list(part.children())}
        accelerate.dispatch_model(model, places, main_device="cpu", force_hooks=True)
        hooked.extend(name for name, part in model.named_modules() if hasattr(part, "_hf_hook"))
        return model

    monkeypatch.setattr(loading, "load_model", load_placed)
    return hooked


def test_gpus_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, accelerate leaves all of a model to the CPU."""
    model = build(FAMILIES["llama"], tmp_path / "model")
    monkeypatch.setattr(preparing, "on_all_gpus", lambda request, device: True)
    monkeypatch.setattr(loading, "find_device", lambda name: torch.device("cuda"))
    with pytest.raises(errors.NoDevice) as caught:
        extract(
            model, TEXT, [0], output_activations=tmp_path / "a.gotact",
            output_unembedding=tmp_path / "u.gotue",
            options=ExtractionOptions(reproducible=False),
        )  # fmt: skip
    assert caught.value.where == "device"
    assert not (tmp_path / "a.gotact").exists()
