"""docs/models.md is what the table of families says."""

from __future__ import annotations

import sys

from places import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import models_page


def test_page_is_what_the_table_says() -> None:
    assert models_page.PAGE.read_text("utf-8") == models_page.page(), "run scripts/models_page.py"


def test_every_row_is_on_the_page() -> None:
    page = models_page.page()
    for rows in models_page.TASKS.values():
        assert [name for name in rows if f"`{name}`" not in page] == []
