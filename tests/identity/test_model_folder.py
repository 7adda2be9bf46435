"""Which files of a folder define the model: the one rule, and where links may lead."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
import transformers

from geometry_of_trust import errors
from geometry_of_trust.identity import model_folder
from geometry_of_trust.identity.model_folder import find_files
from model_folders import COMMIT, TENSORS, TEXTS, in_hub_cache, safetensors, sharded, single

MODEL = {*TEXTS, "model.safetensors"}


def names(folder: Path, **options: object) -> set[str]:
    return {file.name for file in find_files(folder, **options).files}  # type: ignore[arg-type]


def test_a_model_in_one_file(tmp_path: Path) -> None:
    found = find_files(single(tmp_path / "m"))
    assert [file.name for file in found.files] == sorted(MODEL)
    assert [file.name for file in found.files if file.weights] == ["model.safetensors"]
    assert found.not_covered == ()
    assert (found.repository, found.commit) == (None, None)


def test_what_else_is_there_is_named(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    for name in ("README.md", "pytorch_model.bin", "model.sig", "code.py", ".gitattributes"):
        (folder / name).write_bytes(b"")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"")
    (folder / model_folder.TEMPLATES).mkdir()
    (folder / model_folder.TEMPLATES / "tool.jinja").write_bytes(b"")
    (folder / model_folder.TEMPLATES / "more.txt").write_bytes(b"")
    found = find_files(folder)
    assert {file.name for file in found.files} == MODEL | {"additional_chat_templates/tool.jinja"}
    assert found.not_covered == (
        ".gitattributes", "README.md", "additional_chat_templates/more.txt", "code.py",
        "model.sig", "onnx/", "pytorch_model.bin",
    )  # fmt: skip


def test_shards_are_those_that_the_index_names(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / "model-00003-of-00002.safetensors").write_bytes(b"")
    weights = {file.name for file in find_files(folder).files} - TEXTS.keys()
    assert weights == {
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    assert find_files(folder).not_covered == ("model-00003-of-00002.safetensors",)


def test_one_file_comes_before_an_index_as_for_transformers(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(safetensors(TENSORS))
    assert names(folder) == MODEL


def test_pickled_weights_if_there_are_no_others(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert names(folder) == {*TEXTS, "pytorch_model.bin"}
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-1.bin")
    index = {"weight_map": {"a": "pytorch_model-1.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert names(folder) == {*TEXTS, "pytorch_model-1.bin", "pytorch_model.bin.index.json"}


@pytest.mark.parametrize("suffix", ["", ".index.json"])
def test_weights_that_the_configuration_names(suffix: str, tmp_path: Path) -> None:
    folder = (sharded if suffix else single)(tmp_path / "m")
    (folder / f"model.safetensors{suffix}").rename(folder / f"other.safetensors{suffix}")
    config = {"transformers_weights": f"other.safetensors{suffix}", "x": float("inf")}
    (folder / "config.json").write_text(json.dumps(config))
    assert f"other.safetensors{suffix}" in names(folder)


def test_a_gguf_file_is_all_of_its_model(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "a.gguf").write_bytes(b"")
    for found in (find_files(folder / "a.gguf"), find_files(folder, gguf="a.gguf")):
        assert [(file.name, file.weights) for file in found.files] == [("a.gguf", True)]
        assert found.not_covered == ()  # it may lie among private files


def test_code_if_it_is_run(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "inner" / ".hidden").mkdir(parents=True)
    for name in ("modeling_x.py", "inner/part.py", "inner/.hidden/x.py", "inner/x.txt"):
        (folder / name).write_bytes(b"")
    auto_map = {"AutoModel": "other/repo--modeling_y.Y", "AutoConfig": "modeling_x.X"}
    (folder / "config.json").write_text(json.dumps({"auto_map": auto_map}))
    text = {"auto_map": {"AutoTokenizer": ["third/repo--t.T", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(text))
    assert names(folder) == MODEL
    found = find_files(folder, code=True)
    assert {file.name for file in found.files} == MODEL | {"modeling_x.py", "inner/part.py"}
    assert found.not_covered == (
        "code of other/repo, named in config.json",
        "code of third/repo, named in tokenizer_config.json",
        "inner/",
    )


def test_an_adapter_comes_under_a_name_of_its_own(tmp_path: Path) -> None:
    folder, adapter = single(tmp_path / "m"), tmp_path / "a"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        (adapter / name).write_bytes(safetensors({}))
    found = find_files(folder, adapter=adapter)
    assert {file.name for file in found.files} == MODEL | {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors",
    }  # fmt: skip
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(errors.IncompleteModel):
        find_files(folder, adapter=adapter)


def test_an_adapter_beside_the_weights_is_named(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    for name in ("adapter_config.json", "adapter_model.safetensors", "a.gguf"):
        (folder / name).write_bytes(safetensors({}))
    with pytest.raises(errors.AdapterNotNamed) as caught:
        find_files(folder)
    assert f"--adapter {folder}" in caught.value.hint
    assert "adapter/adapter_model.safetensors" in names(folder, adapter=folder)
    assert names(folder, gguf="a.gguf") == {"a.gguf"}


def test_files_of_every_tokenizer_of_transformers_are_covered() -> None:
    """What their modules declare, read from their sources, as importing them all takes long."""
    declared: set[str] = set()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VOCAB_FILES_NAMES":
                declared |= {
                    str(value.value)
                    for value in ast.walk(node.value)
                    if isinstance(value, ast.Constant) and "." in str(value.value)
                }
    assert len(declared) > 10
    for name in declared:
        assert any(model_folder._fits(name, pattern) for pattern in model_folder.TEXTS), name


# --- links ------------------------------------------------------------------------------------


def test_a_snapshot_of_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    found = find_files(snapshot)
    assert (found.repository, found.commit) == ("owner/name", COMMIT)
    assert {file.name for file in found.files} == MODEL
    assert {len(file.blob or "") for file in found.files} == {40, 64}
    (tmp_path / "link").symlink_to(snapshot)
    assert find_files(tmp_path / "link").files == found.files


def test_links_inside_a_folder_are_followed(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "v1").mkdir()
    (folder / "model.safetensors").rename(folder / "v1" / "weights")
    (folder / "model.safetensors").symlink_to("v1/weights")
    (file,) = (file for file in find_files(folder).files if file.weights)
    assert file.path == folder.resolve() / "v1" / "weights"


@pytest.mark.parametrize("kind", ["snapshot", "other model's blobs"])
def test_a_link_that_leaves_the_cache_is_refused(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"x")
    other = in_hub_cache(single(tmp_path / "n"), tmp_path / "hub", "owner/other")
    folder = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    if kind != "snapshot":
        outside = (other / "config.json").resolve()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(outside)
    with pytest.raises(errors.OutsideOfModel):
        find_files(folder)


def test_a_link_of_a_folder_is_followed(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    elsewhere = tmp_path / "elsewhere"
    (folder / "model.safetensors").rename(elsewhere)
    (folder / "model.safetensors").symlink_to(elsewhere)
    (found,) = [file for file in find_files(folder).files if file.weights]
    assert (found.name, found.path) == ("model.safetensors", elsewhere.resolve())


@pytest.mark.parametrize("target", ["nowhere", "tokenizer.json"])
def test_a_link_to_nothing_is_a_file_that_lacks(target: str, tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(target)
    with pytest.raises(errors.IncompleteModel):
        find_files(folder)


# --- what is no model -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\\b", "c:x", "a\0b", ""])
def test_an_index_that_reaches_elsewhere(name: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    index = {"weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(errors.OutsideOfModel):
        find_files(folder)
    config = {"transformers_weights": name}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.OutsideOfModel):
        find_files(folder)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (b"{}", errors.IncompleteModel),
        (b'{"weight_map": {}}', errors.IncompleteModel),
        (b'{"weight_map": {"a": 1}}', errors.IncompleteModel),
        (b'{"weight_map": {"a": "gone.safetensors"}}', errors.IncompleteModel),
        (b"[]", errors.BadJson),
        (b"{", errors.BadJson),
        (b"[" * 10**5, errors.BadJson),
        (b"[" + b"0," * 2**21, errors.TooLarge),
    ],
)
def test_an_index_that_is_none(index: bytes, error: type[errors.GotError], tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(error):
        find_files(folder)


def test_no_weights_no_folder(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(errors.IncompleteModel):
        find_files(folder)
    for place in (tmp_path / "nothing", folder / "config.json", Path("a\0b")):
        with pytest.raises(errors.UnknownModel):
            find_files(place)
    (folder / "model.safetensors").mkdir()
    with pytest.raises(errors.IncompleteModel):
        find_files(folder)


@pytest.mark.parametrize("code", [True, False])
def test_very_many_files(code: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = single(tmp_path / "m")
    monkeypatch.setattr(model_folder, "MAX_ENTRIES", 7)
    find_files(folder, code=code)
    for k in range(2):
        (folder / f"{k}").write_bytes(b"")
    with pytest.raises(errors.LimitExceeded):
        find_files(folder, code=code)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_bytes(b"")
    assert find_files(folder).not_covered == ("\\xff.txt",)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.model")).write_bytes(b"")
    with pytest.raises(errors.LimitExceeded):
        find_files(folder)


def test_a_folder_in_the_place_of_a_text(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "vocab.json").mkdir()
    assert find_files(folder).not_covered == ("vocab.json/",)
    os.mkfifo(folder / "merges.txt")
    with pytest.raises(errors.Unreadable):
        find_files(folder)
