"""A probe card from JSON and back; what is read is in its range, and adds up.

A card that contradicts itself is refused: its verdict is what a person looks at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from geometry_of_trust.documents.codes import VERDICTS
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import (
    BIN_COUNT,
    AtThreshold,
    Bin,
    Card,
    Controls,
    Elsewhere,
    Figure,
    PermutationNull,
    Quality,
    Repeats,
    ShiftFall,
    judged,
)
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    INNER_PRODUCT,
    STRING,
    U32,
    Kind,
    Member,
    choice,
    member,
    optional,
    real,
    record,
    vector,
    wrong_type,
)
from geometry_of_trust.documents.thresholds import thresholds
from geometry_of_trust.errors import Inconsistent, WrongType

T = TypeVar("T")
_SHARE = real(0, 1)
_POSITIVE = real(0)
_ROUNDING = 1e-5
"""How far sums and means of float32 values may be apart that are equal before rounding."""


def _all(kind: Kind[T], *names: str) -> tuple[Member, ...]:
    return tuple(member(name, kind) for name in names)


def _within(value: float, low: float, high: float, where: str) -> None:
    """A value lies between the ends of its interval, but for rounding.

    Raises:
        WrongType: it does not.
    """
    slack = _ROUNDING * max(1.0, abs(value))
    if not (low <= high and low - slack <= value <= high + slack):
        raise WrongType(where, expected="low, value and high in this order",
                        found=f"{low}, {value}, {high}")  # fmt: skip


def _figure(kind: Kind[float]) -> Kind[Figure]:
    plain = record(Figure, *_all(kind, "value", "low", "high"))

    def read(value: object, where: str) -> Figure:
        figure = plain.read(value, where)
        _within(figure.value, figure.low, figure.high, where)
        return figure

    return Kind(read, plain.write)


_OF_ONE = _figure(_SHARE)
_QUALITY = record(
    Quality,
    *_all(_OF_ONE, "auroc", "average_precision", "accuracy", "recall_at_1_percent", "brier"),
    member("log_loss", _figure(_POSITIVE)),
    member("ece", _OF_ONE),
)
_BIN = record(
    Bin,
    *_all(U32, "rows", "groups"),
    *_all(_SHARE, "mean_probability", "positive_share", "low", "high"),
)
_TABLE = vector(_BIN)


def _read_table(value: object, where: str) -> tuple[Bin, ...]:
    """The bins of all rows: each is one tenth of the range, and says nothing without rows."""
    table = _TABLE.read(value, where)
    if len(table) != BIN_COUNT:
        raise wrong_type(where, f"{BIN_COUNT} bins", value)
    for k, entry in enumerate(table):
        here = f"{where}[{k}]"
        if entry.groups > entry.rows or (entry.groups == 0) != (entry.rows == 0):
            raise WrongType(f"{here}.groups", expected=f"those of {entry.rows} rows",
                            found=entry.groups)  # fmt: skip
        _within(entry.positive_share, entry.low, entry.high, here)
        if entry.rows:
            ends = k / BIN_COUNT, (k + 1) / BIN_COUNT
            _within(entry.mean_probability, *ends, f"{here}.mean_probability")
    return table


_CONTROLS = record(
    Controls,
    *_all(_SHARE, "shuffled_labels", "random_directions", "difference_in_means"),
    *_all(optional(_SHARE), "bag_of_tokens", "position_and_length"),
    member("ngrams", optional(_SHARE), default=None, omitted=True),
)
_REPEATS = record(Repeats, *_all(U32, "rows", "equal_rows", "joined_groups", "near_rows"))
_NULL = record(PermutationNull, *_all(U32, "permutations", "as_good"))


def at_threshold(figure: Kind[Figure]) -> Kind[AtThreshold]:
    """Counts and figures at a threshold, with figures that are spelt as this kind is."""
    return record(
        AtThreshold,
        *_all(U32, "true_positives", "false_positives"),
        *_all(figure, "recall", "false_positive_rate"),
        member("precision", optional(figure)),
        member("accuracy", figure),
    )


_ELSEWHERE = record(
    Elsewhere,
    member("name", STRING),
    member("activations_sha256", optional(DIGEST)),
    *_all(U32, "positives", "negatives", "groups", "repeated"),
    *_all(_OF_ONE, "auroc", "recall_at_1_percent", "ece"),
    member("at_threshold", at_threshold(_OF_ONE)),
)
_SHIFT = record(
    ShiftFall,
    member("name", STRING),
    member("changed", U32),
    member("auroc", _OF_ONE),
    member("fall", _figure(real(-1, 1))),
)
_UNCHECKED = record(
    Card,
    member("dimension", STRING),
    *_all(U32, "positives", "negatives", "groups"),
    member("grouped", BOOL),
    member("repeats", optional(_REPEATS), default=None, omitted=True),
    member("l2", _POSITIVE),
    member("l2_chosen", BOOL),
    member("folds", U32),
    *_all(BOOL, "nested", "converged"),
    member("training_auroc", _SHARE),
    member("quality", _QUALITY),
    member("token_quality", _QUALITY, default=None, omitted=True),
    member("ece_before_platt", _OF_ONE),
    *_all(Kind(_read_table, _TABLE.write), "bins_before", "bins"),
    member("other_inner_product", optional(INNER_PRODUCT)),
    member("other", optional(_QUALITY)),
    member("controls", _CONTROLS),
    member("null", optional(_NULL), written="permutation_null", default=None, omitted=True),
    member("verdict", choice(VERDICTS)),
    member("reason", STRING),
    member("thresholds", thresholds(FLOAT), default=None, omitted=True),
    member("elsewhere", vector(_ELSEWHERE), default=(), omitted=True),
    member("shifts", vector(_SHIFT), default=(), omitted=True),
)


def _read_card(value: object, where: str) -> Card:
    card = _UNCHECKED.read(value, where)
    if not card.positives or not card.negatives:
        raise Inconsistent(f"{where}.positives", expected="rows of both classes",
                           found=f"{card.positives} and {card.negatives}")  # fmt: skip
    for name, table, ece in (
        ("bins_before", card.bins_before, card.ece_before_platt),
        ("bins", card.bins, card.quality.ece),
    ):
        _check_sums(table, card, ece, f"{where}.{name}")
    _check_means(card, where)
    _check_groups(card, where)
    if (card.other is None) != (card.other_inner_product is None):
        raise Inconsistent(f"{where}.other", expected="figures, and of which inner product",
                           found="only one of them")  # fmt: skip
    if card.null is not None and not 0 < card.null.permutations >= card.null.as_good:
        raise Inconsistent(
            f"{where}.permutation_null.as_good",
            expected=f"at most {card.null.permutations}, of one permutation or more",
            found=card.null.as_good,
        )
    if card.elsewhere and card.thresholds is None:
        raise Inconsistent(f"{where}.thresholds", expected="some, for figures elsewhere",
                           found="none")  # fmt: skip
    for i, entry in enumerate(card.elsewhere):
        _check_elsewhere(entry, f"{where}.elsewhere[{i}]")
    for i, shift in enumerate(card.shifts):
        _check_shift(shift, card, f"{where}.shifts[{i}]")
    verdict, _ = judged(card.quality.auroc, card.controls, card.null)
    if verdict != card.verdict:
        raise Inconsistent(f"{where}.verdict", expected=verdict, found=card.verdict)
    return card


def _check_sums(table: Sequence[Bin], card: Card, ece: Figure, where: str) -> None:
    """All rows are in the bins, positives too, and their distances are the calibration error.

    Raises:
        Inconsistent: they are not.
    """
    rows = card.positives + card.negatives
    positives = sum(entry.rows * entry.positive_share for entry in table)
    gaps = sum(abs(e.mean_probability - e.positive_share) * e.rows for e in table)
    for what, expected, found, unit in (
        ("rows", rows, sum(entry.rows for entry in table), 0),
        ("positive rows", card.positives, positives, rows),
        ("rows times their calibration error", ece.value * rows, gaps, rows),
    ):
        if abs(expected - found) > _ROUNDING * unit:
            raise Inconsistent(where, expected=f"{expected:g} {what}", found=f"{found:g}")


def _check_means(card: Card, where: str) -> None:
    """Accuracy, Brier score and log loss are some that rows in these bins can have.

    Raises:
        Inconsistent: one is not.
    """
    rows = card.positives + card.negatives
    for name, (least, most) in _reachable(card.bins).items():
        value = getattr(card.quality, name).value
        slack = _ROUNDING * max(1.0, value)
        if not least / rows - slack <= value <= most / rows + slack:
            raise Inconsistent(
                f"{where}.quality.{name}",
                expected=f"{least / rows:.6g} to {most / rows:.6g}, by the bins", found=value,
            )  # fmt: skip


def _reachable(table: Sequence[Bin]) -> dict[str, tuple[float, float]]:
    """The least and the greatest sums over all rows of what their means are called."""
    sums = {name: [0.0, 0.0] for name in ("accuracy", "brier", "log_loss")}
    for k, entry in enumerate(table):
        low, high = k / BIN_COUNT, (k + 1) / BIN_COUNT
        positives = entry.rows * entry.positive_share
        negatives = entry.rows - positives
        right = positives if 2 * k >= BIN_COUNT else negatives
        half = 2 * k == BIN_COUNT  # of rows at one half itself the bin does not say what they are
        for name, least, most in (
            ("accuracy", 0.0 if half else right, float(entry.rows) if half else right),
            ("brier", positives * (1 - high) ** 2 + negatives * low**2,
                      positives * (1 - low) ** 2 + negatives * high**2),
            ("log_loss", _losses(positives, high) + _losses(negatives, 1 - low),
                         _losses(positives, low) + _losses(negatives, 1 - high)),
        ):  # fmt: skip
            sums[name][0] += least
            sums[name][1] += most
    return {name: (least, most) for name, (least, most) in sums.items()}


def _losses(rows: float, p: float) -> float:
    if rows <= 0:
        return 0.0
    return -rows * math.log(p) if p > 0 else math.inf


def _check_groups(card: Card, where: str) -> None:
    """There are no more groups than rows, and in no bin more than in all; nor more repeats.

    Raises:
        Inconsistent: there are not.
    """
    rows = card.positives + card.negatives
    most = max(entry.groups for entry in (*card.bins, *card.bins_before))
    if not most <= card.groups <= rows:
        raise Inconsistent(f"{where}.groups", expected=f"{most} to {rows}", found=card.groups)
    if card.repeats is None:
        return
    most = card.repeats.rows
    if most < rows or (most > rows and card.token_quality is None):
        raise Inconsistent(f"{where}.repeats.rows", expected=rows, found=most)
    for name, limit in (
        ("equal_rows", most),
        ("joined_groups", most - card.groups),
        ("near_rows", most),
    ):
        found = getattr(card.repeats, name)
        if found > limit:
            raise Inconsistent(f"{where}.repeats.{name}", expected=f"at most {limit}", found=found)


def _check_elsewhere(entry: Elsewhere, where: str) -> None:
    """Figures elsewhere are of their counts, and agree with each other.

    Raises:
        Inconsistent: they do not. LimitExceeded, BadText: its name, as `check_name`.
    """
    check_name(entry.name, f"{where}.name")
    rows, at = entry.positives + entry.negatives, entry.at_threshold
    true, false = at.true_positives, at.false_positives
    if not (entry.positives and entry.negatives and 1 < entry.groups <= rows >= entry.repeated):
        raise Inconsistent(where, expected="rows of both classes in groups, no more repeated",
                           found=f"{entry.positives} and {entry.negatives} in {entry.groups}, "
                           f"{entry.repeated} repeated")  # fmt: skip
    right = true + entry.negatives - false
    shares: dict[str, tuple[int, int, Figure | None]] = {
        "recall": (true, entry.positives, at.recall),
        "false_positive_rate": (false, entry.negatives, at.false_positive_rate),
        "precision": (true, true + false, at.precision),
        "accuracy": (right, rows, at.accuracy),
    }
    for name, (part, whole, figure) in shares.items():
        found = None if figure is None else figure.value
        expected = part / whole if whole else None
        if (found is None) != (expected is None) or abs((found or 0) - (expected or 0)) > _ROUNDING:
            raise Inconsistent(f"{where}.at_threshold.{name}", expected=f"{part} of {whole}",
                               found=found)  # fmt: skip
    # Where few negatives are above it the threshold is one of those that this recall is best of.
    best = entry.recall_at_1_percent.value
    if 100 * false <= entry.negatives and at.recall.value > best + _ROUNDING:
        raise Inconsistent(f"{where}.recall_at_1_percent",
                           expected=f"at least {at.recall.value}, at the threshold",
                           found=best)  # fmt: skip


def _check_shift(shift: ShiftFall, card: Card, where: str) -> None:
    """A fall is what is between the card's AUROC and that in another style.

    Raises:
        Inconsistent: it is not, or more texts changed than there are. LimitExceeded, BadText: its
            name, as `check_name`.
    """
    check_name(shift.name, f"{where}.name")
    rows = card.positives + card.negatives
    if shift.changed > rows:
        raise Inconsistent(f"{where}.changed", expected=f"at most {rows}", found=shift.changed)
    expected = card.quality.auroc.value - shift.auroc.value
    if abs(expected - shift.fall.value) > _ROUNDING:
        raise Inconsistent(f"{where}.fall", expected=f"{expected:g}, between the AUROCs",
                           found=shift.fall.value)  # fmt: skip


CARD = Kind(_read_card, _UNCHECKED.write)
"""A card whose figures are in their ranges (WrongType) and agree with each other (Inconsistent)."""
