"""The table has a row for all that transformers can load, and no row that it cannot."""

from __future__ import annotations

import warnings

import pytest

from family_table import CAUSAL, EXPECTATIONS, RUNS, WRAPPERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers.models.auto import modeling_auto

ROWS = CAUSAL | WRAPPERS


def mapped(name: str) -> dict[str, str]:
    """Model types and classes that transformers maps to a task."""
    return dict(getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES"))


def test_every_causal_model_type_has_a_row() -> None:
    types = {row.model_type for row in CAUSAL.values()}
    assert sorted(mapped("CAUSAL_LM").keys() - types) == [], "rows are missing in causal.json"
    assert sorted(types - mapped("CAUSAL_LM").keys()) == [], "transformers no longer has these"


def test_every_other_model_type_has_a_row() -> None:
    wrappers = mapped("IMAGE_TEXT_TO_TEXT").keys() | mapped("MULTIMODAL_LM").keys()
    wrappers -= mapped("CAUSAL_LM").keys()
    types = {row.model_type for row in WRAPPERS.values()}
    assert sorted(wrappers - types) == [], "rows are missing in wrappers.json"
    assert sorted(types - wrappers) == [], "transformers no longer has these, or has them as causal"


def test_every_class_is_one_of_its_model_type() -> None:
    tasks = [mapped(name) for name in ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")]
    others = [
        row.name
        for row in ROWS.values()
        if row.model_class not in {task.get(row.model_type) for task in tasks}
    ]
    assert others == [], "transformers has other classes for these"


def test_expectations_are_used_and_known() -> None:
    assert {row.expect for row in ROWS.values()} - {RUNS} == EXPECTATIONS.keys()
    for row in ROWS.values():  # without a list of blocks nothing would be compared
        runs = row.expect == RUNS or EXPECTATIONS[row.expect].options is not None
        assert row.blocks or not runs, row.name


def test_every_kind_of_block_runs_with_the_plain_kernels() -> None:
    kinds = {kind for row in ROWS.values() if row.expect == RUNS for kind in row.kinds}
    assert kinds == {kind for row in ROWS.values() if row.portable for kind in row.kinds}


def test_a_new_model_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "newcomer", "Newcomer")
    with pytest.raises(AssertionError, match="newcomer"):
        test_every_causal_model_type_has_a_row()


def test_rows_are_in_order() -> None:
    for rows in (CAUSAL, WRAPPERS):
        assert list(rows) == sorted(rows)
    assert not CAUSAL.keys() & WRAPPERS.keys()
