"""How well the probabilities of probes hold on other data than they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import expit

from geometry_of_trust.documents.probe_card import Bin, Figure, Quality
from geometry_of_trust.errors import MissingMember
from geometry_of_trust.files import PathLike
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.equal_rows import text_groups
from geometry_of_trust.probing.fresh_rows import score_fresh_rows
from geometry_of_trust.probing.held_out_figures import figure_with_interval, quality_figures
from geometry_of_trust.probing.judged_units import TextsJudged, texts_of
from geometry_of_trust.probing.metrics import ExpectedCalibrationError
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.reliability_bins import reliability_bins
from geometry_of_trust.probing.row_origins import RowOrigins, refused_tokens
from geometry_of_trust.probing.score_histogram import ScoreHistogram, score_histogram
from geometry_of_trust.probing.sources import (
    Sources,
    check_agreement,
    open_sources,
    trained_geometry,
)
from geometry_of_trust.probing.training import check_inputs
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
    scores: ScoreHistogram

    @property
    def off(self) -> int:
        """How many bins have an interval that does not hold their mean probability."""
        return sum(entry.rows > 0 and not entry.calibrated for entry in self.bins)


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of each probe of a set on one activations file.

    Attributes:
        layer: that of the probe set. grouped: whether there was a row table with groups.
        trained_on: whether the activations are those that the probes were trained on.
        probes: one entry a probe.
        unknown_training: whether the set does not say what it was trained on.
        other_tokens: whether some rows are of other tokens than it was trained on.
    """

    layer: int
    grouped: bool
    trained_on: bool
    probes: tuple[Calibration, ...]
    unknown_training: bool = False
    other_tokens: bool = False


def calibration_report(
    *,
    activations: PathLike,
    probes: PathLike,
    unembedding: PathLike,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    other_weights: bool = False,
    unknown_training: bool = False,
    anyway: bool = False,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Bins, ECE and figures of quality of probes on labelled activations.

    Args:
        labels, label_columns: as of `training_files.train_layers`; where there are several
            columns or probes, each probe is judged by the column of its name.
        other_weights: whether the probes may have been trained on another model.
        unknown_training: also take a probe set that does not say what it was trained on, as the
            reference makes it.
        anyway: also take rows of other tokens than the probes were trained on.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        RecordMismatch: the extraction record beside the activations is of other files.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch, ProvenanceMissing:
            the files do not fit together.
        LabelCount, BadLabel, OneClass, MissingMember, BadOption: the labels.
        OtherTokens: the probes were trained on other tokens, as far as record and row table say.
        TooFewOfClass: all rows are said to be of one group.
    """
    sources = open_sources(activations, [probes], unembedding)
    record = sources.own_record()
    weights = None if record is None else record.weights
    check_agreement(
        sources, weights=weights, other_weights=other_weights, unknown_training=unknown_training
    )
    probe_set, states = sources.probe_sets[0], sources.activations
    rows, training = sources.activations_file.rows, probe_set.training
    columns = labels_by_probe(named_labels(labels, label_columns, None, rows), probe_set.probes)
    check_inputs(states, columns, states.hidden_dim, layers=(probe_set.layer,), rows=rows)
    texts = None
    if probe_set.aggregate is not None:
        texts = texts_of(probe_set.aggregate, rows, columns, states.layer(probe_set.layer))
    other, trained = at_other_tokens(sources, texts), probe_set.trained_tokens
    if other and trained is not None and not anyway:
        raise refused_tokens(sources.probe_files[0].path, trained, "other tokens among the rows")
    geometry = trained_geometry(sources, progress)
    groups, H = text_groups(rows), states.layer(probe_set.layer)
    return CalibrationReport(
        layer=probe_set.layer,
        grouped=groups is not None,
        trained_on=training is not None
        and training.activations_sha256 == sources.activations_file.sha256,
        probes=tuple(
            _calibration(probe, geometry, H, columns[probe.name], groups, texts=texts)
            for probe in probe_set.probes
        ),
        unknown_training=training is None,
        other_tokens=other,
    )


def at_other_tokens(sources: Sources, texts: TextsJudged | None) -> bool:
    """Whether some rows, or texts, are of other tokens than the probes were trained on."""
    origins = RowOrigins.of(sources.activations_file)
    trained = sources.probe_sets[0].trained_tokens
    if origins is None or trained is None:
        return False
    if not origins.trained_on(trained).all():
        return True
    spans = () if texts is None else texts.spans
    return not all(origins.whole_text(trained, (span.start, span.stop)) for span in spans)


def labels_by_probe(columns: Mapping[str, Labels], probes: Sequence[Probe]) -> dict[str, Labels]:
    """The labels of each probe, by its name; of one column and one probe whatever their names.

    Args:
        columns: by name, shape (n,).

    Raises:
        MissingMember: a probe has no column of its name.
    """
    if len(columns) == len(probes) == 1:
        return {probes[0].name: next(iter(columns.values()))}
    for probe in probes:
        if probe.name not in columns:
            raise MissingMember(
                "labels", expected=f"a column {probe.name!r}", found=", ".join(columns)
            )
    return {probe.name: columns[probe.name] for probe in probes}


def _calibration(
    probe: Probe,
    geometry: Geometry,
    H: Array,
    labels: Labels,
    groups: Labels | None,
    *,
    texts: TextsJudged | None,
) -> Calibration:
    scores = score_fresh_rows(probe, geometry, H, labels, groups, texts=texts)
    sample, y = scores.sample, scores.sample.y
    positives, negatives, count = scores.counts
    before, after = expit(scores.logits), expit(scores.log_odds)
    return Calibration(
        dimension=probe.name,
        positives=positives,
        negatives=negatives,
        groups=count,
        quality=quality_figures(sample, scores.logits, scores.log_odds),
        ece_before_platt=figure_with_interval(sample, ExpectedCalibrationError(sample, before)),
        bins_before=reliability_bins(before, y, sample.groups),
        bins=reliability_bins(after, y, sample.groups),
        scores=score_histogram(scores.logits, y),
    )
