"""Who else could change what stands at a path: owners, permissions, sticky folders and links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from geometry_of_trust.errors import NotAFile, UnsafeFolder
from geometry_of_trust.files import PathLike

_MOST_LINKS = 40
"""As many as Linux follows in one path."""

POSIX = hasattr(os, "geteuid")
"""Whether files have owners and permissions as they are looked at here."""


def is_own(found: os.stat_result) -> bool:
    """Whether the user that this program runs as owns it."""
    return not POSIX or found.st_uid == os.geteuid()


def others_can_write(folder: os.stat_result) -> bool:
    """Whether another user but root could put another file in the place of one of ours.

    The owner of a folder always can. Of a sticky folder, as /tmp is, nobody else can. A group does
    not count that is the user's alone, as many systems give each user one.
    """
    if not POSIX:
        return False
    if folder.st_uid not in (0, os.geteuid()):
        return True
    if folder.st_mode & stat.S_ISVTX:
        return False
    shared = folder.st_mode & stat.S_IWGRP and not _is_private_group(folder.st_gid)
    return bool(folder.st_mode & stat.S_IWOTH or shared)


def _is_private_group(number: int) -> bool:
    """Whether a group is called as its user, and has no other member."""
    import grp  # noqa: PLC0415 - not on Windows
    import pwd  # noqa: PLC0415 - as above

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def check_folder(folder: PathLike, where: PathLike) -> None:
    """Nobody else can put another file in the place of one in this folder.

    Args:
        where: what the error is about.

    Raises:
        UnsafeFolder: somebody can. OSError: there is no such folder.
    """
    found = os.stat(folder)
    if others_can_write(found):
        raise UnsafeFolder(
            where,
            expected="a folder that nobody else can write to",
            found=f"{os.fspath(folder)}, of user {found.st_uid}, "
            f"mode {stat.S_IMODE(found.st_mode):04o}",
        )


def real_place(path: PathLike) -> Path:
    """Where a file of this name stands, or will stand, once its links are followed.

    A link is followed only if no other user can have put it there.

    Raises:
        UnsafeFolder: a link of another user, or in a folder that others can write to.
        NotAFile: a link of the system's to something open, as /dev/stdout is one; or a circle.
        OSError, ValueError: a part of the path cannot be looked at.
    """
    if not POSIX:
        return Path(os.path.realpath(path))
    whole = Path(os.getcwd(), path)
    here, rest, links = Path(whole.anchor), list(reversed(whole.parts[1:])), 0
    while rest:
        part = rest.pop()
        if part == "..":
            here = here.parent
            continue
        place = here / part
        try:
            found = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            here = place
            continue
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        links += 1
        if links > _MOST_LINKS or place.parts[1] in ("dev", "proc"):
            raise NotAFile(path, expected="the name of a file", found=f"the link {place}")
        if found.st_uid not in (0, os.geteuid()):
            raise UnsafeFolder(path, expected="no link of another user", found=os.fspath(place))
        check_folder(here, path)
        to = Path(here, os.readlink(place))
        here, rest = Path(to.anchor), [*rest, *reversed(to.parts[1:])]
    return here


def open_folder(path: PathLike) -> int:
    """A descriptor of a folder that is ours alone, and no link.

    Raises:
        UnsafeFolder: it is another user's, or others can write to it.
        OSError: there is none, it is something else, or a link.
    """
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(number)
    sticky = found.st_mode & stat.S_ISVTX and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not is_own(found) or others_can_write(found) or sticky:
        os.close(number)
        raise UnsafeFolder(
            path,
            expected="a folder of the user's own, that nobody else can write to",
            found=f"one of user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
            hint="Remove it, or write into another folder.",
        )
    return number
