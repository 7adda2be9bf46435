"""What `convert` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from geometry_of_trust.converting.conversion import Converted
from geometry_of_trust.showing.conversions import conversion


@pytest.mark.parametrize(
    ("shape", "line"),
    [((2, 30, 6), "(layers, positions, d) = (2, 30, 6)"), ((40, 6), "(tokens, d) = (40, 6)")],
)
def test_the_axes_are_named_and_each_file_has_a_line(shape: tuple[int, ...], line: str) -> None:
    shown = conversion(Converted((Path("a.gotact"), Path("b\n.parquet")), shape))
    assert shown.splitlines() == [line, "wrote a.gotact", "wrote b\\n.parquet"]
