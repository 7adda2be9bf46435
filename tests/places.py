"""Where things are that tests read."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"
VECTORS = TESTS / "vectors"
REFERENCE = VECTORS / "reference"
"""Files made by the reference, `jade-codes/got`; see the README there."""
