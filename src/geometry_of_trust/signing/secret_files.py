"""What a file that holds a secret must be: its owner's alone, where nobody else can exchange it."""

from __future__ import annotations

import os
import stat

from geometry_of_trust.errors import NotOwned, TooLarge, Unreadable, UnsafeKeyPermissions
from geometry_of_trust.files import PathLike, opened, reason
from geometry_of_trust.ownership import POSIX, check_folder, is_own, real_place

MAX_PASSPHRASE_FILE_BYTES = 4096


def read_with_state(path: PathLike, limit: int) -> tuple[bytes, os.stat_result]:
    """Content and state, both of the file that was opened.

    Raises:
        Unreadable: the file cannot be read. TooLarge: it holds more than `limit` bytes.
    """
    with opened(path) as handle:
        try:
            found = os.fstat(handle.fileno())
            data = handle.read(limit + 1)
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None
    if len(data) > limit:
        raise TooLarge(path, expected=f"at most {limit} bytes", found="more")
    return data, found


def check_secret_file(path: PathLike, found: os.stat_result) -> None:
    """Only the user that this program runs as can read it, or put another one in its place.

    Not checked on Windows.

    Args:
        found: the state of the file that was opened.

    Raises:
        NotOwned: it belongs to another user, perhaps by way of a link.
        UnsafeKeyPermissions: group or others have access to it.
        UnsafeFolder: it lies in a folder that others can write to, or is reached through a link
            that others may have put there.
        NotAFile, Unreadable: it is no file of a folder any more.
    """
    if not POSIX:
        return
    if not is_own(found):
        raise NotOwned(
            path,
            expected=f"a file of user {os.geteuid()}, who runs this",
            found=f"one of user {found.st_uid}",
            hint="Use a key of your own, or run this as its owner.",
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise UnsafeKeyPermissions(
            path,
            expected="a secret that only its owner can read",
            found=f"mode {mode:04o}",
            hint="Run chmod 600 on it, and make a new one if others may have read it.",
        )
    try:
        check_folder(real_place(path).parent, path)
    except OSError as error:
        raise Unreadable(path, expected="a readable file", found=reason(error)) from None


def read_passphrase(path: PathLike) -> bytes:
    """The first line of a file, without its end.

    Raises:
        Unreadable, TooLarge: as `read_with_state`.
        NotOwned, UnsafeKeyPermissions, UnsafeFolder, NotAFile: as `check_secret_file`.
    """
    data, found = read_with_state(path, MAX_PASSPHRASE_FILE_BYTES)
    check_secret_file(path, found)
    return data.split(b"\n", 1)[0].rstrip(b"\r")
