"""Digests of a model's files, and of the tensors in them, from their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Literal

from geometry_of_trust.errors import AlteredDownload, FileChanged, Unreadable
from geometry_of_trust.files import opened, reason
from geometry_of_trust.formats.gguf_file import read_gguf_header
from geometry_of_trust.formats.safetensors_file import read_safetensors_header
from geometry_of_trust.formats.stored_tensors import StoredTensor
from geometry_of_trust.identity.digest_cache import DigestCache, FileState, Remembered
from geometry_of_trust.identity.model_folder import ModelFile
from geometry_of_trust.identity.tensor_tree import TensorEntry

Origin = Literal["bytes", "name", "remembered"]
"""Where a digest comes from: the bytes, the name of a blob in the hub's cache, the digest cache."""

Ranges = Sequence[tuple[int, int]]

_AT_ONCE = 2**23
"""Bytes between two waits for Python's lock, which another thread may hold for 5 ms."""

_GROUP_BYTES = 2**28
"""Bytes of tensors that one thread takes at a time."""


class Stopped(Exception):
    """Digests are no longer needed."""


@dataclass(frozen=True)
class DigestedFile:
    """A file and what is in it.

    Attributes:
        sha256: of the file. size: its bytes. origin: where that digest comes from.
        tensors: in the order of the file; None of a file of weights whose tensors are not read
            (pickled ones), and of any that has none.
        tensors_remembered: their digests come from the digest cache.
    """

    sha256: str
    size: int
    origin: Origin
    tensors: tuple[TensorEntry, ...] | None
    tensors_remembered: bool


def digest_files(
    files: Sequence[ModelFile],
    *,
    rehash: bool,
    cache: DigestCache | None,
    threads: int,
    given_up: Event | None = None,
) -> list[DigestedFile]:
    """Digest files, several at a time; of one file the whole and its tensors at once.

    Args:
        rehash: take no digest from a name in the hub's cache.
        cache: digests that were computed earlier; None: trust none, and keep none.
        given_up: set by another thread that no longer needs them.

    Raises:
        Stopped: it was set.
        Unreadable: one cannot be read. FileChanged: it is being written to.
        AlteredDownload: it is not what its name in the hub's cache says.
        BadTensors, BadJson, BadText, TooLarge, BadGguf: one with weights is malformed.
    """
    pool = ThreadPoolExecutor(threads)
    ended = Event()

    def over() -> bool:
        return ended.is_set() or (given_up is not None and given_up.is_set())

    try:
        begun = [_begin(pool, file, over, rehash=rehash, cache=cache) for file in files]
        return [end() for end in begun]
    finally:
        ended.set()  # by an error or an interruption, too: what still runs is waited for
        pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor,
    file: ModelFile,
    over: Callable[[], bool],
    *,
    rehash: bool,
    cache: DigestCache | None,
) -> Callable[[], DigestedFile]:
    """Start what has to be computed of a file; the result is waited for by what is returned."""
    state = FileState.of(file.path)
    stored = _stored(file)
    if FileState.of(file.path) != state:
        raise _changed(state)
    known = None if cache is None else cache.find(state, len(stored or ()))
    named = file.blob if file.blob is not None and len(file.blob) == 64 and not rehash else None
    whole: Future[str] | None = None
    if named is None and (known is None or known.sha256 is None):
        whole = pool.submit(_whole, file, state, over)
    parts: list[Future[list[str]]] = []
    if known is None and stored is not None:
        parts = [pool.submit(_digests, state, group, over) for group in _groups(stored)]

    def end() -> DigestedFile:
        computed = None if whole is None else whole.result()
        digests = [digest for part in parts for digest in part.result()]
        if known is not None:
            digests = list(known.tensors)
            computed = computed or known.sha256
        if cache is not None and (whole is not None or parts):
            cache.keep(state, Remembered(computed, tuple(digests)))
        sha256 = named or computed or ""
        origin: Origin = "name" if named else "bytes" if whole is not None else "remembered"
        tensors = None if stored is None else tuple(map(_entry, stored, digests))
        return DigestedFile(sha256, state.size, origin, tensors, known is not None)

    return end


def _stored(file: ModelFile) -> tuple[StoredTensor, ...] | None:
    """What the header of a file says; None if it has none that is read."""
    if file.weights and file.name.endswith(".safetensors"):
        return read_safetensors_header(file.path).tensors
    if file.weights and file.name.endswith(".gguf"):
        return read_gguf_header(file.path).tensors
    return None


def _entry(tensor: StoredTensor, digest: str) -> TensorEntry:
    return TensorEntry(tensor.name, tensor.dtype, tensor.shape, digest)


def _groups(tensors: Iterable[StoredTensor]) -> Iterator[Ranges]:
    """Tensors one after the other, in groups of about equal bytes."""
    group: list[tuple[int, int]] = []
    for tensor in tensors:
        group.append((tensor.start, tensor.stop))
        if tensor.stop - group[0][0] >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _whole(file: ModelFile, state: FileState, over: Callable[[], bool]) -> str:
    """The digest of a whole file, which must be the one that the hub's cache calls it by.

    Raises:
        AlteredDownload: it is another one.
    """
    (sha256,) = _digests(state, [(0, state.size)], over)
    if file.blob is None:
        return sha256
    found = sha256
    if len(file.blob) == 40:
        git = hashlib.sha1(b"blob %d\0" % state.size, usedforsecurity=False)
        (found,) = _digests(state, [(0, state.size)], over, git)
    if found != file.blob:
        raise AlteredDownload(file.path, expected=f"bytes of digest {file.blob}", found=found)
    return sha256


def _digests(
    state: FileState,
    ranges: Ranges,
    over: Callable[[], bool],
    begun: hashlib._Hash | None = None,
) -> list[str]:
    """SHA-256 of parts of a file, each from its first byte up to its last.

    Args:
        over: whether they are no longer needed.
        begun: what to digest with instead, with something in it already.

    Raises:
        FileChanged: the file is not in this state, before or after.
    """
    largest = max(stop - start for start, stop in ranges)
    buffer = memoryview(bytearray(min(_AT_ONCE, largest)))
    found = []
    with opened(state.path) as handle:
        try:
            _check_state(state, handle.fileno())
            for start, stop in ranges:
                digest = hashlib.sha256() if begun is None else begun.copy()
                handle.seek(start)
                left = stop - start
                while left:
                    if over():
                        raise Stopped
                    count = handle.readinto(buffer[:left])
                    if not count:
                        raise _changed(state)
                    digest.update(buffer[:count])
                    left -= count
                found.append(digest.hexdigest())
            _check_state(state, handle.fileno())
        except OSError as error:
            raise Unreadable(state.path, expected="a readable file", found=reason(error)) from None
    return found


def _check_state(state: FileState, number: int) -> None:
    if FileState.from_stat(state.path, os.fstat(number)) != state:
        raise _changed(state)


def _changed(state: FileState) -> FileChanged:
    return FileChanged(
        state.path, expected="a file that nobody writes to", found="one that changed"
    )
