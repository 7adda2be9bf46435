"""Whole pictures, one for each command that draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geometry_of_trust.files import PathLike
from geometry_of_trust.plotting import panels
from geometry_of_trust.plotting.image_files import page
from geometry_of_trust.plotting.panels import MOST_ROWS

if TYPE_CHECKING:
    from geometry_of_trust.probing.calibration_report import CalibrationReport
    from geometry_of_trust.probing.layer_choice import Sweep
    from geometry_of_trust.probing.training import TrainingResult


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
            panels.Row(
                f"{card.dimension}, layer {result.probe_set.layer}",
                card.bins_before,
                card.bins,
                card.quality.ece,
                scores,
            )
            for card, scores in zip(cards, result.scores, strict=True)
        ]
    with page(path, min(len(rows), MOST_ROWS) + 1) as drawn:
        panels.probes(drawn, rows, "held-out")
        panels.spectrum(drawn.panel(), results[0])
        panels.layers(drawn.panel(), results)
    return drawn.data


def calibration(report: CalibrationReport, path: PathLike) -> bytes:
    """Reliability and scores of each probe; as `training`."""
    rows = [
        panels.Row(f"{held.dimension}, layer {report.layer}", held.bins_before, held.bins,
             held.quality.ece, held.scores)
        for held in report.probes
    ]  # fmt: skip
    with page(path, min(len(rows), MOST_ROWS)) as drawn:
        panels.probes(drawn, rows, "")
    return drawn.data


def sweep(held: Sweep, path: PathLike) -> bytes:
    """AUROC of the probe and of its controls against depth, a panel a dimension; as `training`."""
    with page(path, min(len(held.dimensions), MOST_ROWS), across=1, wide=8.5) as drawn:
        panels.sweeps(drawn, held.dimensions)
    return drawn.data
