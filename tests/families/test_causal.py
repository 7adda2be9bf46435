"""Every model type that transformers maps to a causal language model."""

from __future__ import annotations

from pathlib import Path

import pytest

from family_checks import Tokenized, check
from family_table import CAUSAL, Row, parameters

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.mark.parametrize("row", parameters(CAUSAL))
def test_row(row: Row, tokenized: Tokenized, tmp_path: Path) -> None:
    check(row, tokenized, tmp_path)
