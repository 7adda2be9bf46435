"""A probe card from JSON and back; what is read is in its range, and adds up.

A card that contradicts itself is refused: its verdict is what a person looks at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from geometry_of_trust.documents.codes import VERDICTS
from geometry_of_trust.documents.probe_card import (
    BIN_COUNT,
    Bin,
    Card,
    Controls,
    Figure,
    Quality,
    judged,
)
from geometry_of_trust.documents.schema import (
    BOOL,
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
)
_UNCHECKED = record(
    Card,
    member("dimension", STRING),
    *_all(U32, "positives", "negatives", "groups"),
    member("grouped", BOOL),
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
    member("verdict", choice(VERDICTS)),
    member("reason", STRING),
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
    verdict, _ = judged(card.quality.auroc, card.controls)
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
    """There are no more groups than rows, and in no bin more than in all.

    Raises:
        Inconsistent: there are not.
    """
    rows = card.positives + card.negatives
    most = max(entry.groups for entry in (*card.bins, *card.bins_before))
    if not most <= card.groups <= rows:
        raise Inconsistent(f"{where}.groups", expected=f"{most} to {rows}", found=card.groups)


CARD = Kind(_read_card, _UNCHECKED.write)
"""A card whose figures are in their ranges (WrongType) and agree with each other (Inconsistent)."""
