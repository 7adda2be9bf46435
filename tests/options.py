"""Options by their names, as tests vary them, sorted into the values that functions take."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.probing.options import TrainingOptions


def arguments_of(**named: Any) -> dict[str, Any]:
    """The arguments of `extract` or `extract_corpus`; what is no option stays an argument."""
    run, of_model = _taken(ExtractionOptions, named)
    rest, of_corpus = _taken(CorpusOptions, run)
    values: dict[str, Any] = {"options": ExtractionOptions(**({"device": "cpu"} | of_model))}
    if of_corpus:
        values["corpus_options"] = CorpusOptions(**of_corpus)
    return rest | values


def training_arguments(**named: Any) -> dict[str, Any]:
    """The arguments of `train_files`, `train_layers` or `sweep_files`."""
    rest, of_training = _taken(TrainingOptions, named)
    return rest | {"options": TrainingOptions(**of_training)}


def _taken(kind: type[Any], named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is none of a value's fields, and what is."""
    names = {field.name for field in fields(kind)}
    return (
        {name: value for name, value in named.items() if name not in names},
        {name: value for name, value in named.items() if name in names},
    )
