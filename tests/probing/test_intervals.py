"""Wilson's interval, and the standard error that an interval says."""

from __future__ import annotations

import pytest

from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.probing.intervals import standard_error, wilson_interval


def test_wilson() -> None:
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(1.0, 1)[1] == 1.0


def test_the_standard_error_is_that_of_the_lower_half() -> None:
    assert standard_error(Figure(0.9, 0.9 - 1.96 * 0.05, 1.0)) == pytest.approx(0.05, rel=1e-4)
