from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def interop() -> Path:
    """Files made by the reference; they lie beside the repository."""
    folder = ROOT.parent / "shared" / "interop"
    if not folder.is_dir():
        pytest.skip("the reference's files are not beside this repository")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, made by `make model`."""
    folder = ROOT / ".models" / "smollm2-135m-instruct"
    if not (folder / "model.safetensors").is_file():
        pytest.fail("the model is missing: run make model")
    return folder
