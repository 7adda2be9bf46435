"""Panels: each draws one thing on the axes that it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from geometry_of_trust.documents.probe_card import BIN_COUNT, Bin, Controls, Figure
from geometry_of_trust.geometry.spectrum import eigenvalues
from geometry_of_trust.plotting.image_files import Page, plain
from geometry_of_trust.showing.cards import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geometry_of_trust.probing.layer_choice import DimensionSweep
    from geometry_of_trust.probing.score_histogram import ScoreHistogram
    from geometry_of_trust.probing.training import TrainingResult
    from geometry_of_trust.probing.transfer_matrix import LayerTransfer

MOST_ROWS = 20
"""Probes in a picture; of more, the first."""

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#555555"
_CONTROLS = {
    "shuffled_labels": ("shuffled labels", "v", ":"),
    "random_directions": ("random directions", "s", "--"),
    "difference_in_means": ("difference in means", "D", "-."),
    "bag_of_tokens": ("bag of tokens", "^", (0, (5, 1, 1, 1, 1, 1))),
    "position_and_length": ("position and length", "x", (0, (1, 3))),
    "ngrams": ("TF-IDF of n-grams", "+", (0, (3, 1, 1, 1))),
}
_CONTROL_NAMES = {label for label, _, _ in _CONTROLS.values()}


def _title(axes: Axes, name: str, rest: str) -> None:
    axes.set_title(f"{plain(name)}{rest}", parse_math=False)


def _below(axes: Axes) -> None:
    """The legend, where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8, frameon=False)


@dataclass(frozen=True)
class ProbeRow:
    """What is shown of one probe, in a row of two panels.

    Attributes:
        name: its title. before, after: bins before and after Platt scaling.
        ece: after it. scores: logits by class.
    """

    name: str
    before: Sequence[Bin]
    after: Sequence[Bin]
    ece: Figure
    scores: ScoreHistogram


def draw_probes(page: Page, rows: Sequence[ProbeRow], which: str) -> None:
    """Reliability and scores of the first probes; `which` scores these are."""
    for i, row in enumerate(rows[:MOST_ROWS]):
        _draw_reliability(page.panel(), row, _more(i, len(rows)))
        _draw_scores(page.panel(), row, which)


def draw_sweeps(page: Page, dimensions: Sequence[DimensionSweep]) -> None:
    """AUROC against depth of the first dimensions."""
    for i, entry in enumerate(dimensions[:MOST_ROWS]):
        _draw_sweep(page.panel(), entry, _more(i, len(dimensions)))


def _more(i: int, count: int) -> str:
    """What the last title says if there are more than are shown."""
    return f" (and {count - i - 1} more, not shown)" if i == MOST_ROWS - 1 < count - 1 else ""


def _draw_reliability(axes: Axes, row: ProbeRow, last: str) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="calibrated")
    before, after = ([b for b in bins if b.rows] for bins in (row.before, row.after))
    axes.plot([b.mean_probability for b in before], [b.positive_share for b in before],
              linestyle="none", marker="s", mfc="white", color=_GREY, markersize=5,
              label="before Platt scaling")  # fmt: skip
    shares = [Figure(b.positive_share, b.low, b.high) for b in after]
    _interval(axes, [b.mean_probability for b in after], shares,
              _Look("after, with 95 % interval", _BLUE, "o"))  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=f"probability (mean of {BIN_COUNT} "
             "bins)", ylabel="share of positive rows")  # fmt: skip
    _below(axes)
    _title(axes, row.name, f": ECE {number(row.ece)}{last}")


def _draw_scores(axes: Axes, row: ProbeRow, which: str) -> None:
    counts = row.scores
    low, high = counts.low, counts.high
    if low == high:
        low, high = low - 1, high + 1
    edges = np.linspace(low, high, len(counts.positives) + 1)
    axes.stairs(counts.negatives, edges, fill=True, facecolor="#cfe3f2", edgecolor=_BLUE,
                hatch="////", label="negative rows")  # fmt: skip
    axes.stairs(counts.positives, edges, color=_ORANGE, linewidth=2, label="positive rows")
    axes.axvline(0, color="black", linestyle=":", linewidth=1)
    axes.set(xlabel=f"{which} logit, before calibration (nats)".strip(), ylabel="rows")
    axes.locator_params(axis="y", integer=True)
    axes.set_ylim(bottom=0)
    _below(axes)
    _title(axes, row.name, ": scores by class")


def draw_spectrum(axes: Axes, result: TrainingResult) -> None:
    """Eigenvalues of Φ, largest first."""
    values = eigenvalues(result.geometry)
    shown = np.maximum(values, np.finfo(np.float64).tiny)
    dots = "o" if len(values) <= 60 else ""
    axes.plot(np.arange(1, len(shown) + 1), shown, color=_BLUE, marker=dots, markersize=3)
    axes.set_yscale("log")
    spectrum = result.training.spectrum
    axes.axvline(spectrum.effective_rank, color=_ORANGE, linestyle="--",
                 label=f"effective rank {spectrum.effective_rank:.4g}")  # fmt: skip
    _below(axes)
    axes.set(xlabel=f"rank of the eigenvalue, of {len(values)}",
             ylabel="eigenvalue of Φ (logits² per unit of state²)")  # fmt: skip
    axes.set_title(
        f"spectrum of Φ ({result.geometry.inner_product}), "
        f"condition number {spectrum.condition:.4g}"
    )


def draw_layers(axes: Axes, results: Sequence[TrainingResult]) -> None:
    """AUROC of each dimension against depth; the markers tell dimensions apart."""
    ordered = sorted(results, key=lambda result: result.probe_set.layer)
    layers = [result.probe_set.layer for result in ordered]
    cards = [result.training.cards for result in ordered]
    shift = 0.06 * _gap(layers)
    for i, first in enumerate(cards[0][:MOST_ROWS]):
        _interval(axes, [layer + shift * i for layer in layers],
                  [at_layer[i].quality.auroc for at_layer in cards],
                  _Look(label=plain(first.dimension), marker="osD^vPX*"[i % 8],
                        linestyle=("-", "--", "-.", ":")[i % 4],
                        color=(_BLUE, _ORANGE, "black", _GREY)[i % 4]))  # fmt: skip
    _layer_axes(axes, layers)
    _below(axes)
    legend = axes.get_legend()
    for text in legend.get_texts() if legend is not None else ():
        text.set_parse_math(False)
    axes.set_title("held-out AUROC, 95 % interval")


def _gap(layers: Sequence[int]) -> int:
    """Between the two layers that are nearest to each other; 1 for one layer."""
    return min((b - a for a, b in pairwise(layers)), default=1)


@dataclass(frozen=True)
class _Look:
    """How a line of figures is drawn, as matplotlib names it."""

    label: str
    color: str
    marker: str
    linestyle: str = "none"
    markersize: float = 5
    linewidth: float = 1.5
    zorder: float = 2


def _interval(axes: Axes, x: Sequence[float], figures: Sequence[Figure], look: _Look) -> None:
    ends = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
    axes.errorbar(x, [f.value for f in figures], yerr=np.maximum(ends, 0.0), capsize=3,
                  **dataclasses.asdict(look))  # fmt: skip


def _draw_sweep(axes: Axes, swept: DimensionSweep, last: str) -> None:
    layers = [entry.layer for entry in swept.layers]
    _interval(axes, layers, [entry.quality.auroc for entry in swept.layers],
              _Look("probe, held out, 95 % interval", _BLUE, "o", "-", linewidth=2,
                    zorder=3))  # fmt: skip
    low = [entry for entry in swept.layers if entry.verdict != "SUFFICIENT"]
    if low:
        axes.plot([entry.layer for entry in low], [entry.quality.auroc.value for entry in low],
                  linestyle="none", marker="o", color=_BLUE, mfc="white", zorder=4,
                  label="insufficient by itself")  # fmt: skip
    _interval(axes, [swept.chosen + 0.25 * _gap(layers)], [swept.final.quality.auroc],
              _Look(f"layer {swept.chosen} on the test fold", _ORANGE, "*", markersize=11,
                    zorder=4))  # fmt: skip
    word = "recommended" if swept.recommended is not None else "chosen, not recommended"
    axes.axvline(swept.chosen, color="black", linestyle=":", linewidth=1,
                 label=f"layer {swept.chosen}, {word}")  # fmt: skip
    for name, (label, marker, line) in _CONTROLS.items():
        values = [_control(entry.controls, name) for entry in swept.layers]
        if not np.isnan(values).all():
            axes.plot(layers, values, color=_GREY, marker=marker, linestyle=line, markersize=4,
                      linewidth=1, label=label)  # fmt: skip
    _layer_axes(axes, layers)
    _probe_first(axes)
    _title(axes, swept.dimension, f": {swept.verdict}{last}")


def _probe_first(axes: Axes) -> None:
    """A legend at the right: the probe (an error bar, a tuple), what belongs to it, controls."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(
        range(len(labels)),
        key=lambda i: (labels[i] in _CONTROL_NAMES, not isinstance(handles[i], tuple)),
    )
    axes.legend([handles[i] for i in order], [labels[i] for i in order], loc="center left",
                bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)  # fmt: skip


def _control(controls: Controls, name: str) -> float:
    value = getattr(controls, name)
    return float("nan") if value is None else float(value)


def _layer_axes(axes: Axes, layers: Sequence[int]) -> None:
    axes.axhline(0.5, color=_GREY, linewidth=0.8)
    step = -(-len(layers) // 16)
    axes.set_xticks(layers[::step])
    axes.set(xlabel="layer (block, from 0)", ylabel="AUROC (share of pairs in order)")
    axes.set_ylim(None, 1.03)


def draw_matrices(page: Page, matrices: Sequence[LayerTransfer], names: Sequence[str]) -> None:
    """A square of AUROC a dimension and layer, the first few."""
    for i, entry in enumerate(matrices[:MOST_ROWS]):
        _draw_matrix(page.panel(), entry, names, _more(i, len(matrices)))


def _draw_matrix(axes: Axes, found: LayerTransfer, names: Sequence[str], last: str) -> None:
    """Numbers in shades of grey, darker for more; hatched where nothing was measured."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - heavy, and of an extra

    for i, row in enumerate(found.cells):
        for j, cell in enumerate(row):
            auroc, own = cell.auroc, i == j
            depth = 0.0 if auroc is None else min(max(2 * auroc.value - 1, 0.0), 1.0)
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=str(1 - 0.4 * depth),
                          edgecolor=_GREY, linewidth=0.8, hatch="////" if auroc is None else None)
            )  # fmt: skip
            if own:
                axes.add_patch(Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, fill=False,
                                         edgecolor="black", linewidth=1.5))  # fmt: skip
            text = "" if auroc is None else (
                f"{auroc.value:.3f}\n[{auroc.low:.3f}, {auroc.high:.3f}]"
            )  # fmt: skip
            axes.text(j, i, text, ha="center", va="center", fontsize=8)
    shown = [plain(name) for name in names]
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(range(len(shown)), shown, parse_math=False)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5),
             xlabel="tested on (framed: held out by group)", ylabel="trained on")  # fmt: skip
    axes.set_aspect("equal")
    _title(axes, found.dimension, f", layer {found.layer}: AUROC [95 % interval]{last}")
