"""What is signed of an evaluation: figures of probes on labelled rows, and the bar set for them.

Numbers are float32 values, written as decimals in strings, as a binding holds no floats. Needs no
numpy. Formulas: docs/evaluations.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import AtThreshold, Figure
from geometry_of_trust.documents.probe_card_reading import at_threshold
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    STRING,
    U32,
    choice,
    decimal,
    member,
    real,
    record,
    vector,
    wrong_type,
)
from geometry_of_trust.documents.strictjson import loads, shortest_float32
from geometry_of_trust.errors import Inconsistent
from geometry_of_trust.files import FileBytes, PathLike, read_bounded

BAR_FORMAT = "geometry-of-trust bar"
MEASURES = ("auroc", "recall_at_1_percent", "brier", "ece")
"""Figures of every evaluation."""
AT_THRESHOLD = ("recall", "false_positive_rate", "precision", "accuracy")
"""Figures of one with a threshold."""


@dataclass(frozen=True)
class ProbeEvaluation:
    """How a probe's readings of every row agree with the labels.

    Attributes:
        dimension: the probe's name. positives, negatives: rows by label.
        auroc, recall_at_1_percent: of the raw readings. brier, ece: of the probabilities.
        at_threshold: None without a threshold: neither one for all nor the probe's own.
        trained_on: whether the probe was trained on these very activations, on the rows of the same
            row table, or on the same texts, so that the figures are too good.
    """

    dimension: str
    positives: int
    negatives: int
    auroc: Figure
    recall_at_1_percent: Figure
    brier: Figure
    ece: Figure
    at_threshold: AtThreshold | None = None
    trained_on: bool = False

    def figure(self, metric: str) -> Figure | None:
        """One of `MEASURES` or `AT_THRESHOLD`; None where there is none."""
        found: Figure | None = getattr(self if metric in MEASURES else self.at_threshold, metric)
        return found


@dataclass(frozen=True)
class BoundLabels:
    """The labels of a dimension: the column that they are of, and their digest (`labels_digest`).

    `column` is None of a file that has no columns.
    """

    dimension: str
    column: str | None
    sha256: str


@dataclass(frozen=True)
class BoundBar:
    """A bar that was set beforehand, as of `Bar`, and what came of it.

    Attributes:
        sha256: of its file. probe: the index of the probe that it is for among all.
        minimum, maximum: one of them.
        met: whether the figure is at least, or at most, that.
    """

    sha256: str
    probe: int
    metric: str
    minimum: float | None
    maximum: float | None
    met: bool

    @property
    def demand(self) -> str:
        """What was asked for, in words."""
        if self.minimum is not None:
            return f"{self.metric} of at least {shortest_float32(self.minimum)}"
        return f"{self.metric} of at most {shortest_float32(self.maximum or 0.0)}"

    def met_by(self, figure: Figure | None) -> bool:
        """Whether a figure meets it; its value counts, not its interval."""
        if figure is None:
            return False
        if self.minimum is not None:
            return figure.value >= self.minimum
        return figure.value <= (self.maximum or 0.0)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of all probes of a document, whose every row has labels.

    Attributes:
        labels: one entry a dimension. from_file: whether they came from a file of their own, not
            from the row table.
        groups: how many there are of rows that belong together, by which intervals are drawn.
        threshold: probability from which a row is called positive, said beforehand, or None: then
            it is above the probe's own threshold (`Thresholds.one_percent`), if that has one.
        probes: one entry each, in the order of the readings of a row.
        bar: that was set beforehand, or None.
    """

    labels: tuple[BoundLabels, ...]
    from_file: bool
    groups: int
    threshold: float | None
    probes: tuple[ProbeEvaluation, ...]
    bar: BoundBar | None = None


def labels_digest(labels: bytes) -> str:
    """SHA-256 of labels as a `.labels` file has them: a line of 0 or 1 each.

    Args:
        labels: a byte of value 0 or 1 each.
    """
    return hashlib.sha256(b"".join(b"%d\n" % label for label in labels)).hexdigest()


# --- members of the object, in order ----------------------------------------------------------


_SHARE = real(0, 1)
DECIMAL = decimal(_SHARE)
"""A float32 value from 0 to 1, written as its shortest decimal in a string."""

_FIGURE = record(Figure, member("value", DECIMAL), member("low", DECIMAL), member("high", DECIMAL))
_PROBE = record(
    ProbeEvaluation,
    member("dimension", STRING),
    member("positives", U32),
    member("negatives", U32),
    *(member(name, _FIGURE) for name in MEASURES),
    member("at_threshold", at_threshold(_FIGURE), default=None, omitted=True),
    member("trained_on", BOOL, default=False, omitted=True),
)
_METRIC = choice((*MEASURES, *AT_THRESHOLD))
EVALUATION = record(
    Evaluation,
    member(
        "labels",
        vector(
            record(
                BoundLabels,
                member("dimension", STRING),
                member("column", STRING, default=None, omitted=True),
                member("sha256", DIGEST),
            )
        ),
    ),
    member("from_file", BOOL),
    member("groups", U32),
    member("threshold", DECIMAL, default=None, omitted=True),
    member("probes", vector(_PROBE)),
    member(
        "bar",
        record(
            BoundBar,
            member("sha256", DIGEST),
            member("probe", U32),
            member("metric", _METRIC),
            member("minimum", DECIMAL, default=None, omitted=True),
            member("maximum", DECIMAL, default=None, omitted=True),
            member("met", BOOL),
        ),
        default=None,
        omitted=True,
    ),
)
"""An evaluation, as a binding has it."""


# --- the bar ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """What a probe has to reach on a corpus, written down before it was evaluated.

    Attributes:
        dimension, layer: which probe.
        metric: one of `MEASURES` or `AT_THRESHOLD`.
        corpus: digest of its texts, `prompt_sha256` of the extraction record.
        threshold: probability from which a row is called positive; None: of `AT_THRESHOLD` it is
            above the probe's own threshold, of others nothing is.
        minimum, maximum: what the figure must be; one of them.
        labels: digest of the labels that the figure is of (`labels_digest`); None: of any.
    """

    format: str
    version: int
    dimension: str
    layer: int
    metric: str
    corpus: str
    threshold: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    labels: str | None = None


_BAR = record(
    Bar,
    member("format", choice((BAR_FORMAT,))),
    member("version", U32),
    member("dimension", STRING),
    member("layer", U32),
    member("metric", _METRIC),
    member("corpus", DIGEST),
    member("threshold", _SHARE, default=None, omitted=True),
    member("minimum", _SHARE, default=None, omitted=True),
    member("maximum", _SHARE, default=None, omitted=True),
    member("labels", DIGEST, default=None, omitted=True),
)


def read_bar(path: PathLike) -> tuple[Bar, str]:
    """A bar, and the SHA-256 of its file.

    Raises:
        Unreadable, TooLarge, BadText, BadJson and its kinds: it is none.
        Inconsistent: not one of minimum and maximum, or a threshold that its metric does not have.
            LimitExceeded: too long a name.
    """
    file = FileBytes.of(path)
    bar = _BAR.read(loads(read_bounded(file), path), str(path))
    if bar.version != 1:
        raise wrong_type(f"{path}.version", 1, bar.version)
    check_name(bar.dimension, f"{path}.dimension")
    if (bar.minimum is None) == (bar.maximum is None):
        found = "neither" if bar.minimum is None else "both"
        raise Inconsistent(path, expected="one of minimum and maximum", found=found)
    if bar.threshold is not None and bar.metric not in AT_THRESHOLD:
        raise Inconsistent(f"{path}.threshold", expected=f"none of {bar.metric}", found="one")
    return bar, file.sha256
