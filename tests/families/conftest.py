from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from family_checks import Tokenized


@pytest.fixture(scope="session")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Tokenized:
    """One tokenizer for all tiny models."""
    from family_checks import TEXT, Tokenized
    from tiny_models import build_tokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
        from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return Tokenized(folder, AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"])
