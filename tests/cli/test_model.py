"""`got-cli model`: what is printed of a folder, a GGUF file, and a name in the hub's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.identity import digest_cache
from geometry_of_trust.identity.hub_cache import locate
from geometry_of_trust.identity.model_identity import identity_of
from gguf_files import write_gguf
from model_folders import COMMIT, TENSORS, flip, in_hub_cache, single
from model_signatures import SECRET, bundle, statement, write_keys


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of the test's own; of digests of small files too, at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_cache, "LEAST_BYTES", 0)
    monkeypatch.setattr(digest_cache, "_SETTLED_NS", 0)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, list[str]]:
    """The values of each name, of a command that goes well."""
    assert main(["model", *map(str, words)]) == 0
    found: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        name, _, value = line.partition("  ")
        found.setdefault(name, []).append(value.strip())
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """The exit code and the one line of a command that is refused."""
    code = main(["model", *map(str, words)])
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    return code, told.err


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = single(tmp_path / "m")
    (folder / "README \x1b.md").write_bytes(b"")
    found, expected = printed(capsys, folder), identity_of(folder)
    assert found["manifest root"] == [f"{expected.manifest_root}  (6 files)"]
    assert found["tensor root"] == [f"{expected.tensor_root}  ({len(TENSORS)} tensors)"]
    assert found["file"] == [f"{file.sha256}  {file.name}" for file in expected.files]
    assert found["not covered"] == ["'README \\x1b.md'"]
    assert "commit" not in found
    again = printed(capsys, folder)
    assert "computed earlier" in again["file"][0]
    assert again["tensors of"] == ["model.safetensors: digested earlier"]
    assert printed(capsys, folder, "--rehash") == found


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    assert main(["model", str(snapshot), "--json"]) == 0
    tree, expected = json.loads(capsys.readouterr().out), identity_of(snapshot)
    assert (tree["commit"], tree["repository"]) == (COMMIT, "owner/name")
    assert tree["manifest_root"] == expected.manifest_root
    assert tree["tensor_root"] == expected.tensor_root
    assert tree["files"] == [vars(file) for file in expected.files]
    assert [tensor["name"] for tensor in tree["tensors"]] == sorted(TENSORS)
    assert tree["tensors"][0]["shape"] == [6, 4]
    assert "signature" not in tree


def test_a_name_in_the_hubs_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    found = printed(capsys, "owner/name")
    assert found["repository"] == ["owner/name"]
    assert found["commit"] == [f"{COMMIT}  (as the cache has it)"]
    assert any("taken from the name" in line for line in found["file"])
    for revision in ("main", COMMIT):
        assert printed(capsys, "owner/name", "--revision", revision)["commit"] == found["commit"]
    assert not any("taken" in line for line in printed(capsys, "owner/name", "--rehash")["file"])
    write_gguf(snapshot / "a.gguf")
    assert locate("owner/name/a.gguf") == (str(snapshot), "a.gguf")
    assert printed(capsys, "owner/name/a.gguf")["manifest root"][0].endswith("(1 file)")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["owner/other"], 1),
        (["owner/name", "--revision", "other"], 1),
        (["owner/name/other.gguf"], 1),
        (["a/b/c/d"], 1),
        (["no such--name.."], 1),
        (["{}", "--revision", "main"], 2),
        (["{}/config.json"], 1),
        (["{}", "--model-key", "k"], 2),
        (["{}", "--model-signature", "s"], 2),
        (["{}", "--adapter", "{}/gone"], 1),
    ],
)
def test_what_is_no_model(
    words: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    assert refused(capsys, *(word.format(snapshot) for word in words))[0] == code


@pytest.mark.parametrize(
    ("word", "found", "hint"),
    [
        ("{}/model.safetensors", "another file", "Give its folder: {}"),
        ("nope.gguf", "no such file", "Give the path of the file"),
        ("{}/nope.gguf", "no such file", "Give the path of the file"),
        ("", "an empty name", "Name one."),
        ("{}/no/such/folder", "no such path", "or give its folder."),
    ],
)
def test_what_is_no_model_comes_with_a_way_out(
    word: str, found: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = single(tmp_path / "m")
    code, line = refused(capsys, word.format(folder))
    assert code == 1
    assert found in line
    assert hint.format(folder) in line


def test_a_gguf_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "a.gguf")
    found = printed(capsys, tmp_path / "a.gguf", "--rehash")
    assert [line.partition("  ")[2] for line in found["file"]] == ["a.gguf"]
    monkeypatch.chdir(tmp_path)
    assert printed(capsys, "a.gguf", "--rehash")["tensor root"] == found["tensor root"]


def test_pickled_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = single(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert printed(capsys, folder)["tensor root"] == ["not read: the weights are pickled"]


def test_a_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = single(tmp_path / "m")
    files = {file.name: file.sha256 for file in identity_of(folder).files}
    signature, (_, public) = tmp_path / "model.sig", write_keys(tmp_path, "k", SECRET)
    signature.write_text(json.dumps(bundle(statement(files | {"zz.md": "00" * 32}))))
    options = ("--model-signature", signature, "--model-key", public)
    printed(capsys, folder)  # remembered, which a check does not use
    found = printed(capsys, folder, *options)
    assert found["signed, not covered"] == ["nothing"]
    assert found["signed, missing"] == ["zz.md"]
    assert found["not checked"] == ["certificates; whose the key is"]
    assert found["signed"][0].startswith("all files above, by key ")
    assert not any("earlier" in line for line in found["file"])
    assert main(["model", str(folder), *map(str, options), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"]["missing"] == ["zz.md"]
    flip(folder / "tokenizer.json")
    code, line = refused(capsys, folder, *options)
    assert code == 1
    assert "tokenizer.json" in line


def test_of_a_snapshot_a_signature_is_checked_by_the_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    files = {file.name: file.sha256 for file in identity_of(snapshot).files}
    signature, (_, public) = tmp_path / "model.sig", write_keys(tmp_path, "k", SECRET)
    signature.write_text(json.dumps(bundle(statement(files))))
    flip((snapshot / "model.safetensors").resolve())
    options = ("--model-signature", signature, "--model-key", public)
    assert refused(capsys, snapshot, *options)[0] == 1


def test_a_name_without_what_reads_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(errors.MissingExtra) as caught:
        locate("owner/name")
    assert caught.value.where == "geometry-of-trust[extract]"
