"""Probe cards and reliability diagrams as text. Untrusted text is escaped, and comes last.

The reason of a verdict is made from the figures again: that in the file is anybody's text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from geometry_of_trust.documents.probe_card import (
    BIN_COUNT,
    Bin,
    Card,
    Controls,
    Figure,
    Quality,
    judged,
)
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.terminal import quoted

NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "recall_at_1_percent": "recall at 1 % false positives",
    "brier": "Brier score",
    "log_loss": "log loss (nats)",
    "ece": "ECE",
    "shuffled_labels": "shuffled labels",
    "random_directions": "random directions",
    "difference_in_means": "difference in means",
    "bag_of_tokens": "bag of tokens",
    "position_and_length": "position and length",
}
_WIDTH = 32
_COLUMN = 24
_DIAGRAM = 41


def number(figure: Figure) -> str:
    """A figure with its interval."""
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def figures(columns: Sequence[tuple[str, Quality]]) -> list[str]:
    """Figures of quality, a line each, with a column for each of the things measured."""
    lines = [f"{'held out [95 % interval]':<{_WIDTH}}"
             + "".join(f"{name:<{_COLUMN}}" for name, _ in columns).rstrip()]  # fmt: skip
    for field in dataclasses.fields(Quality):
        cells = [f"{number(getattr(quality, field.name)):<{_COLUMN}}" for _, quality in columns]
        lines.append(f"{NAMES[field.name]:<{_WIDTH}}{''.join(cells)}".rstrip())
    return lines


def card(measured: Card, inner_product: str) -> str:
    """A whole card."""
    apart = (
        f"in {measured.groups} groups, each on one side of every split"
        if measured.grouped
        else "each split from the others: rows of one text resemble each other, so expect less on "
        "other texts"
    )
    chosen = f"chosen by {measured.folds}-fold cross-validation" if measured.l2_chosen else "given"
    nested = "nested" if measured.nested else "not nested, as there are too few groups"
    columns = [(inner_product, measured.quality)]
    if measured.token_quality is not None:
        columns = [
            (f"{inner_product}, texts", measured.quality),
            ("tokens", measured.token_quality),
        ]
    if measured.other is not None and measured.other_inner_product is not None:
        columns.append((measured.other_inner_product, measured.other))
    end = "converged" if measured.converged else "NOT CONVERGED"
    what = "rows" if measured.token_quality is None else "texts"
    lines = [
        f"{measured.verdict}: probe {quoted(measured.dimension)}",
        f"  {judged(measured.quality.auroc, measured.controls)[1]}",
        f"  {what}: {measured.positives} positive, {measured.negatives} negative, {apart}",
        f"  L2 penalty {shortest_float32(measured.l2)}, {chosen}; figures {nested}; {end}",
        "",
        *(f"  {line}" for line in figures(columns)),
        "",
        *(f"  {line}" for line in _controls(measured)),
        "",
        f"  calibration: ECE {number(measured.ece_before_platt)} before Platt scaling, "
        f"{number(measured.quality.ece)} after",
        *(f"  {line}" for line in reliability(measured.bins)),
    ]
    return "\n".join(lines)


def _controls(measured: Card) -> list[str]:
    lines = [f"{'controls, on the same splits':<{_WIDTH}}AUROC"]
    for field in dataclasses.fields(Controls):
        value = getattr(measured.controls, field.name)
        shown = "not measured" if value is None else f"{value:.3f}"
        lines.append(f"{NAMES[field.name]:<{_WIDTH}}{shown}")
    lines.append(f"{'selectivity':<{_WIDTH}}{measured.selectivity:.3f} above shuffled labels")
    lines.append(f"{'on the rows trained on':<{_WIDTH}}{measured.training_auroc:.3f}")
    return lines


def reliability(bins: Sequence[Bin]) -> list[str]:
    """A reliability diagram: a bin a line, from 0 at the left to 1 at the right.

    `o` is the share of positives, `-` its interval, `|` the mean probability, which is where the
    share would be if the probabilities were right.
    """
    lines = [
        "probability    rows  groups  mean   positive [95 %]          0"
        f"{'share of positives':^{_DIAGRAM - 2}}1"
    ]
    for k, bin_ in enumerate(bins):
        where = f"{k / BIN_COUNT:.1f} to {(k + 1) / BIN_COUNT:.1f}"
        if not bin_.rows:
            lines.append(f"{where:<12}{0:>7}")
            continue
        share = f"{bin_.positive_share:.3f} [{bin_.low:.3f}, {bin_.high:.3f}]"
        lines.append(
            f"{where:<12}{bin_.rows:>7}{bin_.groups:>8}  {bin_.mean_probability:.3f}  {share}"
            f"    {_line(bin_)}{'' if bin_.calibrated else '  off the diagonal'}"
        )
    return lines


def _line(bin_: Bin) -> str:
    def place(x: float) -> int:
        return round(x * (_DIAGRAM - 1))

    cells = ["."] * _DIAGRAM
    for i in range(place(bin_.low), place(bin_.high) + 1):
        cells[i] = "-"
    cells[place(bin_.mean_probability)] = "|"
    share = place(bin_.positive_share)
    cells[share] = "*" if cells[share] == "|" else "o"
    return "".join(cells)
