from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny_models import TinyModel


@pytest.fixture(scope="session")
def model(tiny_model: TinyModel) -> Path:
    """A tiny Llama that no test changes."""
    return tiny_model("llama")
