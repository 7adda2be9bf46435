"""A large file that another program writes to, or cuts short, at any moment of any command.

Each command gives what it would have given, or refuses; and no file ends it by a signal. Files are
taken for large here that are not, so that a file is a block, which is read again at each use.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import files as files_module
from geometry_of_trust.converting.conversion import convert
from geometry_of_trust.errors import FileChanged, GotError
from geometry_of_trust.files import FileBytes
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.probing.calibration_report import calibration_report
from geometry_of_trust.probing.token_readings import read_tokens
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing.any_file import describe
from geometry_of_trust.signing.attestation import write_attestation
from geometry_of_trust.steady_files import SteadyFile
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, Files, build
from test_opened_once import put_rows

Change = Callable[[Path, mmap.mmap], None]


def through_a_map(path: Path, written: mmap.mmap) -> None:
    """As a program does that has written to its map before: no time of the file changes."""
    for offset in range(-23, 0, 4):
        written[offset] = written[offset] ^ 0x80


def in_place(path: Path, written: mmap.mmap) -> None:
    before = path.stat()
    with path.open("r+b") as handle:
        handle.seek(-24, os.SEEK_END)
        handle.write(np.arange(6, dtype="<f4").tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut_short(path: Path, written: mmap.mmap) -> None:
    os.truncate(path, 40)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raced")
    files = build(folder)
    put_rows(files)
    write_attestation(folder / "t.json", files.attest())
    return folder


def copied(made: Path, folder: Path) -> Files:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    return Files(
        activations=folder / "a.gotact",
        unembedding=folder / "u.gotue",
        labels=folder / "a.labels",
        probes=(folder / "p1.json", folder / "p4.json"),
    )


def three(files: Files) -> dict[str, Any]:
    return {
        "activations": files.activations, "unembedding": files.unembedding,
        "probes": files.probes[0],
    }  # fmt: skip


def verified(files: Files) -> object:
    verdict = verify(
        files.labels.with_name("t.json"), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=files.probes, now=2e9,
    )  # fmt: skip
    assert verdict.complete
    return verdict.line


def trained(files: Files) -> object:
    return train_files(
        activations=files.activations, unembedding=files.unembedding, labels=files.labels,
        layer=LAYERS[0],
    ).probe_set.to_json()  # fmt: skip


def converted(suffix: str) -> Callable[[Files], object]:
    def run(files: Files) -> object:
        to = files.activations.with_name(f"to{suffix}")
        convert(files.activations, to)
        return to.read_bytes()

    return run


RUNS: dict[str, Callable[[Files], object]] = {
    "attest": lambda files: files.attest().to_json(),
    "verify": verified,
    "train": trained,
    "read": lambda files: repr(read_tokens(**three(files), text=0)),
    "calibration report": lambda files: repr(
        calibration_report(**three(files), labels=files.labels)
    ),
    "show": lambda files: [*describe(files.activations), *describe(files.unembedding)],
    "convert": converted(".safetensors"),
    "convert to Parquet": converted(".parquet"),
}


class Race:
    """Changes a file after so many blocks of it were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, change: Change) -> None:
        self.path, self.change, self.after, self.count = path, change, 0, 0
        fill = SteadyFile._fill

        def racing(file: SteadyFile, block: memoryview, number: int) -> None:
            fill(file, block, number)
            if file.path == str(path):
                self.count += 1
                if self.count == self.after:
                    change(path, self.written)

        monkeypatch.setattr(SteadyFile, "_fill", racing)

    def start(self, after: int) -> None:
        """The file is as it was; its change comes after so many blocks."""
        self.after, self.count = after, 0
        with self.path.open("r+b") as handle:
            self.written = mmap.mmap(handle.fileno(), 0)
        self.written[-1] = self.written[-1]


def moments(run: Callable[[], object], race: Race) -> Iterator[int]:
    """Every few of the moments at which the file can change: the first ones, and the last."""
    race.start(0)
    run()
    last = race.count
    yield from sorted({1, 2, 3, 5, 8, last // 2, last - 1, last} & set(range(1, last + 1)))


@pytest.mark.parametrize("change", [through_a_map, in_place, cut_short])
@pytest.mark.parametrize("raced", ["activations", "unembedding"])
@pytest.mark.parametrize("name", RUNS)
def test_a_race_changes_no_result(
    *, name: str, raced: str, change: Change, made: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = RUNS[name]
    fair = run(copied(made, tmp_path / "fair"))
    monkeypatch.setattr(files_module, "COPIED_BYTES", 0)
    folder = tmp_path / "fair"
    files = copied(made, folder)
    path: Path = getattr(files, raced)
    race = Race(monkeypatch, path, change)
    refused = 0
    for after in moments(lambda: run(files), race):
        copied(made, folder)
        race.start(after)
        try:
            assert run(files) == fair, after
        except GotError as error:
            caught = error if isinstance(error, FileChanged) else error.__cause__
            assert isinstance(caught, FileChanged), after
            refused += 1
    assert refused or name.startswith("convert") or raced == "unembedding"


@pytest.mark.parametrize("change", [through_a_map, in_place, cut_short])
@pytest.mark.parametrize("suffix", [".safetensors", ".npy", ".parquet"])
def test_a_conversion_that_is_raced_gives_what_the_file_was_or_nothing(
    suffix: str, change: Change, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = copied(made, tmp_path / "fair")
    source, to = tmp_path / f"s{suffix}", tmp_path / "to.gotact"
    convert(files.activations, source)
    whole = source.read_bytes()
    monkeypatch.setattr(files_module, "COPIED_BYTES", 0)

    def run() -> None:
        convert(source, to, model_id="tiny", precision="Fp32", layers=LAYERS)

    race = Race(monkeypatch, source, change)
    refused = 0
    for after in moments(run, race):
        source.write_bytes(whole)
        to.unlink(missing_ok=True)
        race.start(after)
        try:
            run()
        except FileChanged:
            refused += 1
            assert not to.exists()
        else:
            assert to.read_bytes() == files.activations.read_bytes()
    assert refused


def test_values_of_a_file_are_not_read_from_its_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "COPIED_BYTES", 0)
    path = tmp_path / "f"
    numbers = np.arange(600_000, dtype="<f4")
    path.write_bytes(numbers.tobytes())
    file = FileBytes(path)
    whole = np.frombuffer(file.data, "<f4").reshape(600, 1000)
    for view in (whole, whole[3:7], whole[::5, 2:9], whole.T[1], whole[599, 999:], whole[:0]):
        again = settled(view)
        assert np.array_equal(again, view)
        assert again.strides == view.strides or not view.size
        assert not again.flags.writeable
    assert settled(numbers) is numbers
    assert file.data[5:9] == file.read(5, 9) == path.read_bytes()[5:9]
    assert file.data[9:5] == file.data[len(file) :] == b""
    assert (file.data[4], file.data[-1]) == (path.read_bytes()[4], path.read_bytes()[-1])
    os.truncate(path, 100)
    with pytest.raises(FileChanged):
        file.data[5:9]
    with pytest.raises(FileChanged):
        settled(whole[1:2])  # which would end the program, if it were read from the map
