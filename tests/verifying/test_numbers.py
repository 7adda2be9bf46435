"""The numbers of the checks: the same on the page and beside the code."""

from __future__ import annotations

import re

from geometry_of_trust.verifying.verdict import STEPS
from places import ROOT

PAGE = ROOT / "docs" / "verification.md"
ROOMS = ("verifying", "signing", "attesting", "evidence")


def test_every_check_of_the_page_is_in_the_code_once_and_no_other() -> None:
    on_page = re.findall(r"^\| (\d\.\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    in_code: list[str] = []
    for room in ROOMS:
        for path in sorted((ROOT / "src" / "geometry_of_trust" / room).glob("*.py")):
            in_code += re.findall(r"^ *# (\d\.\d+) ", path.read_text("utf-8"), re.MULTILINE)
    assert len(on_page) > 20
    assert sorted(in_code) == sorted(on_page)
    assert on_page == sorted(on_page, key=lambda number: [*map(int, number.split("."))])


def test_the_steps_of_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(str(number), name) for number, name in enumerate(STEPS, 1)]
