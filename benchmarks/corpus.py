"""A corpus against plain transformers, nnsight and TransformerLens: time, memory, wrong positions.

All read SmolLM2's layers 8, 15 and 22 at the last token of 700 short statements
(benchmarks/corpora/cities.jsonl) and write them. Ours is the command `got-cli extract`: it also
writes the unembedding, a row table, labels and a record, checks itself, and syncs to disk; `fast`
computes in float32 throughout, `default` is the reproducible run. The others are
benchmarks/against/peers.py, in batches of 32; nnsight and TransformerLens are installed from PyPI
into environments of their own. Whole processes, the two of a line in turn; each figure is a median,
each ratio the median of those of the pairs. To reach: `fast` at most 0.75 of the time of
transformers, and below 1 in time and memory against the other two.

A position is wrong when one of its layers is not that of the text run alone, with exactly the
tokenizer's tokens, within 1e-3 of the largest value. To reach for ours: 0.

`--memory` shows instead the peak for 1,000 and 10,000 statements. To reach: the same within 5 %.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.against.environments import Peer, environment
from benchmarks.extraction import LAYERS, MODEL, Cost, measure

from geometry_of_trust.formats.gotact import read_activations

PEERS = str(Path(__file__).resolve().parent / "against" / "peers.py")
STATEMENTS = Path(__file__).resolve().parent / "corpora" / "cities.jsonl"
WRONG = 1e-3
SIZES = (1_000, 10_000)
# Whose padding is whose: the name in the table, and the argument of peers.py.
PADDINGS = (("as it comes", "given"), ("left", "left"), ("right", "right"), ("none", "none"))


def ours(folder: Path, corpus: Path, count: int, *options: str, model: Path = MODEL) -> list[str]:
    """The command that extracts the first statements of a corpus."""
    return [
        sys.executable, "-m", "geometry_of_trust", "extract", "--model", str(model),
        "--input-file", str(corpus), "--label-column", "true", "--group-column", "group",
        "--limit", str(count), "--layers", *LAYERS, "--position", "last", "--device", "cpu",
        *options, "--output-activations", str(folder / "ours.gotact"),
        "--output-unembedding", str(folder / "ours.gotue"),
    ]  # fmt: skip


def theirs(peer: Peer, folder: Path, count: int, padding: str) -> list[str]:
    """The command of another library."""
    name = peer.title.partition(" ")[0]
    return [str(peer.python), PEERS, name, padding, str(MODEL), str(STATEMENTS),
            str(count), str(folder / "theirs.npy"), *LAYERS]  # fmt: skip


def failure(command: list[str]) -> str:
    """The last line that a command says when it fails; empty if it succeeds."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.stderr.strip().rpartition("\n")[2] or "no reason" if done.returncode else ""


# --- time and memory ---------------------------------------------------------------------------


def costs(folder: Path, others: list[Peer], count: int, rounds: int) -> None:
    """The table of time and memory."""
    own = {"fast": ours(folder, STATEMENTS, count, "--fast"),
           "default": ours(folder, STATEMENTS, count)}  # fmt: skip
    columns = f"{'time':>18}{'ratio':>7}{'processor':>18}{'ratio':>7}{'memory':>19}{'ratio':>7}"
    print(f"{'':<9}{'against':<24}{columns}", flush=True)
    for peer in others:
        head = f"{'fast':<9}{peer.title:<24}"
        if peer.reason:
            print(f"{head}  not run: {peer.reason}")
        else:
            # As each is best: the tokenizer's own tokens, and the padding with the fewest wrong.
            padding = "given" if peer is others[0] else "left"
            line(head, own["fast"], theirs(peer, folder, count, padding), rounds)
    plain = theirs(others[0], folder, count, "given")
    few = (rounds + 4) // 5  # it takes minutes
    line(f"{'default':<9}{others[0].title:<24}", own["default"], plain, few)
    line(f"{'default':<9}{'fast':<24}", own["default"], own["fast"], few)
    print(f"Medians of {rounds} pairs in turn, {few} of default; {count} statements.\n")


def line(head: str, mine: list[str], other: list[str], rounds: int) -> None:
    """Run two commands in turn and print the medians and those of the ratios."""
    pairs = [(measure(mine), measure(other)) for _ in range(rounds)]
    cells = ""
    for name, form, width in (
        ("seconds", "{:.1f} / {:.1f} s", 18),
        ("processor", "{:.1f} / {:.1f} s", 18),
        ("memory", "{:.0f} / {:.0f} MB", 19),
    ):
        ratio = statistics.median(getattr(a, name) / getattr(b, name) for a, b in pairs)
        medians = form.format(*(median(side, name) for side in zip(*pairs, strict=True)))
        cells += f"{medians:>{width}}{ratio:>7.2f}"
    print(head + cells, flush=True)


def median(runs: tuple[Cost, ...], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


# --- wrong positions ---------------------------------------------------------------------------


def positions(folder: Path, others: list[Peer], count: int) -> None:
    """The table of wrong positions."""
    print(f"wrong of {count}" + "".join(f"{title:>14}" for title, _ in PADDINGS), flush=True)
    measure(theirs(others[0], folder, count, "none"))
    alone = np.load(folder / "theirs.npy")
    for name, options in (("fast", ("--fast",)), ("default", ())):
        cells = (wrong(alone, our_rows(folder, count, padding, options)) for _, padding in PADDINGS)
        row(f"ours, {name}", cells)
    for peer in others:
        if peer.reason:
            print(f"{peer.title}: not run: {peer.reason}")
        else:
            rows = (their_rows(peer, folder, count, padding) for _, padding in PADDINGS)
            row(peer.title, (wrong(alone, values) for values in rows))
    print(
        "As it comes: plain transformers with the row of the last real token, the others with all\n"
        "of their defaults and [:, -1]. Left, right: that padding and [:, -1]; ours: a tokenizer\n"
        "that pads so. None: one text at a time."
    )


def row(title: str, cells: Iterator[int]) -> None:
    print(f"{title:<24}"[:24], end="", flush=True)
    for cell in cells:
        print(f"{cell:>14}", end="", flush=True)
    print(flush=True)


def wrong(alone: NDArray[np.float32], found: NDArray[np.float32]) -> int:
    """How many texts have a layer that is not that of the text alone; (layers, texts, d) both."""
    largest = np.abs(alone).max(axis=2)
    return int((np.abs(found - alone).max(axis=2) > WRONG * largest).any(axis=0).sum())


def their_rows(peer: Peer, folder: Path, count: int, padding: str) -> NDArray[np.float32]:
    measure(theirs(peer, folder, count, padding))
    values: NDArray[np.float32] = np.load(folder / "theirs.npy")
    return values


def our_rows(
    folder: Path, count: int, padding: str, options: tuple[str, ...]
) -> NDArray[np.float32]:
    model = MODEL
    if padding in ("left", "right"):
        model = padding_model(folder, padding)
    elif padding == "none":
        options = (*options, "--batch-size", "1")
    measure(ours(folder, STATEMENTS, count, *options, model=model))
    return np.array(read_activations(folder / "ours.gotact").values)


def padding_model(folder: Path, side: str) -> Path:
    """The model with a tokenizer that pads on one side."""
    model = folder / side
    if not model.exists():
        shutil.copytree(MODEL, model, copy_function=os.symlink)
        config = model / "tokenizer_config.json"
        settings = json.loads(config.read_text()) | {"padding_side": side}
        config.unlink()
        config.write_text(json.dumps(settings))
    return model


# --- memory ------------------------------------------------------------------------------------


def growth(folder: Path) -> None:
    """The peak of a corpus and of one ten times as large."""
    lines = STATEMENTS.read_text("utf-8").splitlines()
    corpus = folder / "numbered.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for number, text in enumerate(islice(cycle(lines), SIZES[-1])):
            entry = json.loads(text)
            # Of one length, so that the largest batch of both sizes is the same.
            entry["text"] = f"{number:05}: {entry['text']}"
            file.write(json.dumps(entry) + "\n")
    peaks = []
    for count in SIZES:
        cost = measure(ours(folder, corpus, count, "--fast"))
        peaks.append(cost.memory)
        print(f"{count:>7,} rows {cost.memory:>8.0f} MB {cost.seconds:>8.1f} s", flush=True)
    print(f"ratio {peaks[-1] / peaks[0]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of each line")
    parser.add_argument("--texts", type=int, default=700, help="so many statements")
    parser.add_argument("--only", choices=("costs", "positions"), help="one of the tables")
    parser.add_argument("--memory", action="store_true", help="the peak at 1,000 and 10,000 rows")
    options = parser.parse_args()
    if not (MODEL / "model.safetensors").is_file():
        sys.exit("the model is missing: run make model")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory:
            growth(folder)
            return
        peers = [
            Peer(
                f"transformers {importlib.metadata.version('transformers')}", Path(sys.executable)
            ),
            environment("nnsight", "nnsight", "==0.8.*"),
            environment("TransformerLens", "transformer-lens", "==4.*"),
        ]
        # Each once for the caches of the disk and of Python.
        others = [warmed(peer, folder) for peer in peers]
        measure(ours(folder, STATEMENTS, 1, "--fast"))
        if options.only != "positions":
            costs(folder, others, options.texts, options.rounds)
        if options.only != "costs":
            positions(folder, others, options.texts)


def warmed(peer: Peer, folder: Path) -> Peer:
    """The same after a first run, or with the reason why it does not run."""
    reason = peer.reason or failure(theirs(peer, folder, 1, "given"))
    return Peer(peer.title, peer.python, reason)


if __name__ == "__main__":
    main()
