"""Bounded reads, and outputs that appear whole or not at all."""

# ruff: noqa: PT012 - what is tested happens at the end of a block

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors, files
from geometry_of_trust.documents.names_beside import labels_path, record_path
from geometry_of_trust.errors import FileChanged, OutputExists, TooLarge, Unreadable, Unwritable
from geometry_of_trust.files import COPIED_BYTES, FileBytes, opened, read_bounded, sha256_file
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


# --- reading ----------------------------------------------------------------------------------


def test_reads_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    assert read_bounded(path, 100) == b"x" * 100
    with pytest.raises(TooLarge) as caught:
        read_bounded(path, 99)
    assert caught.value.where == str(path)
    assert caught.value.exit_code == 3


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as handle:
        handle.truncate(2**40)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            read_bounded(tmp_path / "f", 2**16)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", [read_bounded, sha256_file])
def test_what_cannot_be_read(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("none", "folder", "none/deeper"):
        with pytest.raises(Unreadable) as caught:
            read(tmp_path / name)
        assert caught.value.exit_code == 3


@posix
def test_a_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable):
        read_bounded(tmp_path / "pipe")


def test_digest(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_names_beside_the_activations() -> None:
    assert labels_path("x/a.gotact") == Path("x/a.labels")
    assert record_path("x/a.gotact") == Path("x/a.record.json")


# --- writing ----------------------------------------------------------------------------------


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
        staged.write(tmp_path / "a", b"1")
        staged.write(tmp_path / "b", b"2")
    assert events == ["file", "file", "rename a", "rename b", "folder"]


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


def test_a_zero_byte_in_a_name_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable):
        read_bounded(f"{tmp_path}/a\0b")


# --- a file opened once -----------------------------------------------------------------------


@pytest.fixture(params=[COPIED_BYTES, 0], ids=["copied", "mapped"])
def mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether files are mapped in this test."""
    monkeypatch.setattr(files, "COPIED_BYTES", request.param)
    return bool(request.param == 0)


def old_file(folder: Path, data: bytes) -> Path:
    """A file that was last written long ago, so that any change of it has another time."""
    path = folder / "f"
    path.write_bytes(data)
    os.utime(path, (1, 1))
    return path


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("size", [0, 1, 100, 9 * 2**20])
def test_bytes_and_their_digest(size: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = old_file(tmp_path, data)
    taken = FileBytes(path)
    assert FileBytes.of(taken) is taken
    assert FileBytes.of(path).path == str(taken) == os.fspath(taken) == str(path)
    assert len(taken) == size
    assert taken.data[:] == data
    assert taken.sha256 == sha256_file(taken) == hashlib.sha256(data).hexdigest()
    assert read_bounded(taken, size) == data
    with opened(taken) as first, opened(taken) as second:  # neither moves the other
        assert first.read() == data
    assert second.closed
    with taken.reader() as reader:
        assert reader.read() == data


def test_limits_hold_for_bytes_taken_before(tmp_path: Path) -> None:
    taken = FileBytes(old_file(tmp_path, b"12345"))
    with pytest.raises(TooLarge):
        read_bounded(taken, 4)


def write_inside(path: Path) -> None:
    with path.open("r+b") as handle:
        handle.write(b"!")


def cut_short(path: Path) -> None:
    os.truncate(path, 10)


def lengthen(path: Path) -> None:
    with path.open("ab") as handle:
        handle.write(b"!")


def hide_the_time(path: Path) -> None:
    before = path.stat()
    write_inside(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [write_inside, cut_short, lengthen, hide_the_time])
def test_a_file_that_is_changed_meanwhile(
    change: Callable[[Path], None], mapped: bool, tmp_path: Path
) -> None:
    data = b"x" * 100_000
    path = old_file(tmp_path, data)
    time.sleep(0.02)  # the clock of the file system has ticks of its own
    before, taken = FileBytes(path), FileBytes(path)
    assert before.sha256 == hashlib.sha256(data).hexdigest()
    change(path)
    if mapped:
        with pytest.raises(FileChanged) as refused:
            assert taken.sha256
        assert refused.value.where == str(path)
        with pytest.raises(FileChanged):
            before.check_unchanged()
    else:
        taken.check_unchanged()
        assert taken.sha256 == before.sha256
        assert taken.data == data


def test_a_file_that_grows_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path, b"x" * 100)
    found = os.fstat

    def earlier(number: int) -> os.stat_result:
        state = found(number)
        lengthen(path)
        return state

    monkeypatch.setattr(os, "fstat", earlier)
    with pytest.raises(FileChanged):
        FileBytes(path)


@pytest.mark.usefixtures("mapped")
def test_what_cannot_be_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(Unreadable):
            FileBytes(path)


def test_a_map_that_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(files, "COPIED_BYTES", 0)
    monkeypatch.setattr(files, "FileMap", refusing)
    with pytest.raises(Unreadable) as refused:
        FileBytes(old_file(tmp_path, b"x"))
    assert refused.value.found == "No such device"


def test_no_descriptor_is_left(mapped: bool, tmp_path: Path) -> None:
    path = old_file(tmp_path, b"x" * 100)
    before = len(os.listdir("/proc/self/fd"))
    taken = [FileBytes(path) for _ in range(5)]
    assert (len(os.listdir("/proc/self/fd")) > before) == mapped
    del taken
    assert len(os.listdir("/proc/self/fd")) == before
