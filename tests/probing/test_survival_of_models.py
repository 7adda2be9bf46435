"""Survival with a real model whose weights change: records, whole texts, and signed evaluations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.errors import NotPaired, OtherTokens
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.paired_rows import check_paired
from geometry_of_trust.probing.survival_files import SurvivalReport, measure_survival
from geometry_of_trust.probing.training_files import train_files
from pipeline import KEY
from tiny_models import FAMILIES, build, quick

TOWNS = ("Paris", "London", "Lyon", "Ghent", "Turin", "Porto")


def extract_towns(
    folder: Path, name: str, model: str, position: str = "all", word: str = "is"
) -> None:
    lines = [
        {"text": f"{town} {word} {what}", "wet": int("wet" in what), "of": town}
        for town in TOWNS
        for what in ("wet", "dry", "very wet today", "so dry")
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = CorpusOptions(label_columns=("wet",), group_column="of", position=position)
    extract_corpus(
        folder / model, folder / f"{name}.jsonl", [2], corpus_options=options,
        output_activations=folder / f"{name}.gotact", output_unembedding=folder / f"{name}.gotue",
        options=ExtractionOptions(model_id="tiny"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    with quick():
        build(FAMILIES["llama"], folder / "model")
        copytree(folder / "model", folder / "changed")
        path = folder / "changed" / "model.safetensors"
        tensors = load_file(path)
        name = "model.layers.1.mlp.down_proj.weight"
        tensors[name] = tensors[name] + 0.02 * torch.randn(
            tensors[name].shape, generator=torch.Generator().manual_seed(0)
        )
        save_file(tensors, path, metadata={"format": "pt"})
        extract_towns(folder, "old", "model")
        extract_towns(folder, "new", "changed")
        extract_towns(folder, "other", "changed", word="was")
        extract_towns(folder, "last", "model", position="last")
    for name, aggregate in (("rows", None), ("texts", "max")):
        trained = train_files(
            activations=folder / "old.gotact", unembedding=folder / "old.gotue", layer=2,
            label_columns=["wet"], options=TrainingOptions(aggregate=aggregate),
        )  # fmt: skip
        write_file(folder / f"{name}.json", trained.probe_set.to_json())
    return folder


def survival(folder: Path, to: str, **options: Any) -> SurvivalReport:
    chosen: dict[str, Any] = {"old": "old", "kind": "rows"} | options
    old, kind = chosen.pop("old"), chosen.pop("kind")
    return measure_survival(
        activations=folder / f"{old}.gotact", to=folder / f"{to}.gotact",
        probes=[folder / f"{kind}.json"], unembedding=folder / "old.gotue", label_columns=["wet"],
        **chosen,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["rows", "texts"])
def test_figures_are_those_of_signed_evaluations(folder: Path, kind: str) -> None:
    report = survival(folder, "new", kind=kind)
    (probe,) = report.layers[0].probes
    assert (report.same_weights, report.layers[0].trained_on) == (False, True)
    assert probe.before != probe.frozen.evaluation
    for name, found in (("old", probe.before), ("new", probe.frozen.evaluation)):
        document = attest(
            activations=folder / f"{name}.gotact", probes=[folder / f"{kind}.json"], key=KEY,
            unembedding=folder / f"{name}.gotue", position="every", label_columns=["wet"],
            threshold=0.5, other_weights=name == "new",
        )  # fmt: skip
        evaluation = document.bound().evaluation
        assert evaluation is not None
        (signed,) = evaluation.probes
        assert replace(signed, trained_on=False) == found
        assert evaluation.groups == probe.groups == len(TOWNS)


def test_records_tell_texts_and_tokens_apart(folder: Path) -> None:
    with pytest.raises(NotPaired):
        survival(folder, "other")
    with pytest.raises(NotPaired):
        survival(folder, "last")
    last = train_files(
        activations=folder / "last.gotact", unembedding=folder / "last.gotue", layer=2,
        label_columns=["wet"],
    )  # fmt: skip
    write_file(folder / "of last.json", last.probe_set.to_json())
    with pytest.raises(OtherTokens):
        survival(folder, "new", kind="of last")
    assert survival(folder, "new", kind="of last", anyway=True).other_tokens
    same = survival(folder, "old")
    assert (same.same_weights, same.nothing_changed) == (True, True)
    assert not replace(same, new_precision="Bfloat16").nothing_changed


def test_tokens_of_one_text_are_told_by_its_records(folder: Path) -> None:
    """There is no row table then."""
    files = []
    with quick():
        for i, (model, text) in enumerate(
            [("model", "Paris is wet"), ("changed", "Paris is wet"), ("changed", "Porto is dry")]
        ):
            extract(
                folder / model, text, [2], output_activations=folder / f"one {i}.gotact",
                output_unembedding=folder / f"one {i}.gotue",
                options=ExtractionOptions(model_id="tiny"),
            )  # fmt: skip
            files.append(open_activations(folder / f"one {i}.gotact"))
    old, new, other = files
    check_paired(old, new)
    with pytest.raises(NotPaired):
        check_paired(old, other)
