"""Whole pictures, one for each command that draws, as PNG or SVG bytes.

Marks and line styles differ, not colours alone, so that all reads in black and white.
"""

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
    from geometry_of_trust.probing.transfer_matrix import TransferMatrix


def training_picture(results: Sequence[TrainingResult], path: PathLike) -> bytes:
    """Reliability and scores of each probe, AUROC against depth, and the spectrum of Φ.

    Args:
        results: of one or several layers. path: says the kind of picture; nothing is written.

    Raises:
        BadOption: a name that ends neither in .png nor in .svg. MissingExtra: no matplotlib.
    """
    shown = [
        panels.ProbeRow(
            name=f"{card.dimension}, layer {result.probe_set.layer}",
            before=card.bins_before,
            after=card.bins,
            ece=card.quality.ece,
            scores=scores,
        )
        for result in results
        for card, scores in zip(result.training.cards, result.scores, strict=True)
    ]
    with page(path, min(len(shown), MOST_ROWS) + 1) as drawn:
        panels.draw_probes(drawn, shown, "held-out")
        panels.draw_spectrum(drawn.panel(), results[0])
        panels.draw_layers(drawn.panel(), results)
    return drawn.data


def calibration_picture(report: CalibrationReport, path: PathLike) -> bytes:
    """Reliability and scores of each probe on other data than it was trained on.

    Args:
        path: as of `training_picture`.

    Raises:
        BadOption, MissingExtra: as `training_picture`.
    """
    shown = [
        panels.ProbeRow(
            name=f"{probe.dimension}, layer {report.layer}",
            before=probe.bins_before,
            after=probe.bins,
            ece=probe.quality.ece,
            scores=probe.scores,
        )
        for probe in report.probes
    ]
    with page(path, min(len(shown), MOST_ROWS)) as drawn:
        panels.draw_probes(drawn, shown, "")
    return drawn.data


def sweep_picture(result: Sweep, path: PathLike) -> bytes:
    """AUROC of the probe and of its controls against depth, a panel a dimension.

    Args:
        path: as of `training_picture`.

    Raises:
        BadOption, MissingExtra: as `training_picture`.
    """
    with page(path, min(len(result.dimensions), MOST_ROWS), across=1, wide=8.5) as drawn:
        panels.draw_sweeps(drawn, result.dimensions)
    return drawn.data


def matrix_picture(result: TransferMatrix, path: PathLike) -> bytes:
    """AUROC of probes of each corpus on each, a panel a dimension and layer.

    Args:
        path: as of `training_picture`.

    Raises:
        BadOption, MissingExtra: as `training_picture`.
    """
    names = [corpus.name for corpus in result.corpora]
    shown, wide = min(len(result.matrices), MOST_ROWS), max(5.2, 1.6 + 1.2 * len(names))
    with page(path, shown, across=1, wide=wide) as drawn:
        panels.draw_matrices(drawn, result.matrices, names)
    return drawn.data
