"""Outputs that appear whole, together, or not at all."""

# ruff: noqa: PT012 - what is tested happens at the end of a block

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.errors import OutputExists, Unwritable
from geometry_of_trust.outputs.ledger import keeping_a_ledger
from geometry_of_trust.outputs.staged_files import StagedFiles, write_file

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


@pytest.fixture(autouse=True)
def _plain_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_appear_when_the_block_ends(tmp_path: Path) -> None:
    with StagedFiles() as staged:
        staged.open(tmp_path / "new" / "a").write(b"1")
        staged.write(tmp_path / "b", b"2")
        assert staged.sha256(tmp_path / "new" / "a") == hashlib.sha256(b"1").hexdigest()
        assert not (tmp_path / "new" / "a").exists()
        assert not (tmp_path / "b").exists()
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert (tmp_path / "b").read_bytes() == b"2"
    assert names(tmp_path) == ["b", "new"]
    assert names(tmp_path / "new") == ["a"]


def test_an_old_file_is_replaced_or_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_file(path, b"old")
    with pytest.raises(ZeroDivisionError), StagedFiles() as staged:
        staged.write(path, b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), StagedFiles() as staged:
        staged.write(tmp_path / "a", b"1")
        staged.write(tmp_path / "b", b"2", exclusive=True)
        raise error
    assert names(tmp_path) == []


@posix
@pytest.mark.parametrize(
    ("asked", "umask", "mode"),
    [(0o666, 0o022, 0o644), (0o666, 0o077, 0o600), (0o600, 0, 0o600), (0o666, 0, 0o666)],
)
def test_permissions(asked: int, umask: int, mode: int, tmp_path: Path) -> None:
    os.umask(umask)
    with StagedFiles() as staged:
        staged.write(tmp_path / "a", b"", mode=asked)
        (temporary,) = tmp_path.iterdir()
        assert mode_of(temporary) == mode
    assert mode_of(tmp_path / "a") == mode


def test_exclusive_refuses_what_is_there(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old")
    with pytest.raises(OutputExists) as caught, StagedFiles() as staged:
        staged.write(tmp_path / "first", b"1", exclusive=True)
        staged.write(tmp_path / "a", b"new", exclusive=True)
    assert caught.value.where == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_exclusive_refuses_what_came_in_between(tmp_path: Path) -> None:
    with pytest.raises(OutputExists) as caught, StagedFiles() as staged:
        staged.write(tmp_path / "first", b"1", exclusive=True)
        staged.write(tmp_path / "a", b"new", exclusive=True)
        (tmp_path / "a").write_bytes(b"somebody else's")
    assert caught.value.where == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["a"]


@posix
def test_exclusive_refuses_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExists), StagedFiles() as staged:
        staged.write(tmp_path / "a", b"new", exclusive=True)
    assert names(tmp_path) == ["a"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("file/deeper", "folder"):
        with pytest.raises(Unwritable) as caught, StagedFiles() as staged:
            staged.write(tmp_path / "before", b"1")
            staged.write(tmp_path / name, b"2")
        assert caught.value.exit_code == 3
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []


@contextlib.contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
@pytest.mark.parametrize("size", [2**17, 2**12 + 1])  # fails at the write, or at the flush
def test_a_full_disk_is_named_and_leaves_nothing(size: int, tmp_path: Path) -> None:
    with file_size_limit(2**12), pytest.raises(Unwritable) as caught:
        write_file(tmp_path / "a", bytes(size))
    assert caught.value.where == str(tmp_path / "a")
    assert names(tmp_path) == []


def test_content_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(number: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def replace(source: Any, target: Any) -> None:
        events.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with StagedFiles() as staged:
        staged.write(tmp_path / "a", b"content 1")
        staged.write(tmp_path / "b", b"content 2")
    assert events == ["file", "file", "rename b", "folder", "rename a", "folder"]
    events.clear()
    with StagedFiles() as staged:
        staged.write(tmp_path / "a", b"content 3")
        staged.write(tmp_path / "b", b"content 4")
    aside, *rest = events[2:]
    assert aside.startswith("rename .a.")
    assert rest == ["folder", "rename b", "folder", "rename a", "folder"]


@pytest.mark.parametrize("refused", ["a", "b"])
def test_all_is_put_back_if_a_file_cannot_have_its_name(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what goes, what cannot be opened, and what is a link that leads nowhere."""
    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == refused and Path(source).read_bytes() == b"new":
            raise PermissionError(errno.EACCES, "no")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    for name in ("a", "b", "goes"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Unwritable) as caught, StagedFiles() as staged:
        for name in ("a", "b", "c"):
            staged.write(tmp_path / name, b"new")
        for name in ("goes", "link", "never there"):
            staged.remove(tmp_path / name)
    assert Path(caught.value.where) == tmp_path / refused
    assert names(tmp_path) == ["a", "b", "goes", "link"]
    assert {(tmp_path / name).read_bytes() for name in ("a", "b", "goes")} == {b"old"}
    assert os.readlink(tmp_path / "link") == str(tmp_path / "nowhere")


def test_what_is_to_go_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.NotAFile), StagedFiles() as staged:
        staged.write(tmp_path / "a", b"1")
        staged.remove(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


def test_an_old_file_that_cannot_be_put_back_is_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "a":
            raise PermissionError(errno.EACCES, "no")
        rename(source, target)

    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(os, "replace", replace)
    with keeping_a_ledger() as ledger, pytest.raises(Unwritable), StagedFiles() as staged:
        staged.write(tmp_path / "a", b"new")
        staged.write(tmp_path / "b", b"new")
    (left,) = ledger.left
    assert left.read_bytes() == b"old"
    assert (tmp_path / "b").read_bytes() == b"old"
    assert names(tmp_path) == [left.name, "b"]


def test_a_path_that_is_not_staged(tmp_path: Path) -> None:
    with StagedFiles() as staged, pytest.raises(KeyError):
        staged.sha256(tmp_path / "a")


def test_one_path_is_not_staged_twice(tmp_path: Path) -> None:
    with pytest.raises(errors.BadOption), StagedFiles() as staged:
        staged.write(tmp_path / "a", b"1")
        staged.write(tmp_path / "a", b"2")
    assert list(tmp_path.iterdir()) == []


def test_names_of_the_greatest_length_are_written(tmp_path: Path) -> None:
    with StagedFiles() as staged:
        staged.write(tmp_path / ("n" * 255), b"1")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"1"
