"""Identities of models: one for any sharding, another for any byte, and what is trusted for it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats import safetensors_file
from geometry_of_trust.identity import digest_cache, digesting
from geometry_of_trust.identity.digest_cache import FileState, user_cache
from geometry_of_trust.identity.model_identity import Difference, identity_differences, identity_of
from geometry_of_trust.identity.tensor_tree import TensorEntry, root_of
from gguf_files import write_gguf
from model_folders import (
    COMMIT,
    TENSORS,
    bytes_of,
    flip,
    in_hub_cache,
    safetensors,
    sharded,
    single,
)


def expected_tensors() -> list[TensorEntry]:
    return [
        TensorEntry(name, dtype, shape, hashlib.sha256(bytes_of(name, dtype, shape)).hexdigest())
        for name, (dtype, shape) in sorted(TENSORS.items())
    ]


def test_files_and_tensors_by_their_bytes(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    found = identity_of(folder)
    digests = {file.name: file.sha256 for file in found.files}
    assert digests == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    joined = b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))
    assert found.manifest_root == hashlib.sha256(joined).hexdigest()
    assert list(found.tensors or ()) == expected_tensors()
    assert found.tensor_root == root_of(expected_tensors())
    assert found.trusted == {}
    assert {file.size for file in found.files} == {p.stat().st_size for p in folder.iterdir()}


def test_one_tensor_root_for_any_sharding(tmp_path: Path) -> None:
    names = list(TENSORS)
    models = [
        single(tmp_path / "one"),
        sharded(tmp_path / "two"),
        sharded(tmp_path / "each", [[name] for name in reversed(names)]),
        sharded(tmp_path / "overlapping", [names[:4], names[3:]]),
        in_hub_cache(tmp_path / "two", tmp_path / "hub"),
    ]
    identities = [identity_of(model) for model in models]
    assert {found.tensor_root for found in identities} == {root_of(expected_tensors())}
    assert len({found.manifest_root for found in identities}) == 4
    assert identities[4].manifest_root == identities[1].manifest_root


def test_a_gguf_file_by_its_tensors_as_stored(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    found = identity_of(tmp_path / "a.gguf")
    (file,) = found.files
    assert file.sha256 == hashlib.sha256((tmp_path / "a.gguf").read_bytes()).hexdigest()
    proof = found.proof("token_embd.weight")
    assert proof.entry.dtype == "F32"
    proof.check(found.tensor_root or "")


def test_pickled_weights_have_no_tensor_root(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    found = identity_of(folder)
    assert (found.tensors, found.tensor_root) == (None, None)
    with pytest.raises(errors.OtherModel):
        found.proof("lm_head.weight")


def test_an_adapter_is_part_of_it(tmp_path: Path) -> None:
    folder, adapter = single(tmp_path / "m"), tmp_path / "a"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_bytes(b"{}")
    (adapter / "adapter_model.safetensors").write_bytes(safetensors(TENSORS))
    base, both = identity_of(folder), identity_of(folder, adapter=adapter)
    assert both.manifest_root != base.manifest_root
    assert both.tensor_root != base.tensor_root
    added = {t.name for t in both.tensors or ()} - {t.name for t in base.tensors or ()}
    assert added == {f"adapter/{name}" for name in TENSORS}


# --- changes ----------------------------------------------------------------------------------


def test_a_byte_of_any_block_is_another_model_and_named(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    before = identity_of(folder)
    shard = folder / "model-00001-of-00002.safetensors"
    data = shard.read_bytes()
    flip(shard, data.index(bytes_of("model.layers.1.mlp.weight", "F32", (4, 4))))
    after = identity_of(folder)
    assert identity_differences(before, before) == ()
    assert identity_differences(before, after) == (
        Difference("file", shard.name, "differs"),
        Difference("tensor", "model.layers.1.mlp.weight", "differs"),
    )
    assert before.manifest_root != after.manifest_root
    assert before.tensor_root != after.tensor_root


def test_what_one_model_lacks_is_named(tmp_path: Path) -> None:
    one, other = single(tmp_path / "one"), sharded(tmp_path / "other")
    (one / "vocab.json").write_bytes(b"{}")
    found = identity_differences(identity_of(one), identity_of(other))
    assert Difference("file", "vocab.json", "only in the first") in found
    shard = "model-00002-of-00002.safetensors"
    assert Difference("file", shard, "only in the second") in found
    assert {difference.kind for difference in found} == {"file"}


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m", [list(TENSORS)[:4], list(TENSORS)[3:]])
    shard = folder / "model-00002-of-00002.safetensors"
    name = list(TENSORS)[3]
    flip(shard, shard.read_bytes().index(bytes_of(name, *TENSORS[name])))
    with pytest.raises(errors.BadTensors):
        identity_of(folder)


# --- the hub's cache --------------------------------------------------------------------------


def test_a_name_in_the_hubs_cache_is_taken_and_said_to_be(tmp_path: Path) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    found = identity_of(snapshot)
    assert (found.repository, found.commit) == ("owner/name", COMMIT)
    assert found.trusted == {"model.safetensors": "name"}
    computed = identity_of(snapshot, rehash=True)
    assert computed.trusted == {}
    assert computed.manifest_root == found.manifest_root
    assert identity_differences(found, computed) == ()


def test_the_tensors_of_a_changed_blob_are_others_all_the_same(tmp_path: Path) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    before = identity_of(snapshot)
    flip((snapshot / "model.safetensors").resolve())
    after = identity_of(snapshot)
    assert after.manifest_root == before.manifest_root
    assert after.tensor_root != before.tensor_root
    with pytest.raises(errors.AlteredDownload):
        identity_of(snapshot, rehash=True)


def test_a_blob_cut_short_is_seen_without_digesting_it(tmp_path: Path) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(errors.BadTensors):
        identity_of(snapshot)


@pytest.mark.parametrize("rehash", [True, False])
def test_a_changed_text_is_never_taken_for_that_of_the_commit(rehash: bool, tmp_path: Path) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    flip((snapshot / "chat_template.jinja").resolve())
    with pytest.raises(errors.AlteredDownload):
        identity_of(snapshot, rehash=rehash)


# --- the cache of digests ---------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that keeps digests of small files, and at once."""
    monkeypatch.setattr(digest_cache, "LEAST_BYTES", 0)
    monkeypatch.setattr(digest_cache, "_SETTLED_NS", 0)
    return tmp_path / "cache"


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files of which anything is digested."""
    names: list[str] = []
    digests = digesting._digests

    def noted(state: FileState, *rest: object) -> list[str]:
        names.append(Path(state.path).name)
        return digests(state, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(digesting, "_digests", noted)
    return names


def test_what_was_digested_is_remembered_and_said_to_be(
    tmp_path: Path, cache: Path, digested: list[str]
) -> None:
    folder = sharded(tmp_path / "m")
    first = identity_of(folder, cache=cache)
    assert first.trusted == {}
    assert digested
    digested.clear()
    again = identity_of(folder, cache=cache)
    assert digested == []
    assert (again.manifest_root, again.tensors) == (first.manifest_root, first.tensors)
    assert set(again.trusted.values()) == {"remembered"}
    assert again.trusted.keys() == {file.name for file in first.files}


def test_of_a_named_blob_the_tensors_are_remembered(
    tmp_path: Path, cache: Path, digested: list[str]
) -> None:
    snapshot = in_hub_cache(single(tmp_path / "m"), tmp_path / "hub")
    first = identity_of(snapshot, cache=cache)
    digested.clear()
    again = identity_of(snapshot, cache=cache)
    assert digested == []
    assert again.tensors == first.tensors
    assert again.tensors_remembered == ("model.safetensors",)
    assert again.trusted["model.safetensors"] == "name"
    computed = identity_of(snapshot, rehash=True, cache=cache)  # the whole was not digested
    assert computed.manifest_root == first.manifest_root
    assert digested == [(snapshot / "model.safetensors").resolve().name]


def test_no_cache_unless_one_is_given(tmp_path: Path, cache: Path) -> None:
    folder = single(tmp_path / "m")
    identity_of(folder, cache=cache)
    kept = sorted(tmp_path.joinpath("cache").iterdir())
    for path in kept:
        path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "0')[:-1])
    assert identity_of(folder).trusted == {}
    assert sorted(tmp_path.joinpath("cache").iterdir()) == kept


def changed_bytes(path: Path) -> None:
    """Another byte, with the times that it had."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """Another file with the same times and size."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    changed_bytes(other)
    found = path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [changed_bytes, replaced])
def test_a_file_that_changed_is_digested_again(
    change: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    folder = single(tmp_path / "m")
    before = identity_of(folder, cache=cache)
    time.sleep(0.02)  # the clock of file systems is coarse
    change(folder / "model.safetensors")
    after = identity_of(folder, cache=cache)
    assert after.manifest_root == identity_of(folder).manifest_root != before.manifest_root


def test_nothing_is_kept_of_a_file_that_was_just_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "LEAST_BYTES", 0)
    cache = tmp_path / "cache"
    folder = single(tmp_path / "m")
    identity_of(folder, cache=cache)
    assert not (tmp_path / "cache").exists()
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    identity_of(folder, cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_small_files_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_cache, "_SETTLED_NS", 0)
    identity_of(single(tmp_path / "m"), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


BREAKS: dict[str, Callable[[dict[str, object]], object]] = {
    "version": lambda tree: tree | {"version": 2},
    "another file": lambda tree: tree | {"path": "/elsewhere"},
    "another inode": lambda tree: tree | {"inode": 0},
    "too many members": lambda tree: tree | {"more": 1},
    "too few members": lambda tree: {"version": 1},
    "too few tensors": lambda tree: tree | {"tensors": []},
    "tensors of another kind": lambda tree: tree | {"tensors": {}},
    "no digests": lambda tree: tree | {"tensors": [1] * len(TENSORS)},
    "capital digits": lambda tree: tree | {"sha256": "A" * 64},
    "a list": lambda tree: [tree],
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_foreign_entry_is_ignored(name: str, tmp_path: Path, cache: Path) -> None:
    folder = single(tmp_path / "m")
    right = identity_of(folder, cache=cache)
    for path in (tmp_path / "cache").iterdir():
        path.write_text(json.dumps(BREAKS[name](json.loads(path.read_bytes()))))
    again = identity_of(folder, cache=cache)
    assert (again.manifest_root, again.tensors) == (right.manifest_root, right.tensors)
    assert "model.safetensors" not in again.trusted
    assert identity_of(folder, cache=cache).trusted  # mended


@pytest.mark.parametrize("data", [b"", b"{", b"\0" * 100])
def test_a_half_written_entry_is_ignored(data: bytes, tmp_path: Path, cache: Path) -> None:
    folder = single(tmp_path / "m")
    right = identity_of(folder, cache=cache)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(data)
    again = identity_of(folder, cache=cache)
    assert (again.manifest_root, again.trusted) == (right.manifest_root, {})


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, cache: Path) -> None:
    folder = single(tmp_path / "m")
    identity_of(folder, cache=cache)
    (tmp_path / "cache").chmod(0o777)
    assert identity_of(folder, cache=cache).trusted == {}


def test_a_cache_that_cannot_be_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    folder = single(tmp_path / "m")
    (tmp_path / "cache").write_bytes(b"a file")
    assert identity_of(folder, cache=cache).trusted == {}
    (tmp_path / "cache").unlink()

    def full(*names: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert identity_of(folder, cache=cache).trusted == {}
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_state_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    found = path.stat()
    assert FileState.of(path) == FileState(
        str(path), 3, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev
    )
    with pytest.raises(errors.Unreadable) as caught:
        FileState.of(tmp_path / "b")
    assert caught.value.where == str(tmp_path / "b")


def test_the_folder_is_made_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    inner = tmp_path / "x" / "y"
    identity_of(single(tmp_path / "one"), cache=inner)
    assert inner.stat().st_mode & 0o777 == 0o700
    identity_of(single(tmp_path / "two"), cache=inner)
    assert len(list(inner.iterdir())) == 12
    inner.chmod(0o777)
    identity_of(single(tmp_path / "three"), cache=inner)
    assert len(list(inner.iterdir())) == 12


def test_from_which_size_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    folder = single(tmp_path / "m")
    size = (folder / "model.safetensors").stat().st_size
    for least, kept in ((size + 1, 0), (size, 1)):
        monkeypatch.setattr(digest_cache, "LEAST_BYTES", least)
        identity_of(folder, cache=cache)
        assert len(identity_of(folder, cache=cache).trusted) == kept


def test_where_the_users_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / ".cache" / "geometry-of-trust" / "digests"
    for value, folder in (
        (str(tmp_path / "x"), tmp_path / "x"),
        ("", tmp_path / ".cache"),
        ("relative", tmp_path / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert user_cache() == folder / "geometry-of-trust" / "digests"


# --- files that change meanwhile --------------------------------------------------------------


def test_a_file_that_is_written_to_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = single(tmp_path / "m")
    check = digesting._check_state

    def written(state: FileState, number: int) -> None:
        check(state, number)
        if state.path.endswith(".safetensors"):
            with open(state.path, "ab") as handle:
                handle.write(b"x")

    monkeypatch.setattr(digesting, "_check_state", written)
    with pytest.raises(errors.FileChanged):
        identity_of(folder)


def test_a_file_that_changes_after_its_header_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = single(tmp_path / "m")
    read = safetensors_file.read_safetensors_header

    def then_replaced(path: Path) -> object:
        found = read(path)
        replaced(path)
        return found

    monkeypatch.setattr(digesting, "read_safetensors_header", then_replaced)
    with pytest.raises(errors.FileChanged):
        identity_of(folder)


def test_an_error_ends_what_else_is_being_digested(tmp_path: Path) -> None:
    """Else an error, or an interruption, waited for the last byte of the largest file."""
    folder = sharded(tmp_path / "m")
    first, second = sorted(folder.glob("*.safetensors"))
    size = 2**36
    header = json.dumps({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}})
    with open(first, "wb") as handle:
        handle.write(len(header).to_bytes(8, "little") + header.encode())
        handle.truncate(8 + len(header) + size)  # 64 GiB of nothing: minutes to digest
    second.write_bytes(b"")
    before = time.monotonic()
    with pytest.raises(errors.BadTensors):
        identity_of(folder)
    assert time.monotonic() - before < 30


def test_equal_identities_are_equal(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    assert identity_of(folder, threads=1) == identity_of(folder, threads=7)
    other = replace(identity_of(folder), commit=COMMIT)
    assert other != identity_of(folder)


def test_an_index_names_tensors_that_the_shards_have(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    path = folder / "model.safetensors.index.json"
    tree = json.loads(path.read_text())
    tree["weight_map"] |= dict.fromkeys("ba", tree["weight_map"]["scale"])
    path.write_text(json.dumps(tree))
    with pytest.raises(errors.IncompleteModel) as caught:
        identity_of(folder)
    assert caught.value.found == "2 in no shard, such as a"
