"""How many results are the same byte for byte under other threads, kernels, versions.

Every setting is one process that computes everything: the residual stream of SmolLM2 for 60 short
prompts (--prompts) at layers 8, 15 and 22; of 17 tiny models of 15 families; Φ; a probe; an
attestation. Each table says how many results equal those of the base setting, for ours and for
plain transformers (the first 60 prompts), numpy and scikit-learn. Exit code 1, and what differed,
if ours is not 100 % everywhere.

Ours runs one text at a time in the base setting, and in all others batches of 8 texts, padded to
the longest; the plain one has a row of its own for such batches. Each form of our kernels that this
processor can run is a setting; the base has the fastest.
Environments with other versions are made with pip in .cache/reproducibility and kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reproducing.plain import BATCH
from benchmarks.reproducing.running import Result, differing, prepare, run
from benchmarks.reproducing.settings import (
    AVX2,
    BASE,
    CACHE,
    MATRIX,
    OLDEST,
    Setting,
    environments,
    find_python,
)
from benchmarks.reproducing.work import Work

TITLES = {
    "prompts": "Activations of SmolLM2-135M: prompts",
    "tiny": "Activations of tiny models: families × types of weights",
    "phi": "Φ: entries of the matrices of SmolLM2 and of random numbers",
    "probe": "Probe trained on labelled activations (without `training.versions`)",
    "attestation": "Attestation (plain: one reading)",
}


def share(base: Result, other: Result, who: str, thing: str) -> str:
    """The cell `k/n`: how many of the digests are equal."""
    expected, found = base[who].get(thing, {}), other[who].get(thing, {})
    if not found:
        return "—"
    equal = sum(expected[name] == value for name, value in found.items())
    return f"{equal}/{len(found)} ({equal / len(found):.0%})"


def entries(folder: Path, setting: str, kind: str) -> str:
    """The share of equal entries of the plain products."""
    equal = total = 0
    for name in ("SmolLM2", "random"):
        file = f"{kind} of {name}.npy"
        if not (folder / setting / file).exists():
            return "—"
        same = np.load(folder / setting / file) == np.load(folder / "base" / file)
        equal, total = equal + int(same.sum()), total + same.size
    return f"{equal / total:.1%}"


def print_table(thing: str, results: dict[str, Result], notes: dict[str, str]) -> None:
    """One table: a row a setting, ours beside plain."""
    base, folder = results[BASE.name], CACHE / "run"
    plain = ["plain float32", "plain float64, rounded"] if thing == "phi" else ["plain float32"]
    print(f"\n### {TITLES[thing]}\n")
    print(f"| setting | ours | {' | '.join(plain)} |\n| --- | --- |{' --- |' * len(plain)}")
    for name, result in results.items():
        if name == BASE.name:
            continue
        cells = [share(base, result, "ours", thing)]
        if thing == "phi":
            cells += [entries(folder, name, kind) for kind in ("phi", "phi by float64")]
        else:
            cells.append(share(base, result, "plain", thing))
        print(f"| {name}{notes.get(name, '')} | {' | '.join(cells)} |")
    if thing == "prompts" and base["plain"]:
        batches = {"plain": {thing: base["plain"][f"prompts, batches of {BATCH}"]}}
        print(f"| batches of {BATCH}, padded | in all rows above | "
              f"{share(base, batches, 'plain', thing)} |")  # fmt: skip


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "unknown")


def compute(settings: list[Setting], prompts: int, *, go_on: bool) -> None:
    """Run the base setting and the others; all results so far are always on disk."""
    results: dict[str, Result] = {}
    if go_on:
        work = Work.read(CACHE / "run" / BASE.name / "work.json")
        results = json.loads((CACHE / "results.json").read_text())
    else:
        work = prepare(CACHE / "run", prompts=prompts, plain=True)
    for setting in (BASE, *settings):
        if setting.name in results:
            continue
        results[setting.name] = run(work, setting)
        took = results[setting.name]["seconds"]
        wrong = differing(results[BASE.name], results[setting.name])
        print(f"{setting.name}: ours {took['ours']:.0f} s, with plain {took['all']:.0f} s; "
              f"{len(wrong)} of ours differ", *wrong, sep="\n  ", file=sys.stderr)  # fmt: skip
        (CACHE / "results.json").write_text(json.dumps(results, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--python", type=Path, default=find_python(), help="another interpreter")
    parser.add_argument("--no-environments", action="store_true", help="this environment alone")
    parser.add_argument("--only", nargs="+", help="names of settings")
    parser.add_argument("--go-on", action="store_true", help="keep the settings already run")
    parser.add_argument("--table", action="store_true", help="print the last run again")
    options = parser.parse_args()
    settings: list[Setting] = [*MATRIX, OLDEST, AVX2]
    if not options.no_environments:
        settings += environments(options.python)
    if options.only:
        settings = [setting for setting in settings if setting.name in options.only]
    if not options.table:
        compute(settings, options.prompts, go_on=options.go_on)
    results: dict[str, Result] = json.loads((CACHE / "results.json").read_text())
    settings = [setting for setting in settings if setting.name in results]
    notes = {
        setting.name: f" (here {missing})"
        for setting in settings
        if (missing := setting.missing(results[setting.name]["in effect"]))
    }
    for thing in TITLES:
        print_table(thing, results, notes)
    facts = "; ".join(f"{k} {v}" for k, v in results[BASE.name]["in effect"].items())
    minutes = sum(result["seconds"]["all"] for result in results.values()) / 60
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    print(f"\n{today}; {processor()}, {os.cpu_count()} cores; {minutes:.0f} minutes.")
    print(f"Base setting: {facts}.")
    if options.python is None:
        print("No other interpreter of Python was found.")
    failed = {n: wrong for n, r in results.items() if (wrong := differing(results["base"], r))}
    if failed:
        sys.exit("ours differs: " + json.dumps(failed, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
