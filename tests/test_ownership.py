"""Who else could put another file in the place of one."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from geometry_of_trust.errors import UnsafeFolder
from geometry_of_trust.ownership import (
    check_folder,
    is_own,
    open_folder,
    others_can_write,
    real_place,
)

NOBODY = 65534


def state(mode: int, owner: int, group: int = NOBODY) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | mode, 0, 0, 0, owner, group, 0, 0, 0, 0))


ME, ROOT = os.geteuid(), 0


@pytest.mark.parametrize(
    ("mode", "owner", "unsafe"),
    [
        (0o700, ME, False), (0o755, ME, False), (0o777, ME, True), (0o775, ME, True),
        (0o757, ME, True), (0o1777, ROOT, False), (0o1777, NOBODY, True), (0o700, NOBODY, True),
        (0o755, ROOT, False), (0o2775, ME, True),
    ],
)  # fmt: skip
def test_folders_that_others_can_write(mode: int, owner: int, unsafe: bool) -> None:
    assert others_can_write(state(mode, owner)) == unsafe
    assert is_own(state(mode, owner)) == (owner == ME)


def test_a_group_of_the_users_own_is_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(ME).pw_name
    for members, name, alone in (
        ([], me, True), ([me], me, True), ([me, "eve"], me, False), ([], "staff", False),
    ):  # fmt: skip
        group = grp.struct_group((name, "x", 4711, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, group=group: group)
        assert others_can_write(state(0o775, ME, 4711)) != alone
    monkeypatch.setattr(grp, "getgrgid", {}.__getitem__)
    assert others_can_write(state(0o775, ME, 4711))


def test_the_error_names_what_it_is_about(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeFolder) as refused:
        check_folder(tmp_path, tmp_path / "key")
    assert refused.value.where == str(tmp_path / "key")


def test_real_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "link").symlink_to("b/c")
    (tmp_path / "far").symlink_to(tmp_path / "link" / "deep")
    here = Path(os.path.realpath(tmp_path))
    for path, place in (
        ("a", "a"), ("./b/../a", "a"), ("link/../a", "b/a"), ("far", "b/c/deep"),
        ("none/at/all", "none/at/all"), ("a/../x", "x"),
    ):  # fmt: skip
        assert real_place(path) == here / place
    assert real_place(tmp_path / "link" / "x") == here / "b" / "c" / "x"


def test_a_folder_of_our_own_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir(0o700)
    (tmp_path / "link").symlink_to("f")
    os.close(open_folder(folder))
    for mode in (0o777, 0o1777):
        folder.chmod(mode)
        with pytest.raises(UnsafeFolder):
            open_folder(folder)
    for name in ("link", "none"):
        with pytest.raises(OSError, match=name):
            open_folder(tmp_path / name)
    if ME == ROOT:
        folder.chmod(0o700)
        os.chown(folder, NOBODY, NOBODY)
        with pytest.raises(UnsafeFolder):
            open_folder(folder)
