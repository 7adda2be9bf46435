"""Options as values: checked where they are made, the same in Python and on the command line."""

from __future__ import annotations

import dataclasses
import gc
import warnings
from typing import Any

import pytest

from geometry_of_trust.cli.common import Flat, app
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.errors import BadOption, BadText
from geometry_of_trust.extraction.options import ExtractionOptions, LoadingOptions
from geometry_of_trust.extraction.quiet import making, unwarned
from geometry_of_trust.probing.options import FittingOptions, TrainingOptions


@pytest.mark.parametrize(
    ("kind", "named", "where"),
    [
        (ExtractionOptions, {"dtype": "float64"}, "dtype"),
        (ExtractionOptions, {"layout": "by-layer"}, "layout"),
        (ExtractionOptions, {"quantization": "int4"}, "quantization"),
        (
            ExtractionOptions,
            {"quantization": "int8", "dtype": "float16", "reproducible": True},
            "quantization",
        ),
        (RowOptions, {"position": "middle"}, "--position"),
        (RowOptions, {"limit": 0}, "--limit"),
        (CorpusOptions, {"limit": 0}, "--limit"),
        (CorpusOptions, {"batch_size": 0}, "--batch-size"),
        (CorpusOptions, {"engine": "spark"}, "--engine"),
        (CorpusOptions, {"engine": "ray", "workers": 0}, "--workers"),
        (CorpusOptions, {"workers": 2}, "--workers"),
        (CorpusOptions, {"ray_address": "auto"}, "--ray-address"),
        (FittingOptions, {"epsilon": float("nan")}, "--epsilon"),
        (TrainingOptions, {"epsilon": -1.0}, "--epsilon"),
        (TrainingOptions, {"l2": 0.0}, "--l2"),
        (TrainingOptions, {"inner_product": "cosine"}, "--inner-product"),
    ],
    ids=str,
)
def test_what_is_refused(kind: type[Any], named: dict[str, Any], where: str) -> None:
    with pytest.raises(BadOption) as caught:
        kind(**named)
    assert caught.value.where == where
    assert caught.value.expected != caught.value.found


def test_text_that_is_no_unicode() -> None:
    with pytest.raises(BadText) as caught:
        LoadingOptions(revision="\udc80")
    assert caught.value.where == "revision"


@pytest.mark.parametrize("kind", [ExtractionOptions, CorpusOptions, TrainingOptions])
def test_a_typing_error_is_no_option(kind: type[Any]) -> None:
    with pytest.raises(TypeError):
        kind(dytpe="float32")
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().device = "cpu"


@pytest.mark.parametrize(
    ("named", "exact"),
    [
        ({}, True),
        ({"dtype": "bfloat16"}, False),
        ({"quantization": "int8"}, False),
        ({"quantization": "int8", "reproducible": True}, True),
        ({"reproducible": False}, False),
    ],
)
def test_reproducible_unless_weights_are_rounded(named: dict[str, Any], exact: bool) -> None:
    assert ExtractionOptions(**named).computes_exactly is exact


def test_tokens_of_one_text() -> None:
    assert RowOptions().of_one_text() is None
    assert CorpusOptions(position="3").of_one_text() == CorpusOptions(position="3")
    every = CorpusOptions(skip_special_tokens=True).of_one_text()
    assert every == CorpusOptions(position="all", skip_special_tokens=True)
    for name, value in {
        "text_column": "t", "label_columns": ("a",), "group_column": "g", "split": "test",
        "limit": 1, "add_generation_prompt": True, "batch_size": 2, "resume": True,
        "strict": True, "engine": "ray",
    }.items():  # fmt: skip
        with pytest.raises(BadOption) as caught:
            CorpusOptions(**{name: value, "position": "last"}).of_one_text()  # type: ignore[arg-type]
        assert caught.value.found == name.replace("_", " ")


def test_the_options_of_commands_are_the_fields() -> None:
    spell = Flat.name_transform
    for command, kinds in {
        "extract": (ExtractionOptions, CorpusOptions),
        "sweep": (ExtractionOptions, CorpusOptions, FittingOptions),
        "reproduce": (LoadingOptions, RowOptions),
        "train": (TrainingOptions, LoadingOptions),
    }.items():
        arguments = app[command].assemble_argument_collection(parse_docstring=True)
        shown = {argument.name: argument.parameter.help for argument in arguments}
        for kind in kinds:
            for field in dataclasses.fields(kind):
                name = f"--{spell(field.name)}"
                assert shown.get(name), f"{command} {name} has no help"
                assert f"--no-{spell(field.name)}" not in shown


def test_warnings_and_garbage_are_left_alone_but_where_models_are_made() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with unwarned():
            warnings.warn("of a library", stacklevel=1)
        with making():
            warnings.warn("of a caller", stacklevel=1)
            assert not gc.isenabled()
        assert gc.isenabled()
    assert [str(warning.message) for warning in heard] == ["of a caller"]
