"""Φ = UᵀU exactly, against the float64 product of numpy: time, open entries, memory.

Ours starts from the float32 matrix in a mapped `.gotue`, as `got-cli` does. Peer (a) is `A.T @ A`
of a float64 matrix that is already in memory: the product only. Peer (b) starts where we do: it
converts the mapped matrix to float64 and multiplies. All three run in turn; figures are medians
over the rounds of the ratios, least and greatest in brackets. To reach: at most 1.15 of (a);
memory at most 4d² doubles and 256 MB. Before each there is a pause: the threads of a BLAS turn idly
for a while after a product, and would take their time from whoever comes next.

"Others" is the share of the processors that other processes took meanwhile. A product by many
threads waits for the slowest of them, so that the peers lose more by it than we do. Hence the
ratio for one thread each, in processor time, which other processes hardly touch.

Then: one reading at d = 4096, by the fast path and by the exact one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from threadpoolctl import threadpool_limits

from geometry_of_trust.formats.gotue import read_unembedding, stage_unembedding, write_unembedding
from geometry_of_trust.geometry import exact, gram
from geometry_of_trust.outputs.staged_files import StagedFiles

MODEL = Path(__file__).resolve().parents[1] / ".models" / "smollm2-135m-instruct"
Array = NDArray[np.float64]
SHAPES = [(49152, 576, 7), (50257, 1024, 5), (128256, 4096, 1)]
"""V, d and rounds."""

PEAK = """
import re, sys
from pathlib import Path
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.geometry.gram import gram

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) / 1024

unembedding = read_unembedding(sys.argv[1])
gram(unembedding.values[:2000, :8].copy())
before = peak()
gram(unembedding.values)
print(peak() - before)
"""


def write_random(path: Path, rows: int, d: int) -> None:
    """A `.gotue` file of normal numbers."""
    rng = np.random.default_rng(0)
    blocks = (
        rng.standard_normal((min(4096, rows - start), d), dtype=np.float32)
        for start in range(0, rows, 4096)
    )
    with StagedFiles() as staged:
        stage_unembedding(staged, path, (rows, d), blocks)


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    """Wall time of one call, after a pause."""
    time.sleep(0.3)
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def processor_seconds() -> tuple[float, float]:
    """Busy time of all processors together, and this process's part of it."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split()[1:4])
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return (user + nice + system) / os.sysconf("SC_CLK_TCK"), mine.ru_utime + mine.ru_stime


def alone(U: NDArray[np.float32]) -> tuple[float, int, int]:
    """Ours / (a) in processor time of one thread, and the entries that stages 2 and 3 computed."""
    entries, exact = gram._entries, gram._exact
    with (
        threadpool_limits(1, user_api="blas"),
        patch.object(gram, "_entries", wraps=entries) as second,
        patch.object(gram, "_exact", wraps=exact) as third,
    ):
        start = time.process_time()
        gram.gram(U)
        ours = time.process_time() - start
        A = U.astype(np.float64)
        start = time.process_time()
        product(A)
        ratio = ours / (time.process_time() - start)
    open_entries = sum(call.args[1].shape[1] for call in second.call_args_list)
    return ratio, open_entries, sum(len(call.args[1]) for call in third.call_args_list)


def product(A: Array) -> Array:
    """Peer (a)."""
    return A.T @ A


def converted_product(U: NDArray[np.float32]) -> Array:
    """Peer (b)."""
    return product(U.astype(np.float64))


def measure(name: str, path: Path, rounds: int) -> None:
    """One row of the table."""
    U = read_unembedding(path).values
    d = U.shape[1]
    single = [alone(U) for _ in range(min(rounds, 3))]
    busy, own = processor_seconds()
    started = time.perf_counter()
    runs = []
    for _ in range(rounds):
        ours = seconds(gram.gram, U)
        A = U.astype(np.float64)
        a = seconds(product, A)
        del A
        runs.append((ours, a, seconds(converted_product, U)))
    elapsed = time.perf_counter() - started
    now = processor_seconds()
    others = (now[0] - busy - now[1] + own) / elapsed / (os.cpu_count() or 1)
    peak = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
    ).stdout
    columns = [f"{median(run[k] for run in runs):.3f} s" for k in range(3)]
    columns += [spread([run[0] / run[peer] for run in runs]) for peer in (1, 2)]
    _, second, third = single[0]
    columns += [spread([run[0] for run in single]), f"{200 * second / d / (d + 1):.3f} %"]
    columns += [str(third), f"{float(peak):.0f} of {32 * d * d / 2**20 + 256:.0f} MB"]
    columns += [f"{100 * others:.0f} %"]
    print(f"| {name}, {len(U)} × {d} | " + " | ".join(columns) + " |", flush=True)


def spread(ratios: list[float]) -> str:
    """Median, least and greatest."""
    return f"{median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"


def readings(d: int) -> None:
    """One reading, fast and exact."""
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((d, d), dtype=np.float32)
    w = rng.standard_normal(d, dtype=np.float32)
    for rows in (1, 500):
        arguments = w, phi, rng.standard_normal((rows, d), dtype=np.float32), 0.0
        fast = median(seconds(exact.reading, *arguments) for _ in range(5))
        with patch.object(exact, "SLACK", 1e30):  # no bound is ever small enough
            slow = seconds(exact.reading, *arguments)
        which = "one position" if rows == 1 else f"mean of {rows} positions"
        print(f"Reading, d = {d}, {which}: {fast:.3f} s; all of it in exact sums: {slow:.3f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="not the largest shape")
    small = parser.parse_args().small
    heads = ("matrix", "ours", "(a)", "(b)", "ours/(a)", "ours/(b)", "ours/(a), one thread",
             "open after 1", "after 2", "peak above the map", "others")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "u.gotue"
        if (MODEL / "model.safetensors").is_file():
            with safe_open(MODEL / "model.safetensors", "np") as file:
                write_unembedding(path, file.get_tensor("model.embed_tokens.weight"))
            measure("SmolLM2-135M", path, 7)
            path.unlink()
        for rows, d, rounds in SHAPES[: 2 if small else 3]:
            write_random(path, rows, d)
            measure("normal", path, rounds)
            path.unlink()
    readings(4096)


if __name__ == "__main__":
    main()
