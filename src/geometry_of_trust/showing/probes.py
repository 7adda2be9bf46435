"""What probes were trained on, how well they do, and how they are calibrated, as text or JSON."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.files import PathLike
from geometry_of_trust.showing.cards import card, figures, number, reliability
from geometry_of_trust.showing.text import as_json, spread, table
from geometry_of_trust.terminal import bare_or_quoted, escaped, quoted

if TYPE_CHECKING:
    from geometry_of_trust.probing.calibration_report import Calibration, CalibrationReport
    from geometry_of_trust.probing.fitted_range import Range
    from geometry_of_trust.probing.probes import Training
    from geometry_of_trust.probing.training import TrainingResult


def training_rows(trained: Training) -> list[tuple[str, str]]:
    """What probes were trained on, in names and values; how well they do stands on their cards."""
    added = (
        f", {shortest_float32(trained.epsilon)} added to the diagonal" if trained.epsilon else ""
    )
    phi = trained.spectrum
    share = (
        "" if phi.mean_share is None else f", mean row {100 * phi.mean_share:.3g} % of the trace"
    )
    fitted = () if trained.fitted is None else trained.fitted.scores
    return [
        ("trained on", f"layer {trained.layer}, {trained.rows} rows, {trained.precision}, of "
                       f"{bare_or_quoted(trained.model_id)}"),
        ("tokens", "" if trained.tokens is None else escaped(str(trained.tokens))),
        ("norms fitted on", "" if trained.fitted is None else _range(trained.fitted.norms)),
        *(("scores fitted on", f"{_range(scores)}: {quoted(entry.dimension)}")
          for entry, scores in zip(trained.cards, fitted, strict=False)),
        ("inner product", trained.inner_product + added),
        ("its spectrum", f"condition number {phi.condition:.4g}, "
                         f"effective rank {phi.effective_rank:.4g}{share}"),
        ("probes span", _span(trained) if len(trained.cards) > 1 else ""),
        ("activations", trained.activations_sha256 or ""),
        ("unembedding", trained.unembedding_sha256 or ""),
        ("labels", trained.labels_sha256 or ""),
        ("rows", trained.rows_digest or ""),
        ("texts", trained.texts_sha256 or ""),
        ("made with", ", ".join(
            f"{name} {bare_or_quoted(v)}" for name, v in trained.versions.items()
        )),
    ]  # fmt: skip


def _span(trained: Training) -> str:
    count, whole = len(trained.cards), trained.effective_dimension
    if trained.unit_effective_dimension is None:
        return f"{spread(whole, count)}; lengths count, too"
    of_units = spread(trained.unit_effective_dimension, count)
    return f"{of_units}; effective dimension with lengths, as the reference has it, {whole:.4g}"


def _range(values: Range) -> str:
    return f"{values.low:.4g} to {values.high:.4g}"


def cards(trained: Training) -> str:
    """The cards of a probe set, one after the other."""
    return "\n\n".join(card(entry, trained.inner_product) for entry in trained.cards)


def training(result: TrainingResult, output: PathLike) -> str:
    """What `train` prints."""
    rows = training_rows(result.training)
    if not result.recorded:
        trusted = "activations and unembedding are of one model: no extraction record says so"
        rows.append(("on trust", trusted))
    return f"{cards(result.training)}\n\n{table(rows)}\nwrote {escaped(output)}"


def training_tree(result: TrainingResult, output: PathLike) -> dict[str, Any]:
    """What `train --json` prints of a layer."""
    return {
        "output": os.fspath(output),
        "geometry_hash": result.probe_set.geometry_hash,
        "probes": [
            {
                "dimension": probe.name,
                "hidden_dim": probe.weights.size,
                "bias": probe.bias,
                "platt_scale": probe.platt_scale,
                "platt_shift": probe.platt_shift,
                "losses": [{"l2": l2, "held_out_log_loss": loss} for l2, loss in losses],
            }
            for probe, losses in zip(result.probe_set.probes, result.losses, strict=True)
        ],
        "training": dataclasses.asdict(result.training),
        "gradient": result.gradient,
        "iterations": list(result.iterations),
    }


def calibration(report: CalibrationReport) -> str:
    """What `calibration-report` prints."""
    notes = []
    if report.trained_on:
        notes.append("These are the rows that the probes were trained on: expect less elsewhere.")
    if report.unknown_training:
        notes.append(
            "The probe set does not say what it was trained on: nor whether these are those rows, "
            "or of that model."
        )
    if report.other_tokens:
        notes.append("The probes were trained on other tokens than some of these rows are of.")
    if not report.grouped:
        notes.append("No groups: the intervals take each row for an independent one.")
    return "\n\n".join([*(_calibrated(probe) for probe in report.probes), *notes])


def _calibrated(probe: Calibration) -> str:
    filled = sum(bin_.rows > 0 for bin_ in probe.bins)
    return "\n".join(
        [
            f"{probe.positives} positive, {probe.negatives} negative rows "
            f"in {probe.groups} groups: probe {quoted(probe.dimension)}",
            *figures([("on these rows", probe.quality)]),
            "",
            f"ECE {number(probe.ece_before_platt)} before Platt scaling, "
            f"{number(probe.quality.ece)} after",
            f"the interval of {filled - probe.off} of {filled} bins contains the diagonal",
            *reliability(probe.bins),
        ]
    )


def calibration_json(report: CalibrationReport) -> str:
    """What `calibration-report --json` prints."""
    tree = dataclasses.asdict(report)
    for entry, probe in zip(tree["probes"], report.probes, strict=True):
        entry["bins_off_the_diagonal"] = probe.off
        for shown, table_ in (("bins_before", probe.bins_before), ("bins", probe.bins)):
            for bin_, value in zip(entry[shown], table_, strict=True):
                bin_["contains_diagonal"] = value.calibrated if value.rows else None
    return as_json(tree)
