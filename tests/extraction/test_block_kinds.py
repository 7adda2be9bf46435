"""Every kind of block, not only attention: one value each, and what transformers computes.

`block_kinds.json` has the sizes of a tiny model of each: state-space blocks (Mamba), linear
attention, short convolutions, gated recurrences, latent attention, mixtures of experts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.arithmetic import library
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from tiny_models import TEXT, Family, build

KINDS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("block_kinds.json").read_text("ascii")
)
LAYERS = (1, 3)

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, to: Path, *, reproducible: bool) -> Extraction:
    return extract(
        model, TEXT, LAYERS,
        output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
        options=ExtractionOptions(device="cpu", reproducible=reproducible),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_unproved(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(Family(kind, KINDS[kind]), tmp_path / "model")
    fast = run(model, tmp_path / "fast", reproducible=False).activations.values
    exact = run(model, tmp_path / "exact", reproducible=True)
    assert exact.record.unproved == ()
    for ours, theirs in zip(exact.activations.values, fast, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    monkeypatch.setenv(library.VARIABLE, "portable")
    other = run(model, tmp_path / "other", reproducible=True)
    assert other.record.activations.sha256 == exact.record.activations.sha256
