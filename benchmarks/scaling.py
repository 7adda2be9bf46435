"""What a million tokens cost, by the size of the model: the tables of docs/scaling.md.

Computed, without weights, by the code of `--dry-run` (corpus/estimating.py): memory, bytes and
operations for the shapes of SmolLM2-135M and of Llama 3.1 with 8, 70 and 405 billion weights, each
read at three layers. Measured, for SmolLM2 only: tokens a second and peak memory of the command,
beside what a dry run of the same said. Only ratios travel to another machine; on one that is busy
with other work not even those: run it alone.

The corpus is `examples/statements.jsonl`, short statements of about nine tokens.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".models" / "smollm2-135m-instruct"
STATEMENTS = ROOT / "examples" / "statements.jsonl"
TEXTS = 200
BATCH = 512
NOMINAL = 1e11
"""Operations a second, as a few cores have."""
MODES: dict[str, dict[str, Any]] = {
    "float32, fast": {"dtype": "float32", "reproducible": False},
    "float32, reproducible": {"dtype": "float32", "reproducible": True},
    "bfloat16, fast": {"dtype": "bfloat16", "reproducible": False},
}
# hidden size, inner size, blocks, heads, heads of keys: as their configurations say.
LLAMAS = {
    "Llama 3.1 8B": (4096, 14336, 32, 32, 8),
    "Llama 3.1 70B": (8192, 28672, 80, 64, 8),
    "Llama 3.1 405B": (16384, 53248, 126, 128, 8),
}
MEASURED = {
    "float32, fast": ["--fast"],
    "float32, reproducible": ["--reproducible"],
    "bfloat16, fast": ["--dtype", "bfloat16"],
}
CHILD = """
import sys
from geometry_of_trust.cli import main
code = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def write_config(folder: Path, name: str) -> None:
    """A folder with a configuration and a tokenizer, as of a model that is not downloaded."""
    hidden, inner, blocks, heads, kv_heads = LLAMAS[name]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": 128256,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((MODEL / file).read_bytes())


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    if name not in LLAMAS:
        yield MODEL
        return
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), name)
        yield Path(folder)


def layers_of(model: Path) -> list[int]:
    """Three layers: as 8, 15 and 22 are in 30."""
    blocks = json.loads((model / "config.json").read_bytes())["num_hidden_layers"]
    return [round(blocks * share) for share in (8 / 30, 15 / 30, 22 / 30)]


def look(name: str, position: str = "last", **options: Any) -> tuple[Any, Any]:
    """What a dry run says of a model, and the run that it would be."""
    from geometry_of_trust import CorpusOptions, ExtractionOptions
    from geometry_of_trust.corpus import estimating, extracting
    from geometry_of_trust.extraction import costs

    runs: list[Any] = []
    real, pace = estimating.estimate, costs.pace

    def kept(run: Any, elapsed: float = 0.0, **more: Any) -> Any:
        runs[:] = [run]
        return real(run, elapsed, **more)

    estimating.estimate = kept
    costs.pace = lambda opened, tokens, seconds=0.0: 0.0  # its time is not asked for
    try:
        with folder_of(name) as model:
            result = extracting.estimate_corpus(
                model, STATEMENTS, layers_of(model),
                output_activations="a", output_unembedding="u",
                options=ExtractionOptions(device="cpu", model_id="m", **options),
                corpus_options=CorpusOptions(limit=TEXTS, position=position),
            )  # fmt: skip
    finally:
        estimating.estimate, costs.pace = real, pace
    return result, runs[0]


def computed() -> None:
    """Sizes by model, and what a run of each kind takes."""
    from geometry_of_trust.extraction import costs

    print("| model | weights | read of the files | Tflop per million tokens "
          "| `.gotact`, a row a token | `.gotact`, a row a text | `.gotue` |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    names = ["SmolLM2-135M", *LLAMAS]
    peaks: dict[str, list[str]] = {mode: [] for mode in MODES}
    later: dict[str, list[str]] = {mode: [] for mode in MODES}
    hours: dict[str, list[str]] = {mode: [] for mode in MODES}
    nominal: list[str] = []
    for name in names:
        every, run = look(name, dtype="bfloat16", position="all")
        sizes = costs.sizes(run.opened)
        print_sizes(name, sizes, every, look(name, dtype="bfloat16")[0])
        operations = 2e6 * sum(sizes.blocks[: every.blocks])
        nominal.append(f"{operations / NOMINAL / 3600:,.2g} h")
        for mode, settings in MODES.items():
            result, run = look(name, **settings)
            peaks[mode].append(gigabytes(result.memory))
            later[mode].append(gigabytes(result.memory_running))
            seconds = costs.pace(run.opened, BATCH) * sum(sizes.blocks[: result.blocks])
            hours[mode].append(f"{seconds / BATCH * 1e6 / 3600:.2g} h")
    print_modes(
        "time for a million tokens, products of matrices alone",
        names,
        {"computed, at 100 Gflop/s": nominal} | hours,
    )
    print_modes("peak memory, the self-checks with the whole model included", names, peaks)
    print_modes("peak memory after the self-checks", names, later)


def print_modes(title: str, names: list[str], table: dict[str, list[str]]) -> None:
    """A line for each kind of run."""
    print(f"\n{title}\n\n| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for mode, cells in table.items():
        print(f"| {mode} | {' | '.join(cells)} |")


def print_sizes(name: str, sizes: Any, every: Any, last: Any) -> None:
    """A line of the first table."""
    block_weights = sum(sizes.blocks[: every.blocks])
    a_row = (every.files[0].size - last.files[0].size) / (every.rows - last.rows)
    million = 1e6 * a_row
    of_texts = million * last.rows / every.tokens
    print(
        f"| {name} | {(sum(sizes.blocks) + sizes.outside) / 1e9:.3g}·10⁹ "
        f"| {gigabytes(last.weights)} | {2 * block_weights / 1e6:,.0f} "
        f"| {gigabytes(million)} | {gigabytes(of_texts)} | {gigabytes(last.files[1].size)} |"
    )


def gigabytes(count: float) -> str:
    """Three digits."""
    return f"{count / 1e9:.3g} GB" if count < 1e12 else f"{count / 1e12:.3g} TB"


def process(arguments: list[str]) -> tuple[float, int, str]:
    """Seconds, peak resident bytes, and what a command printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    return time.perf_counter() - start, 1024 * int(done.stderr.split()[-1]), done.stdout


@dataclasses.dataclass(frozen=True)
class Measured:
    """One mode: seconds of a run on few texts and on many, peaks, and what was said of them."""

    a_token: float
    memory: int
    said: int
    dry_seconds: float


def measure(options: list[str], repeats: int) -> Measured:
    """The command on a tenth of the texts and on all, so that what starts a run cancels out."""
    slopes, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "extract", "--model", str(MODEL), "--input-file", str(STATEMENTS),
            "--layers", *map(str, layers_of(MODEL)),
            "--output-activations", f"{folder}/a.gotact",
            "--output-unembedding", f"{folder}/u.gotue", *options,
        ]  # fmt: skip
        few, many = ["--limit", str(TEXTS // 10)], ["--limit", str(TEXTS)]
        dry, _, said = process([*arguments, *many, "--dry-run"])
        tokens = [count(process([*arguments, *some, "--dry-run"])[2]) for some in (few, many)]
        for _ in range(repeats):
            short, _, _ = process([*arguments, *few])
            long, peak, _ = process([*arguments, *many])
            slopes.append((long - short) / (tokens[1] - tokens[0]))
            peaks.append(peak)
    bytes_said = re.search(r"^peak memory .*\((\d+) bytes\)", said, re.MULTILINE)
    assert bytes_said is not None
    return Measured(
        statistics.median(slopes), round(statistics.median(peaks)), int(bytes_said[1]), dry
    )


def count(said: str) -> int:
    found = re.search(r"^tokens +(\d+)", said, re.MULTILINE)
    assert found is not None
    return int(found[1])


def measured(repeats: int) -> None:
    results = {mode: measure(options, repeats) for mode, options in MEASURED.items()}
    fast = results["float32, fast"].a_token
    print(f"\nSmolLM2-135M, {TEXTS} statements, {os.cpu_count()} cores, {repeats} repeats, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print("| | tokens a second | time, of fast | peak memory | a dry run said |")
    print("|---|---|---|---|---|")
    for mode, one in results.items():
        print(
            f"| {mode} | {1 / one.a_token:.0f} | {one.a_token / fast:.2f} "
            f"| {gigabytes(one.memory)} | {one.said / one.memory:.2f} of it |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="0: only what is computed")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    computed()
    if arguments.repeats:
        measured(arguments.repeats)


if __name__ == "__main__":
    main()
