"""`make demo`: the demo checks itself, and ends with exit code 0 only if all of it held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from places import ROOT


def test_the_demo(smollm2: Path) -> None:
    assert smollm2.is_dir()
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nVERIFIED\n" in done.stdout
    assert [line[:17] for line in done.stdout.splitlines() if line.startswith("REFUSED")] == [
        "REFUSED at step 3",
        "REFUSED at step 5",
        "REFUSED at step 3",
    ]
