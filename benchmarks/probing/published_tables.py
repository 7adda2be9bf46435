"""What is printed of a run over the published sets: tables of Markdown, and what was reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from benchmarks.probing.published_figures import Figures

LESS_MEDIAN, LESS_ANY, MOST_ECE, MOST_BY_CHANCE = 0.003, 0.02, 0.05, 0.05
TIE = 0.005
"""AUROCs that differ by less are neither a win nor a loss."""

UNKNOWN = "not known"
DIFFICULTY = (0.6, 0.7, 0.8, 0.95)
SUFFICIENT = "SUFFICIENT"
COLUMNS = {
    "ours": ("ours", ""),
    "ours, Euclidean": ("ours", "euclidean "),
    "scikit-learn": ("scikit-learn", ""),
    "difference in means": ("difference in means", ""),
}
"""Of each method the member of a result, and how its figures are called there."""


def at_layers(results: Sequence[Figures]) -> Iterator[tuple[str, str, Figures]]:
    """Set, layer and figures."""
    for result in results:
        for layer, found in result["layers"].items():
            yield result["set"], layer, found


def gap(found: Figures) -> float:
    """Our AUROC less scikit-learn's."""
    return float(found["ours"]["auroc"]) - _peer(found)


def _peer(found: Figures) -> float:
    """scikit-learn's AUROC."""
    return float(found["scikit-learn"]["auroc"])


def print_tables(results: Sequence[Figures]) -> None:
    """Print all that a run found."""
    if not results:
        return
    rows = [result["rows"] for result in results]
    whole, part = (
        sum(result[name] for result in results) for name in ("seconds", "seconds of extraction")
    )
    print(f"{len(results)} sets, {min(rows)} to {max(rows)} rows; processor time {whole:.0f} s, "
          f"of which extraction {part:.0f} s\n")  # fmt: skip
    _quality(results)
    _by_difficulty(results)
    _verdicts(results)
    _twins(results)
    _behind(results)
    _reached(results)


def _quality(results: Sequence[Figures]) -> None:
    layers = list(results[0]["layers"])
    print("| median | " + " | ".join(f"layer {layer}" for layer in layers) + " | all |")
    print("|---" * (len(layers) + 2) + "|")
    for figure in ("auroc", "ece"):
        for name, (member, prefix) in COLUMNS.items():
            cells = [
                f"{median(found[member][prefix + figure] for found in part):.3f}"
                for part in _parts(results, layers)
            ]
            print(f"| {figure.upper()}, {name} | " + " | ".join(cells) + " |")
    gaps = [[gap(found) for found in part] for part in _parts(results, layers)]
    lines = {
        "ours less scikit-learn, median": [f"{median(values):+.4f}" for values in gaps],
        "Euclidean less scikit-learn, median": [
            f"{median(found['ours']['euclidean auroc'] - _peer(found) for found in part):+.4f}"
            for part in _parts(results, layers)
        ],
        f"won, lost by more than {TIE}": [
            f"{sum(value > TIE for value in values)}, {sum(value < -TIE for value in values)}"
            for values in gaps
        ],
        f"lower by more than {LESS_ANY}": [
            f"{sum(value < -LESS_ANY for value in values)} of {len(values)}" for values in gaps
        ],
    }
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def _by_difficulty(results: Sequence[Figures]) -> None:
    """The median gap of the probes of which scikit-learn's AUROC is in a range."""
    print("| scikit-learn's AUROC | probes | ours less it, median |\n|---|---|---|")
    for low, high in pairwise((0.0, *DIFFICULTY, 1.01)):
        gaps = [gap(found) for _, _, found in at_layers(results) if low <= _peer(found) < high]
        if gaps:
            print(f"| from {low} | {len(gaps)} | {median(gaps):+.4f} |")
    print()


def _parts(results: Sequence[Figures], layers: Sequence[str]) -> list[list[Figures]]:
    """The figures by layer, and all of them."""
    of_layers = [[result["layers"][layer] for result in results] for layer in layers]
    return [*of_layers, [found for part in of_layers for found in part]]


def _verdicts(results: Sequence[Figures]) -> None:
    found = [found for _, _, found in at_layers(results)]
    good = sum(one["ours"]["verdict"] == SUFFICIENT for one in found)
    null = [one["permuted"]["verdict"] == SUFFICIENT for one in found if "permuted" in one]
    words = sum(
        one["ours"]["auroc"]
        <= max(one["ours"]["controls"][name] or 0.5 for name in ("ngrams", "bag_of_tokens"))
        for one in found
    )
    print(f"SUFFICIENT: {good} of {len(found)} probes; with labels permuted {sum(null)} of "
          f"{len(null)}. Words alone do as well: {words} of {len(found)}.\n")  # fmt: skip


def _twins(results: Sequence[Figures]) -> None:
    falls: dict[str, list[float]] = {}
    print("| set with a twin | layer | verdict | AUROC | of the twin | fall | ECE | of the twin |")
    print("|---" * 8 + "|")
    for name, layer, found in at_layers(results):
        if "twin" in found:
            ours, twin = found["ours"], found["twin"]
            fall = ours["auroc"] - twin["auroc"]
            print(f"| {name} | {layer} | {ours['verdict']} | {ours['auroc']:.3f} "
                  f"| {twin['auroc']:.3f} | {fall:+.3f} "
                  f"| {ours['ece']:.3f} | {twin['ece']:.3f} |")  # fmt: skip
            kind = SUFFICIENT if ours["verdict"] == SUFFICIENT else "others"
            falls.setdefault(kind, []).append(fall)
    for kind, values in sorted(falls.items()):
        print(
            f"\n{kind}: {len(values)} probes, the AUROC falls by {median(values):.3f} in the median"
        )
    print()


def _behind(results: Sequence[Figures]) -> None:
    """Where scikit-learn is ahead: by how much, and why."""
    print(f"| lower by more than {LESS_ANY} | layer | ours | Euclidean | scikit-learn | interval "
          "| why |")  # fmt: skip
    print("|---" * 7 + "|")
    for name, layer, found in sorted(at_layers(results), key=lambda each: gap(each[2])):
        if gap(found) >= -LESS_ANY:
            break
        ours, peer, (low, high) = found["ours"], found["scikit-learn"], found["interval of the gap"]
        print(f"| {name} | {layer} | {ours['auroc']:.3f} | {ours['euclidean auroc']:.3f} "
              f"| {peer['auroc']:.3f} | {low:+.3f} to {high:+.3f} | {_why(found)} |")  # fmt: skip
    print()


def _why(found: Figures) -> str:
    """The first reason that applies."""
    if found["interval of the gap"][1] >= 0:
        return "chance: the interval holds 0"
    if found["auroc of one penalty"] >= _peer(found) - LESS_ANY:
        return f"its λ in each fold: with one for all {found['auroc of one penalty']:.3f}"
    if found["ours"]["euclidean auroc"] >= _peer(found) - LESS_ANY:
        return "the inner product"
    return UNKNOWN


def _reached(results: Sequence[Figures]) -> None:
    found = [found for _, _, found in at_layers(results)]
    null = [one["permuted"]["verdict"] == SUFFICIENT for one in found if "permuted" in one]
    worst = [one for one in found if gap(one) < -LESS_ANY]
    targets = {
        f"AUROC not below scikit-learn's by more than {LESS_MEDIAN} in the median":
            median(gap(one) for one in found) >= -LESS_MEDIAN,
        f"no AUROC lower by more than {LESS_ANY} without a reason":
            all(_why(one) != UNKNOWN for one in worst),
        f"median ECE at most {MOST_ECE}":
            median(one["ours"]["ece"] for one in found) <= MOST_ECE,
        f"SUFFICIENT with labels permuted at most {MOST_BY_CHANCE:.0%}":
            sum(null) <= MOST_BY_CHANCE * len(null),
    }  # fmt: skip
    for target, good in targets.items():
        print(f"- {target}: {'reached' if good else 'missed'}")
