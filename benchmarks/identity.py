"""What it costs a run of one sentence to say which model it was: cold, warm, against not at all.

Whole processes, in turn: `got-cli extract`, SmolLM2, one sentence, layer 15. Cold: the folder
of digests is empty, and the files are in the system's page cache. The peer is the same process with
the digests replaced by constants.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".models" / "smollm2-135m-instruct"
SENTENCE = "The capital of France is Paris, and its river is the Seine."

RUN = """
import sys
from geometry_of_trust.cli import main
sys.exit(main(sys.argv[1:]))
"""
WITHOUT = """
import contextlib
from geometry_of_trust.extraction import identifying, one_text
from geometry_of_trust.identity.model_identity import ModelIdentity

class Nothing(contextlib.AbstractContextManager):
    def __init__(self, request): pass
    def __exit__(self, *error): pass
    def of(self, source): return ModelIdentity((), None)

one_text.Identifying = Nothing
"""


def measured(code: str, folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds on the clock and of processor time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-c", code, "extract", "--model", MODEL, "--input", SENTENCE,
            "--layers", "15", "--output-activations", folder / "a.gotact",
            "--output-unembedding", folder / "u.gotue",
        ],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    elapsed = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    pairs = parser.parse_args().pairs
    runs: dict[str, list[tuple[float, float]]] = {"without": [], "warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured(RUN, folder, folder / "warm")
        for n in range(pairs):
            runs["without"].append(measured(WITHOUT + RUN, folder, folder / "warm"))
            runs["warm"].append(measured(RUN, folder, folder / "warm"))
            runs["cold"].append(measured(RUN, folder, folder / f"cold{n}"))
    print(f"{pairs} runs of each, in turn; medians")
    for label, values in runs.items():
        ratios = [
            median(mine[k] / peer[k] for mine, peer in zip(values, runs["without"], strict=True))
            for k in (0, 1)
        ]
        clock, processor = (median(value[k] for value in values) for k in (0, 1))
        print(
            f"{label:<8} {clock:.2f} s, {processor:.2f} s of processor time: "
            f"{ratios[0]:.3f} and {ratios[1]:.3f} of the run without"
        )


if __name__ == "__main__":
    main()
