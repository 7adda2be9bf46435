"""The probe card: how good a probe is, and what else would have done as well.

Values; `probing.card_making` makes them, `documents.probe_card_reading` reads them from JSON.
Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from geometry_of_trust.documents.codes import InnerProduct, Verdict

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


def judged(auroc: Figure, controls: Controls) -> tuple[Verdict, str]:
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
        token_quality: where the readings of a text are aggregated, the same figures of its tokens
            by themselves; all others on the card are then of texts.
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
    other_inner_product: InnerProduct | None
    other: Quality | None
    controls: Controls
    verdict: Verdict
    reason: str
    token_quality: Quality | None = None

    @property
    def selectivity(self) -> float:
        """How far the AUROC is above that on shuffled labels (Hewitt and Liang 2019)."""
        return self.quality.auroc.value - self.controls.shuffled_labels
