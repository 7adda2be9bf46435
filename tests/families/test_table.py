"""The table has a row for all that transformers can load, and no row that it cannot."""

from __future__ import annotations

import warnings

import pytest

from family_table import CAUSAL, EXPECTATIONS, RUNS, WRAPPERS, Row

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers.models.auto import modeling_auto

ROWS = CAUSAL | WRAPPERS
OTHERS = ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")


def mapped(name: str) -> dict[str, str]:
    """Model types and classes that transformers maps to a task."""
    return dict(getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES"))


def missing(rows: dict[str, Row], *tasks: str) -> list[str]:
    """Model types of tasks that have no row, neither here nor as a causal model."""
    there = {row.model_type for row in (CAUSAL | rows).values()}
    return sorted({model_type for task in tasks for model_type in mapped(task)} - there)


def gone(rows: dict[str, Row], *tasks: str) -> list[str]:
    """Rows of model types that transformers no longer has for these tasks."""
    there = {model_type for task in tasks for model_type in mapped(task)}
    return [row.name for row in rows.values() if row.model_type not in there]


def test_every_causal_model_type_has_a_row() -> None:
    names = missing(CAUSAL, "CAUSAL_LM")
    assert not names, f"causal.json has no row for {', '.join(names)}"
    names = gone(CAUSAL, "CAUSAL_LM")
    assert not names, f"transformers no longer has {', '.join(names)}"


def test_every_other_model_type_has_a_row() -> None:
    names = missing(WRAPPERS, *OTHERS)
    assert not names, f"wrappers.json has no row for {', '.join(names)}"
    names = gone(WRAPPERS, *OTHERS)
    assert not names, f"transformers no longer has {', '.join(names)}"


def test_every_class_is_one_of_its_model_type() -> None:
    tasks = [mapped(name) for name in ("CAUSAL_LM", *OTHERS)]
    others = [
        row.name
        for row in ROWS.values()
        if row.model_class not in {task.get(row.model_type) for task in tasks}
    ]
    assert not others, f"transformers has another class for {', '.join(others)}"


def test_expectations_are_used_and_known() -> None:
    assert {row.expect for row in ROWS.values()} - {RUNS} == EXPECTATIONS.keys()
    for row in ROWS.values():  # without a list of blocks nothing would be compared
        runs = row.expect == RUNS or EXPECTATIONS[row.expect].options is not None
        assert row.blocks or not runs, row.name


def test_every_kind_of_block_runs_with_the_plain_kernels() -> None:
    kinds = {kind for row in ROWS.values() if row.expect == RUNS for kind in row.kinds}
    assert kinds == {kind for row in ROWS.values() if row.portable for kind in row.kinds}


def test_what_is_new_or_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "newcomer", "Newcomer")
    monkeypatch.delitem(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "gpt2")
    assert "newcomer" in missing(CAUSAL, "CAUSAL_LM")
    assert "gpt2" in gone(CAUSAL, "CAUSAL_LM")


def test_rows_are_in_order() -> None:
    for rows in (CAUSAL, WRAPPERS):
        assert list(rows) == sorted(rows)
    assert not CAUSAL.keys() & WRAPPERS.keys()
