"""What labels must be before anything is trained on them: one place for each rule."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np

from geometry_of_trust.documents.names import check_name
from geometry_of_trust.errors import BadLabel, LabelCount, OneClass, TooFewOfClass
from geometry_of_trust.probing.array_types import Labels


def check_label_column(name: str, labels: Labels, positions: int) -> None:
    """A column of labels that says of each position whether it is positive.

    Args:
        name: of the dimension. labels: shape (positions,), 0 or 1.

    Raises:
        LimitExceeded, BadText: as `check_name`. LabelCount: not one label a position.
        BadLabel: neither 0 nor 1. OneClass: no label of one of the classes.
    """
    check_name(name, "--dimension")
    where = f"labels {name!r}"
    if labels.shape != (positions,):
        raise LabelCount(where, expected=f"{positions}, one a position", found=labels.size)
    if not np.isin(labels, (0, 1)).all():
        raise BadLabel(where, expected="0 or 1", found=labels[~np.isin(labels, (0, 1))][0])
    check_two_kinds(where, set(labels.tolist()))


def check_two_kinds(where: str, kinds: Sized) -> None:
    """Labels of more kinds than one.

    Raises:
        OneClass: there is one kind.
    """
    if len(kinds) == 1:
        raise OneClass(where, expected="labels of two kinds", found="one class")


def check_two_of_each(y: Labels) -> None:
    """Two rows of each class: one to train on while the other is held out.

    Args:
        y: 0 or 1, shape (n,).

    Raises:
        TooFewOfClass: a class has fewer.
    """
    for name, label in (("positive", 1), ("negative", 0)):
        if (y == label).sum() < 2:
            raise TooFewOfClass(
                "labels", expected=f"at least two {name} ones", found=int((y == label).sum())
            )
