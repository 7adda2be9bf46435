"""Attestations and verdicts as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.documents.bound_interventions import BOUND_INTERVENTION
from geometry_of_trust.documents.evaluations import (
    AT_THRESHOLD,
    EVALUATION,
    MEASURES,
    ProbeEvaluation,
)
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.showing.text import SEES_LATER, as_json, table
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import Binding, BoundCorpus, BoundModel, BoundProbeSet
from geometry_of_trust.terminal import bare_or_quoted, escaped_line, quoted
from geometry_of_trust.verifying.verdict import Refused, Step, Verdict

READINGS_SHOWN = 100
REFERENCE_FLAGS = (
    "as the reference sets them: p is below the threshold of the probe (0.7 unless set otherwise, "
    "and not signed), so that a confident no is flagged, too"
)
"""What flags say in a document without binding, as ours never are."""


def moment(timestamp: int) -> str:
    """Unix seconds as UTC, or as they are where the calendar ends."""
    try:
        at = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{timestamp} s after 1970"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


# --- attestations -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadingEntry:
    """A reading and, where it is bound, where it was read and what its probe is worth.

    `probability` and `flagged` are None where a document, not verified, has too few of them;
    `verdict` is empty for a probe of unknown training. `unbound` says that the document has no
    binding: it is not one of ours, and its flag is the reference's.
    """

    probe_set: int
    raw: float
    probability: float | None
    flagged: bool | None
    layer: int | None = None
    position: str = ""
    position_index: int | None = None
    dimension: str | None = None
    verdict: str = ""
    other_weights: bool = False
    other_tokens: bool = False
    outside: bool = False
    aggregate: str | None = None
    rows: tuple[int, ...] | None = None
    thresholds: Thresholds | None = None
    unbound: bool = False

    def tree(self) -> dict[str, object]:
        """For a program; what is not bound is left out."""
        bound: dict[str, object] = {}
        if self.dimension is not None:
            bound = {
                "layer": self.layer,
                "position": self.position,
                "position_index": self.position_index,
                "dimension": self.dimension,
                "verdict": self.verdict or None,
                "other_weights": self.other_weights,
                "other_tokens": self.other_tokens,
                "outside": self.outside,
                "aggregate": self.aggregate,
                "rows": None if self.rows is None else list(self.rows),
            }
        if (own := self.thresholds) is not None:
            above = {"above": self.raw > own.one_percent}
            bound["thresholds"] = dataclasses.asdict(own) | above
        return {
            "probe_set": self.probe_set,
            **bound,
            "raw": self.raw,
            "probability": self.probability,
            "flagged": self.flagged,
        }

    def line(self) -> str:
        """For a person: the numbers first, names that somebody chose last."""
        if self.unbound:
            flag = "flagged" if self.flagged else "not flagged"
        else:
            flag = "unreliable: flagged" if self.flagged else "reliable"
        if self.outside:
            flag = "OUTSIDE of what the probe was fitted on"
        p = "?" if self.probability is None else shortest_float32(self.probability)
        numbers = f"p = {p} ({flag}), raw = {shortest_float32(self.raw)}"
        if self.thresholds is not None:
            numbers += f", {self.thresholds.said_of(self.raw)}"
        if self.verdict == "INSUFFICIENT":
            numbers += ", by a probe that is INSUFFICIENT"
        if self.other_weights:
            numbers += ", by a probe TRAINED ON OTHER WEIGHTS"
        if self.other_tokens:
            numbers += ", by a probe TRAINED ON OTHER TOKENS"
        if self.dimension is not None and not self.verdict:
            numbers += ", by a probe of unknown training"
        if self.dimension is None:
            return f"{numbers}: probe (unbound)"
        index = self.position_index
        exact = "" if index is None or self.position == str(index) else f" ({index})"
        where = f"layer {self.layer}, position {bare_or_quoted(self.position)}{exact}"
        if self.rows is not None and len(self.rows) == 2:
            text = f"rows {self.rows[0]} to {self.rows[1] - 1}"
            where = f"layer {self.layer}, {bare_or_quoted(self.aggregate or '')} of {text}"
        elif self.aggregate is not None:
            text = f"text {index}"
            where = f"layer {self.layer}, {bare_or_quoted(self.aggregate)} of {text}"
        return f"{numbers}, {where}: {quoted(self.dimension)}"


def readings(attestation: Attestation) -> list[ReadingEntry]:
    """One entry a reading, in order."""
    bound_sets = attestation.binding.probe_sets if attestation.binding else ()
    flat = zip(attestation.confidence, attestation.coverage_flags, strict=False)
    entries = []
    for i, row in enumerate(attestation.layer_readings):
        bound = bound_sets[i] if i < len(bound_sets) else None
        every = bound is not None and bound.position == EVERY and len(bound.dimensions) > 0
        for n, raw in enumerate(row):
            # Of every row all probes, then of the next.
            number, j = divmod(n, len(bound.dimensions)) if bound and every else (None, n)
            confidence, flagged = next(flat, (None, None))
            entry = ReadingEntry(i, raw, confidence, flagged, unbound=attestation.binding is None)
            if bound is not None:
                place = (j, number if every else bound.position_index)
                outside = n < len(bound.outside) and bound.outside[n]
                entry = _placed(entry, bound, place, outside=outside)
            entries.append(entry)
    return entries


def _placed(
    entry: ReadingEntry, bound: BoundProbeSet, place: tuple[int, int | None], *, outside: bool
) -> ReadingEntry:
    """A reading with what is bound of its probe, which has this number in its set, and its row."""
    probe, row = place
    unknown = bound.unknown_training
    verdicts = ("",) * len(bound.dimensions) if unknown else bound.verdicts
    if probe >= min(len(bound.dimensions), len(verdicts)):
        return entry
    return dataclasses.replace(
        entry,
        layer=bound.layer,
        position=bound.position,
        position_index=row,
        dimension=bound.dimensions[probe],
        verdict=verdicts[probe],
        other_weights=bound.other_weights,
        other_tokens=bound.other_tokens,
        outside=outside,
        aggregate=bound.aggregate,
        rows=bound.rows,
        thresholds=bound.thresholds[probe] if probe < len(bound.thresholds) else None,
    )


def attestation(signed: Attestation) -> str:
    """What an attestation says, for a person."""
    tag = signed.inner_product
    added = (
        "" if tag.epsilon is None else f" (added to the diagonal: {shortest_float32(tag.epsilon)})"
    )
    rows = [
        ("model", f"{bare_or_quoted(signed.model_id)}  ({signed.precision})"),
        ("inner product", f"{tag.name}{added}"),
        ("time stated", moment(signed.timestamp)),
        ("corpus version", bare_or_quoted(signed.corpus_version)),
        ("probe version", bare_or_quoted(signed.probe_version)),
        ("geometry", signed.geometry_hash or ""),
        ("activations", signed.input_hash),
    ]
    if signed.binding is not None:
        bound = signed.binding
        record = bound.extraction_record
        rows += [
            ("unembedding", bound.unembedding.sha256),
            *(
                ("probe set", f"{entry.sha256}{', of unknown training' * entry.unknown_training}")
                for entry in bound.probe_sets
            ),
            ("extraction record", "" if record is None else record.sha256),
            ("residual stream", (record and record.stream and bare_or_quoted(record.stream)) or ""),
            ("bidirectional", SEES_LATER if record is not None and record.bidirectional else ""),
            ("weights came in", (record and record.stored and bare_or_quoted(record.stored)) or ""),
            ("adapter", (record and record.adapter) or ""),
            ("geometry reference", bound.geometry_reference or ""),
            *_corpus_rows(bound.corpus),
            *_model_rows(bound.model),
            ("made with", bare_or_quoted(bound.tool)),
            ("key id", bound.key_id),
        ]
        rows += _evaluation_rows(bound)
        rows += _intervention_rows(bound)
        rows += _beside_rows(bound)
    rows += _history_rows(signed)
    entries = readings(signed)
    rows += [("reading", entry.line()) for entry in entries[:READINGS_SHOWN]]
    more = len(entries) - READINGS_SHOWN
    if more > 0:
        rows.append(("", f"and {more} more"))
    if signed.binding is None:
        rows.append(("flags", REFERENCE_FLAGS))
    return table(rows)


def _evaluation_rows(bound: Binding) -> list[tuple[str, str]]:
    """How readings agree with labels, a line a probe and one at the threshold; and the bar."""
    evaluation = bound.evaluation
    if evaluation is None:
        return []
    places = [
        (entry.layer, entry.thresholds[j] if j < len(entry.thresholds) else None)
        for entry in bound.probe_sets
        for j in range(len(entry.dimensions))
    ]
    columns = {entry.dimension: entry.column for entry in evaluation.labels}
    rows = []
    for (layer, own), probe in list(zip(places, evaluation.probes, strict=False))[:READINGS_SHOWN]:
        of_one = f"layer {layer}: {quoted(probe.dimension)}"
        if (column := columns.get(probe.dimension)) not in (None, probe.dimension):
            of_one += f" against LABELS OF ANOTHER NAME, {quoted(column)}"
        told = f"{probe.positives} positive, {probe.negatives} negative"
        told += ", TRAINED ON THESE ROWS OR TEXTS" if probe.trained_on else ""
        rows.append(("evaluation", f"{_told(probe, MEASURES)}, {told}, {of_one}"))
        at = ""
        if evaluation.threshold is not None:
            at = f"at p = {shortest_float32(evaluation.threshold)}"
        elif own is not None:
            at = f"above its threshold for {own.share} {own.on}"
        if probe.at_threshold is not None:
            rows.append(("", f"{at}: {_told(probe, AT_THRESHOLD)}, {of_one}"))
    more = len(evaluation.probes) - READINGS_SHOWN
    rows += [("", f"and {more} more probes")] if more > 0 else []
    if evaluation.bar is not None:
        met = "MET" if evaluation.bar.met else "NOT MET"
        rows.append(("bar", f"{met}: {evaluation.bar.demand}, {evaluation.bar.sha256}"))
    return rows


def _intervention_rows(bound: Binding) -> list[tuple[str, str]]:
    """What came of moving states along probes, a line each."""
    named = [(x.layer, name) for x in bound.probe_sets for name in x.dimensions]
    rows = []
    for entry in bound.interventions[:READINGS_SHOWN]:
        said = (
            f"DETECTS {entry.detects}, STEERS {entry.steers}, NECESSARY {entry.necessary}, "
            f"{' less '.join(map(quoted, entry.targets))} by {entry.plus:+.4g} and "
            f"{entry.minus:+.4g} at {entry.delta:g} standard deviations, "
            f"p = {(1 + entry.as_great) / (1 + entry.directions):.3g}, {entry.texts} texts"
        )
        if entry.probe < len(named):
            layer, name = named[entry.probe]
            said += f", layer {layer}: {quoted(name)}"
        rows.append(("intervention", said))
    more = len(bound.interventions) - READINGS_SHOWN
    return [*rows, ("", f"and {more} more interventions")] if more > 0 else rows


def _beside_rows(bound: Binding) -> list[tuple[str, str]]:
    """What is said of readings beside the document."""
    found = bound.readings
    if found is None:
        return []
    count = len(bound.dimensions)
    told = (
        f"{found.rows} rows of {count} probe{'s'[: count != 1]}, in a file of their own: "
        f"{found.flagged} flagged, {found.outside} OUTSIDE of what a probe was fitted on"
    )
    return [("readings", told), ("root of rows", found.root)]


def row_readings(result: Verdict) -> list[ReadingEntry]:
    """One entry a probe of the row that was checked alone; none without."""
    if result.row is None:
        return []
    sets = enumerate(result.attestation.bound().probe_sets)
    places = [(i, bound, j) for i, bound in sets for j in range(len(bound.dimensions))]
    return [
        _placed(
            ReadingEntry(i, reading.raw, reading.probability, reading.flagged),
            bound,
            (j, result.row.row),
            outside=reading.outside,
        )
        for (i, bound, j), reading in zip(places, result.row.readings, strict=True)
    ]


def _told(probe: ProbeEvaluation, metrics: Sequence[str]) -> str:
    figures = ((name.replace("_", " "), probe.figure(name)) for name in metrics)
    return ", ".join(
        f"{name} {'undefined' if x is None else f'{x.value:.3f} ({x.low:.3f} to {x.high:.3f})'}"
        for name, x in figures
    )


def _corpus_rows(corpus: BoundCorpus | None) -> list[tuple[str, str]]:
    """Which texts were read, row by row, as the document says."""
    if corpus is None:
        return []
    return [("texts", f"{corpus.texts}, {corpus.texts_sha256}"), ("row table", corpus.rows_sha256)]


def _model_rows(model: BoundModel | None) -> list[tuple[str, str]]:
    """Which model it was, as the document says."""
    if model is None:
        return []
    return [
        ("manifest root", model.manifest_root),
        ("tensor root", model.tensor_root or "not read"),
        ("commit", model.commit or ""),
        ("not covered", ", ".join(map(bare_or_quoted, model.not_covered))),
    ]


def _history_rows(signed: Attestation) -> list[tuple[str, str]]:
    """Where a document stands in a history, and how far its geometry has drifted, as it says."""
    rows = []
    if signed.parent_attestation_hash is not None or signed.sequence_number:
        follows = signed.parent_attestation_hash or "none"
        rows.append(("in its history", f"number {signed.sequence_number}, after {follows}"))
    if signed.geometry_drift is not None:
        rows.append(("geometry drift", shortest_float32(signed.geometry_drift)))
    shown = signed.directional_drifts[:READINGS_SHOWN]
    rows += [
        ("directional drift", f"{shortest_float32(entry.drift)}: {quoted(entry.probe_name)}")
        for entry in shown
    ]
    more = len(signed.directional_drifts) - len(shown)
    return [*rows, ("", f"and {more} more drifts")] if more > 0 else rows


def attestation_tree(signed: Attestation) -> dict[str, object]:
    """What an attestation says, for a program."""
    record = None if signed.binding is None else signed.binding.extraction_record
    evaluation = None if signed.binding is None else signed.binding.evaluation
    interventions = () if signed.binding is None else signed.binding.interventions
    beside = None if signed.binding is None else signed.binding.readings
    return {
        "model_id": signed.model_id,
        "model_hash": signed.model_hash,
        "precision": signed.precision,
        "inner_product": signed.inner_product.name,
        "timestamp": signed.timestamp,
        "corpus_version": signed.corpus_version,
        "probe_version": signed.probe_version,
        "input_hash": signed.input_hash,
        "geometry_hash": signed.geometry_hash,
        "probe_commitment": signed.probe_commitment,
        "flag_rule": "p" if signed.binding is None else "max(p, 1 - p)",
        "divergence_flag": signed.divergence_flag,
        "bidirectional": record is not None and record.bidirectional,
        "digest": signed.digest,
        "parent_attestation_hash": signed.parent_attestation_hash,
        "sequence_number": signed.sequence_number,
        "geometry_drift": signed.geometry_drift,
        "directional_drifts": [dataclasses.asdict(entry) for entry in signed.directional_drifts],
        "evaluation": evaluation and EVALUATION.write(evaluation),
        "interventions": [BOUND_INTERVENTION.write(entry) for entry in interventions],
        "readings": [entry.tree() for entry in readings(signed)],
        "readings_beside": beside and dataclasses.asdict(beside),
    }


def attestation_json(signed: Attestation) -> str:
    """`attest --json`."""
    return as_json(attestation_tree(signed))


# --- verdicts ---------------------------------------------------------------------------------


def _steps(steps: tuple[Step, ...]) -> str:
    return "\n".join(
        f"{step.number} {step.name:<10} {step.outcome:<8} {escaped_line(step.detail)}"
        for step in steps
    )


def _step_trees(steps: tuple[Step, ...]) -> list[dict[str, object]]:
    return [dict(step.__dict__) for step in steps]


def verdict(result: Verdict) -> str:
    """A verdict: what the document says, a line a step, the verdict line last."""
    row = [("row alone", entry.line()) for entry in row_readings(result)]
    return "\n".join(
        (
            attestation(result.attestation),
            *([table(row)] if row else []),
            "",
            _steps(result.steps),
            "",
            escaped_line(result.line),
        )
    )


def verdict_json(result: Verdict) -> str:
    """`verify --json`, verified."""
    return as_json(
        {
            "verified": True,
            "complete": result.complete,
            "legacy": result.legacy,
            "verdict": result.line,
            "not_checked": list(result.not_checked),
            "unsigned_members": list(result.unsigned),
            "steps": _step_trees(result.steps),
            "row": [entry.tree() for entry in row_readings(result)] if result.row else None,
            "attestation": attestation_tree(result.attestation),
        }
    )


def refusal(refused: Refused) -> str:
    """A refusal: a line a step that ran; nothing of what the document claims."""
    return f"{_steps(refused.steps)}\n\n{refused.line}"


def refusal_json(refused: Refused) -> str:
    """`verify --json`, refused."""
    return as_json(
        {
            "verified": False,
            "complete": False,
            "verdict": refused.line,
            "refused_at_step": refused.step,
            "error": type(refused.cause).__name__,
            "where": refused.where,
            "expected": refused.expected,
            "found": refused.found,
            "hint": refused.hint,
            "steps": _step_trees(refused.steps),
        }
    )
