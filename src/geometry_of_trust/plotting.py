"""Pictures of cards, calibration, sweeps and spectra, as PNG or SVG. The only user of matplotlib.

Marks and line styles differ, not colours alone, so that all reads in black and white. The same
values give the same bytes, with one version of matplotlib.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geometry_of_trust.card import BIN_COUNT, Bin, Controls, Figure
from geometry_of_trust.cardview import number
from geometry_of_trust.errors import BadOption, MissingExtra, escaped
from geometry_of_trust.files import PathLike
from geometry_of_trust.spectrum import eigenvalues

if TYPE_CHECKING:
    from geometry_of_trust.calibration import CalibrationReport
    from geometry_of_trust.histogram import Histogram
    from geometry_of_trust.sweeping import DimensionSweep, Sweep
    from geometry_of_trust.training import TrainingResult

SUFFIXES = {".png": "png", ".svg": "svg"}
DPI = 120
MOST_ROWS = 20
"""Probes in a picture; of more, the first."""

_WIDE, _HIGH = 5.2, 4.0
"""Inches of a panel."""

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#555555"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "geometry-of-trust",
    "hatch.linewidth": 0.6,
}
_CONTROLS = {
    "shuffled_labels": ("shuffled labels", "v", ":"),
    "random_directions": ("random directions", "s", "--"),
    "difference_in_means": ("difference in means", "D", "-."),
    "bag_of_tokens": ("bag of tokens", "^", (0, (5, 1, 1, 1, 1, 1))),
    "position_and_length": ("position and length", "x", (0, (1, 3))),
}
_CONTROL_NAMES = {label for label, _, _ in _CONTROLS.values()}


def check(path: PathLike) -> None:
    """Refuse what cannot be pictured, before the work.

    Raises:
        BadOption: a name that ends neither in .png nor in .svg. MissingExtra: no matplotlib.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise BadOption("--plot", expected="a name that ends in .png or .svg", found=path)
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - heavy, and of an extra
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "--plot",
            expected="the plot extra",
            found=f"no package {error.name}",
            hint="pip install 'geometry-of-trust[plot]'",
        ) from None


# --- pictures ---------------------------------------------------------------------------------


def training(results: Sequence[TrainingResult], path: PathLike) -> bytes:
    """Reliability and scores of each probe, AUROC against depth, and the spectrum of Φ.

    Args:
        results: of one or several layers. path: says the kind of picture.

    Raises:
        BadOption, MissingExtra: as `check`.
    """
    rows = []
    for result in results:
        training_ = result.probe_set.training
        cards = training_.cards if training_ else ()
        rows += [
            _Row(
                f"{card.dimension}, layer {result.probe_set.layer}",
                card.bins_before,
                card.bins,
                card.quality.ece,
                scores,
            )
            for card, scores in zip(cards, result.scores, strict=True)
        ]
    with _page(path, min(len(rows), MOST_ROWS) + 1) as page:
        _probes(page, rows, "held-out")
        _spectrum(page.panel(), results[0])
        _layers(page.panel(), results)
    return page.data


def calibration(report: CalibrationReport, path: PathLike) -> bytes:
    """Reliability and scores of each probe; as `training`."""
    rows = [
        _Row(f"{held.dimension}, layer {report.layer}", held.bins_before, held.bins,
             held.quality.ece, held.scores)
        for held in report.probes
    ]  # fmt: skip
    with _page(path, min(len(rows), MOST_ROWS)) as page:
        _probes(page, rows, "")
    return page.data


def sweep(held: Sweep, path: PathLike) -> bytes:
    """AUROC of the probe and of its controls against depth, a panel a dimension; as `training`."""
    shown = held.dimensions[:MOST_ROWS]
    with _page(path, len(shown), across=1, wide=8.5) as page:
        for entry in shown:
            _depth(page.panel(), entry)
    return page.data


# --- pages ------------------------------------------------------------------------------------


@dataclass
class _Page:
    """A figure whose panels are taken in turn; its bytes once it is done."""

    figure: Any
    axes: list[Any]
    data: bytes = b""

    def panel(self) -> Any:
        """The next panel."""
        return self.axes.pop(0)


@contextlib.contextmanager
def _page(path: PathLike, down: int, across: int = 2, wide: float = _WIDE) -> Iterator[_Page]:
    check(path)
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and of an extra
    from matplotlib import style  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415 - as above
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - as above

    kind = SUFFIXES[Path(path).suffix.lower()]
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with style.context("default"), mpl.rc_context(_STYLE):  # whatever the user's settings are
        figure = Drawing(
            figsize=(wide * across, _HIGH * down),
            layout=ConstrainedLayoutEngine(h_pad=0.15, w_pad=0.1),
        )
        page = _Page(figure, list(figure.subplots(down, across, squeeze=False).flat))
        yield page
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        page.data = buffer.getvalue()


def _plain(text: str) -> str:
    """Untrusted text for a picture: characters that the font lacks become escapes."""
    from matplotlib import font_manager  # noqa: PLC0415 - heavy, and of an extra

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    known = font.get_charmap()
    return "".join(
        c if ord(c) in known else c.encode("unicode_escape").decode() for c in escaped(text, 60)
    )


def _title(axes: Any, name: str, rest: str) -> None:
    axes.set_title(f"{_plain(name)}{rest}", parse_math=False)


def _below(axes: Any) -> None:
    """The legend, where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8, frameon=False)


# --- panels -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """What is shown of one probe."""

    name: str
    before: Sequence[Bin]
    after: Sequence[Bin]
    ece: Figure
    scores: Histogram


def _probes(page: _Page, rows: Sequence[_Row], which: str) -> None:
    more = len(rows) - MOST_ROWS
    for i, row in enumerate(rows[:MOST_ROWS]):
        last = f" (and {more} more, not shown)" if more > 0 and i == MOST_ROWS - 1 else ""
        _reliability(page.panel(), row, last)
        _histogram(page.panel(), row, which)


def _reliability(axes: Any, row: _Row, last: str) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="calibrated")
    for bins, label, look in (
        (row.before, "before Platt scaling", {"marker": "s", "mfc": "white", "color": _GREY}),
        (row.after, "after, with 95 % interval", {"marker": "o", "color": _BLUE}),
    ):
        filled = [b for b in bins if b.rows]
        x = [b.mean_probability for b in filled]
        y = [b.positive_share for b in filled]
        if look["marker"] == "s":
            axes.plot(x, y, linestyle="none", markersize=5, label=label, **look)
        else:
            ends = [[b.positive_share - b.low for b in filled], [b.high - b.positive_share
                                                                for b in filled]]  # fmt: skip
            axes.errorbar(x, y, yerr=np.maximum(ends, 0.0), linestyle="none", markersize=5,
                          capsize=3, label=label, **look)  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=f"probability (mean of {BIN_COUNT} "
             "bins)", ylabel="share of positive rows")  # fmt: skip
    _below(axes)
    _title(axes, row.name, f": ECE {number(row.ece)}{last}")


def _histogram(axes: Any, row: _Row, which: str) -> None:
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


def _spectrum(axes: Any, result: TrainingResult) -> None:
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


def _layers(axes: Any, results: Sequence[TrainingResult]) -> None:
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
                  label=_plain(cards[0][i].dimension))  # fmt: skip
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


def _depth(axes: Any, held: DimensionSweep) -> None:
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
    _title(axes, held.dimension, f": {held.verdict}")


def _control(controls: Controls, name: str) -> float:
    value = getattr(controls, name)
    return float("nan") if value is None else float(value)


def _depth_axes(axes: Any, layers: Sequence[int]) -> None:
    axes.axhline(0.5, color=_GREY, linewidth=0.8)
    step = -(-len(layers) // 16)
    axes.set_xticks(layers[::step])
    axes.set(xlabel="layer (block, from 0)", ylabel="AUROC (share of pairs in order)")
    axes.set_ylim(None, 1.03)
