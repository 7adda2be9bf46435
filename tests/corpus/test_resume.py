"""A run killed at any moment and resumed gives the bytes of one that was never interrupted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.corpus_run import CorpusExtraction
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.partial import Journal, Partial, partial_path
from geometry_of_trust.formats.gotact import ActivationsSink
from model_folders import flip
from options import arguments_of
from places import TESTS
from tiny_models import adapter_of, quick

TEXTS = [f"The river {'Seine ' * (n % 4)}flows through Paris {n}." for n in range(12)]
OUTPUTS = ("a.gotact", "u.gotue", "a.labels", "a.record.json", "a.rows.parquet")

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, to: Path, texts: Any = TEXTS, **options: Any) -> CorpusExtraction:
    chosen: dict[str, Any] = {"device": "cpu", "position": "all", "batch_size": 2} | options
    return extract_corpus(
        model, texts, [0, 2], output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue", **arguments_of(model_id="tiny", **chosen),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with quick():
        run(model, folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    assert not partial_path(folder / "a.gotact").exists()
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {tests!r}
from geometry_of_trust.corpus import partial
from geometry_of_trust.formats.gotact import ActivationsSink
from test_resume import run
partial.COMMIT_SECONDS = 0.0
calls = 0

def killing(function, number):
    def killed(*arguments, **options):
        global calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return killed

for where, number, to in {cases!r}:
    if not os.fork():  # imported is only once, which takes longest
        exec(f"{{where}} = killing({{where}}, number)")
        run({model!r}, Path(to))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    assert status == -signal.SIGKILL, (where, status)
"""
CASES = {
    "ActivationsSink._write_at": 9,  # inside of a batch
    "os.fsync": 7,  # rows written, not vouched for
    "os.replace": 4,  # some of the outputs there, others not
}


@pytest.fixture(scope="module")
def killed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the function in which a run was killed, its folder."""
    folders = {where: tmp_path_factory.mktemp("killed") for where in CASES}
    code = KILLED.format(
        tests=[str(Path(__file__).parent), str(TESTS)], model=str(model),
        cases=[(where, number, str(folders[where])) for where, number in CASES.items()],
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return folders


@pytest.mark.parametrize("where", CASES)
def test_killed_and_resumed(
    where: str, killed: dict[str, Path], model: Path, whole: dict[str, bytes]
) -> None:
    folder = killed[where]
    assert partial_path(folder / "a.gotact").exists()
    there = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert bool(there) == (where == "os.replace")
    with Partial(folder / "a.gotact") as partial:
        partial.detach()  # as a resumed run begins, and may be killed again
    assert {path: path.read_bytes() for path in there} == there
    with pytest.raises(errors.RunInProgress):
        run(model, folder)
    run(model, folder, resume=True)
    assert contents(folder) == whole


class _StoppedError(Exception):
    pass


@pytest.fixture
def stopped(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that stopped after three of its batches."""
    stop_after(3, _StoppedError, monkeypatch)
    with pytest.raises(_StoppedError):
        run(model, tmp_path)
    monkeypatch.undo()
    return tmp_path


def stop_after(batches: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = Journal.write, iter(range(100))

    def stopping(self: Journal, *arguments: Any) -> None:
        if next(calls) == batches:
            raise error
        write(self, *arguments)

    monkeypatch.setattr(Journal, "write", stopping)


def test_what_was_done_is_not_run_again(
    stopped: Path, model: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    write = Journal.write

    def counting(self: Journal, number: int, unit: Any, states: Any) -> None:
        rows.append(states.shape[1])
        write(self, number, unit, states)

    monkeypatch.setattr(Journal, "write", counting)
    done = run(model, stopped, resume=True)
    assert done.resumed_rows > 0
    assert sum(rows) + done.resumed_rows == done.record.positions
    assert contents(stopped) == whole


@pytest.mark.parametrize("damage", ["values", "journal", "torn journal", "all done"])
def test_what_the_journal_does_not_vouch_for_is_run_again(
    damage: str, stopped: Path, model: Path, whole: dict[str, bytes]
) -> None:
    folder = partial_path(stopped / "a.gotact")
    if damage == "values":
        data = bytearray((folder / "values").read_bytes())
        data[200:] = bytes(len(data) - 200)
        (folder / "values").write_bytes(data)
    elif damage == "journal":
        (folder / "journal").unlink()
    elif damage == "torn journal":
        journal = (folder / "journal").read_text()
        (folder / "journal").write_text(journal[:-10])
    else:
        shutil.copy(folder / "plan.json", folder / "kept")
        run(model, stopped, resume=True)
    run(model, stopped, resume=True)
    assert contents(stopped) == whole


def test_an_interrupt_keeps_what_was_done(
    model: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, KeyboardInterrupt, monkeypatch)
    with pytest.raises(errors.Interrupted) as caught:
        run(model, tmp_path)
    assert caught.value.exit_code == 130
    monkeypatch.undo()
    assert run(model, tmp_path, resume=True).resumed_rows > 0
    assert contents(tmp_path) == whole


OTHER: dict[str, dict[str, Any]] = {
    "model_id": {},
    "layers": {},
    "position": {"position": "last"},
    "skip_special_tokens": {"skip_special_tokens": True},
    "dtype": {"dtype": "bfloat16", "reproducible": True},
    "reproducible": {"reproducible": False},
    "layout": {"layout": "per-position"},
    "batches": {"batch_size": 3},
    "corpus": {"texts": [*TEXTS[:-1], "The river Thames."]},
}


@pytest.mark.parametrize("name", OTHER)
def test_another_run_is_not_resumed(
    name: str, stopped: Path, model: Path, whole: dict[str, bytes]
) -> None:
    options: dict[str, Any] = {"device": "cpu", "position": "all", "batch_size": 2} | OTHER[name]
    texts = options.pop("texts", TEXTS)
    layers = [1, 2] if name == "layers" else [0, 2]
    model_id = "other" if name == "model_id" else "tiny"
    with pytest.raises(errors.ResumeMismatch) as caught:
        extract_corpus(
            model, texts, layers, output_activations=stopped / "a.gotact",
            output_unembedding=stopped / "u.gotue",
            **arguments_of(model_id=model_id, resume=True, **options),
        )  # fmt: skip
    assert f"{name}: " in caught.value.expected
    run(model, stopped, resume=True)  # nothing was lost
    assert contents(stopped) == whole


@pytest.mark.parametrize("change", ["times", "weights", "tokenizer", "groups", "adapter"])
def test_another_model_is_not_resumed(
    change: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "model"
    shutil.copytree(model, own)
    stop_after(3, _StoppedError, monkeypatch)
    with pytest.raises(_StoppedError):
        run(own, tmp_path)
    monkeypatch.undo()
    corpus: Any = TEXTS
    options: dict[str, Any] = {}
    if change == "times":
        os.utime(own / "model.safetensors", (1, 1))
    elif change == "weights":  # of a file whose size and time are the same
        facts = os.stat(own / "model.safetensors")
        flip(own / "model.safetensors", -2)
        os.utime(own / "model.safetensors", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    elif change == "tokenizer":
        text = (own / "tokenizer.json").read_text()
        (own / "tokenizer.json").write_text(text.replace('"</s>"', '"<end>"'))
    elif change == "adapter":
        options["adapter"] = str(adapter_of(own, tmp_path / "adapter"))
    else:
        corpus = tmp_path / "c.csv"
        corpus.write_text("text,g\n" + "".join(f'"{text}",x\n' for text in TEXTS))
        options["group_column"] = "g"
    with pytest.raises(errors.ResumeMismatch) as caught:
        run(own, tmp_path, corpus, resume=True, **options)
    names = {"times": "model: ", "groups": "rows: "}
    assert names.get(change, f"{change}: ") in caught.value.expected


def test_the_batches_of_the_run_are_kept(
    model: Path, whole: dict[str, bytes], stopped: Path
) -> None:
    assert run(model, stopped, resume=True, batch_size="auto").resumed_rows > 0
    assert contents(stopped) == whole


def test_one_run_at_a_time(model: Path, tmp_path: Path) -> None:
    with Partial(tmp_path / "a.gotact"), pytest.raises(errors.RunInProgress):
        run(model, tmp_path)
    run(model, tmp_path)


def test_resume_of_nothing_begins(model: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    assert run(model, tmp_path, resume=True).resumed_rows == 0
    assert contents(tmp_path) == whole


def test_what_a_run_left_before_it_began_is_no_run(
    model: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = partial_path(tmp_path / "a.gotact")
    folder.mkdir()
    (folder / "tokens").write_bytes(b"1234")
    run(model, tmp_path)
    assert contents(tmp_path) == whole


def test_the_command_says_how_to_go_on(
    stopped: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = stopped / "c.txt"
    corpus.write_text("\n".join(TEXTS))
    command = [
        "extract", "--model", str(model), "--model-id", "tiny", "--input-file", str(corpus),
        "--layers", "0", "2", "--position", "all", "--batch-size", "2", "--device", "cpu",
        "--output-activations", str(stopped / "a.gotact"),
        "--output-unembedding", str(stopped / "u.gotue"),
    ]  # fmt: skip
    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert "by the run resumed" in capsys.readouterr().out


def test_rows_come_back_as_they_were_put(tmp_path: Path) -> None:
    import numpy as np

    states = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    for layout in ("per-layer", "per-position"):
        with (tmp_path / layout).open("w+b") as handle:
            sink = ActivationsSink(
                handle, model_id="m", precision="Fp32", layers=[1, 5], shape=(4, 3),
                layout=layout,
            )  # fmt: skip
            sink.allocate()
            sink.put(2, states[:, 2:])
            sink.put(0, states[:, :2])
            np.testing.assert_array_equal(sink.get(1, 3), states[:, 1:])
