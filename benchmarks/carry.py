"""How far the demo's probe carries: other cities, other facts, false statements, other styles.

The probe of docs/probes.md (SmolLM2, layer 15, last token, 200 statements "X is in Y"). Benign are
the false statements of 120 groups of `kinds`, or those of `cities`; out of distribution are the
other groups of `kinds`, and `cities`. Prints what docs/probes.md has of it; a few minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".models" / "smollm2-135m-instruct"
STATEMENTS = ROOT / "examples" / "statements.jsonl"
LAYER, BENIGN_GROUPS = "15", 120


def got(*arguments: str | Path) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "geometry_of_trust", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def extracted(folder: Path, name: str, lines: list[dict[str, object]]) -> Path:
    """The last token of each statement, in activations of that name."""
    corpus, activations = folder / f"{name}.jsonl", folder / f"{name}.gotact"
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    got("extract", "--model", MODEL, "--input-file", corpus, "--layers", LAYER,
        "--label-column", "true", "--group-column", "group",
        "--output-activations", activations,
        "--output-unembedding", folder / "u.gotue")  # fmt: skip
    return activations


def read(path: Path) -> list[dict[str, object]]:
    """The statements of a corpus."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> int:
    """Extract, train, and print what the card says of it."""
    kinds = read(ROOT / "benchmarks" / "corpora" / "kinds.jsonl")
    groups = list(dict.fromkeys(line["group"] for line in kinds))
    quiet = set(groups[:BENIGN_GROUPS])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        towns = read(ROOT / "benchmarks" / "corpora" / "cities.jsonl")
        trained = extracted(folder, "statements", read(STATEMENTS))
        cities = extracted(folder, "cities", towns)
        rest = extracted(folder, "kinds", [x for x in kinds if x["group"] not in quiet])
        false = [x for x in kinds if x["group"] in quiet and not x["true"]]
        benign = extracted(folder, "false", false)
        near = extracted(folder, "near", [x for x in towns if not x["true"]])
        train = ("train", "--activations", trained, "--unembedding", folder / "u.gotue",
                 "--label-column", "true", "--layer", LAYER, "--output", folder / "p.json",
                 "--ood", cities, "--ood", rest)  # fmt: skip
        styles = ("--shifts", "--model", MODEL, "--input-file", STATEMENTS)
        print(part(got(*train, "--benign", benign, *styles)))
        print("With the false statements about cities as benign ones:\n")
        print(part(got(*train, "--benign", near)))
    return 0


def part(shown: str) -> str:
    """What a card says beyond its own corpus."""
    lines = shown.splitlines()
    start = next(i for i, line in enumerate(lines) if "threshold for" in line)
    end = next(i for i, line in enumerate(lines) if line.startswith("trained on "))
    return "\n".join(lines[start:end])


if __name__ == "__main__":
    raise SystemExit(main())
