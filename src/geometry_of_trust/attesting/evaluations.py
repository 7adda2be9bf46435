"""The evaluation of an attestation: its readings of every row, held against labels.

It follows from what is signed, the labels and the groups alone, so that nobody needs activations
to compute it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from geometry_of_trust.attesting.mismatches import mismatch
from geometry_of_trust.documents.evaluations import (
    AT_THRESHOLD,
    Bar,
    BoundBar,
    BoundLabels,
    Evaluation,
    labels_digest,
    read_bar,
)
from geometry_of_trust.documents.strictjson import float32, shortest_float32
from geometry_of_trust.errors import (
    BadOption,
    ContentMismatch,
    Inconsistent,
    MissingMember,
    TooFewOfClass,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.label_tables import is_label_table
from geometry_of_trust.formats.readings_file import ReadingRows, open_readings
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.equal_rows import text_groups
from geometry_of_trust.probing.evaluating import evaluate, sample_of
from geometry_of_trust.probing.judged_units import labels_of_texts
from geometry_of_trust.probing.label_checks import check_label_column
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.signing.attestation import Attestation


class KeptReadings:
    """What an evaluation needs of readings beside a document: all of them, in memory.

    Attributes:
        raw, probability: float32, shape (rows, probes).
    """

    def __init__(self, rows: int, probes: int) -> None:
        self.raw = np.empty((rows, probes), np.float32, order="F")
        self.probability = np.empty((rows, probes), np.float32, order="F")
        self._count = 0

    def add(self, rows: ReadingRows) -> None:
        """Take the next rows."""
        part = slice(self._count, self._count + len(rows))
        self.raw[part], self.probability[part] = rows.raw, rows.probability
        self._count += len(rows)

    @classmethod
    def of(cls, attestation: Attestation, path: PathLike) -> KeptReadings | None:
        """Those of a file that is under the bound root; None if all are in the document.

        Raises:
            As `open_readings`.
        """
        binding = attestation.bound()
        if binding.readings is None:
            return None
        size = binding.readings.rows, len(binding.dimensions)
        with open_readings(path, *size) as parts:
            kept = cls(*size)
            for part in parts:
                kept.add(part)
        return kept


@dataclass(frozen=True)
class Labelled:
    """Where labels and groups come from; and readings that the document itself does not hold.

    Attributes:
        labels: a `.labels` file or a table; None: the row table.
        rows: the row table, if there is one.
        readings: those beside the document, if they are there.
    """

    labels: PathLike | None
    rows: RowTable | None
    readings: KeptReadings | None = None

    def columns(self, names: Sequence[str]) -> Mapping[str, Labels]:
        """Labels by column, as `named_labels`."""
        return named_labels(self.labels, names, None, self.rows)


def with_evaluation(
    attestation: Attestation,
    labelled: Labelled,
    probe_sets: Sequence[ProbeSet],
    *,
    label_columns: Sequence[str],
    threshold: float | None,
    bar: PathLike | None,
) -> Attestation:
    """An attestation, not yet signed, with the evaluation of its readings in the binding.

    Args:
        probe_sets: that were read.
        label_columns: of labels; where there are several, each probe has the one of its name.
        threshold: probability from which a row is called positive; None: that of the bar, or
            without one the own threshold of each probe that has one.
        bar: the file of what has to be reached.

    Raises:
        BadOption: a threshold that is no probability, or another one than the bar's.
        Inconsistent: the bar is for another corpus or other labels, or for no probe or several.
        LabelCount, BadLabel, OneClass, MissingMember and others: of the labels, as `named_labels`
            and `check_label_column`. TooFewOfClass: all rows are of one group.
    """
    found = None if bar is None else read_bar(bar)
    if threshold is not None:
        threshold = float32(threshold)
        if not 0 <= threshold <= 1:
            raise BadOption("--threshold", expected="a probability, 0 to 1", found=threshold)
    if found is not None and found[0].metric in AT_THRESHOLD:
        asked = found[0].threshold
        if threshold not in (None, asked):
            said = "none" if asked is None else f"{shortest_float32(asked)}, or none"
            raise BadOption("--threshold", expected=f"{said}, as the bar says", found=threshold)
        threshold = asked
    columns, names = labelled.columns(label_columns), attestation.bound().dimensions
    only = next(iter(columns)) if len(columns) == len(set(names)) == 1 else None
    chosen = {}
    for name in dict.fromkeys(names):
        chosen[name] = name if only is None else only
        if chosen[name] not in columns:
            raise MissingMember("labels", expected=f"a column {name!r}", found=", ".join(columns))
    # The one column of a `.labels` file has no name of its own.
    named = labelled.labels is None or is_label_table(labelled.labels)
    labels = tuple(
        BoundLabels(name, column if named else None, labels_digest(columns[column].tobytes()))
        for name, column in chosen.items()
    )
    values = {name: columns[column] for name, column in chosen.items()}
    evaluation = _evaluation(attestation, labelled, labels, values, threshold)
    probes = tuple(
        replace(probe, trained_on=known)
        for probe, known in zip(evaluation.probes, trained_on(attestation, probe_sets), strict=True)
    )
    evaluation = replace(evaluation, probes=probes)
    if found is not None and bar is not None:
        evaluation = replace(evaluation, bar=_bound_bar(attestation, evaluation, found, bar))
    binding = replace(attestation.bound(), evaluation=evaluation)
    return replace(attestation, binding=binding, probe_commitment=binding.digest)


def trained_on(attestation: Attestation, probe_sets: Sequence[ProbeSet]) -> list[bool]:
    """Of each probe, whether it was trained on what is evaluated, as far as its set says.

    That is on the very activations, on a row table of the same content, or on the same texts.
    """
    binding, found = attestation.bound(), []
    corpus = binding.corpus
    for probe_set in probe_sets:
        training = probe_set.training
        known = training is not None and (
            training.activations_sha256 == binding.activations.sha256
            or (corpus is not None and training.rows_digest == corpus.rows_sha256)
            or (corpus is not None and training.texts_sha256 == corpus.texts_sha256)
        )
        found += [known] * len(probe_set.probes)
    return found


def check_trained_on(attestation: Attestation, probe_sets: Sequence[ProbeSet]) -> None:
    """What is bound of whether probes were trained on what is evaluated is what they say.

    Raises:
        ContentMismatch: naming the first that says something else.
    """
    evaluation = attestation.bound().evaluation
    if evaluation is None:
        return
    # 5.21 A probe trained on the rows or texts that are evaluated is bound as such.
    known = trained_on(attestation, probe_sets)
    for i, (probe, found) in enumerate(zip(evaluation.probes, known, strict=True)):
        if probe.trained_on != found:
            raise ContentMismatch(
                f"--probes, trained_on of probe {i}, {probe.dimension!r}",
                expected=f"{probe.trained_on}, as signed", found=found,
            )  # fmt: skip


def _evaluation(
    attestation: Attestation,
    labelled: Labelled,
    labels: tuple[BoundLabels, ...],
    values: Mapping[str, Labels],
    threshold: float | None,
) -> Evaluation:
    binding = attestation.bound()
    if len({bound.reads_texts for bound in binding.probe_sets}) > 1:
        raise BadOption("--labels", expected="probe sets that all read rows, or all texts",
                        found="both")  # fmt: skip
    rows = binding.activations.positions
    for name, column in values.items():
        check_label_column(name, column, rows)
    groups, rows_of = text_groups(labelled.rows), labelled.rows
    if binding.probe_sets[0].reads_texts and rows_of is not None:
        values = {name: labels_of_texts(name, column, rows_of) for name, column in values.items()}
        firsts = [of_text.start for of_text in rows_of.text_rows()]
        groups = None if groups is None else groups[firsts]
    samples = {name: sample_of(column, groups) for name, column in values.items()}
    count = int(next(iter(samples.values())).groups.max()) + 1
    if count < 2:
        raise TooFewOfClass("groups", expected="two or more", found="1 in all")
    readings = _readings(attestation, labelled.readings)
    own = [
        bound.thresholds[j].one_percent if bound.thresholds else None
        for bound in binding.probe_sets
        for j in range(len(bound.dimensions))
    ]
    probes = tuple(
        evaluate(name, read, samples[name], threshold, above)
        for name, read, above in zip(binding.dimensions, readings, own, strict=True)
    )
    return Evaluation(labels, labelled.labels is not None, count, threshold, probes)


def _readings(
    attestation: Attestation, kept: KeptReadings | None
) -> list[tuple[ArrayLike, ArrayLike]]:
    """Raw readings and probabilities of each probe, one a row."""
    if kept is not None:
        return list(zip(kept.raw.T, kept.probability.T, strict=True))
    found: list[tuple[ArrayLike, ArrayLike]] = []
    start = 0
    for bound, row in zip(attestation.bound().probe_sets, attestation.layer_readings, strict=True):
        p = attestation.confidence[start : start + len(row)]
        start += len(row)
        count = len(bound.dimensions)
        found += [(row[j::count], p[j::count]) for j in range(count)]
    return found


def _bound_bar(
    attestation: Attestation, evaluation: Evaluation, found: tuple[Bar, str], where: PathLike
) -> BoundBar:
    bar, digest = found
    binding = attestation.bound()
    texts = None if binding.corpus is None else binding.corpus.texts_sha256
    if bar.corpus != texts:
        raise Inconsistent(
            f"{where}.corpus", expected=f"that of the corpus read, {texts or 'not recorded'}",
            found=bar.corpus,
        )  # fmt: skip
    places = [(x.layer, name) for x in binding.probe_sets for name in x.dimensions]
    probes = [i for i, place in enumerate(places) if place == (bar.layer, bar.dimension)]
    if len(probes) != 1:
        raise Inconsistent(
            where, expected="a bar for one of the probes",
            found=f"one for {len(probes)}, {bar.dimension!r} of layer {bar.layer}",
        )  # fmt: skip
    labels = next(x.sha256 for x in evaluation.labels if x.dimension == bar.dimension)
    if bar.labels not in (None, labels):
        raise Inconsistent(
            f"{where}.labels", expected=f"those of {bar.dimension!r} here, {labels}",
            found=bar.labels, hint="Give the labels that the bar was set for: got-cli show prints "
            "the digest of a labels file and of a row table's columns.",
        )  # fmt: skip
    if bar.metric in AT_THRESHOLD and evaluation.probes[probes[0]].at_threshold is None:
        raise Inconsistent(
            f"{where}.threshold", expected=f"one of {bar.metric}, or a probe that has its own",
            found="none",
        )  # fmt: skip
    bound = BoundBar(digest, probes[0], bar.metric, bar.minimum, bar.maximum, met=False)
    return replace(bound, met=bound.met_by(evaluation.probes[probes[0]].figure(bar.metric)))


def check_evaluation(attestation: Attestation, labelled: Labelled) -> None:
    """The evaluation that is bound is that of the signed readings with these labels.

    Raises:
        ContentMismatch: the labels are others than those signed.
        ReadingsMismatch: it is another one.
        Others: as `with_evaluation`.
    """
    signed = attestation.bound().evaluation
    if signed is None:
        return
    asked = [entry.column for entry in signed.labels if entry.column is not None]
    columns = labelled.columns(list(dict.fromkeys(asked)))
    values = {}
    for entry in signed.labels:
        column = next(iter(columns.values())) if entry.column is None else columns[entry.column]
        # 5.18 The labels are those signed.
        digest = labels_digest(column.tobytes())
        if digest != entry.sha256:
            raise ContentMismatch(
                f"labels {entry.dimension!r}", found=digest,
                expected=f"those of sha256 {entry.sha256}, as signed",
            )  # fmt: skip
        values[entry.dimension] = column
    again = _evaluation(attestation, labelled, signed.labels, values, signed.threshold)
    # 5.19 What is signed of the probes is what these labels and the signed readings give.
    for name, ours, theirs in (
        ("groups", again.groups, signed.groups),
        *(
            (f"probes[{i}]", replace(ours, trained_on=theirs.trained_on), theirs)
            for i, (ours, theirs) in enumerate(zip(again.probes, signed.probes, strict=True))
        ),
    ):
        if ours != theirs:
            raise mismatch(f"binding.evaluation.{name}", ours, theirs)


def check_bar(attestation: Attestation, path: PathLike) -> None:
    """A bar is the one that is bound, and says what is bound of it.

    Raises:
        ContentMismatch: it is another one, or none is bound.
        Inconsistent and others: as `read_bar` and `with_evaluation`.
    """
    evaluation = attestation.bound().evaluation
    signed = None if evaluation is None else evaluation.bar
    if evaluation is None or signed is None:
        raise ContentMismatch(path, expected="no bar, as none is bound", found="one")
    found = read_bar(path)
    # 5.20 The bar is the one that is bound, with the threshold that was used.
    ours, threshold = _bound_bar(attestation, evaluation, found, path), found[0].threshold
    if found[0].metric in AT_THRESHOLD and threshold != evaluation.threshold:
        raise ContentMismatch(
            f"{path}.threshold", expected=f"{evaluation.threshold}, as signed", found=threshold
        )
    if ours != signed:
        raise ContentMismatch(
            path, expected=f"the bar {signed.sha256}, {signed.demand}, of probe {signed.probe}",
            found=f"{ours.sha256}, {ours.demand}, of probe {ours.probe}",
        )  # fmt: skip
