from __future__ import annotations

import os
from pathlib import Path

import pytest

from places import REFERENCE, ROOT

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


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
