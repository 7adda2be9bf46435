"""One setting: compute everything in this process and print it as JSON on the last line.

Run as `python -m benchmarks.reproducing.worker WORK.json`, with the setting in the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy
import scipy.linalg
import threadpoolctl
from benchmarks.reproducing import ours, plain
from benchmarks.reproducing.work import Work

from geometry_of_trust.arithmetic import library


def in_effect() -> dict[str, str]:
    """What computes here, as the libraries themselves tell."""
    facts = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    for pool in threadpoolctl.threadpool_info():
        if pool["internal_api"] == "openblas":
            name = "numpy" if "numpy" in Path(pool["filepath"]).parent.name else "scipy"
            facts[f"{name}'s OpenBLAS"] = f"{pool['version']} {pool['architecture']}"
            facts[f"threads of {name}"] = str(pool["num_threads"])
    return facts


def in_effect_of_torch() -> dict[str, str]:
    """The same of torch; its libraries tell by printing to the process's standard output."""
    import torch

    backends: Any = torch.backends  # which has no types
    with _printed() as lines:
        one = torch.ones(64, 64)
        with backends.mkl.verbose(backends.mkl.VERBOSE_ON):
            one @ one
        with backends.mkldnn.verbose(backends.mkldnn.VERBOSE_ON):
            one.to_mkldnn().relu()
    said = "".join(lines)
    mkl = re.search(r"\bCNR:(\S+)", said)
    isa = re.search(r"cpu,isa:(.*)", said)
    return {
        "torch": torch.__version__,
        "threads of torch": str(torch.get_num_threads()),
        "our kernels": library.chosen().name,
        "ATen": torch.backends.cpu.get_cpu_capability(),
        "MKL": mkl[1] if mkl else "not known",
        "oneDNN": isa[1].strip() if isa else "not known",
    }


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """The lines that libraries write to file descriptor 1, complete when the `with` has ended."""
    lines: list[str] = []
    kept = os.dup(1)
    file: IO[str]
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield lines
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            lines += file.readlines()


def main() -> None:
    """Do the work."""
    warnings.simplefilter("ignore")
    work = Work.read(Path(sys.argv[1]))
    facts = in_effect()
    if work.has_torch:
        facts |= in_effect_of_torch()
    started = time.perf_counter()
    results: dict[str, Any] = {"in effect": facts, "ours": ours.all_of(work), "plain": {}}
    results["seconds"] = {"ours": time.perf_counter() - started}
    if work.plain and work.has_torch:
        results["plain"] = plain.all_of(work)
    results["seconds"]["all"] = time.perf_counter() - started
    print(json.dumps(results))


if __name__ == "__main__":
    main()
