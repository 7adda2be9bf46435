"""The folder of a corpus run: nobody else's, and what its journal vouches for is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.corpus import partial as partial_module
from geometry_of_trust.corpus.partial import Journal, Partial
from geometry_of_trust.errors import BadOption, RunInProgress, UnsafeFolder, Unwritable
from geometry_of_trust.formats.gotact import ActivationsSink

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of a run that somebody else has put into a sticky one, as /tmp is."""
    tmp_path.chmod(0o1777)
    (tmp_path / "precious").write_bytes(b"precious")
    folder = tmp_path / "a.gotact.partial"
    folder.mkdir()
    (folder / "lock").symlink_to(tmp_path / "precious")
    return folder


@root_only
def test_the_folder_of_somebody_else_is_not_used(theirs: Path, tmp_path: Path) -> None:
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(UnsafeFolder), Partial(tmp_path / "a.gotact"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_folder_that_others_can_write_is_not_used(theirs: Path, tmp_path: Path) -> None:
    theirs.chmod(0o777)
    with pytest.raises(UnsafeFolder), Partial(tmp_path / "a.gotact"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_lock_that_is_a_link_is_not_opened(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(Unwritable), Partial(tmp_path / "a.gotact"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(0o700)
    (tmp_path / "a.gotact.partial").symlink_to("other")
    with pytest.raises(Unwritable), Partial(tmp_path / "a.gotact"):
        pass
    assert os.listdir(tmp_path / "other") == []


def test_a_folder_that_is_exchanged_meanwhile_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "values").write_bytes(b"precious")
    with Partial(tmp_path / "a.gotact") as partial:
        partial.folder.rename(tmp_path / "moved")
        partial.folder.symlink_to("other")
        with pytest.raises(UnsafeFolder):
            partial.file("values")
        partial.remove()
    assert os.listdir(other) == ["values"]
    assert os.listdir(tmp_path / "moved") == []


def test_the_folder_is_the_users_alone_and_locked(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Partial(tmp_path / "a.gotact") as partial:
            assert partial.folder.stat().st_mode & 0o777 == 0o700
            with pytest.raises(RunInProgress), Partial(tmp_path / "a.gotact"):
                pass
            partial.remove()
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == []


def test_what_else_lies_in_a_folder_of_that_name_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a.gotact.partial"
    (folder / "photos").mkdir(parents=True)
    folder.chmod(0o700)
    ours = ("values", "rows", ".plan.json.0123456789abcdef.got-tmp")
    for name in ("thesis.txt", *ours):
        (folder / name).write_bytes(b"1")
    with Partial(tmp_path / "a.gotact") as partial:
        partial.remove()
    assert sorted(os.listdir(folder)) == ["photos", "thesis.txt"]


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_module, "POSIX", False)
    with pytest.raises(BadOption), Partial(tmp_path / "a.gotact"):
        pass


# --- a machine that stops ---------------------------------------------------------------------

UNITS = [(0, 1), (2,), (3, 4, 5)]
COUNTS = [2, 3, 4, 1, 1, 2]
STARTS = [0, 2, 5, 9, 10, 11, 13]


def states(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = sum(COUNTS[n] for n in UNITS[number])
    return np.random.default_rng(number).normal(size=(2, rows, 8)).astype(np.float32)


@dataclass(frozen=True)
class Moment:
    """What a disk holds at a moment, and what of it was there when it was last synced."""

    values: bytes
    synced_values: bytes
    journal: bytes
    synced_journal: bytes
    vouched: int


def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """A run of three batches, each committed, at each moment at which it writes or syncs."""
    moments: list[Moment] = []
    synced = {"values": b"", "journal": b""}
    vouched = 0

    def note() -> None:
        now = [
            (folder / name).read_bytes() if (folder / name).exists() else b""
            for name in ("values", "journal")
        ]
        moments.append(Moment(now[0], synced["values"], now[1], synced["journal"], vouched))

    write, sync = os.pwrite, os.fsync

    def pwrite(number: int, data: bytes, offset: int) -> int:
        note()
        half = write(number, data[: len(data) // 2], offset)
        note()
        return half + write(number, data[half:], offset + half)

    def fsync(number: int) -> None:
        note()
        for name in synced:
            path = folder / name
            if path.exists() and os.path.samestat(path.stat(), os.fstat(number)):
                synced[name] = path.read_bytes()
        sync(number)
        note()

    with Partial(folder.parent / "a.gotact") as partial, journalled(partial) as journal:
        list(journal.done(iter(UNITS)))
        synced["journal"] = (folder / "journal").read_bytes()
        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(os, "fsync", fsync)
        for number, unit in enumerate(UNITS):
            journal.write(number, unit, states(number))
            journal.commit()
            vouched = number + 1
            note()
        monkeypatch.undo()
    return moments


class journalled:  # noqa: N801 - read as a function
    """The journal of a partial run, its values file allocated."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial

    def __enter__(self) -> Journal:
        self._partial.file("values").touch()
        self._values = self._partial.file("values").open("r+b")
        sink = ActivationsSink(
            self._values, model_id="m", precision="Fp32", layers=(0, 3), shape=(13, 8),
            layout="per-position",
        )  # fmt: skip
        sink.allocate()
        self.sink = sink
        return Journal(self._partial, self._values, sink, STARTS, COUNTS)

    def __exit__(self, *_: object) -> None:
        self._values.close()


def kept(now: bytes, sure: bytes, piece: int) -> Iterator[bytes]:
    """What a file may hold that was written since it was synced: in any order, up to any byte."""
    sure = sure.ljust(len(now), b"\0")
    yield from (now, sure)
    for cut in range(0, len(now), piece):
        yield now[:cut] + sure[cut:]
        yield sure[:cut] + now[cut:]


def test_a_journal_vouches_for_what_is_there_whatever_of_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a.gotact.partial"
    seen = set()
    for moment in recorded(folder, monkeypatch):
        journals = {moment.journal[:n] for n in range(len(moment.synced_journal),
                    len(moment.journal) + 1, 5)} | {moment.journal}  # fmt: skip
        for journal in journals:
            for values in kept(moment.values, moment.synced_values, 211):
                if (journal, values) in seen:
                    continue
                seen.add((journal, values))
                (folder / "values").write_bytes(values)
                (folder / "journal").write_bytes(journal)
                check(tmp_path, moment.vouched)
    assert len(seen) > 100


def check(place: Path, vouched: int) -> None:
    """What is taken for done is right, and all that was vouched for is."""
    with Partial(place / "a.gotact") as partial, journalled(partial) as journal:
        done = journal.done(iter(UNITS))
        assert set(done) >= set(range(vouched))
        for number in done:
            rows = [journal._sink.get(STARTS[n], COUNTS[n]) for n in UNITS[number]]
            assert np.array_equal(np.concatenate(rows, axis=1), states(number))
