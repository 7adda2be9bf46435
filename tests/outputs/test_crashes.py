"""Every system call of every sequence of writes fails, or is the last one before the power goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crash_simulator import Died, Disk, contents, every_ending, kept_states
from geometry_of_trust.errors import GotError
from geometry_of_trust.extraction import one_text, running
from geometry_of_trust.extraction.first_text import Findings
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.identity.model_identity import identity_of
from geometry_of_trust.outputs.staged_files import StagedFiles, write_file
from geometry_of_trust.outputs.temporary_files import clean_up
from geometry_of_trust.signing.attestation import Attestation, write_attestation
from geometry_of_trust.signing.key_making import generate_key_files
from geometry_of_trust.signing.keys import load_public_key, load_secret_key
from pipeline import build
from tiny_models import FAMILIES
from tiny_models import build as build_model

OLD = b"what was there before"


@dataclass(frozen=True)
class Writes:
    """A sequence of writes.

    Attributes:
        names: of its outputs, the one that leads first. run: makes them in a folder.
        old: what is there before, which is replaced, or goes.
    """

    names: tuple[str, ...]
    run: Callable[[Path], object]
    old: dict[str, bytes]

    @property
    def all_names(self) -> set[str]:
        """Of what is there before or after."""
        return {*self.names, *self.old}


@pytest.fixture(scope="module")
def attestation(tmp_path_factory: pytest.TempPathFactory) -> Attestation:
    return build(tmp_path_factory.mktemp("attested")).attest()


@pytest.fixture(scope="module")
def extracting(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], object]:
    """The writing of what a model gave, which ran once."""
    model = build_model(FAMILIES["llama"], tmp_path_factory.mktemp("model") / "m")

    def request(folder: Path) -> Request:
        options = ExtractionOptions(model_id="tiny", reproducible=False)
        return Request.of(model, [0], folder / "a.gotact", folder / "u.gotue", options)

    run = running.run(request(tmp_path_factory.mktemp("ran")), "some text", lambda _: None)
    findings, identity = Findings(False, "equal"), identity_of(model)
    return lambda folder: one_text._write(request(folder), run, findings, "0" * 64, identity)


def linking(folder: Path) -> None:
    """As a corpus run ends: files that lie in its own folder get names outside of it."""
    source = folder.parent / "values"
    source.write_bytes(b"rows" * 5000)
    with StagedFiles() as staged:
        staged.link(source, folder / "a.gotact")
        staged.write(folder / "a.record.json", b"{}" * 9000)
    assert source.read_bytes() == b"rows" * 5000


@pytest.fixture(params=["keys", "attestation", "extraction", "extraction again", "links"])
def writes(request: pytest.FixtureRequest) -> Writes:
    if request.param == "keys":
        return Writes(("key", "key.pub"), lambda f: generate_key_files(f / "key"), {})
    if request.param == "attestation":
        signed = request.getfixturevalue("attestation")
        return Writes(
            ("t.json",), lambda f: write_attestation(f / "t.json", signed), {"t.json": OLD}
        )
    if request.param == "links":
        both = ("a.gotact", "a.record.json")
        return Writes(both, linking, dict.fromkeys(both, OLD))
    names = ("a.gotact", "u.gotue", "a.labels", "a.record.json")
    # What a corpus run left, of which the rows must not stay.
    old = {**dict.fromkeys(names, OLD), "a.labels": b"0\n", "a.rows.parquet": OLD}
    old = {} if request.param == "extraction" else old
    return Writes(names, request.getfixturevalue("extracting"), old)


def prepared(old: dict[str, bytes]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for name, data in old.items():
            (folder / name).write_bytes(data)

    return prepare


def test_each_file_is_absent_old_or_new_and_all_are_of_one_kind(
    writes: Writes, tmp_path: Path
) -> None:
    count = 0
    new: dict[str, bytes] = {}
    for what, folder, error in reversed(
        list(every_ending(writes.run, prepared(writes.old), tmp_path))
    ):
        count += 1
        found = contents(folder)
        new = new or {name: found[name] for name in writes.names}
        outputs = {name: found[name] for name in writes.all_names if name in found}
        lengths = {name: len(data) for name, data in new.items()}
        if error is None:  # the call did not matter: syncing a folder, a name to put things back
            assert {n: len(d) for n, d in outputs.items()} == lengths, what
            assert "unlink" in what or set(found) == set(writes.names), what
        elif isinstance(error, Died):
            for name, data in outputs.items():  # a key is another one each time
                assert data == writes.old.get(name) or len(data) == lengths[name], (what, name)
            clean_up(folder)
            kept = contents(folder)
            assert set(kept) - {*writes.old} == set(outputs) - {*writes.old}, what
            if writes.names[0] in kept:
                whole = {name: len(data) for name, data in kept.items()}
                assert kept == writes.old or whole == lengths, what
        else:
            assert isinstance(error, GotError), (what, error)
            assert outputs == writes.old, what
            left = set(found) - set(writes.old)
            assert not left or "unlink" in what, what
    assert count > 10


def test_a_system_that_stops_leaves_no_half_of_a_file_in_any_order(
    writes: Writes, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    prepared(writes.old)(folder)
    disk = Disk(folder)
    with disk.watched():
        writes.run(folder)
    new = contents(folder)
    assert {call[0] for call in disk.calls} >= {"fsync"}
    for moment, state in enumerate(kept_states(disk.calls, writes.old)):
        found = {name: state.get(name, {writes.old.get(name)}) for name in writes.all_names}
        said = moment, disk.calls[moment - 1][:2]
        for name, versions in found.items():
            absent = {None} if name == writes.names[0] else set()
            assert versions <= {writes.old.get(name), new.get(name)} | absent, (name, said)
        for generation in (writes.old, new):
            lead = generation.get(writes.names[0])
            if lead is not None and lead in found[writes.names[0]]:
                for name in writes.all_names - {writes.names[0]}:
                    assert found[name] == {generation.get(name)}, (name, said)
    assert found == {name: {new.get(name)} for name in writes.all_names}


def test_the_simulator_sees_a_lead_that_comes_before_its_companion(tmp_path: Path) -> None:
    """The control of the above: files that are replaced one by one are seen to be mixed."""
    old = dict.fromkeys(("lead", "other"), OLD)
    prepared(old)(tmp_path)
    disk = Disk(tmp_path)
    with disk.watched():
        for name in old:
            write_file(tmp_path / name, b"new")
    mixed = [
        state
        for state in kept_states(disk.calls, old)
        if state.get("lead", {OLD}) == {b"new"} and state.get("other", {OLD}) == {OLD}
    ]
    assert mixed


@pytest.mark.parametrize("forgotten", ["the file", "the folder"])
def test_the_simulator_sees_what_is_not_synced(
    forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").write_bytes(OLD)
    disk = Disk(tmp_path)
    with disk.watched():
        write_file(tmp_path / "t", b"new" * 100)
    calls = [
        call for call in disk.calls
        if call[0] != "fsync" or bool(call[1]) != (forgotten == "the file")
    ]  # fmt: skip
    *moments, end = [state.get("t", {OLD}) for state in kept_states(calls, {"t": OLD})]
    if forgotten == "the file":
        assert b"new" * 50 in moments[-1] | end
    else:
        assert end == {OLD, b"new" * 100}


def test_a_pair_of_keys_is_whole_or_absent_whatever_fails(tmp_path: Path) -> None:
    for what, folder, error in every_ending(
        lambda f: generate_key_files(f / "key"), lambda f: None, tmp_path
    ):
        if isinstance(error, GotError):
            assert not set(contents(folder)) & {"key", "key.pub"}, what
        elif error is None:
            pair = load_secret_key(folder / "key").public, load_public_key(folder / "key.pub")
            assert pair[0] == pair[1], what


def test_an_array_of_a_run_that_died_is_the_old_one(tmp_path: Path) -> None:
    """The control of the simulator: a file written in its place is seen to be half."""
    data = np.arange(50_000, dtype=np.float32).tobytes()

    def in_place(folder: Path) -> None:
        number = os.open(folder / "t", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(number, "wb") as handle:
            handle.write(data)

    sizes = {
        len(contents(folder)["t"])
        for _, folder, _ in every_ending(
            in_place, lambda f: (f / "t").write_bytes(OLD), tmp_path
        )
    }  # fmt: skip
    assert sizes - {len(OLD), len(data)}
