"""Every model type that transformers has only as a model of images, sound or video, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from family_checks import Tokenized, check
from family_table import WRAPPERS, Row, parameters

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.mark.parametrize("row", parameters(WRAPPERS))
def test_row(row: Row, tokenized: Tokenized, tmp_path: Path) -> None:
    check(row, tokenized, tmp_path)
