"""Inner agreement of an evaluation that is bound, and with the document that it is bound in.

The numbers beside the checks are those of docs/verification.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from geometry_of_trust.documents.evaluations import AT_THRESHOLD, Evaluation, ProbeEvaluation
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.errors import BindingMismatch
from geometry_of_trust.signing.binding import Binding


def check_bound_evaluation(binding: Binding, where: str) -> None:
    """What is said of probes on labelled rows is of the probes and the rows that were read.

    Raises:
        BindingMismatch: naming the member.
    """
    if binding.evaluation is None:
        return
    for name, expected, found in _compared(binding, binding.evaluation):
        if expected != found:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=found)


def _compared(binding: Binding, evaluation: Evaluation) -> Iterator[tuple[str, object, object]]:
    """Of each thing its name, what it must be, and what it is."""
    units = [binding.units_of(bound) for bound in binding.probe_sets]
    rows = units[0] if units else 0
    # 4.19 An evaluation is of every row of every probe, in their order; each has labels.
    positions = {bound.position for bound in binding.probe_sets}
    yield "positions", [EVERY], sorted(positions)
    reads = {bound.reads_texts for bound in binding.probe_sets}
    yield "probe_sets", "rows, or texts", "rows, or texts" if len(reads) < 2 else "both"
    own = [len(bound.thresholds) > 0 for bound in binding.probe_sets for _ in bound.dimensions]
    names = [name for bound in binding.probe_sets for name in bound.dimensions]
    yield "probes", names, [probe.dimension for probe in evaluation.probes]
    yield "labels", list(dict.fromkeys(names)), [entry.dimension for entry in evaluation.labels]
    columns = all(entry.column is not None for entry in evaluation.labels)
    yield "labels", True, evaluation.from_file or columns  # those of a row table have names
    yield "from_file", True, evaluation.from_file or binding.corpus is not None
    yield "groups", True, 1 < evaluation.groups <= rows
    for i, probe in enumerate(evaluation.probes):
        yield f"probes[{i}]", f"{rows} rows of two kinds", _rows_of(probe)
        # 4.20 It has numbers at a threshold if there is one, for all or its own, which agree with
        # each other.
        at = f"probes[{i}].at_threshold"
        there = evaluation.threshold is not None or own[i]
        yield at, there, probe.at_threshold is not None
        if probe.at_threshold is not None:
            true, false = probe.at_threshold.true_positives, probe.at_threshold.false_positives
            fits = true <= probe.positives and false <= probe.negatives
            yield at, True, fits
            yield f"{at}.precision", true + false > 0, probe.at_threshold.precision is not None
    if (bar := evaluation.bar) is not None:
        # 4.21 A bar is for one of the probes and a figure of it, and is met if that says so.
        yield "bar", 1, [bar.minimum, bar.maximum].count(None)
        yield "bar.probe", True, bar.probe < len(evaluation.probes)
        there = evaluation.threshold is not None or own[bar.probe]
        yield "bar.metric", True, there or bar.metric not in AT_THRESHOLD
        yield "bar", True, binding.corpus is not None
        figure = evaluation.probes[bar.probe].figure(bar.metric)
        yield "bar.met", bar.met_by(figure), bar.met


def _rows_of(probe: ProbeEvaluation) -> str:
    both = probe.positives > 0 and probe.negatives > 0
    return f"{probe.positives + probe.negatives} rows of {'two kinds' if both else 'one kind'}"
