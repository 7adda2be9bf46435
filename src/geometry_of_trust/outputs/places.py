"""Where outputs may go: what must not be lost by them is seen before any work is done."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from geometry_of_trust.errors import (
    BadOption,
    NotAFile,
    OutputExists,
    OutputIsInput,
    Unreadable,
    Unwritable,
)
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike, opened, reason
from geometry_of_trust.ownership import real_place

_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*(PRIVATE|PUBLIC) KEY-----|\A\s*(ssh|ecdsa|sk)-")
_RAW_KEY_BYTES = 32
_LABELS = frozenset((b"0", b"1", b"true", b"false"))
_LABELS_SUFFIX = ".labels"
_OURS = (b"GOTA", b"GOTU")


def output_place(path: PathLike) -> Path:
    """Where an output goes: `path`, or what it is a link to.

    Raises:
        UnsafeFolder: it is reached through a link that another user may have put there.
        NotAFile: what is there is no plain file.
        OutputExists: what is there is a key, or labels that were edited by hand.
        Unwritable: its folders cannot be looked at.
    """
    try:
        real = real_place(path)
        found = os.lstat(real) if os.path.lexists(real) else None
    except (OSError, ValueError) as error:
        raise Unwritable(path, expected="a writable place", found=reason(error)) from None
    if found is None:
        return real if os.path.islink(path) else Path(path)
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "something else"
        raise NotAFile(path, expected="the name of a file", found=what)
    precious = _precious(real, found.st_size)
    if precious:
        raise OutputExists(
            path,
            expected="no file of that name, or one that may be replaced",
            found=precious,
            hint="Choose another name.",
        )
    return real if os.path.islink(path) else Path(path)


def check_replaces(output: PathLike, what: str, begins: re.Pattern[bytes]) -> None:
    """An output replaces nothing, an empty file, or one of its own kind.

    Args:
        output: where a command will write.
        what: its kind, in words. begins: how a file of that kind begins.

    Raises:
        OutputExists: something else is there.
        Unreadable: what is there cannot be read.
    """
    if not os.path.isfile(output):
        return
    with opened(output) as handle:
        start = handle.read(2**10)
    if start and not begins.match(start):
        raise OutputExists(
            output, expected=f"no file of that name, or {what}", found="another kind of file",
            hint="Choose another name.",
        )  # fmt: skip


def _precious(path: Path, size: int) -> str:
    """What is in a file that must never be replaced; empty if it may be."""
    named = path.suffix == _LABELS_SUFFIX
    if size > MAX_DOCUMENT_BYTES:
        return "what is named as labels" if named else ""
    try:
        with opened(path) as handle:
            start = handle.read(2**16)
            handle.seek(0)
            words = _words(handle)
    except (Unreadable, OSError):
        return "one that cannot be read, and may be a key"
    if words <= {b"0"}:
        return ""
    if named or words <= _LABELS:
        return "edited labels"
    if _KEY.search(start):
        return "a key"
    return "what looks like a raw key" if size == _RAW_KEY_BYTES else ""


def _words(lines: Iterable[bytes]) -> set[bytes]:
    """What stands on lines, up to the first that is no label: a note, or another kind of file."""
    words: set[bytes] = set()
    for line in lines:
        words |= {line.strip()} - {b""}
        if not words <= _LABELS:
            break
    return words


def check_outputs(
    outputs: Iterable[PathLike],
    inputs: Iterable[PathLike] = (),
    *,
    kept: Collection[PathLike] = (),
) -> None:
    """Outputs are files of their own, and none of them is an input or must be kept.

    Args:
        outputs: where a command will write.
        inputs: what it reads: files, or folders (of which no file may be replaced that is not
            activations or an unembedding of ours). What does not exist does not matter.
        kept: those of the outputs that are not written if something is there.

    Raises:
        BadOption: two outputs are one file, however they are spelt.
        OutputIsInput: an output is an input.
        UnsafeFolder, NotAFile, OutputExists, Unwritable: as `output_place`.
    """
    known: dict[object, PathLike] = {}
    for path in outputs:
        place = Path(path) if path in kept else output_place(path)
        for identity in identities(place):
            if identity in known:
                found = f"one file for {os.fspath(known[identity])} and {os.fspath(path)}"
                raise BadOption(path, expected="a file of its own for each output", found=found)
        known.update(dict.fromkeys(identities(place), path))
    for source in inputs:
        for identity in identities(Path(source))[1:]:
            if identity in known:
                found = f"the input {os.fspath(source)}"
                raise OutputIsInput(known[identity], expected="no input", found=found)
        if os.path.isdir(source):
            for path in known.values():
                _check_outside(path, source)


def identities(path: Path) -> tuple[object, ...]:
    """What is the same for two spellings of one file: its name and folder, and if it exists, it.

    Names that differ in case or in the form of an accent only are taken for one, as they are on
    many file systems.
    """
    real = Path(os.path.realpath(path))
    name = unicodedata.normalize("NFC", real.name).casefold()
    try:
        found = os.stat(real)
    except (OSError, ValueError):
        return ((os.fspath(real.parent), name),)
    return (os.fspath(real.parent), name), (found.st_dev, found.st_ino)


def _check_outside(output: PathLike, folder: PathLike) -> None:
    """OutputIsInput if the output would replace a file of a folder that is read."""
    inside = Path(os.path.realpath(output)).is_relative_to(os.path.realpath(folder))
    if inside and os.path.exists(output):
        with opened(output) as handle:
            if handle.read(4) in _OURS:
                return
        raise OutputIsInput(
            output, expected="another file than those of an input", found=os.fspath(folder)
        )
