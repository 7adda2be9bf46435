"""Files opened once, and bounded reads."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from geometry_of_trust import errors, files
from geometry_of_trust.documents.names_beside import labels_path, record_path
from geometry_of_trust.errors import FileChanged, TooLarge, Unreadable
from geometry_of_trust.files import COPIED_BYTES, FileBytes, opened, read_bounded, sha256_file

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


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
    gc.collect()  # of tests before
    before = len(os.listdir("/proc/self/fd"))
    taken = [FileBytes(path) for _ in range(5)]
    assert (len(os.listdir("/proc/self/fd")) > before) == mapped
    del taken
    assert len(os.listdir("/proc/self/fd")) == before
