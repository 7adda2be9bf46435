"""Which model it was: in the record of every run, whatever form the model comes in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.documents.recorded_identity import RecordedIdentity
from geometry_of_trust.extraction import identifying, one_text
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.identity.model_identity import identity_of
from gguf_files import write_gguf
from model_folders import in_hub_cache
from options import arguments_of
from tiny_models import FAMILIES, TEXT, adapter_of, build

pytestmark = pytest.mark.usefixtures("quickly")


def places(folder: Path) -> dict[str, Any]:
    """Where the files of a run go."""
    return {"output_activations": folder / "a.gotact", "output_unembedding": folder / "u.gotue"}


def recorded(model: Any, folder: Path, **options: Any) -> RecordedIdentity:
    """The identity in the record of a run."""
    found = extract(model, TEXT, [0], **places(folder), **arguments_of(**options)).record.identity
    assert found is not None
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(FAMILIES["llama"], tmp_path_factory.mktemp("model") / "m")


def sharded(model: Path, folder: Path) -> Path:
    """The same weights in several files."""
    from transformers import AutoModelForCausalLM

    for path in model.iterdir():
        if "safetensors" not in path.name:
            (folder / path.name).write_bytes(path.read_bytes())
    loaded = AutoModelForCausalLM.from_pretrained(model)
    loaded.save_pretrained(folder, max_shard_size="100KB")
    return folder


def test_one_model_in_every_form(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file, shards, and the hub's cache have the same tensors; a GGUF file has its own."""
    single = recorded(model, tmp_path)
    assert single.weights == identity_of(model).weights
    (tmp_path / "s").mkdir()
    parts = recorded(sharded(model, tmp_path / "s"), tmp_path)
    assert sum("safetensors" in file.name for file in parts.files) > 2
    assert parts.tensor_root == single.tensor_root
    assert parts.manifest_root != single.manifest_root
    assert parts.weights.are(single.weights)
    snapshot = in_hub_cache(model, tmp_path / "hub", "owner/name")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    hub = extract("owner/name", TEXT, [0], **places(tmp_path)).record
    assert hub.identity is not None
    assert hub.identity.weights == single.weights
    assert hub.commit == snapshot.name
    assert hub.model_id == "owner/name"
    write_gguf(tmp_path / "tiny.gguf", "F16")
    gguf = recorded(tmp_path / "tiny.gguf", tmp_path)
    assert [file.name for file in gguf.files] == ["tiny.gguf"]
    assert gguf.tensor_root not in (None, single.tensor_root)


def test_an_adapter_makes_another_model(model: Path, tmp_path: Path) -> None:
    plain = recorded(model, tmp_path)
    first, second = (
        recorded(model, tmp_path, adapter=str(adapter_of(model, tmp_path / str(n), n)))
        for n in range(2)
    )
    assert len({plain.tensor_root, first.tensor_root, second.tensor_root}) == 3
    assert not first.weights.are(second.weights)
    assert any(file.name.startswith("adapter/") for file in first.files)


def test_pickled_weights_are_told_apart_by_their_files(model: Path, tmp_path: Path) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    found = recorded(tmp_path, tmp_path / "out")
    assert (found.tensor_root, found.unembedding) == (None, None)
    assert found.weights.are(found.weights)
    assert not found.weights.are(recorded(model, tmp_path / "out").weights)


def test_a_corpus_says_it_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    many = extract_corpus(model, ["One.", "Two."], [0], **places(tmp_path / "o")).record.identity
    one = recorded(model, tmp_path)
    assert many == one


def test_a_model_that_is_written_to_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was loaded may be neither what was digested nor what is there."""
    own = tmp_path / "m"
    own.mkdir()
    for path in model.iterdir():
        (own / path.name).write_bytes(path.read_bytes())

    def meanwhile(request: Any) -> identifying.Identifying:
        begun = identifying.Identifying(request)
        tensors = load_file(own / "model.safetensors")
        save_file(tensors, own / "model.safetensors", {"format": "pt"})
        return begun

    monkeypatch.setattr(one_text, "Identifying", meanwhile)
    with pytest.raises(errors.FileChanged):
        recorded(own, tmp_path)
    assert list(tmp_path.glob("*.gotact")) == []


def test_nothing_goes_on_after_a_run_that_fails(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests of a large model are given up at once."""
    started, before = threading.Event(), threading.active_count()

    def endless(*arguments: Any, given_up: threading.Event, **options: Any) -> None:
        started.set()
        assert given_up.wait(60)

    monkeypatch.setattr(identifying, "identity_of", endless)
    with pytest.raises(errors.LayerOutOfRange):
        extract(model, TEXT, [99], **places(tmp_path))
    assert started.is_set()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["", "/home/someone/model", "~/model"])
def test_a_name_that_is_signed_is_no_path(
    name: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", "--model", str(model), "--input", TEXT, "--layers", "0"]
    assert main([*words, f"--model-id={name}"]) == 2
    assert f"--model-id: expected a name, not a path, found {name!r}" in capsys.readouterr().err
