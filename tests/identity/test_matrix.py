"""That a `.gotue` is a tensor of a model, converted: back to its type, bit for bit, or refused."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geometry_of_trust import errors
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.identity.matrix import check_matrix, find_matrix, stored_digest
from geometry_of_trust.identity.model_identity import ModelIdentity, identity_of
from gguf_files import write_gguf
from options import arguments_of
from tiny_models import FAMILIES, TEXT, TinyModel, build, stored_as

D = 4


def model_of(folder: Path, tensors: Mapping[str, tuple[str, NDArray[np.generic]]]) -> ModelIdentity:
    """The identity of a folder with nothing but these tensors."""
    folder.mkdir()
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        part = values.tobytes()
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": offsets}
        data += part
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return identity_of(folder)


def every_half() -> NDArray[np.uint16]:
    """All finite numbers of 16 bits, of either type, and more."""
    return np.arange(2**16, dtype="<u2").reshape(-1, D)


def widened(bits: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":
        return (bits.astype("<u4") << 16).view("<f4")
    with np.errstate(invalid="ignore"):
        return bits.view("<f2").astype("<f4")


def finite(bits: NDArray[np.uint16], dtype: str) -> NDArray[np.uint16]:
    rows = np.isfinite(widened(bits, dtype)).all(axis=1)
    return bits[rows]


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_number_goes_back_to_its_bits(dtype: str, tmp_path: Path) -> None:
    bits = finite(every_half(), dtype)
    assert len(bits) > 15000
    write_unembedding(tmp_path / "u.gotue", widened(bits, dtype))
    unembedding = read_unembedding(tmp_path / "u.gotue")
    assert stored_digest(unembedding, dtype) == hashlib.sha256(bits.tobytes()).hexdigest()
    model = model_of(tmp_path / "m", {"a": (dtype, bits), "b": (dtype, bits ^ 1)})
    proof = find_matrix(model, unembedding)
    assert proof == model.proof("a")
    assert proof is not None
    check_matrix(proof, model.tensor_root or "", unembedding)


def test_numbers_of_another_type_do_not_go_back(tmp_path: Path) -> None:
    values = np.array(
        [[1, 1 + 2**-9, 2.0**-30, 3]], "<f4"
    )  # bfloat16 lacks the second, float16 two
    unembedding = Unembedding(values)
    assert stored_digest(unembedding, "F32") == hashlib.sha256(values.tobytes()).hexdigest()
    assert stored_digest(unembedding, "BF16") is None
    assert stored_digest(unembedding, "F16") is None
    assert stored_digest(Unembedding(np.array([[70000, 0]], "<f4")), "F16") is None
    assert stored_digest(Unembedding(np.array([[1, 1 + 2**-9]], "<f4")), "F16") is not None


def test_what_is_not_the_matrix_is_refused(tmp_path: Path) -> None:
    values = np.arange(12, dtype="<f4").reshape(3, 4)
    other = values.copy()
    other[2, 3] = np.nextafter(other[2, 3], np.float32(0))
    model = model_of(
        tmp_path / "m",
        {
            "w": ("F32", values),
            "x": ("F64", values.astype("<f8")),
            "h": ("BF16", values.view("<u2")),
        },
    )
    root = model.tensor_root or ""
    right = Unembedding(values, "u.gotue")
    check_matrix(model.proof("w"), root, right)
    assert find_matrix(model, Unembedding(other)) is None
    refused = [
        (model.proof("w"), root, Unembedding(other), errors.NotTheMatrix),
        (model.proof("w"), root, Unembedding(values[:2]), errors.NotTheMatrix),
        (model.proof("w"), root, Unembedding(np.ascontiguousarray(values.T)), errors.NotTheMatrix),
        (model.proof("x"), root, right, errors.NotTheMatrix),
        (model.proof("h"), root, right, errors.NotTheMatrix),
        (model.proof("w"), "00" * 32, right, errors.OtherModel),
        (replace(model.proof("w"), path=()), root, right, errors.OtherModel),
    ]
    for proof, at, unembedding, error in refused:
        with pytest.raises(error):
            check_matrix(proof, at, unembedding)


def test_numbers_beyond_a_type_are_not_of_it(tmp_path: Path) -> None:
    values = np.array([[1 + 2**-20, 2]], "<f4")
    model = model_of(tmp_path / "m", {"w": ("BF16", np.zeros((1, 2), "<u2"))})
    assert find_matrix(model, Unembedding(values)) is None
    with pytest.raises(errors.NotTheMatrix):
        check_matrix(model.proof("w"), model.tensor_root or "", Unembedding(values))


def test_of_several_equal_ones_the_one_asked_for(tmp_path: Path) -> None:
    values = np.array([[1, 2]], "<f4")
    model = model_of(
        tmp_path / "m", {"b.lm_head.weight": ("F32", values), "a.embed.weight": ("F32", values)}
    )
    for preferred, name in (
        ("", "a.embed.weight"), ("lm_head.weight", "b.lm_head.weight"), ("none", "a.embed.weight"),
    ):  # fmt: skip
        found = find_matrix(model, Unembedding(values), preferred)
        assert found is not None
        assert found.entry.name == name


# --- what an extraction writes ----------------------------------------------------------------


def matrix_of(model: Path, to: Path, identity: ModelIdentity, **options: object) -> str | None:
    """The name of the tensor that the unembedding of a model is."""
    chosen = {"reproducible": False} | options
    extract(
        model, TEXT, (0,), output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
        **arguments_of(**chosen),
    )  # fmt: skip
    unembedding = read_unembedding(to / "u.gotue")
    proof = find_matrix(identity, unembedding)
    if proof is None:
        return None
    check_matrix(proof, identity.tensor_root or "", unembedding)
    return proof.entry.name


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama", "lm_head.weight"),
        ("llama-tied", "model.embed_tokens.weight"),
        ("gpt2", "transformer.wte.weight"),
        ("gpt-neox", "embed_out.weight"),
    ],
)
def test_the_unembedding_of_a_tiny_model(
    family: str, name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = tiny_model(family)
    assert matrix_of(model, tmp_path, identity_of(model)) == name


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_unembedding_of_weights_of_16_bits(
    dtype: torch.dtype, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = stored_as(tiny_model("llama"), tmp_path / "m", dtype)
    assert matrix_of(model, tmp_path, identity_of(model)) == "lm_head.weight"


@pytest.mark.usefixtures("quickly")
def test_a_run_that_rounds_the_weights_has_another_matrix(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    assert matrix_of(model, tmp_path, identity_of(model), dtype="bfloat16") is None


@pytest.mark.usefixtures("quickly")
def test_the_unembedding_of_a_gguf_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    name = matrix_of(tmp_path / "a.gguf", tmp_path, identity_of(tmp_path / "a.gguf"))
    assert name == "output.weight"


@pytest.mark.usefixtures("quickly")
def test_a_sharded_copy_has_the_same_tensor_root(tiny_model: TinyModel, tmp_path: Path) -> None:
    one = identity_of(tiny_model("llama"))
    many = identity_of(build(FAMILIES["llama"], tmp_path / "m", max_shard_size="20KB"))
    assert len([file for file in many.files if file.name.endswith(".safetensors")]) > 2
    assert many.tensor_root == one.tensor_root
    assert many.manifest_root != one.manifest_root


def test_smollm2(smollm2: Path, tmp_path: Path) -> None:
    """Tied, so that its unembedding stands under the embedding's name."""
    identity = identity_of(smollm2)
    proof = identity.proof("model.embed_tokens.weight")
    with open(smollm2 / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
        start, stop = header["model.embed_tokens.weight"]["data_offsets"]
        file.seek(begin + start)
        values = np.frombuffer(file.read(stop - start), "<f4").reshape(proof.entry.shape)
    write_unembedding(tmp_path / "u.gotue", values)
    unembedding = read_unembedding(tmp_path / "u.gotue")
    assert find_matrix(identity, unembedding) == proof
    check_matrix(proof, identity.tensor_root or "", unembedding)
