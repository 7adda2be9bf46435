"""How well the probabilities of probes hold on other data than they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Bin, Figure, Quality
from geometry_of_trust.errors import MissingMember
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.row_table import groups_of
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.held_out_figures import (
    CalibrationError,
    Sample,
    bins,
    figure,
    quality,
)
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.score_histogram import Histogram, histogram
from geometry_of_trust.probing.sources import (
    check_agreement,
    open_sources,
    trained_geometry,
)
from geometry_of_trust.probing.splits import Labels, canonical_order
from geometry_of_trust.probing.training import check
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.progress import Progress


@dataclass(frozen=True)
class Calibration:
    """What a probe says of labelled rows, against what they are.

    Attributes:
        dimension: the probe's name. positives, negatives, groups: of the rows.
        quality: figures of its logits and probabilities on all rows.
        ece_before_platt: of σ(logit). bins_before, bins: before and after Platt scaling.
        scores: the logits by class.
    """

    dimension: str
    positives: int
    negatives: int
    groups: int
    quality: Quality
    ece_before_platt: Figure
    bins_before: tuple[Bin, ...]
    bins: tuple[Bin, ...]
    scores: Histogram

    @property
    def off(self) -> int:
        """How many bins have an interval that does not hold their mean probability."""
        return sum(held.rows > 0 and not held.calibrated for held in self.bins)


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of each probe of a set on one activations file.

    Attributes:
        layer: that of the probe set. grouped: whether there was a row table with groups.
        trained_on: whether the activations are those that the probes were trained on.
        probes: one entry a probe.
    """

    layer: int
    grouped: bool
    trained_on: bool
    probes: tuple[Calibration, ...]


def calibration_report(
    *,
    activations: PathLike,
    probes: PathLike,
    unembedding: PathLike,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    progress: Progress | None = None,
) -> CalibrationReport:
    """Bins, ECE and figures of quality of probes on labelled activations.

    Args:
        labels, label_columns: as of `training_files.train_layers`; where there are several
            columns or probes, each probe is judged by the column of its name.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch, ProvenanceMissing:
            the files do not fit together.
        LabelCount, BadLabel, OneClass, MissingMember, BadOption: the labels.
    """
    sources = open_sources(activations, [probes], unembedding)
    check_agreement(sources)
    probe_set, acts = sources.probe_sets[0], sources.activations
    rows = sources.activations_file.rows
    columns = named_labels(labels, label_columns, None, rows)
    if len(columns) == len(probe_set.probes) == 1:
        columns = {probe_set.probes[0].name: next(iter(columns.values()))}
    for probe in probe_set.probes:
        if probe.name not in columns:
            raise MissingMember(
                "labels", expected=f"a column {probe.name!r}", found=", ".join(columns)
            )
    columns = {probe.name: columns[probe.name] for probe in probe_set.probes}
    check(acts, columns, acts.hidden_dim, layer=probe_set.layer, l2=None, rows=rows)
    geometry = trained_geometry(sources, progress)
    groups = groups_of(rows)
    states = acts.layer(probe_set.layer)
    training = probe_set.training
    return CalibrationReport(
        layer=probe_set.layer,
        grouped=groups is not None,
        trained_on=training is not None
        and training.activations_sha256 == sources.activations_file.sha256,
        probes=tuple(
            _calibration(probe, geometry, states, columns[probe.name], groups)
            for probe in probe_set.probes
        ),
    )


def _calibration(
    probe: Probe,
    geometry: Geometry,
    states: NDArray[np.float64],
    labels: Labels,
    groups: Labels | None,
) -> Calibration:
    order, numbers = canonical_order(states, labels, groups)
    states, y = states[order], labels[order]
    with threadpool_limits(1, user_api="blas"):
        logits = states @ geometry.apply(probe.weights.astype(np.float64)) + probe.bias
    logits = logits.astype(np.float32).astype(np.float64)
    log_odds = probe.platt_scale * logits + probe.platt_shift
    sample = Sample(y, numbers, np.zeros(len(y), np.intp))
    before, after = expit(logits), expit(log_odds)
    return Calibration(
        dimension=probe.name,
        positives=int((y == 1).sum()),
        negatives=int((y == 0).sum()),
        groups=int(numbers.max()) + 1,
        quality=quality(sample, logits, log_odds),
        ece_before_platt=figure(sample, CalibrationError(sample, before)),
        bins_before=bins(before, y, numbers),
        bins=bins(after, y, numbers),
        scores=histogram(logits, y),
    )
