from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from places import REFERENCE, ROOT, TESTS

if TYPE_CHECKING:
    from tiny_models import TinyModel

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

LONGEST_FIRST = (
    "corpus/test_corpus_pipeline.py",
    "corpus/test_cluster.py",
    "extraction/test_reproducible.py",
    "families/test_causal.py",
    "families/test_wrappers.py",
    "extraction/test_reproducibility_benchmark.py",
    "e2e/test_demo.py",
    "plotting/test_pictures.py",
    "corpus/test_resume.py",
    "e2e/test_smollm2.py",
    "corpus/test_estimating.py",
    "corpus/test_entries.py",
    "geometry/test_gram.py",
    "fuzz/test_fuzz.py",
    "test_races.py",
    "probing/test_layer_sweep.py",
    "probing/test_training.py",
    "e2e/test_notebook.py",
    "extraction/test_pipeline.py",
    "extraction/test_families.py",
    "extraction/test_int8.py",
    "extraction/test_adapters.py",
    "extraction/test_stored.py",
    "corpus/test_space.py",
    "cli/test_loaded_libraries.py",
    "probing/test_held_out_figures.py",
    "extraction/test_deterministic_operations.py",
)
"""Files that take long, so that the workers of pytest-xdist, which take a file at a time in this
order (`--dist loadfile --no-loadscope-reorder`), end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all others in their order."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def interop() -> Path:
    """Files made by the reference."""
    return REFERENCE


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, made by `make model`."""
    folder = ROOT / ".models" / "smollm2-135m-instruct"
    if not (folder / "model.safetensors").is_file():
        pytest.fail("the model is missing: run make model")
    return folder


@pytest.fixture
def quickly() -> Iterator[None]:
    """One thread, and no waiting for the disk."""
    from tiny_models import quick

    with quick():
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The folder of a tiny model by its family's name, built once; no test changes it."""
    from tiny_models import FAMILIES, VARIANTS, build

    built: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in built:
            built[name] = build((FAMILIES | VARIANTS)[name], tmp_path_factory.mktemp(name))
        return built[name]

    return get
