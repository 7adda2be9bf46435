"""The probe card: how good a probe is, and what else would have done as well.

Values; `probing.card_making` makes them, `documents.probe_card_reading` reads them from JSON.
Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from geometry_of_trust.documents.codes import InnerProduct, Verdict
from geometry_of_trust.documents.thresholds import Thresholds

BIN_COUNT = 10


@dataclass(frozen=True)
class Figure:
    """A figure and the ends of its 95 % interval; float32 values."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AtThreshold:
    """What comes of calling some rows positive by a threshold.

    Attributes:
        true_positives, false_positives: how many rows.
        recall, false_positive_rate, precision, accuracy: shares; `precision` is None where no row
            is called positive.
    """

    true_positives: int
    false_positives: int
    recall: Figure
    false_positive_rate: Figure
    precision: Figure | None
    accuracy: Figure


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
class Repeats:
    """Rows that are one observation, though they stand in several places.

    Attributes:
        rows: how many were looked at; where texts are judged, there are more of them than texts.
        equal_rows: rows whose state another row has, too.
        joined_groups: groups, or rows without groups, that were not counted as one of their own, as
            they share a row or a text with another.
        near_rows: rows that equal one of another group after that, or nearly do.
    """

    rows: int
    equal_rows: int
    joined_groups: int
    near_rows: int


@dataclass(frozen=True)
class Elsewhere:
    """What a probe, as it is, does on labelled rows of another file; of texts, if it reads these.

    Attributes:
        name: of the file, without its folder. activations_sha256: its digest; None: not of a file.
        positives, negatives: how many there are of each class. groups: of how many groups.
        repeated: how many of them stand among the rows trained on, too: equal states, or texts of
            the same tokens.
        auroc, recall_at_1_percent: of its logits. ece: of its probabilities.
        at_threshold: what comes of calling positive what is above the card's threshold.
    """

    name: str
    activations_sha256: str | None
    positives: int
    negatives: int
    groups: int
    repeated: int
    auroc: Figure
    recall_at_1_percent: Figure
    ece: Figure
    at_threshold: AtThreshold


@dataclass(frozen=True)
class ShiftFall:
    """What held-out texts in another style do to a probe.

    Attributes:
        name: of the style. changed: how many texts it changed.
        auroc: of the texts in that style; the scorers are those of the texts in their own.
        fall: the AUROC in their own style minus this, paired: in each resample both are of the
            same groups.
    """

    name: str
    changed: int
    auroc: Figure
    fall: Figure


A_FEW = 0.05
"""A greater share of rows that equal others, or nearly do, is warned of."""


@dataclass(frozen=True)
class Controls:
    """Held-out AUROC, on the same splits, of what the probe has to surpass; None: not measurable.

    Attributes:
        shuffled_labels: the probe, trained on labels shuffled by group; mean of several.
        random_directions: mean over directions drawn at random.
        difference_in_means: the direction from one class's mean to the other's.
        bag_of_tokens: a classifier that sees which tokens there are, and no state.
        position_and_length: one that sees where in the text, and how long the text is.
        ngrams: one that sees which tokens, words and characters stand side by side, by TF-IDF.
    """

    shuffled_labels: float
    random_directions: float
    difference_in_means: float
    bag_of_tokens: float | None
    position_and_length: float | None
    ngrams: float | None = None


@dataclass(frozen=True)
class PermutationNull:
    """How many orders of labels that mean nothing a probe does as well on.

    Attributes:
        permutations: how many orders were tried, at least one.
        as_good: of how many of them the held-out AUROC was that of the labels, or more.
    """

    permutations: int
    as_good: int

    @property
    def p(self) -> float:
        """The p-value: the share of orders that do as well, the labels' own counted in."""
        return (1 + self.as_good) / (1 + self.permutations)


MOST_BY_CHANCE = 0.025
"""The greatest p-value of a sufficient probe: the level of an interval's lower end."""

DECISIVE = {
    "shuffled_labels": "shuffled labels",
    "random_directions": "random directions",
    "bag_of_tokens": "a bag of tokens",
    "position_and_length": "position and length",
    "ngrams": "TF-IDF of n-grams",
}
"""Controls that a probe must surpass.

Not the difference in means: it reads the same states, so that a probe no better than it shows a
simple direction, not the lack of one.
"""


def judged(
    auroc: Figure, controls: Controls, null: PermutationNull | None = None
) -> tuple[Verdict, str]:
    """The verdict, `SUFFICIENT` or `INSUFFICIENT`, and the reason.

    Sufficient is an AUROC whose interval lies above one half and above every decisive control, if
    at most `MOST_BY_CHANCE` of the permutations of the labels, where they were tried, do as well.
    """
    rivals = {"chance": 0.5} | {
        label: value
        for name, label in DECISIVE.items()
        if (value := getattr(controls, name)) is not None
    }
    best = max(rivals, key=rivals.__getitem__)
    rival = f"the best control, {best} ({rivals[best]:.3f})"
    interval = f"the AUROC's interval, {auroc.low:.3f} to {auroc.high:.3f},"
    if not auroc.low > rivals[best]:
        return "INSUFFICIENT", f"{interval} does not lie above {rival}"
    above = f"{interval} lies above {rival}"
    if null is None:
        return "SUFFICIENT", above
    share = f"{null.as_good} of {null.permutations} permutations of the labels do as well"
    if null.p <= MOST_BY_CHANCE:
        return "SUFFICIENT", f"{above}; {share}"
    return "INSUFFICIENT", f"{share} (p = {null.p:.3f})"


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
        repeats: rows that equal others; null: permutations of the labels; None: nobody looked
            (0.2.0).
        thresholds: above which it calls something positive; None: nobody asked.
        elsewhere: its figures on other files, by the same threshold.
        shifts: how far `quality.auroc` falls on the held-out texts in other styles.
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
    repeats: Repeats | None = None
    null: PermutationNull | None = None
    thresholds: Thresholds | None = None
    elsewhere: tuple[Elsewhere, ...] = ()
    shifts: tuple[ShiftFall, ...] = ()

    @property
    def selectivity(self) -> float:
        """How far the AUROC is above that on shuffled labels (Hewitt and Liang 2019)."""
        return self.quality.auroc.value - self.controls.shuffled_labels
