"""How far a probe carries: its threshold, and what it does on rows of other files.

A probe is not fitted to any of them. Readings are exact, so that the figures are the same for the
same probe on every machine. Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import Elsewhere
from geometry_of_trust.documents.thresholds import (
    ONE_PERCENT,
    TENTH_PERCENT,
    Thresholds,
    exceeding,
    least_groups,
)
from geometry_of_trust.errors import (
    BadLabel,
    BadRowTable,
    DimensionMismatch,
    MissingMember,
    NonFinite,
    PrecisionMismatch,
    TooFewGroups,
    TooFewOfClass,
)
from geometry_of_trust.formats.arrays import Activations, check_not_zero
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.equal_rows import joined_groups, standing_in, text_groups
from geometry_of_trust.probing.evaluating import evaluate
from geometry_of_trust.probing.judged_units import TextsJudged, labels_of_texts, texts_of
from geometry_of_trust.probing.label_checks import check_label_column
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.shift_falls import Shifted
from geometry_of_trust.probing.splits import canonical_order


@dataclass(frozen=True, eq=False)
class OtherRows:
    """Activations of the same model that a probe is not fitted to.

    Attributes:
        name: what they are called on a card. activations: P states a layer.
        labels: by the name of the dimension, 0 or 1, shape (P,). rows: their row table.
        sha256: of their file, 64 hex digits, if they are of one.
    """

    name: str
    activations: Activations
    labels: Mapping[str, Labels]
    rows: RowTable | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Others:
    """What a training is held against besides its own rows.

    Attributes:
        ood: labelled in every dimension; each gives a line of the card.
        benign: without the property, to set thresholds on; labels, if any, are all 0.
        shifted: all texts trained on in other styles.
    """

    ood: Sequence[OtherRows] = ()
    benign: OtherRows | None = None
    shifted: Sequence[Shifted] = ()

    def check(
        self,
        activations: Activations,
        columns: Sequence[str],
        layers: Sequence[int],
        aggregate: Aggregate | None,
    ) -> None:
        """All that can be refused before any arithmetic.

        Args:
            activations: those trained on. columns: the dimensions. layers: that are trained at.

        Raises:
            LayerMissing, NonFinite, ZeroState, DimensionMismatch, PrecisionMismatch: the states are
                not such as were trained on.
            MissingMember, LabelCount, BadLabel, OneClass: the labels; BadLabel, too, of benign rows
                labelled 1.
            BadRowTable: not one row a state, or none where texts are read.
            LimitExceeded, BadText: a name, as `check_name`.
        """
        for entry in (*self.ood, *([] if self.benign is None else [self.benign])):
            _check(entry, activations, layers, aggregate)
        for entry in self.ood:
            for name in columns:
                if name not in entry.labels:
                    raise MissingMember(f"{entry.name}, labels", expected=f"some of {name!r}",
                                        found=", ".join(entry.labels) or "none")  # fmt: skip
                labels = entry.labels[name]
                check_label_column(
                    f"{entry.name}, {name}", labels, len(entry.activations.positions)
                )
                if aggregate is not None and entry.rows is not None:
                    labels_of_texts(f"{entry.name}, {name}", labels, entry.rows)
        if self.benign is not None:
            for name, labels in self.benign.labels.items():
                if labels.any():
                    raise BadLabel(
                        f"{self.benign.name}, {name}", expected="0 everywhere, of benign rows",
                        found=f"{int(labels.sum())} of 1",
                    )  # fmt: skip


def _check(
    entry: OtherRows, like: Activations, layers: Sequence[int], aggregate: Aggregate | None
) -> None:
    states, where = entry.activations, entry.name
    check_name(where, "name of a file")
    if states.hidden_dim != like.hidden_dim:
        raise DimensionMismatch(where, expected=f"{like.hidden_dim}, as those trained on",
                                found=states.hidden_dim)  # fmt: skip
    if states.precision != like.precision:
        raise PrecisionMismatch(where, expected=like.precision, found=states.precision)
    positions = len(states.positions)
    if aggregate is not None and entry.rows is None:
        raise BadRowTable(where, expected="a row table, which says of which text each row is",
                          found="none")  # fmt: skip
    if entry.rows is not None and len(entry.rows) != positions:
        raise BadRowTable(where, expected=f"{positions}, one a position", found=len(entry.rows))
    for layer in layers:
        check_not_zero(f"{where}, layer {layer}", states.layer(layer))


@dataclass(frozen=True, eq=False)
class TrainedRows:
    """The rows that probes were fitted to, at their layer.

    Attributes:
        H: states, shape (n, d). rows: their row table. layer: whose they are.
        geometry: that was trained under. aggregate: of a text's readings, if texts are read.
    """

    H: Array
    rows: RowTable | None
    layer: int
    geometry: Geometry
    aggregate: Aggregate | None


@dataclass(frozen=True, eq=False)
class _Units:
    """Rows or texts of a file that are judged, m of them, in an order of their content.

    Attributes:
        sample: their labels and groups. order: where each row was, shape (n,), of rows.
        repeated: which were trained on, too, shape (m,). texts: if these are judged.
    """

    sample: Sample
    order: Indices
    repeated: NDArray[np.bool_]
    texts: TextsJudged | None

    @classmethod
    def of(cls, entry: OtherRows, labels: Labels, trained: TrainedRows) -> _Units:
        H = entry.activations.layer(trained.layer)
        order, groups = canonical_order(H, labels, joined_groups(H, text_groups(entry.rows)))
        sample = Sample.of_one_scorer(labels[order], groups)
        repeated = standing_in(H, entry.rows, trained.H, trained.rows)
        if trained.aggregate is None:
            return cls(sample, order, repeated[order], None)
        texts = texts_of(trained.aggregate, entry.rows, {"": labels}, H)
        whole = np.array([repeated[span].all() for span in texts.spans], np.bool_)
        return cls(texts.units(order, sample).sample, order, whole, texts)

    def read(self, entry: OtherRows, probe: Probe, trained: TrainedRows) -> list[float]:
        """What a probe says of each: m float32 values.

        Raises:
            NonFinite: one is beyond float32.
        """
        H = entry.activations.layer(trained.layer)
        raw = exact.readings(probe.weights, trained.geometry.phi, H, probe.bias)
        if not all(map(math.isfinite, raw)):
            raise NonFinite(f"{entry.name}, {probe.name}", expected="logits within float32",
                            found="others")  # fmt: skip
        if self.texts is None:
            return [raw[i] for i in self.order.tolist()]
        return self.texts.exactly(raw)


def check_groups(others: Others, trained: TrainedRows) -> None:
    """There are groups enough of other rows.

    Raises:
        TooFewGroups: fewer than 99 benign ones that were not trained on.
        TooFewOfClass: all rows of another file are of one.
    """
    if others.benign is not None:
        units = _Units.of(others.benign, _none(others.benign), trained)
        count = len(np.unique(units.sample.groups[~units.repeated]))
        least = least_groups(ONE_PERCENT)
        if count < least:
            raise TooFewGroups(
                f"--benign {others.benign.name}", found=count,
                expected=f"at least {least} independent texts, of which 1 % can be told",
                hint="Texts of one group (extract --group-column), of equal states or of the same "
                "tokens count once, those that were trained on do not count.",
            )  # fmt: skip
    for entry in others.ood:
        if not _Units.of(entry, _none(entry), trained).sample.groups.any():
            raise TooFewOfClass(f"{entry.name}, groups", expected="two or more", found="1 in all")


def _none(entry: OtherRows) -> Labels:
    return np.zeros(len(entry.activations.positions), np.int8)


def thresholds_of(readings: Array, groups: Indices, *, benign: bool) -> Thresholds:
    """The thresholds that rows without the property give.

    Args:
        readings: float32 values, shape (n,), n ≥ 1. groups: of the rows, any numbers, shape (n,).
    """
    names, numbers = np.unique(groups, return_inverse=True)
    greatest = np.full(len(names), -np.inf)
    np.maximum.at(greatest, numbers, readings)
    falling = sorted(greatest.tolist(), reverse=True)
    tenth = exceeding(len(falling), TENTH_PERCENT)
    return Thresholds(
        benign,
        len(falling),
        falling[max(0, exceeding(len(falling), ONE_PERCENT))],
        None if tenth < 0 else falling[tenth],
    )


def benign_thresholds(benign: OtherRows, probe: Probe, trained: TrainedRows) -> Thresholds:
    """The thresholds of a probe on benign rows or texts; those that were trained on are left out.

    `check_groups` has seen that enough are left.
    """
    units = _Units.of(benign, _none(benign), trained)
    fresh = ~units.repeated
    raw = np.array(units.read(benign, probe, trained))
    found = thresholds_of(raw[fresh], units.sample.groups[fresh], benign=True)
    return replace(found, activations_sha256=benign.sha256)


def figures_on(
    entry: OtherRows, probe: Probe, thresholds: Thresholds, trained: TrainedRows
) -> Elsewhere:
    """What a probe does on other labelled rows, or texts, with the thresholds that it has."""
    units = _Units.of(entry, entry.labels[probe.name], trained)
    raw = units.read(entry, probe, trained)
    p = [exact.sigmoid(probe.platt_scale, value, probe.platt_shift) for value in raw]
    found = evaluate(probe.name, (raw, p), units.sample, None, thresholds.one_percent)
    assert found.at_threshold is not None  # noqa: S101
    return Elsewhere(
        name=entry.name,
        activations_sha256=entry.sha256,
        positives=found.positives,
        negatives=found.negatives,
        groups=int(units.sample.groups.max()) + 1,
        repeated=int(units.repeated.sum()),
        auroc=found.auroc,
        recall_at_1_percent=found.recall_at_1_percent,
        ece=found.ece,
        at_threshold=found.at_threshold,
    )
