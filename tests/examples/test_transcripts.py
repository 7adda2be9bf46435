"""The example of transcripts runs: a monitor of answers, a signed evaluation, and its auditor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from places import EXAMPLES


def test_transcripts(smollm2: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "transcripts.py", tmp_path / "out", "--model", smollm2],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("VERIFIED") == lines.count("MATCH") == 2
    assert sum(line.startswith("REFUSED at step 3") for line in lines) == 2
    for aggregate in ("mean", "max-of-rolling-means:4"):
        assert sum(f"{aggregate} of text" in line for line in lines) == 3 * 20
