"""What a dry run says, against what the run then takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus import corpus_run, estimating
from geometry_of_trust.corpus.estimating import Estimate
from geometry_of_trust.corpus.extracting import estimate_corpus, extract_corpus
from geometry_of_trust.extraction import costs
from geometry_of_trust.showing import extractions
from options import arguments_of
from places import EXAMPLES
from tiny_models import FAMILIES, HIDDEN, LAYERS, VOCABULARY, build

TEXTS = [f"The river {'Seine ' * (n % 4)}flows through Paris {n}." for n in range(30)]
OUTPUTS = ("a.gotact", "u.gotue", "a.labels", "a.rows.parquet", "a.record.json")
STATEMENTS = EXAMPLES / "statements.jsonl"


@pytest.fixture(autouse=True)
def _short_measuring(quickly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = costs.pace
    monkeypatch.setattr(costs, "pace", lambda opened, tokens: measured(opened, tokens, 0.001))


def places(folder: Path) -> dict[str, Any]:
    return {"output_activations": folder / "a.gotact", "output_unembedding": folder / "u.gotue"}


def dry(model: Path, folder: Path, texts: Any = TEXTS, layers: Any = (0, 2), **o: Any) -> Estimate:
    return estimate_corpus(model, texts, layers, **places(folder), **arguments_of(**o))


def labelled(folder: Path) -> Path:
    path = folder / "corpus.jsonl"
    rows = [{"text": text, "true": n % 2, "place": f"{n % 5}"} for n, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position": "all", "layout": "per-position", "model_id": "naïve"},
        {"position": "mean", "limit": 7, "reproducible": False, "batch_size": 3},
        {"dtype": "bfloat16", "skip_special_tokens": True, "position": "all"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_the_files_have_the_sizes_that_were_said(
    model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    corpus = labelled(tmp_path)
    columns: dict[str, Any] = {"label_columns": ("true",), "group_column": "place"}
    before = set(tmp_path.iterdir())
    said = dry(model, tmp_path, corpus, **columns, **options)
    assert set(tmp_path.iterdir()) == before, "a dry run left something"
    run = extract_corpus(
        model, corpus, [0, 2], **places(tmp_path), **arguments_of(**columns, **options)
    )
    assert [file.path for file in said.files] == [tmp_path / name for name in OUTPUTS]
    for file in said.files:
        size = file.path.stat().st_size
        assert size == (pytest.approx(file.size, rel=0.2) if not file.exact else file.size)
    assert [file.exact for file in said.files] == [True, True, True, True, False]
    assert run.record.corpus is not None
    assert (said.texts, said.rows) == (run.record.corpus.texts, run.record.corpus.rows)
    assert (said.layers, said.hidden_dim, said.blocks) == (2, HIDDEN, 3)
    assert said.size == sum(file.size for file in said.files)
    moved = said.weights + said.weights_checks + 2 * said.size
    assert said.seconds > moved / estimating._DISK, "weights are read, files written and digested"


def test_batches_and_tokens_are_counted(model: Path, tmp_path: Path) -> None:
    alone = dry(model, tmp_path, ["Paris", "Seine"], batch_size=1)
    together = dry(model, tmp_path, ["Paris", "Paris"], batch_size=2)
    every = dry(model, tmp_path, ["Paris", "Seine"], position="all")
    assert (alone.batches, together.batches) == (2, 1)
    assert every.rows == every.tokens == alone.tokens


def test_an_interrupted_run_is_left_as_it_is(model: Path, tmp_path: Path) -> None:
    interrupted = tmp_path / "a.gotact.partial"
    interrupted.mkdir()
    (interrupted / "plan.json").write_text("{}")
    dry(model, tmp_path, resume=False, strict=True, engine="local")
    assert [path.name for path in interrupted.iterdir()] == ["plan.json"]


def test_options_are_checked_as_for_the_run(model: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.BadOption):
        dry(model, tmp_path, batch_size=0)
    with pytest.raises(errors.LayerOutOfRange):
        dry(model, tmp_path, layers=[LAYERS])
    with pytest.raises(errors.EmptyText):
        dry(model, tmp_path, [])


# --- weights ----------------------------------------------------------------------------------


def tensor_bytes(model: Path) -> int:
    """Of all tensors in all files, by the library that made them."""
    from safetensors.torch import load_file

    files = model.glob("*.safetensors")
    return sum(tensor.nbytes for file in files for tensor in load_file(file).values())


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "opt", "gemma2"])
def test_weights_are_counted_in_the_files(family: str, tmp_path: Path) -> None:
    model = build(FAMILIES[family], tmp_path / "model", max_shard_size="40KB")
    assert (model / "model.safetensors.index.json").exists()
    whole = dry(model, tmp_path, layers=[LAYERS - 1])
    assert whole.from_files
    assert (whole.weights, whole.weights_checks) == (tensor_bytes(model), 0)
    cut = dry(model, tmp_path, layers=[0])
    assert cut.weights + cut.weights_checks == whole.weights
    assert cut.weights_checks % (LAYERS - 1) == 0, "three equal blocks are left out"
    for file in model.glob("*.safetensors"):
        file.unlink()  # as of a model on the hub, of which only the configuration is here
    shapes = dry(model, tmp_path, layers=[0])
    assert not shapes.from_files
    assert (shapes.weights, shapes.weights_checks) == (cut.weights, cut.weights_checks)


def test_the_type_in_the_files_counts(tmp_path: Path) -> None:
    model = build(FAMILIES["llama"], tmp_path / "model")
    wide = dry(model, tmp_path)
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    auto.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    narrow = dry(model, tmp_path)
    assert 2 * narrow.weights == wide.weights
    (model / "model.safetensors").unlink()
    assert dry(model, tmp_path).weights == narrow.weights, "config.json says the type too"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\0\0\1\0\0\0\0\0" + b"[" * 2**16,
        b"\x35\0\0\0\0\0\0\0" + b'{"a": {"dtype": "F32", "data_offsets": [0.0, 1e400]}}',
    ],
)  # fmt: skip
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    model = build(FAMILIES["llama"], tmp_path / "model")
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(errors.IncompleteModel) as caught:
        dry(model, tmp_path)
    assert caught.value.where == str(model)


# --- memory and time --------------------------------------------------------------------------


def test_memory_follows_how_the_weights_are_held(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "workspace", lambda run, shape: 0)
    monkeypatch.setattr(estimating, "CHUNK_BYTES", 0)
    opened: list[corpus_run.CorpusRun] = []
    real = estimating.estimate

    def kept(run: corpus_run.CorpusRun, elapsed: float, **more: Any) -> Estimate:
        opened.append(run)
        return real(run, elapsed, **more)

    monkeypatch.setattr(estimating, "estimate", kept)

    def running(*, once: bool = False, **options: Any) -> int:
        dry(model, tmp_path, layers=[1], **options)
        weights = costs.sizes(opened[-1].opened)
        shapes = list(estimating._shapes(opened[-1]))
        return estimating.memory_running(opened[-1], weights, 2, shapes, once=once)

    running()
    block = costs.sizes(opened[-1].opened).blocks[0]
    outside = 2 * VOCABULARY * HIDDEN + HIDDEN
    for reproducible, computed in ((False, 2), (True, 4)):
        assert running(reproducible=reproducible) == 2 * 4 * block
        assert running(reproducible=reproducible, once=True) == 4 * block
        narrowed: dict[str, Any] = {"dtype": "bfloat16", "reproducible": reproducible}
        one = 4 * block + computed * block + 2 * outside
        assert running(**narrowed, once=True) == one
        monkeypatch.setattr(estimating, "can_widen", lambda numbers: numbers == 2 * block)
        assert running(**narrowed) == computed * 2 * block + 2 * outside
        monkeypatch.setattr(estimating, "can_widen", lambda numbers: False)
        assert running(**narrowed) == one + 4 * block


def test_memory_is_that_of_batches_side_by_side(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "threads", lambda: 3)
    monkeypatch.setattr(estimating, "CHUNK_BYTES", 0)
    peaks = {}
    for reproducible in (False, True):
        monkeypatch.setattr(estimating, "workspace", lambda run, shape: 0)
        nothing = dry(model, tmp_path, reproducible=reproducible, batch_size=1).memory
        monkeypatch.setattr(estimating, "workspace", lambda run, shape: 10**10)
        peaks[reproducible] = dry(model, tmp_path, reproducible=reproducible, batch_size=1).memory
        peaks[reproducible] -= nothing
    assert peaks[False] == pytest.approx(10**10, rel=0.01)
    assert peaks[True] == pytest.approx(3 * 10**10, rel=0.01)


def test_time_grows_with_the_corpus(model: Path, tmp_path: Path) -> None:
    few = dry(model, tmp_path, TEXTS, reproducible=False)
    many = dry(model, tmp_path, TEXTS * 40, reproducible=False)
    assert many.batches > few.batches
    assert many.seconds > few.seconds


# --- the command ------------------------------------------------------------------------------


def command(model: Path, folder: Path, *more: str, layers: str = "0 2") -> list[str]:
    return [
        "extract", "--model", str(model), "--layers", *layers.split(), "--device", "cpu",
        "--output-activations", str(folder / "a.gotact"),
        "--output-unembedding", str(folder / "u.gotue"), *more,
    ]  # fmt: skip


def printed(output: str) -> dict[str, str]:
    return dict(re.split(r"  +", line, maxsplit=1) for line in output.splitlines() if "  " in line)


@pytest.mark.parametrize("of", ["a text", "a corpus"])
def test_a_dry_run_prints_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    given = ["--input", TEXTS[0]] if of == "a text" else ["--input-file", str(labelled(tmp_path))]
    before = set(tmp_path.iterdir())
    assert main(command(model, tmp_path, *given, "--dry-run")) == 0
    assert set(tmp_path.iterdir()) == before
    said = printed(capsys.readouterr().out)
    assert said["texts"] == ("1" if of == "a text" else str(len(TEXTS)))
    rows = said["tokens"] if of == "a text" else said["texts"]  # every token of a text, the last
    assert said["rows"].startswith(f"{rows}, of 2 layers x {HIDDEN}")
    assert main(command(model, tmp_path, *given)) == 0
    for name in OUTPUTS[:2]:
        size = (tmp_path / name).stat().st_size
        assert str(size) in said[str(tmp_path / name)]
    assert {"weights read", "peak memory", "time", "together"} <= set(said)
    assert ("for self-checks" in said) is (of == "a corpus")
    written = {path for path in tmp_path.iterdir() if path not in before}
    assert {Path(name) for name in said if name.startswith(str(tmp_path))} == written
    (record,) = (path for path in written if path.name == "a.record.json")
    size = int(said[str(record)].removeprefix("about ").removesuffix(" bytes"))
    assert size == pytest.approx(record.stat().st_size, rel=0.2)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB (1000 bytes)"),
     (999_949, "999.9 kB (999949 bytes)"), (999_950, "1.0 MB (999950 bytes)"),
     (3 * 10**15, "3000.0 TB (3000000000000000 bytes)")],
)  # fmt: skip
def test_sizes_are_readable(count: int, shown: str) -> None:
    assert extractions.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.123, "about 0.12 s"), (99.4, "about 99 s"), (119, "about 119 s"), (150, "about 2.5 min"),
     (7190, "about 120 min"), (9000, "about 2.5 h"), (1e6, "about 278 h")],
)  # fmt: skip
def test_durations_are_readable(seconds: float, shown: str) -> None:
    assert extractions.duration(seconds) == shown


# --- the real model, in processes of their own ------------------------------------------------

MEASURED = """
import sys
from geometry_of_trust.cli import main
code = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def process(arguments: list[str]) -> tuple[dict[str, str], int]:
    """What a command printed, and the peak of its resident memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=True
    )
    return printed(done.stdout), 1024 * int(done.stderr.split()[-1])


def compare(model: Path, folder: Path, *options: str) -> None:
    """A dry run, then the run: memory within a fifth, bytes exact."""
    corpus = ["--input-file", str(STATEMENTS), "--limit", "100"]
    given = [] if "--input" in options else corpus
    arguments = command(model, folder, *given, *options, layers="8 15 22")
    said, _ = process([*arguments, "--dry-run"])
    assert not list(folder.iterdir())
    _, peak = process(arguments)
    found = re.search(r"\((\d+) bytes\)", said["peak memory"])
    assert found is not None
    assert int(found[1]) == pytest.approx(peak, rel=0.2)
    for name in OUTPUTS[:2]:
        assert f"({(folder / name).stat().st_size} bytes)" in said[str(folder / name)]


linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read from /proc"
)


@pytest.mark.heavy
@linux
def test_memory_and_bytes_turn_out_as_said(smollm2: Path, tmp_path: Path) -> None:
    compare(smollm2, tmp_path, "--fast")


@linux
@pytest.mark.heavy
@pytest.mark.parametrize(
    "options",
    [["--input", "Paris is in France."], ["--input", "Paris is in France.", "--fast"],
     ["--reproducible"], ["--dtype", "bfloat16"], ["--dtype", "bfloat16", "--reproducible"],
     ["--input", "Paris is in France.", "--dtype", "bfloat16"], ["--quantization", "int8"]],
    ids=" ".join,
)  # fmt: skip
def test_so_does_memory_of_other_runs(smollm2: Path, tmp_path: Path, options: list[str]) -> None:
    compare(smollm2, tmp_path, *options)
