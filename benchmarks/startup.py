"""How long `got-cli verify` of a document takes from a cold start, against Python itself.

Whole processes, in turn; medians. Peers: the interpreter doing nothing, and importing numpy.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from pipeline import KEY, build

PAIRS = 15


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.json").write_bytes(build(folder).attest().to_json())
        (folder / "k.pub").write_bytes(KEY.public.raw)
        got = str(Path(sys.executable).with_name("got-cli"))
        commands = {
            "got-cli verify (document alone)": [
                got, "verify", "--attestation", f"{folder}/a.json", "--pubkey", f"{folder}/k.pub",
            ],
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        }  # fmt: skip
        times: dict[str, list[float]] = {label: [] for label in commands}
        for command in commands.values():
            seconds(command)
        for _ in range(PAIRS):
            for label, command in commands.items():
                times[label].append(seconds(command))
    ours = times["got-cli verify (document alone)"]
    print(f"{PAIRS} runs of each, in turn; median (least to most) in seconds")
    for label, values in times.items():
        ratio = median(a / b for a, b in zip(ours, values, strict=True))
        print(
            f"{label:<34} {median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            f"   verify takes {ratio:.2f} x"
        )


if __name__ == "__main__":
    main()
