"""Probe cards and reliability diagrams as text. Untrusted text is escaped, and comes last.

The reason of a verdict is made from the figures again: that in the file is anybody's text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from geometry_of_trust.documents.probe_card import (
    A_FEW,
    BIN_COUNT,
    Bin,
    Card,
    Controls,
    Figure,
    Quality,
    ShiftFall,
    judged,
)
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.documents.thresholds import TENTH_PERCENT, least_groups
from geometry_of_trust.terminal import escaped, quoted

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
    "ngrams": "TF-IDF of n-grams",
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
        f"  {judged(measured.quality.auroc, measured.controls, measured.null)[1]}",
        f"  {what}: {measured.positives} positive, {measured.negatives} negative, {apart}",
        *(f"  {line}" for line in _repeats(measured)),
        f"  L2 penalty {shortest_float32(measured.l2)}, {chosen}; figures {nested}; {end}",
        "",
        *(f"  {line}" for line in figures(columns)),
        "",
        *(f"  {line}" for line in _controls(measured)),
        "",
        f"  calibration: ECE {number(measured.ece_before_platt)} before Platt scaling, "
        f"{number(measured.quality.ece)} after",
        *(f"  {line}" for line in reliability(measured.bins)),
        *(f"  {line}".rstrip() for line in (*_carries(measured), *shifts(measured.shifts))),
    ]
    return "\n".join(lines)


def _carries(measured: Card) -> list[str]:
    """The threshold, and the figures on each other file that the probe was judged on."""
    own = measured.thresholds
    if own is None:
        return []
    logits = f"logit above {shortest_float32(own.one_percent)}"
    lines = ["", f"threshold for {own.share} {own.on}: {logits}"]
    if own.tenth_percent is not None:
        lines.append(f"threshold for 0.1 %: logit above {shortest_float32(own.tenth_percent)}")
    elif own.benign:
        lines.append(f"none for 0.1 %: that takes {least_groups(TENTH_PERCENT)} of them")
    what = "rows" if measured.token_quality is None else "texts"
    for entry in measured.elsewhere:
        at = entry.at_threshold
        lines += [
            "",
            f"elsewhere: {entry.positives} positive, {entry.negatives} negative {what} in "
            f"{entry.groups} groups, {entry.repeated} of them trained on: {quoted(entry.name)}",
            f"  AUROC {number(entry.auroc)}, recall at 1 % false positives "
            f"{number(entry.recall_at_1_percent)}, ECE {number(entry.ece)}",
            f"  above the threshold: recall {number(at.recall)}, false positives "
            f"{number(at.false_positive_rate)}",
        ]
    return lines


def shifts(found: Sequence[ShiftFall]) -> list[str]:
    """How far the AUROC falls on held-out texts in other styles, a line each."""
    if not found:
        return []
    head = f"{'AUROC':<{_COLUMN}}{'it falls by':<{_COLUMN}}texts changed"
    return ["", f"{'held out, in another style':<{_WIDTH}}{head}"] + [
        f"{escaped(shift.name):<{_WIDTH}}{number(shift.auroc):<{_COLUMN}}"
        f"{number(shift.fall):<{_COLUMN}}{shift.changed}"
        for shift in found
    ]


def _repeats(measured: Card) -> list[str]:
    """What is to be known of rows that equal others; nothing where there are none."""
    found = measured.repeats
    if found is None:
        return []
    rows = found.rows
    lines = []
    if found.equal_rows:
        lines.append(f"{found.equal_rows} of {rows} rows equal another")
    if found.joined_groups:
        unit = "groups" if measured.grouped else "rows"
        lines.append(
            f"{found.joined_groups + measured.groups} {unit} became {measured.groups} groups, as "
            "those that share a row or a text are one"
        )
    if found.near_rows:
        lines.append(f"{found.near_rows} of {rows} rows equal one of another group, or nearly do")
    return lines


def warnings(measured: Card) -> list[str]:
    """What is wrong with the rows of a card, a line each."""
    found, name = measured.repeats, quoted(measured.dimension)
    lines = [
        f"{entry.repeated} of {entry.positives + entry.negatives} of {quoted(entry.name)} were "
        f"trained on, so that the figures of {name} there are too good"
        for entry in measured.elsewhere
        if entry.repeated
    ]
    if found is None:
        return lines
    few = A_FEW * found.rows
    if found.equal_rows > few:
        lines.append(
            f"{found.equal_rows} rows of {name} equal another: they say less than their number, "
            "and stand in one group where they can"
        )
    if found.near_rows > few:
        lines.append(
            f"{found.near_rows} rows of {name} equal one of another group, or nearly do: the "
            "figures may be learnt by heart; put into one group what shares its words"
        )
    return lines


def _controls(measured: Card) -> list[str]:
    lines = [f"{'controls, on the same splits':<{_WIDTH}}AUROC"]
    for field in dataclasses.fields(Controls):
        value = getattr(measured.controls, field.name)
        shown = "not measured" if value is None else f"{value:.3f}"
        lines.append(f"{NAMES[field.name]:<{_WIDTH}}{shown}")
    lines.append(f"{'selectivity':<{_WIDTH}}{measured.selectivity:.3f} above shuffled labels")
    if measured.null is not None:
        lines.append(
            f"{'labels permuted by group':<{_WIDTH}}{measured.null.as_good} of "
            f"{measured.null.permutations} do as well, p = {measured.null.p:.3f}"
        )
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
