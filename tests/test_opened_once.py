"""No command opens a file twice: what is parsed is what is digested."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust import files as files_module
from geometry_of_trust.converting.conversion import convert
from geometry_of_trust.documents.extraction_record import LIBRARIES, Record, Token, WrittenFile
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import FileChanged
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.calibration_report import calibration_report
from geometry_of_trust.probing.layer_sweep import sweep_files
from geometry_of_trust.probing.token_readings import read_tokens
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing.any_file import describe
from geometry_of_trust.signing.attestation import write_attestation
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, D, Files, P, build, train_one

_seen: Counter[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _seen is not None and not isinstance(arguments[0], int):
        _seen[os.path.abspath(os.fsdecode(arguments[0]))] += 1


sys.addaudithook(_watch)


@contextlib.contextmanager
def watched() -> Iterator[Counter[str]]:
    """How often each file was opened in the block."""
    global _seen  # noqa: PLW0603 - an audit hook stays for good and takes no arguments
    _seen = Counter()
    try:
        yield _seen
    finally:
        _seen = None


def twice(seen: Counter[str]) -> list[str]:
    """The files, other than the system's own, that were opened more than once."""
    return [
        path
        for path, times in seen.items()
        if times > 1 and os.path.isfile(path) and not path.startswith("/proc/")
    ]


def put_record(files: Files) -> None:
    tokens = tuple(Token(i, f"t{i}", None, special=False) for i in range(P))
    record = Record(
        tool_version="1", model="m", model_id="tiny", revision=None, commit=None,
        model_class="M", blocks_path="b", blocks_total=5, blocks_loaded=5, whole_because=None,
        unembedding_path="u", tied=False, bias=False, layers=LAYERS, dtype="float32",
        precision="Fp32", reproducible=False, quantization=None, corpus=None, checks=(),
        device="cpu", attention="eager", quantization_library=None,
        unproved=(), libraries=dict.fromkeys(LIBRARIES, "1"),
        activations=WrittenFile("a.gotact", sha256_file(files.activations)),
        unembedding=WrittenFile("u.gotue", sha256_file(files.unembedding)),
        prompt_sha256="0" * 64, tokens=tokens,
    )  # fmt: skip
    record_path(files.activations).write_bytes(record.to_json())


def put_rows(files: Files, count: int = P) -> None:
    with (
        rows_path(files.activations).open("wb") as handle,
        RowWriter(handle, ["warm"]) as writer,
    ):
        for i in range(count):
            writer.add(
                TextRows(
                    text=i,
                    group=None,
                    token_index=[0],
                    token_id=[i],
                    token=["t"],
                    span=[None],
                    special=[False],
                    labels={"warm": int(i % 3 == 0)},
                    tokens=[i],
                )
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline's files, to be copied: training takes seconds."""
    folder = tmp_path_factory.mktemp("made")
    build(folder)
    return folder


def copied(made: Path, folder: Path) -> Files:
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return Files(
        activations=folder / "a.gotact",
        unembedding=folder / "u.gotue",
        labels=folder / "a.labels",
        probes=(folder / "p1.json", folder / "p4.json"),
    )


@pytest.fixture(params=["record", "rows"])
def files(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Files:
    built = copied(made, tmp_path)
    (put_record if request.param == "record" else put_rows)(built)
    return built


def signed(files: Files) -> Path:
    path = files.activations.with_name("att.json")
    write_attestation(path, files.attest())
    return path


def verified(files: Files) -> None:
    document = signed(files)
    with watched() as seen:
        verdict = verify(
            document, KEY.public, activations=files.activations,
            unembedding=files.unembedding, probes=files.probes, now=2e9,
        )  # fmt: skip
    assert verdict.complete
    assert not twice(seen)


def shown(files: Files) -> None:
    others = [*files.probes, files.labels, files.unembedding, signed(files)]
    for path in [files.activations, *others]:
        with watched() as seen:
            assert list(describe(path))
        assert seen[str(path)] == 1
        assert not twice(seen)


def converted(files: Files) -> None:
    source = files.activations
    rows = rows_path(source).exists()
    for suffix in (".safetensors", ".npy", ".parquet", ".gotact"):
        there, back = source.with_name(f"there{suffix}"), source.with_name(f"back{suffix}.gotact")
        for a, b, options in (
            (source, there, {"rows": rows and suffix == ".parquet"}),
            (there, back, {"model_id": "tiny", "precision": "Fp32", "layers": LAYERS}),
        ):
            with watched() as seen:
                convert(a, b, **options)
            assert seen[str(a)] == 1
            assert not twice(seen)
        assert back.read_bytes() == source.read_bytes()


def watching(run: Callable[[Files], object]) -> Callable[[Files], None]:
    """A run that opens the activations, and nothing twice."""

    def checked(files: Files) -> None:
        with watched() as seen:
            run(files)
        assert seen[str(files.activations)] == 1
        assert not twice(seen)

    return checked


def three(files: Files) -> dict[str, Any]:
    return {
        "activations": files.activations,
        "unembedding": files.unembedding,
        "probes": files.probes[0],
    }


def swept(files: Files) -> None:
    """A comparison of layers, of four times the rows, as a test fold needs them."""
    few = read_activations(files.activations)
    noise = np.random.default_rng(3).normal(size=(len(LAYERS), 4 * P, D)).astype(np.float32)
    values = np.tile(few.values, (1, 4, 1)) + noise / np.float32(10)
    write_activations(files.activations, Activations("m", "Fp32", LAYERS, range(4 * P), values))
    record_path(files.activations).unlink(missing_ok=True)
    files.labels.write_text(files.labels.read_text() * 4)
    if rows_path(files.activations).exists():
        put_rows(files, 4 * P)
    watching(
        lambda files: sweep_files(
            activations=files.activations, unembedding=files.unembedding, labels=files.labels
        )
    )(files)


def trained_on(suffix: str) -> Callable[[Files], None]:
    """Training on a table of labels, which is one more file that is parsed and digested."""

    def run(files: Files) -> None:
        labels = [int(line) for line in files.labels.read_text().split()]
        table = files.labels.with_suffix(suffix)
        if suffix == ".csv":
            table.write_text("".join(f"{word}\n" for word in ["warm", *labels]))
        else:
            pq.write_table(pa.table({"warm": labels}), table)
        with watched() as seen:
            result = train_files(
                activations=files.activations, unembedding=files.unembedding,
                labels=table, layer=LAYERS[0],
            )  # fmt: skip
        assert seen[str(table)] == 1
        assert not twice(seen)
        training = result.probe_set.training
        assert training is not None
        assert training.labels_sha256 == sha256_file(table)

    return run


RUNS: dict[str, Callable[[Files], None]] = {
    "attest": watching(lambda files: files.attest()),
    "verify": verified,
    "train": watching(lambda files: train_one(files, files.probes[0].with_name("p.json"))),
    "train on a table": trained_on(".csv"),
    "train on a Parquet table": trained_on(".parquet"),
    "sweep": swept,
    "read": watching(
        lambda files: read_tokens(
            **three(files), text=0 if rows_path(files.activations).exists() else None
        )
    ),
    "calibration report": watching(
        lambda files: calibration_report(**three(files), labels=files.labels)
    ),
    "show": shown,
    "convert": converted,
}


@pytest.mark.parametrize("name", RUNS)
def test_no_file_is_opened_twice(name: str, files: Files) -> None:
    RUNS[name](files)


def overwriting(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Write other values into a file when its commands come to the long arithmetic."""
    compute = Geometry.from_unembedding

    def racing(*arguments: Any, **options: Any) -> Geometry:
        values = np.frombuffer(path.read_bytes()[-400:], "<f4")
        with path.open("r+b") as handle:
            handle.seek(-400, os.SEEK_END)
            handle.write((-values).tobytes())
        return compute(*arguments, **options)

    monkeypatch.setattr(Geometry, "from_unembedding", racing)


@pytest.mark.parametrize("raced", ["activations", "unembedding"])
@pytest.mark.parametrize("mapped", [False, True], ids=["copied", "mapped"])
def test_a_race_gives_no_document_and_no_verdict_of_other_bytes(
    raced: str, mapped: bool, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = copied(made, tmp_path)
    path: Path = getattr(files, raced)
    fair = files.attest().to_json()
    document = signed(files)
    before = path.read_bytes()
    os.utime(path, (1, 1))
    if mapped:
        monkeypatch.setattr(files_module, "COPIED_BYTES", 0)
    with monkeypatch.context() as patch:
        overwriting(patch, path)
        if mapped:
            with pytest.raises(FileChanged):
                files.attest()
        else:
            assert files.attest().to_json() == fair
    assert path.read_bytes() != before
    path.write_bytes(before)
    os.utime(path, (1, 1))
    options: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding,
        "probes": files.probes, "now": 2e9,
    }  # fmt: skip
    with monkeypatch.context() as patch:
        overwriting(patch, path)
        if mapped:
            with pytest.raises(Refused) as refused:
                verify(document, KEY.public, **options)
            assert isinstance(refused.value.__cause__, FileChanged)
        else:
            verify(document, KEY.public, **options)
    with pytest.raises(Refused) as late:
        verify(document, KEY.public, **options)
    assert late.value.step == 5
