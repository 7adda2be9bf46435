"""Sweeps over layers as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from geometry_of_trust.documents.probe_card import DECISIVE, judged
from geometry_of_trust.showing import cards
from geometry_of_trust.showing.text import as_json
from geometry_of_trust.terminal import escaped, quoted

if TYPE_CHECKING:
    from geometry_of_trust.probing.layer_choice import DimensionSweep, LayerFigures, Sweep

_COLUMNS = (
    ("shuffled_labels", "shuffled"),
    ("random_directions", "random"),
    ("difference_in_means", "means"),
    ("bag_of_tokens", "tokens"),
    ("position_and_length", "place"),
    ("ngrams", "n-grams"),
)
_DIAGRAM = 31


def sweep(result: Sweep) -> str:
    """What `sweep` prints."""
    notes = [
        f"The greatest of {len(result.layers)} figures is too great, as it was chosen for being so:"
        " quote the test fold.",
    ]
    if len(result.layers) == 1:
        notes = []
    if not result.grouped:
        notes.append("No groups: the splits and intervals take each row for an independent one.")
    return "\n\n".join([*(_dimension(entry) for entry in result.dimensions), *notes])


def _dimension(dimension: DimensionSweep) -> str:
    final, figures = dimension.final, dimension.final.quality
    recommended = "none" if dimension.recommended is None else f"layer {dimension.recommended}"
    return "\n".join(
        [
            f"{dimension.verdict}, recommended: {recommended}: {quoted(dimension.dimension)}",
            f"  {escaped(dimension.reason)}",
            f"  chosen: layer {dimension.chosen}, {dimension.why}",
            f"  chosen on {dimension.positives} positive, {dimension.negatives} negative rows in "
            f"{dimension.groups} groups; the test fold was not among them",
            "",
            *(f"  {line}" for line in _table(dimension)),
            "",
            f"  layer {dimension.chosen} on the test fold: {final.positives} positive, "
            f"{final.negatives} negative rows in {final.groups} groups",
            *(f"  {line}" for line in cards.figures([("never seen before", figures)])),
            *(f"  {line}".rstrip() for line in cards.shifts(dimension.shifts)),
        ]
    )


def _table(dimension: DimensionSweep) -> list[str]:
    head = "layer  AUROC [95 %]           " + "".join(f"{name:>9}" for _, name in _COLUMNS)
    lines = [f"{head}   0.5{'AUROC':^{_DIAGRAM - 4}}1"]
    for entry in dimension.layers:
        controls = "".join(
            f"{'-' if value is None else f'{value:.3f}':>9}"
            for value in (getattr(entry.controls, name) for name, _ in _COLUMNS)
        )
        marks = [
            "chosen" if entry.layer == dimension.chosen else "",
            "greatest" if entry.layer == dimension.best else "",
            "" if entry.verdict == "SUFFICIENT" else _why(entry),
        ]
        said = ", ".join(mark for mark in marks if mark)
        lines.append(
            f"{entry.layer:>5}  {cards.number(entry.quality.auroc):<22}{controls}   "
            f"{_line(entry)}  {said}".rstrip()
        )
    return [*lines, "o AUROC, - its interval, x the best control that decides"]


def _why(entry: LayerFigures) -> str:
    """In a word what a layer lacks; what the interval lacks is to be seen beside it."""
    verdict, _ = judged(entry.quality.auroc, entry.controls)
    if entry.null is None or verdict != "SUFFICIENT":
        return "insufficient"
    return f"insufficient: p = {entry.null.p:.3f}"


def _line(entry: LayerFigures) -> str:
    def place(x: float) -> int:
        return round(max(0.0, 2 * x - 1) * (_DIAGRAM - 1))

    auroc = entry.quality.auroc
    rivals = [getattr(entry.controls, name) for name in DECISIVE]
    cells = ["."] * _DIAGRAM
    for i in range(place(auroc.low), place(auroc.high) + 1):
        cells[i] = "-"
    cells[place(max(value for value in rivals if value is not None))] = "x"
    cells[place(auroc.value)] = "o"
    return "".join(cells)


def sweep_json(result: Sweep) -> str:
    """What `sweep --json` prints."""
    tree = dataclasses.asdict(result)
    for entry, dimension in zip(tree["dimensions"], result.dimensions, strict=True):
        entry["recommended"] = dimension.recommended
    return as_json(tree)
