"""Whether probes survive a change of weights: their readings of the same texts, before and after.

Figures are those of an evaluation (docs/evaluations.md), by readings in exact arithmetic. Rules and
formulas: docs/transfer.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.evaluations import ProbeEvaluation
from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.evaluating import evaluate, exact_figure
from geometry_of_trust.probing.metrics import Metric, WithinFoldAuroc
from geometry_of_trust.probing.probe_readings import Reading
from geometry_of_trust.probing.resampling import Sample

SurvivalVerdict = Literal["VALID", "REALIGNABLE", "STALE"]
MARGIN = 0.05
"""What a probe may lose, by the lower end of an interval, and still be as good as before."""


@dataclass(frozen=True)
class After:
    """How a frozen probe does on other states of the rows that it was judged on before.

    Attributes:
        evaluation: its figures on these states.
        auroc_change, balanced_change: of its AUROC, and of its balanced accuracy at the threshold
            (the mean of recall and of the share of negatives that are not called positive): after
            less before, on the same resamples of groups.
        least_margin: the least loss that so many groups can show to be absent (`least_margin`).
        cosine: under the probe's inner product, of the difference between the means of the two
            classes, before and after; None where one of them is zero.
    """

    evaluation: ProbeEvaluation
    auroc_change: Figure
    balanced_change: Figure
    least_margin: float
    cosine: float | None

    def holds(self, margin: float) -> bool:
        """Whether both intervals show a loss of no more than the margin, and it tells classes."""
        least = min(self.auroc_change.low, self.balanced_change.low)
        return (
            least >= -margin
            and float32(margin) >= self.least_margin
            and self.evaluation.auroc.low > 0.5
        )

    def fell(self, margin: float) -> bool:
        """Whether an interval shows a loss of more than the margin."""
        return min(self.auroc_change.high, self.balanced_change.high) < -margin


@dataclass(frozen=True)
class ProbeSurvival:
    """What becomes of one probe under other weights.

    Attributes:
        dimension: its name. groups: of the rows, by which intervals are drawn.
        threshold: the probability from which a row is called positive, where that decides.
        own: its own thresholds, where a row is called positive above that for 1 % false positives.
        before: its figures on the old states.
        frozen: on the new states as they are. rotated, ridge: on the new states after a map.
        outside: how many of the new rows are far outside of what it was fitted on.
        verdict: of `survival_verdict`.
    """

    dimension: str
    groups: int
    threshold: float | None
    own: Thresholds | None
    before: ProbeEvaluation
    frozen: After
    rotated: After
    ridge: After
    outside: int
    verdict: SurvivalVerdict
    reason: str

    def signed_part(self, margin: float) -> dict[str, object]:
        """As of `SurvivalReport.signed_part`."""
        return {
            "dimension": self.dimension,
            "groups": self.groups,
            "threshold": self.threshold,
            "thresholds": None if self.own is None else asdict(self.own),
            "before": asdict(self.before),
            "after": asdict(self.frozen.evaluation),
            "auroc_change": asdict(self.frozen.auroc_change),
            "balanced_change": asdict(self.frozen.balanced_change),
            "holds": self.frozen.holds(margin),
            "holds_rotated": self.rotated.holds(margin),
            "holds_ridge": self.ridge.holds(margin),
            "outside": self.outside,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class StatesRead:
    """States of the rows that are judged, and what a probe says of them.

    Attributes:
        states: shape (n, d). readings: one a row; where texts are judged, one a text.
    """

    states: NDArray[np.floating]
    readings: Sequence[Reading]


@dataclass(frozen=True)
class Judge:
    """What the states of all kinds are judged by.

    Attributes:
        dimension: the probe's name.
        called_from: probability from which a row is called positive; or thresholds of the probe, a
            logit above whose `one_percent` is.
        geometry: the probe's. sample: of the rows, or texts, that are judged.
        labels: of the rows, 0 or 1, shape (n,).
    """

    dimension: str
    called_from: float | Thresholds
    geometry: Geometry
    sample: Sample
    labels: Labels

    def evaluation(self, read: StatesRead) -> ProbeEvaluation:
        """Figures of the readings."""
        raw, p = self._columns(read)
        if isinstance(self.called_from, Thresholds):
            above = self.called_from.one_percent
            return evaluate(self.dimension, (raw, p), self.sample, None, above)
        return evaluate(self.dimension, (raw, p), self.sample, self.called_from)

    def after(self, old: StatesRead, new: StatesRead) -> After:
        """Figures of new readings, beside the old ones."""
        aurocs, accuracies = [], []
        for read in (old, new):
            raw, p = (np.array(column) for column in self._columns(read))
            aurocs.append(WithinFoldAuroc(self.sample, raw))
            accuracies.append(_BalancedAccuracy(self.sample.y == 1, self._called(raw, p)))
        changes = [exact_figure(self.sample, _Change(*pair)) for pair in (aurocs, accuracies)]
        auroc, balanced = changes
        assert auroc is not None and balanced is not None  # noqa: S101, PT018 - both classes occur
        cosine = self._cosine(old.states, new.states)
        return After(self.evaluation(new), auroc, balanced, least_margin(self.sample), cosine)

    def _called(self, raw: Array, p: Array) -> NDArray[np.bool_]:
        """Which readings, of shape (n,), are called positive."""
        called: NDArray[np.bool_]
        if isinstance(self.called_from, Thresholds):
            called = raw > self.called_from.one_percent
        else:
            called = p >= self.called_from
        return called

    def _columns(self, read: StatesRead) -> tuple[list[float], list[float]]:
        return [one.raw for one in read.readings], [one.confidence for one in read.readings]

    def _cosine(self, *states: NDArray[np.floating]) -> float | None:
        positive = self.labels == 1
        a, b = (
            H[positive].mean(axis=0, dtype=np.float64) - H[~positive].mean(axis=0, dtype=np.float64)
            for H in states
        )
        inner = self.geometry.inner
        squares = float(inner(a, a)) * float(inner(b, b))
        return float(inner(a, b)) / math.sqrt(squares) if squares > 0 else None


def least_margin(sample: Sample) -> float:
    """The least loss whose absence so many groups can show: 3/n, by the rule of three.

    Of resamples alone an interval has no width where no group changed, and be there two groups. If
    a share of 3/n of groups did, one time in twenty none of n would be seen.

    Returns:
        A float32, with n the groups, or twice those that have rows of one class if that is less.
    """
    of_each = [len(np.unique(sample.groups[(sample.y == 1) == kind])) for kind in (False, True)]
    return float32(3 / min(len(np.unique(sample.groups)), 2 * min(of_each)))


class _BalancedAccuracy(Metric):
    """The mean of the shares of positives that are called so and of negatives that are not."""

    def __init__(self, y: NDArray[np.bool_], called: NDArray[np.bool_]) -> None:
        columns = [called & y, y, ~called & ~y, ~y]
        self.columns = np.stack(columns, axis=1).astype(np.float64)

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        hits, positives, passed, negatives = (weights @ self.columns).T  # of whole numbers: exact
        with np.errstate(invalid="ignore"):
            balanced: Array = (hits / positives + passed / negatives) / 2
        return balanced


class _Change(Metric):
    """A figure less another one of the same rows."""

    least = -1.0

    def __init__(self, before: Metric, after: Metric) -> None:
        self.before, self.after = before, after

    def of(self, weights: Array) -> Array:
        """As of `Metric`."""
        return self.after.of(weights) - self.before.of(weights)


def survival_verdict(
    before: ProbeEvaluation, frozen: After, maps: Sequence[tuple[str, After]], margin: float
) -> tuple[SurvivalVerdict, str]:
    """VALID if the frozen probe holds, REALIGNABLE if it does after one of the maps, else STALE.

    It holds where the lower ends of the changes of AUROC and of balanced accuracy are no further
    below 0 than the margin, of enough groups for that, and that of the AUROC is above one half.
    What did not read its label on the old states has nothing that could survive.

    Args:
        maps: what each is called, and how the probe does after it.

    Returns:
        The word, and why.
    """
    if before.auroc.low <= 0.5:
        return "STALE", "the AUROC's interval reaches one half on the old states already"
    if frozen.holds(margin):
        return "VALID", f"{_said(frozen)}: no interval reaches below -{margin:g}"
    for name, after in maps:
        if after.holds(margin):
            return "REALIGNABLE", f"as it is {_said(frozen)}; after {name} {_said(after)}"
    if not frozen.fell(margin):
        return "STALE", (
            f"{_said(frozen)}: neither that it holds nor that it fell is shown; "
            f"more groups would decide (of these at best a margin of {frozen.least_margin:.3g})"
        )
    names = " nor ".join(name for name, _ in maps)
    return "STALE", f"{_said(frozen)}, and neither {names} brings it back"


def _said(after: After) -> str:
    auroc, balanced = after.auroc_change, after.balanced_change
    return (
        f"the AUROC changes by {auroc.value:+.3f} [{auroc.low:+.3f}, {auroc.high:+.3f}], "
        "balanced accuracy at the threshold by "
        f"{balanced.value:+.3f} [{balanced.low:+.3f}, {balanced.high:+.3f}]"
    )
