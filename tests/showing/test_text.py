"""What all kinds of values share when they are shown."""

from __future__ import annotations

import json

from geometry_of_trust.showing.text import as_json, table


def test_a_table_escapes_values_and_leaves_empty_ones_out() -> None:
    shown = table([("model", "a\x1b[2Jb\u202e"), ("nothing", ""), ("as it is", "café")])
    assert shown.splitlines() == ["model     a\\x1b[2Jb\\u202e", "as it is  café"]


def test_json_is_ascii_on_several_lines() -> None:
    tree = {"name": "é\u202e", "values": [1, None]}
    shown = as_json(tree)
    assert shown.isascii()
    assert len(shown.splitlines()) > 1
    assert json.loads(shown) == tree
