"""The probe card: how good a probe is, and what else would have done as well.

Values and their JSON; `assessing` makes them. Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geometry_of_trust.documents.schema import (
    BOOL,
    FLOAT,
    STRING,
    U32,
    Kind,
    Member,
    choice,
    optional,
    read_members,
    vector,
    write_members,
)
from geometry_of_trust.errors import Inconsistent

VERDICTS = {"INSUFFICIENT": 0, "SUFFICIENT": 1}
BIN_COUNT = 10


@dataclass(frozen=True)
class Figure:
    """A figure and the ends of its 95 % interval; float32 values."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Rows whose probability lies in one tenth of the range from 0 to 1.

    Attributes:
        rows, groups: how many. mean_probability: of the rows.
        positive_share: share of positive rows. low, high: its 95 % interval.
    """

    rows: int
    groups: int
    mean_probability: float
    positive_share: float
    low: float
    high: float

    @property
    def calibrated(self) -> bool:
        """Whether the interval holds the mean probability: whether the diagonal runs through it."""
        return self.low <= self.mean_probability <= self.high


@dataclass(frozen=True)
class Quality:
    """Figures of held-out scores, with intervals by group.

    AUROC is of logits; the others are of calibrated probabilities. `recall_at_1_percent`: at 1 %
    false positives. `log_loss` in nats.
    """

    auroc: Figure
    average_precision: Figure
    accuracy: Figure
    recall_at_1_percent: Figure
    brier: Figure
    log_loss: Figure
    ece: Figure


@dataclass(frozen=True)
class Controls:
    """Held-out AUROC, on the same splits, of what the probe has to surpass; None: not measurable.

    Attributes:
        shuffled_labels: the probe, trained on labels shuffled by group; mean of several.
        random_directions: mean over directions drawn at random.
        difference_in_means: the direction from one class's mean to the other's.
        bag_of_tokens: a classifier that sees which tokens there are, and no state.
        position_and_length: one that sees where in the text, and how long the text is.
    """

    shuffled_labels: float
    random_directions: float
    difference_in_means: float
    bag_of_tokens: float | None
    position_and_length: float | None


DECISIVE = {
    "shuffled_labels": "shuffled labels",
    "random_directions": "random directions",
    "bag_of_tokens": "a bag of tokens",
    "position_and_length": "position and length",
}
"""Controls that a probe must surpass.

Not the difference in means: it reads the same states, so that a probe no better than it shows a
simple direction, not the lack of one.
"""


def judged(auroc: Figure, controls: Controls) -> tuple[str, str]:
    """The verdict, `SUFFICIENT` or `INSUFFICIENT`, and the reason.

    Sufficient is an AUROC whose interval lies above one half and above every decisive control.
    """
    rivals = {"chance": 0.5} | {
        label: value
        for name, label in DECISIVE.items()
        if (value := getattr(controls, name)) is not None
    }
    best = max(rivals, key=rivals.__getitem__)
    rival = f"the best control, {best} ({rivals[best]:.3f})"
    interval = f"the AUROC's interval, {auroc.low:.3f} to {auroc.high:.3f},"
    if auroc.low > rivals[best]:
        return "SUFFICIENT", f"{interval} lies above {rival}"
    return "INSUFFICIENT", f"{interval} does not lie above {rival}"


@dataclass(frozen=True)
class Card:
    """What is known of one probe.

    Attributes:
        dimension: the probe's name.
        positives, negatives: rows of each class. groups: how many groups of rows.
        grouped: whether groups were given; else each row counts as its own, and rows of one text
            may stand on both sides of a split.
        l2: λ. l2_chosen: by cross-validation, not given.
        folds: of the cross-validation. nested: whether λ and calibration of each fold came
            from the other folds alone.
        converged: whether the solver of the final fit did. Its number of steps stands nowhere in
            a file: it hangs on the last bits of sums, which differ between machines.
        training_auroc: on the rows trained on.
        quality: held out. ece_before_platt: of the uncalibrated logits.
        bins_before, bins: held-out probabilities in ten bins, before and after Platt scaling.
        other_inner_product, other: held-out figures under the other inner product, if measured.
        controls: what else would have done. verdict, reason: of `judged`.
    """

    dimension: str
    positives: int
    negatives: int
    groups: int
    grouped: bool
    l2: float
    l2_chosen: bool
    folds: int
    nested: bool
    converged: bool
    training_auroc: float
    quality: Quality
    ece_before_platt: Figure
    bins_before: tuple[Bin, ...]
    bins: tuple[Bin, ...]
    other_inner_product: str | None
    other: Quality | None
    controls: Controls
    verdict: str
    reason: str

    @property
    def selectivity(self) -> float:
        """How far the AUROC is above that on shuffled labels (Hewitt and Liang 2019)."""
        return self.quality.auroc.value - self.controls.shuffled_labels

    def check(self, where: str) -> None:
        """The verdict is that of the figures.

        Raises:
            Inconsistent: it is not.
        """
        verdict, _ = judged(self.quality.auroc, self.controls)
        if verdict != self.verdict:
            raise Inconsistent(f"{where}.verdict", expected=verdict, found=self.verdict)


# --- members of the file, in order ------------------------------------------------------------


def record(kind: type, members: tuple[Member, ...]) -> Kind:
    """A frozen dataclass as an object with these members."""

    def no_signed_bytes(value: Any) -> bytes:
        raise TypeError("a card is digested as part of its file; it has no signed bytes")

    def read(value: Any, where: str) -> Any:
        held = kind(**read_members(value, members, where))
        if isinstance(held, Card):
            held.check(where)
        return held

    return Kind(read, lambda value: write_members(vars(value), members), no_signed_bytes)


def _members(kind: type, given: Mapping[str, Kind], rest: Kind) -> tuple[Member, ...]:
    return tuple(
        Member(field.name, given.get(field.name, rest)) for field in dataclasses.fields(kind)
    )


_FIGURE = record(Figure, _members(Figure, {}, FLOAT))
_QUALITY = record(Quality, _members(Quality, {}, _FIGURE))
_BIN = record(Bin, _members(Bin, {"rows": U32, "groups": U32}, FLOAT))
_CONTROLS = record(
    Controls,
    _members(
        Controls,
        {"bag_of_tokens": optional(FLOAT), "position_and_length": optional(FLOAT)},
        FLOAT,
    ),
)
CARD = record(
    Card,
    _members(
        Card,
        {
            "dimension": STRING, "grouped": BOOL, "l2": FLOAT, "l2_chosen": BOOL, "nested": BOOL,
            "converged": BOOL, "training_auroc": FLOAT, "quality": _QUALITY,
            "ece_before_platt": _FIGURE, "bins_before": vector(_BIN), "bins": vector(_BIN),
            "other_inner_product": optional(choice({"Causal": 0, "Euclidean": 1,
                                                    "CausalRegularised": 2})),
            "other": optional(_QUALITY), "controls": _CONTROLS, "verdict": choice(VERDICTS),
            "reason": STRING,
        },
        U32,
    ),
)  # fmt: skip
