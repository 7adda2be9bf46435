"""Temporary files: new, ours, locked while they are in use, and gone after the next run."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from geometry_of_trust.errors import RunInProgress, Unwritable
from geometry_of_trust.outputs import temporary_files
from geometry_of_trust.outputs.folder_locks import only_run_into
from geometry_of_trust.outputs.staged_files import StagedFiles, write_file
from geometry_of_trust.outputs.temporary_files import (
    SUFFIX,
    clean_up,
    hidden_name,
    new_file,
    scratch,
    scratch_folder,
)

DIES = """
import os, sys
from pathlib import Path
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.outputs.temporary_files import scratch_folder
with StagedFiles() as staged, scratch_folder() as folder:
    staged.write(Path(sys.argv[1]), b"new" * 100000)
    (folder / "file").write_bytes(b"1")
    os.kill(os.getpid(), 9)
"""


def test_the_next_run_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratches = tmp_path / "tmp"
    scratches.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratches))
    killed = subprocess.run([sys.executable, "-c", DIES, tmp_path / "a"], check=False)
    assert killed.returncode == -9
    assert [path.suffix for path in tmp_path.iterdir() if path != scratches] == [SUFFIX]
    assert len(os.listdir(scratches)) == 1
    (tmp_path / "other.tmp").write_bytes(b"not ours")
    write_file(tmp_path / "b", b"1")
    assert sorted(os.listdir(tmp_path)) == ["b", "other.tmp", "tmp"]
    monkeypatch.setattr(tempfile, "tempdir", str(scratches))
    with scratch_folder() as folder:
        assert os.listdir(scratches) == [folder.parent.name]
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(scratches) == []


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    with StagedFiles() as staged:
        staged.write(tmp_path / "a", b"1")
        clean_up(tmp_path)
        write_file(tmp_path / "b", b"2")
        assert len(os.listdir(tmp_path)) == 2
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    name = hidden_name(tmp_path / "a")
    name.write_bytes(b"1")
    os.chown(name, 65534, 65534)
    hidden_name(tmp_path / "link").symlink_to(name)
    clean_up(tmp_path)
    assert len(os.listdir(tmp_path)) == 2
    clean_up(tmp_path / "none")


def test_what_only_ends_as_ours_stays(tmp_path: Path) -> None:
    (tmp_path / f"letters{SUFFIX}").write_bytes(b"1")
    (tmp_path / f".a.0123456789abcde{SUFFIX}").write_bytes(b"1")
    for folder in (f"photos{SUFFIX}", f"got-12345678{SUFFIX}"):
        (tmp_path / folder / "of mine").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    clean_up(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_is_taken_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / f".a.{'0' * 16}{SUFFIX}"
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0" * 16)
    (tmp_path / "precious").write_bytes(b"precious")
    taken.symlink_to("precious")
    with pytest.raises(FileExistsError):
        new_file(tmp_path / "a", 0o600)
    with pytest.raises(Unwritable):
        write_file(tmp_path / "a", b"1")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_file_that_another_run_took_for_left_over_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = temporary_files.try_lock
    first: list[int] = []

    def late(descriptor: int) -> bool:
        if not first:
            first.append(descriptor)
            for path in tmp_path.iterdir():
                path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(temporary_files, "try_lock", late)
    number, name = new_file(tmp_path / "a", 0o600)
    os.close(number)
    assert os.listdir(tmp_path) == [name.name]


def test_a_file_that_another_run_is_about_to_remove_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, names = temporary_files.try_lock, []

    def late(descriptor: int) -> bool:
        names.append(os.listdir(tmp_path))
        return len(names) > 1 and lock(descriptor)

    monkeypatch.setattr(temporary_files, "try_lock", late)
    number, name = new_file(tmp_path / "a", 0o600)
    os.close(number)
    assert [name.name] == os.listdir(tmp_path) == names[1] != names[0]


def test_scratch_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unwritable), scratch(tmp_path / "file" / "a"):
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(Unwritable), scratch_folder():
        pass


# --- one run into a folder --------------------------------------------------------------------


def test_the_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with only_run_into(tmp_path / "a.gotact", tmp_path / "u" / "u.gotue"):
        for path in (tmp_path / "b", tmp_path / "link" / "c", tmp_path / "u" / "d"):
            with pytest.raises(RunInProgress) as refused, only_run_into(tmp_path / "x" / "y", path):
                pass
            assert refused.value.where == os.path.realpath(path.parent)
        with only_run_into(tmp_path / "other" / "a"):
            (tmp_path / "other" / "a").write_bytes(b"1")
    with only_run_into(tmp_path / "b"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["link", "other"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unwritable), only_run_into(tmp_path / "file" / "a"):
        pass
