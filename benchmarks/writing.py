"""What it costs to write an unembedding, next to writing the same bytes raw.

    python benchmarks/writing.py [--pairs 7] [--folder DIR]

Prints three tables. The first is time: a 128256 x 4096 float32 array (Llama 3; 2.1 GB) written by
`write_unembedding`, which syncs, against `open().write()` of the same memory, with and without
`fsync`; pairs in alternating order, and the median of their ratios. The second is
memory above the array. The third is the way of the reference's script, a Python list packed a
float at a time, at 32000 x 4096 (Llama 2), where it still fits into a machine of 24 GB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding

LARGE = (128256, 4096)
SMALL = (32000, 4096)
Array = NDArray[np.float32]


def made(shape: tuple[int, int]) -> Array:
    array = np.empty(shape, np.float32)
    # One small block over and over: a larger temporary would raise the peak that is compared with.
    block = np.random.default_rng(0).standard_normal((64, shape[1]), np.float32)
    for start in range(0, len(array), len(block)):
        array[start : start + len(block)] = block[: len(array) - start]
    return array


def ours(path: Path, array: Array) -> None:
    write_unembedding(path, array)


def raw(path: Path, array: Array) -> None:
    with path.open("wb") as handle:
        handle.write(array.data)
        handle.flush()
        os.fsync(handle.fileno())


def raw_without_sync(path: Path, array: Array) -> None:
    with path.open("wb") as handle:
        handle.write(array.data)


def packed(path: Path, array: Array) -> None:
    """As the reference's script writes: to a Python list, then packed a float at a time."""
    with path.open("wb") as handle:
        handle.write(b"GOTU" + struct.pack("<HII", 1, *array.shape))
        for row in array.tolist():
            for value in row:
                handle.write(struct.pack("<f", value))
        handle.flush()
        os.fsync(handle.fileno())


WRITERS: dict[str, Callable[[Path, Array], None]] = {
    "ours": ours,
    "raw": raw,
    "raw_without_sync": raw_without_sync,
    "packed": packed,
}


def timed(name: str, path: Path, array: Array) -> float:
    path.unlink(missing_ok=True)
    os.sync()  # nobody pays for what an earlier round left to write
    start = time.perf_counter()
    WRITERS[name](path, array)
    return time.perf_counter() - start


def peak_bytes() -> int:
    # Not getrusage: its ru_maxrss begins at the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure_alone(name: str, rows: int, columns: int, folder: Path) -> None:
    """In a process of its own: seconds, and peak memory above that of having the array."""
    array = made((rows, columns))
    before = peak_bytes()
    seconds = timed(name, folder / name, array)
    print(seconds, peak_bytes() - before)
    (folder / name).unlink()


def alone(name: str, shape: tuple[int, int], folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--alone", name, *map(str, shape), "--folder", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, above = result.stdout.split()
    return float(seconds), float(above) / 2**20


def pairs(peer: str, array: Array, count: int, folder: Path) -> str:
    """A row of the table: ours against one peer, in alternating order."""
    times: dict[str, list[float]] = {peer: [], "ours": []}
    for turn in range(count):
        for name in sorted(times, reverse=bool(turn % 2)):
            times[name].append(timed(name, folder / name, array))
    assert np.array_equal(read_unembedding(folder / "ours").values[-1], array[-1])
    for name in times:
        (folder / name).unlink()
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times[peer], strict=True))
    cells = [
        f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        for seconds in (times["ours"], times[peer])
    ]
    return f"| {peer} | {cells[0]} | {cells[1]} | {ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--alone", nargs=3, metavar=("WRITER", "ROWS", "COLUMNS"))
    options = parser.parse_args()
    if options.alone:
        name, rows, columns = options.alone
        measure_alone(name, int(rows), int(columns), options.folder)
        return
    needed, free = 8 * 2**30, shutil.disk_usage(options.folder).free
    if free < needed:
        sys.exit(f"{options.folder}: {free / 2**30:.1f} GB free, {needed / 2**30:.0f} GB needed")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        array = made(LARGE)
        size = f"{LARGE[0]} x {LARGE[1]} float32 ({array.nbytes / 1e9:.2f} GB)"
        print(f"## Time, {size}, {options.pairs} pairs\n")
        print("| peer | ours, median s (range) | peer, median s (range) | median of ratios |")
        print("|---|---|---|---|")
        for peer in ("raw", "raw_without_sync"):
            print(pairs(peer, array, options.pairs, Path(folder)), flush=True)
        del array
        print(f"\n## Peak memory above the array, {LARGE[0]} x {LARGE[1]}\n")
        print("| writer | MB |\n|---|---|")
        for name in ("ours", "raw"):
            print(f"| {name} | {alone(name, LARGE, Path(folder))[1]:.1f} |")
        print(f"\n## A float at a time, {SMALL[0]} x {SMALL[1]}, one run each\n")
        print("| writer | s | MB above the array |\n|---|---|---|")
        for name in ("ours", "packed"):
            seconds, above = alone(name, SMALL, Path(folder))
            print(f"| {name} | {seconds:.2f} | {above:.1f} |")


if __name__ == "__main__":
    main()
