"""Do probes survive a change of weights? What the verdict says of SmolLM2 changed in known ways.

A probe is trained on a third of the statements about cities (layer 15, last token), and judged on
another third. Maps are fitted to the last third and statements about kinds of things, without
labels.
Then how often the verdict is wrong where the truth is known, on synthetic states; and the matrix of
three corpora of true and false statements, of which one shares texts with another.

`--only models`, `levels` or `matrix`; `--changes`, `--seeds`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.probing.corpora import GROUP, LABEL, MODEL, ROOT

from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.alignment import Pairs
from geometry_of_trust.probing.evaluating import sample_of
from geometry_of_trust.probing.probe_readings import read_each
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.splits import blind_folds
from geometry_of_trust.probing.survival import MARGIN, Judge, StatesRead, survival_verdict
from geometry_of_trust.probing.survival_files import SurvivalReport, measure_survival
from geometry_of_trust.probing.transfer_matrix import transfer_matrix
from geometry_of_trust.showing.transfers import matrix as shown_matrix
from geometry_of_trust.showing.transfers import signed, survival

LAYER = 15
FINE_TUNED = "fine-tuned"
CHANGES = ("bfloat16", "int8", FINE_TUNED, "noise 0.1", "noise 0.3", "another basis")
PARTS = ("trained", "judged", "others")


def texts(folder: Path) -> None:
    """Statements about cities in thirds by group, those about kinds with the last."""
    lines = {
        name: (ROOT / "benchmarks" / "corpora" / f"{name}.jsonl").read_text("utf-8").splitlines()
        for name in ("cities", "kinds")
    }
    groups = list(dict.fromkeys(json.loads(line)["group"] for line in lines["cities"]))
    part = {group: PARTS[i % 3] for i, group in enumerate(groups)}
    for name in PARTS:
        own = [line for line in lines["cities"] if part[json.loads(line)["group"]] == name]
        own += lines["kinds"] if name == "others" else []
        (folder / f"{name}.jsonl").write_text("\n".join(own) + "\n", "utf-8")


def got(*arguments: object) -> None:
    """Run a command."""
    command = [str(Path(sys.executable).with_name("got-cli")), *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def extracted(folder: Path, name: str, model: Path, parts: Sequence[str], *options: object) -> None:
    """States of some of the parts under one model."""
    for part in parts:
        got("extract", "--model", model, "--model-id", name.replace(" ", "-"), "--layers", LAYER,
            "--input-file", folder / f"{part}.jsonl", "--label-column", LABEL, "--group-column",
            GROUP, "--output-activations", folder / f"{name}.{part}.gotact",
            "--output-unembedding", folder / f"{name}.gotue", *options)  # fmt: skip


def changes(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, Path, tuple[object, ...]]]:
    """What the model becomes: a name, its folder, options of the extraction."""
    from benchmarks.probing import changed_models as made

    for name in only:
        if name == "bfloat16":
            yield name, MODEL, ("--dtype", "bfloat16")
        elif name == "int8":
            yield name, MODEL, ("--quantization", "int8")
        elif name == FINE_TUNED:
            adapter = made.fine_tuned(folder / "adapter", steps=60, rate=1e-3)
            yield name, MODEL, ("--adapter", adapter)
        elif name == "another basis":
            yield name, made.in_another_basis(folder / "basis"), ()
        else:
            yield name, made.with_noise(folder / "noise", float(name.split()[1])), ()


def models(only: Sequence[str]) -> None:
    """Print what becomes of the probe, a line a change, and all that is said of one of them."""
    print("| weights | CKA | cosine | as it is: AUROC | its change | balanced accuracy | verdict |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts(folder)
        extracted(folder, "old", MODEL, PARTS)
        probes = folder / "p.json"
        got("train", "--activations", folder / "old.trained.gotact", "--unembedding",
            folder / "old.gotue", "--label-column", LABEL, "--layer", LAYER,
            "--output", probes)  # fmt: skip
        whole = ""
        for kind, model, options in changes(folder, only):
            extracted(folder, kind, model, PARTS[1:], *options)
            report = measure_survival(
                activations=folder / "old.judged.gotact", to=folder / f"{kind}.judged.gotact",
                probes=[probes], unembedding=folder / "old.gotue", label_columns=[LABEL],
                unlabelled=[folder / f"{each}.others.gotact" for each in ("old", kind)],
            )  # fmt: skip
            print(row(kind, report), flush=True)
            whole = survival(report) if kind == FINE_TUNED else whole
        print(f"\n{whole}\n")


def row(kind: str, report: SurvivalReport) -> str:
    """A line of the table."""
    (layer,), auroc = report.layers, report.layers[0].probes[0].frozen.evaluation.auroc
    probe = layer.probes[0]
    frozen = probe.frozen
    return (
        f"| {kind} | {layer.cka:.3f} | {frozen.cosine:.3f} | {auroc.value:.3f} | "
        f"{signed(frozen.auroc_change)} | {signed(frozen.balanced_change)} | {probe.verdict} |"
    )


def verdict_of(seed: int, kind: str, rows: int = 200, d: int = 20) -> str:
    """The verdict on synthetic states whose change is known; groups of two rows."""
    rng = np.random.default_rng(seed)
    groups = np.arange(rows) // 2
    y = (groups % 2).astype(np.int8)
    old = rng.normal(size=(rows, d))
    old[:, 0] += np.where(y == 1, 0.9, -0.9)
    if kind == "independent":
        new = rng.normal(size=(rows, d))
    elif kind == "turned":
        new = old @ np.linalg.qr(rng.normal(size=(d, d))).Q
    else:  # noise along the probe: as much as makes AUROC and accuracy 0.05 less, or little
        new = old.copy()
        new[:, 0] += rng.normal(size=rows) * (0.734 if kind == "at the margin" else 0.06)
    geometry = Geometry("Euclidean", 0.0, d, None)
    direction = np.eye(1, d, dtype=np.float32)[0]
    probe = Probe("warm", 2 * direction, 0.0)
    pairs = Pairs(old, new, blind_folds(groups))
    judge = Judge("warm", 0.5, geometry, sample_of(y, groups), y)
    kinds = (old, new, *pairs.mapped(direction[:, np.newaxis].astype(np.float64), None))
    read = [
        StatesRead(states, read_each(probe, geometry, states.astype(np.float32)))
        for states in kinds
    ]
    before, (frozen, *mapped) = (
        judge.evaluation(read[0]),
        [judge.after(read[0], other) for other in read[1:]],
    )
    maps = (("a rotation", mapped[0]), ("a ridge map", mapped[1]))
    return survival_verdict(before, frozen, maps, MARGIN)[0]


def levels(seeds: int) -> None:
    """Print how often each verdict is given where the truth is known."""
    print("| change | VALID | REALIGNABLE | STALE |")
    print("|---|---|---|---|")
    for kind in ("a little noise", "at the margin", "turned", "independent"):
        found = [verdict_of(seed, kind) for seed in range(seeds)]
        shares = (f"{found.count(word)}" for word in ("VALID", "REALIGNABLE", "STALE"))
        print(f"| {kind} | {' | '.join(shares)} |", flush=True)


def matrix() -> None:
    """Print the matrix of the two corpora and the statements of the examples."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [
            ROOT / "benchmarks" / "corpora" / f"{each}.jsonl" for each in ("cities", "kinds")
        ]
        sources.append(ROOT / "examples" / "statements.jsonl")
        for source in sources:
            got("extract", "--model", MODEL, "--model-id", "SmolLM2", "--layers", LAYER,
                "--input-file", source, "--label-column", LABEL, "--group-column", GROUP,
                "--output-activations", folder / f"{source.stem}.gotact",
                "--output-unembedding", folder / "u.gotue")  # fmt: skip
        print(shown_matrix(transfer_matrix(
            corpora=[folder / f"{source.stem}.gotact" for source in sources],
            unembedding=folder / "u.gotue", label_columns=[LABEL], layers=[LAYER],
        )))  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["models", "levels", "matrix"])
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=CHANGES)
    parser.add_argument("--seeds", type=int, default=400)
    options = parser.parse_args()
    if options.only in (None, "models"):
        models(options.changes)
    if options.only in (None, "levels"):
        levels(options.seeds)
    if options.only in (None, "matrix"):
        matrix()


if __name__ == "__main__":
    main()
