"""Transfer of probes to other weights and to other corpora, as text or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.showing.cards import number
from geometry_of_trust.showing.text import as_json, table
from geometry_of_trust.terminal import bare_or_quoted, quoted

if TYPE_CHECKING:
    from geometry_of_trust.documents.evaluations import ProbeEvaluation
    from geometry_of_trust.documents.probe_card import Figure
    from geometry_of_trust.probing.survival import After, ProbeSurvival
    from geometry_of_trust.probing.survival_files import LayerSurvival, SurvivalReport
    from geometry_of_trust.probing.transfer_matrix import (
        LayerTransfer,
        TransferCell,
        TransferMatrix,
    )

_NAME, _COLUMN = 28, 25


def survival(result: SurvivalReport) -> str:
    """What `transfer --to` prints."""
    same = {True: "the same", False: "others", None: "not recorded of both"}[result.same_weights]
    whole = table(
        [
            ("old states", f"{quoted(result.old_model)}, {result.old_precision}"),
            ("new states", f"{quoted(result.new_model)}, {result.new_precision}"),
            ("weights", same),
            ("rows", f"{result.rows}, of the same tokens of the same texts"),
            ("margin", f"{result.margin:g}"),
        ]
    )
    return "\n\n".join([whole, *(_layer(result, entry) for entry in result.layers)])


def _layer(result: SurvivalReport, found: LayerSurvival) -> str:
    count = f"{found.pairs} pairs of other texts"
    if not result.unlabelled:
        count = f"{found.pairs} pairs or more, of the rows of other groups"
    fit = f"maps fitted to {count}, without labels"
    if found.left_out:
        fit += f"; {found.left_out} left out, as they stand among the rows, too"
    if found.pairs < result.hidden_dim:
        fit += (
            f"; fewer than the {result.hidden_dim} dimensions, so that what they have nothing of "
            "is not aligned: more pairs (--unlabelled) may do better"
        )
    lines = [
        f"layer {found.layer}, probe set {bare_or_quoted(found.path)}",
        f"  {fit}",
        f"  similarity of the states (debiased linear CKA): {_decimals(found.cka)}, "
        f"after the ridge map {_decimals(found.cka_ridge)}",
    ]
    return "\n\n".join(["\n".join(lines), *map(_probe, found.probes)])


def _probe(probe: ProbeSurvival) -> str:
    before = probe.before
    kinds = (probe.frozen, probe.rotated, probe.ridge)
    rows = [
        ("AUROC", before.auroc, [each.evaluation.auroc for each in kinds]),
        ("recall at the threshold", _recall(before), [_recall(x.evaluation) for x in kinds]),
        ("false positive rate", _false(before), [_false(x.evaluation) for x in kinds]),
        ("Brier score", before.brier, [each.evaluation.brier for each in kinds]),
        ("ECE", before.ece, [each.evaluation.ece for each in kinds]),
    ]
    lines = [
        f"{probe.verdict}: probe {quoted(probe.dimension)}",
        f"  {probe.reason}",
        f"  {before.positives} positive, {before.negatives} negative, in {probe.groups} groups; "
        f"positive {_called(probe)}",
        "",
        _line("[95 % interval]", "old", "new, as it is", "after a rotation", "after a ridge map"),
        *(_line(name, number(old), *map(number, new)) for name, old, new in rows),
        _line("change of AUROC", "", *(signed(each.auroc_change) for each in kinds)),
        _line("change of balanced accuracy", "", *(signed(x.balanced_change) for x in kinds)),
        _line("cosine of class differences", "", *map(_cosine, kinds)),
    ]
    if probe.outside:
        lines.append(f"  far outside of what it was fitted on: {probe.outside} of the new readings")
    return "\n".join(lines)


def _called(probe: ProbeSurvival) -> str:
    if probe.own is not None:
        return f"above its threshold for {probe.own.share} {probe.own.on}"
    return f"from p = {shortest_float32(probe.threshold or 0.0)}"


def _line(name: str, *cells: str) -> str:
    return f"  {name:<{_NAME}}{''.join(f'{cell:<{_COLUMN}}' for cell in cells)}".rstrip()


def signed(figure: Figure) -> str:
    """A change with its interval."""
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"


def _recall(found: ProbeEvaluation) -> Figure:
    assert found.at_threshold is not None  # noqa: S101 - there is one always
    return found.at_threshold.recall


def _false(found: ProbeEvaluation) -> Figure:
    assert found.at_threshold is not None  # noqa: S101 - as above
    return found.at_threshold.false_positive_rate


def _cosine(after: After) -> str:
    return _decimals(after.cosine)


def _decimals(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def survival_json(result: SurvivalReport) -> str:
    """What `transfer --to --json` prints."""
    return as_json(dataclasses.asdict(result))


def matrix(result: TransferMatrix) -> str:
    """What `transfer --corpora` prints."""
    names = [bare_or_quoted(corpus.name) for corpus in result.corpora]
    corpora = [
        (name, f"{corpus.rows} rows in {corpus.groups} groups")
        for name, corpus in zip(names, result.corpora, strict=True)
    ]
    lines = [_at_layer(each, names) for each in result.matrices]
    note = (
        "* held out by cross-validation; all others: by the probe of all rows trained on, as it is"
    )
    return "\n\n".join([table(corpora), *lines, note])


def _at_layer(found: LayerTransfer, names: Sequence[str]) -> str:
    width = max(len("trained on"), *map(len, names)) + 2
    head = "".join(f"{name:<{max(_COLUMN, len(name) + 2)}}" for name in names)
    lines = [f"AUROC of {quoted(found.dimension)}, layer {found.layer}, by corpus tested on"]
    lines.append(f"  {'trained on':<{width}}{head}".rstrip())
    for i, (name, row) in enumerate(zip(names, found.cells, strict=True)):
        cells = [
            f"{_cell(cell, own=i == j):<{max(_COLUMN, len(names[j]) + 2)}}"
            for j, cell in enumerate(row)
        ]
        lines.append(f"  {name:<{width}}{''.join(cells)}".rstrip())
    for i, row in enumerate(found.cells):
        lines += [
            f"  {cell.left_out} rows of {names[j]} stand in {names[i]}, too: not tested on"
            for j, cell in enumerate(row)
            if cell.left_out
        ]
    return "\n".join(lines)


def _cell(cell: TransferCell, *, own: bool) -> str:
    shown = "not measured" if cell.auroc is None else number(cell.auroc)
    return f"{shown}{' *' if own else ''}"


def matrix_json(result: TransferMatrix) -> str:
    """What `transfer --corpora --json` prints."""
    return as_json(dataclasses.asdict(result))
