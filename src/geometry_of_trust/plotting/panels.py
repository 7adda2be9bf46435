"""Panels: each draws one thing on the axes that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geometry_of_trust.documents.probe_card import BIN_COUNT, Bin, Controls, Figure
from geometry_of_trust.geometry.spectrum import eigenvalues
from geometry_of_trust.plotting.image_files import Page, plain
from geometry_of_trust.showing.cards import number

if TYPE_CHECKING:
    from geometry_of_trust.probing.layer_choice import DimensionSweep
    from geometry_of_trust.probing.score_histogram import Histogram
    from geometry_of_trust.probing.training import TrainingResult

MOST_ROWS = 20
"""Probes in a picture; of more, the first."""

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#555555"
_CONTROLS = {
    "shuffled_labels": ("shuffled labels", "v", ":"),
    "random_directions": ("random directions", "s", "--"),
    "difference_in_means": ("difference in means", "D", "-."),
    "bag_of_tokens": ("bag of tokens", "^", (0, (5, 1, 1, 1, 1, 1))),
    "position_and_length": ("position and length", "x", (0, (1, 3))),
}
_CONTROL_NAMES = {label for label, _, _ in _CONTROLS.values()}


def _title(axes: Any, name: str, rest: str) -> None:
    axes.set_title(f"{plain(name)}{rest}", parse_math=False)


def _below(axes: Any) -> None:
    """The legend, where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8, frameon=False)


@dataclass(frozen=True)
class Row:
    """What is shown of one probe."""

    name: str
    before: Sequence[Bin]
    after: Sequence[Bin]
    ece: Figure
    scores: Histogram


def probes(page: Page, rows: Sequence[Row], which: str) -> None:
    """Reliability and scores of the first probes; `which` scores these are."""
    for i, row in enumerate(rows[:MOST_ROWS]):
        _reliability(page.panel(), row, _more(i, len(rows)))
        _histogram(page.panel(), row, which)


def sweeps(page: Page, held: Sequence[DimensionSweep]) -> None:
    """AUROC against depth of the first dimensions."""
    for i, entry in enumerate(held[:MOST_ROWS]):
        _depth(page.panel(), entry, _more(i, len(held)))


def _more(i: int, count: int) -> str:
    """What the last title says if there are more than are shown."""
    return f" (and {count - i - 1} more, not shown)" if i == MOST_ROWS - 1 < count - 1 else ""


def _reliability(axes: Any, row: Row, last: str) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="calibrated")
    before, after = ([b for b in bins if b.rows] for bins in (row.before, row.after))
    axes.plot([b.mean_probability for b in before], [b.positive_share for b in before],
              linestyle="none", marker="s", mfc="white", color=_GREY, markersize=5,
              label="before Platt scaling")  # fmt: skip
    shares = [Figure(b.positive_share, b.low, b.high) for b in after]
    _interval(axes, [b.mean_probability for b in after], shares, linestyle="none", marker="o",
              color=_BLUE, label="after, with 95 % interval")  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=f"probability (mean of {BIN_COUNT} "
             "bins)", ylabel="share of positive rows")  # fmt: skip
    _below(axes)
    _title(axes, row.name, f": ECE {number(row.ece)}{last}")


def _histogram(axes: Any, row: Row, which: str) -> None:
    held = row.scores
    low, high = (held.low, held.high) if held.high > held.low else (held.low - 1, held.high + 1)
    edges = np.linspace(low, high, len(held.positives) + 1)
    axes.stairs(held.negatives, edges, fill=True, facecolor="#cfe3f2", edgecolor=_BLUE,
                hatch="////", label="negative rows")  # fmt: skip
    axes.stairs(held.positives, edges, color=_ORANGE, linewidth=2, label="positive rows")
    axes.axvline(0, color="black", linestyle=":", linewidth=1)
    axes.set(xlabel=f"{which} logit, before calibration (nats)".strip(), ylabel="rows")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    _below(axes)
    _title(axes, row.name, ": scores by class")


def spectrum(axes: Any, result: TrainingResult) -> None:
    """Eigenvalues of Φ, largest first."""
    training_ = result.probe_set.training
    values = eigenvalues(result.geometry)
    shown = np.maximum(values, np.finfo(np.float64).tiny)
    style = {"marker": "o", "markersize": 3} if len(values) <= 60 else {}
    axes.plot(np.arange(1, len(shown) + 1), shown, color=_BLUE, **style)
    axes.set_yscale("log")
    if training_ is not None:
        rank = training_.spectrum.effective_rank
        axes.axvline(rank, color=_ORANGE, linestyle="--", label=f"effective rank {rank:.4g}")
        _below(axes)
    axes.set(xlabel=f"rank of the eigenvalue, of {len(values)}",
             ylabel="eigenvalue of Φ (logits² per unit of state²)")  # fmt: skip
    condition = (
        "" if training_ is None else f", condition number {training_.spectrum.condition:.4g}"
    )
    axes.set_title(f"spectrum of Φ ({result.geometry.inner_product}){condition}")


def layers(axes: Any, results: Sequence[TrainingResult]) -> None:
    """AUROC of each dimension against depth; the markers tell dimensions apart."""
    ordered = sorted(results, key=lambda result: result.probe_set.layer)
    layers = [result.probe_set.layer for result in ordered]
    cards = [result.probe_set.training.cards for result in ordered if result.probe_set.training]
    shift = 0.06 * min(np.diff(layers), default=1)
    for i in range(min(len(cards[0]), MOST_ROWS)):
        figures = [held[i].quality.auroc for held in cards]
        _interval(axes, [layer + shift * i for layer in layers], figures,
                  marker="osD^vPX*"[i % 8], linestyle=("-", "--", "-.", ":")[i % 4],
                  color=(_BLUE, _ORANGE, "black", _GREY)[i % 4],
                  label=plain(cards[0][i].dimension))  # fmt: skip
    _depth_axes(axes, layers)
    _below(axes)
    for text in axes.get_legend().get_texts():
        text.set_parse_math(False)
    axes.set_title("held-out AUROC, 95 % interval")


def _interval(
    axes: Any, x: Sequence[float], figures: Sequence[Figure], size: float = 5, **look: Any
) -> None:
    ends = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
    axes.errorbar(x, [f.value for f in figures], yerr=np.maximum(ends, 0.0), capsize=3,
                  markersize=size, **look)  # fmt: skip


def _depth(axes: Any, held: DimensionSweep, last: str) -> None:
    layers = [entry.layer for entry in held.layers]
    _interval(axes, layers, [entry.quality.auroc for entry in held.layers], color=_BLUE,
              marker="o", linestyle="-", linewidth=2, zorder=3,
              label="probe, held out, 95 % interval")  # fmt: skip
    low = [entry for entry in held.layers if entry.verdict != "SUFFICIENT"]
    if low:
        axes.plot([entry.layer for entry in low], [entry.quality.auroc.value for entry in low],
                  linestyle="none", marker="o", color=_BLUE, mfc="white", zorder=4,
                  label="insufficient by itself")  # fmt: skip
    gap = min(np.diff(layers), default=1)
    _interval(axes, [held.chosen + 0.25 * gap], [held.final.quality.auroc], color=_ORANGE,
              marker="*", linestyle="none", zorder=4, size=11,
              label=f"layer {held.chosen} on the test fold")  # fmt: skip
    word = "recommended" if held.recommended is not None else "chosen, not recommended"
    axes.axvline(held.chosen, color="black", linestyle=":", linewidth=1,
                 label=f"layer {held.chosen}, {word}")  # fmt: skip
    for name, (label, marker, line) in _CONTROLS.items():
        values = [_control(entry.controls, name) for entry in held.layers]
        if not np.isnan(values).all():
            axes.plot(layers, values, color=_GREY, marker=marker, linestyle=line, markersize=4,
                      linewidth=1, label=label)  # fmt: skip
    _depth_axes(axes, layers)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(  # the probe (an error bar, which is a tuple), what belongs to it, the controls
        range(len(labels)),
        key=lambda i: (labels[i] in _CONTROL_NAMES, not isinstance(handles[i], tuple)),
    )
    axes.legend([handles[i] for i in order], [labels[i] for i in order], loc="center left",
                bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)  # fmt: skip
    _title(axes, held.dimension, f": {held.verdict}{last}")


def _control(controls: Controls, name: str) -> float:
    value = getattr(controls, name)
    return float("nan") if value is None else float(value)


def _depth_axes(axes: Any, layers: Sequence[int]) -> None:
    axes.axhline(0.5, color=_GREY, linewidth=0.8)
    step = -(-len(layers) // 16)
    axes.set_xticks(layers[::step])
    axes.set(xlabel="layer (block, from 0)", ylabel="AUROC (share of pairs in order)")
    axes.set_ylim(None, 1.03)
