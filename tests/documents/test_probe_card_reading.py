"""Cards that say what cannot be: the files that once ended in a traceback, and others like them.

Each single rule has a vector, `tests/vectors/probe-set`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geometry_of_trust.cli import main
from geometry_of_trust.documents.probe_card_reading import CARD
from geometry_of_trust.errors import BadJson, Inconsistent, NonFinite
from geometry_of_trust.showing.cards import card as shown
from places import VECTORS

TREE: dict[str, Any] = json.loads((VECTORS / "demo" / "probes.json").read_bytes())
GOOD: dict[str, Any] = TREE["training"]["cards"][0]


def places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where the numbers of a card are."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [place for key, value in items for place in places(value, (*path, key))]
    return [path] if isinstance(tree, float) or type(tree) is int else []


def changed(path: tuple[str | int, ...], value: object) -> Any:
    tree = json.loads(json.dumps(GOOD))
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return tree


def test_the_card_of_the_demo_is_read_and_written() -> None:
    read = CARD.read(GOOD, "card")
    assert read.verdict == "SUFFICIENT"
    assert CARD.read(CARD.write(read), "card") == read


@settings(max_examples=300)
@given(st.sampled_from(places(GOOD)), st.sampled_from([-9.0, -1, 1.5, 7, 1e30, 2**31, 3.4e38]))
def test_a_number_out_of_place_is_refused_or_can_be_shown(
    path: tuple[str | int, ...], value: float
) -> None:
    tree = changed(path, value)
    assume(tree != GOOD)
    try:
        read = CARD.read(tree, "card")
    except (BadJson, Inconsistent, NonFinite):
        return
    assert shown(read, "Causal")
    assert {"groups", "folds", "l2", "log_loss"} & set(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("quality", "auroc"), {"value": 99.0, "low": 98.0, "high": 1e30}),
        (("bins", 3, "high"), 5.0),
        (("bins", 3, "low"), -3e38),
        (("bins", 3, "mean_probability"), -2.0),
        (("bins", 3, "positive_share"), 7.5),
    ],
)
def test_show_ends_in_a_line(
    path: tuple[str | int, ...], value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = {**TREE, "training": {**TREE["training"], "cards": [changed(path, value)]}}
    place = tmp_path / "p.json"
    place.write_text(json.dumps(tree))
    assert main(["show", str(place)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


BY_THE_BINS: list[tuple[tuple[str | int, ...], float]] = [
    (("quality", "accuracy"), 1.0),
    (("quality", "accuracy"), 0.5),
    (("quality", "brier"), 0.0),
    (("quality", "brier"), 0.5),
    (("quality", "log_loss"), 0.0),
    (("groups",), 0),
    (("groups",), 10**6),
]


@pytest.mark.parametrize(("path", "value"), BY_THE_BINS)
def test_a_figure_that_no_rows_of_its_bins_have(path: tuple[str | int, ...], value: float) -> None:
    figure = {"value": value, "low": value, "high": value}
    with pytest.raises(Inconsistent):
        CARD.read(changed(path, value if path == ("groups",) else figure), "card")


def test_rows_at_one_half_count_as_either_class() -> None:
    half = json.loads(json.dumps(GOOD))
    rows, positives = half["positives"] + half["negatives"], half["positives"]
    share = positives / rows
    empty = {"rows": 0, "groups": 0, "mean_probability": 0.0, "positive_share": 0.0,
             "low": 0.0, "high": 0.0}  # fmt: skip
    whole = {"rows": rows, "groups": half["groups"], "mean_probability": 0.5,
             "positive_share": share, "low": 0.0, "high": 1.0}  # fmt: skip
    half["bins"] = [whole if k == 5 else empty for k in range(10)]
    half["quality"]["ece"] = {"value": abs(0.5 - share), "low": 0.0, "high": 1.0}
    half["quality"]["brier"] = {"value": 0.25, "low": 0.25, "high": 0.25}
    half["quality"]["log_loss"] = {"value": 0.6931472, "low": 0.6931472, "high": 0.6931472}
    for accuracy in (share, 1 - share):
        half["quality"]["accuracy"] = {"value": accuracy, "low": 0.0, "high": 1.0}
        assert CARD.read(half, "card")


def test_a_card_without_one_of_the_classes() -> None:
    for name in ("positives", "negatives"):
        with pytest.raises(Inconsistent):
            CARD.read(changed((name,), 0), "card")
