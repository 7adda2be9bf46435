"""Each rule for labels refuses what it is there to refuse, by its own error."""

from __future__ import annotations

import numpy as np
import pytest

from geometry_of_trust.errors import (
    BadLabel,
    BadText,
    GotError,
    LabelCount,
    LimitExceeded,
    OneClass,
    TooFewOfClass,
)
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.label_checks import (
    check_label_column,
    check_two_kinds,
    check_two_of_each,
)


@pytest.mark.parametrize(
    ("name", "labels", "error"),
    [
        ("warm", np.array([0, 1, 1]), LabelCount),
        ("warm", np.array([[0, 1], [1, 0]]), LabelCount),
        ("warm", np.array([0, 1, 2, 0]), BadLabel),
        ("warm", np.array([0, 1, -1, 0]), BadLabel),
        ("warm", np.zeros(4, np.int8), OneClass),
        ("warm", np.ones(4, np.int8), OneClass),
        ("\udc80", np.array([0, 1, 0, 1]), BadText),
        ("é" * 129, np.array([0, 1, 0, 1]), LimitExceeded),
    ],
)
def test_columns_that_are_refused(name: str, labels: Labels, error: type[GotError]) -> None:
    with pytest.raises(error):
        check_label_column(name, labels, 4)


def test_a_bad_label_is_shown_with_its_column() -> None:
    with pytest.raises(BadLabel) as caught:
        check_label_column("warm", np.array([0, 1, 7, 9]), 4)
    assert (caught.value.where, caught.value.found) == ("labels 'warm'", "7")


def test_good_labels_pass() -> None:
    check_label_column("温", np.array([0, 1, 1, 0], np.int8), 4)
    check_two_kinds("labels", {"no", "yes"})
    check_two_of_each(np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(("labels", "found"), [([0, 0, 1], "1"), ([0, 1, 1, 1], "1")])
def test_one_row_of_a_class_is_too_few(labels: list[int], found: str) -> None:
    with pytest.raises(TooFewOfClass) as caught:
        check_two_of_each(np.array(labels))
    assert caught.value.found == found
