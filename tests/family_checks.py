"""What every row of the table of families is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from family_models import Plain, save
from family_table import EXPECTATIONS, READS, RUNS, Row
from geometry_of_trust import errors
from geometry_of_trust.arithmetic import library
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.formats.gotue import read_unembedding

TEXT = "The river Seine flows"
SECOND = 1
"""A layer that is looked at beside the deepest: blocks of several kinds take turns."""


@dataclass(frozen=True)
class Tokenized:
    """A folder with the tokenizer of all tiny models, and what it makes of `TEXT`."""

    tokenizer: Path
    ids: list[int]


def check(row: Row, text: Tokenized, folder: Path) -> None:
    """The model is refused as its row says; its states are those of plain transformers."""
    model = save(row, text.tokenizer, folder / "model")
    options: dict[str, Any] | None = {}
    if row.expect != RUNS:
        expected = EXPECTATIONS[row.expect]
        with pytest.raises(getattr(errors, expected.error)) as refusal:
            run(model, folder, None)
        message = str(refusal.value)
        assert [words for words in expected.words if words not in message] == [], message
        options = expected.options
    if options is not None:
        check_states(row, Plain(row, model, text.ids), model, folder, options)


def check_states(
    row: Row, plain: Plain, model: Path, folder: Path, options: dict[str, Any]
) -> None:
    """A cut model's states are bit for bit those of the whole; a reproducible run's nearly so."""
    theirs = [of_stream(state, row.streams, options) for state in plain.states]
    last = len(theirs) - 1
    fast = run(model, folder, (SECOND, last - 1), reproducible=False, **options)
    if fast.record.whole_because is None:
        assert fast.record.blocks_loaded == last
    for layer, ours in zip((SECOND, last - 1), fast.activations.values, strict=True):
        assert bits(ours) == bits(theirs[layer]), f"layer {layer}"
    assert bits(read_unembedding(fast.unembedding_path).values) == bits(plain.unembedding)
    exact = run(model, folder, (SECOND, last), **options)
    assert exact.record.unproved == row.unproved
    assert exact.record.unembedding_reads == READS[row.reads]
    for layer, ours in zip((SECOND, last), exact.activations.values, strict=True):
        difference = np.abs(ours - theirs[layer].numpy()).max()
        assert difference <= 1e-5 * theirs[layer].abs().max(), f"layer {layer}"
    if row.portable:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(library.VARIABLE, "portable")
            other = run(model, folder, (SECOND, last), **options)
        assert other.record.activations.sha256 == exact.record.activations.sha256


def run(model: Path, folder: Path, layers: Sequence[int] | None, **options: Any) -> Extraction:
    """One extraction."""
    return extract(
        model, TEXT, layers,
        output_activations=folder / "a.gotact", output_unembedding=folder / "u.gotue",
        options=ExtractionOptions(device="cpu", model_id="m", **options),
    )  # fmt: skip


def of_stream(state: torch.Tensor, streams: int, options: dict[str, Any]) -> torch.Tensor:
    """Of what a block gives, the stream that is asked for, shape (tokens, d)."""
    if streams == 1:
        return state[0]
    n = int(options["stream"])
    if state.ndim == 3:  # side by side
        return state[0].chunk(streams, dim=-1)[n]
    return state[n, 0] if len(state) == streams else state[0, :, n]


def bits(values: NDArray[np.float32] | torch.Tensor) -> bytes:
    return np.ascontiguousarray(values, np.float32).tobytes()
