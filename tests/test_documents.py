"""What the documents name is there."""

from __future__ import annotations

import re

import pytest

from places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
FILE = re.compile(
    r"\b(?:src|tests|docs|scripts|benchmarks|examples)/[\w./-]+\.(?:py|md|jsonl|txt|json|ipynb|labels)\b"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_are_there(page: object) -> None:
    text = (ROOT / str(page)).read_text("utf-8")
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []


def test_there_is_something_to_look_at() -> None:
    assert sum(len(FILE.findall(page.read_text("utf-8"))) for page in PAGES) > 20
