"""The example of transcripts runs: a monitor of answers, a signed evaluation, and its auditor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from places import EXAMPLES
from tiny_models import COMMON, save_model


def check(model: Path, to: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "transcripts.py", to, "--model", model],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("VERIFIED") == lines.count("MATCH") == 2
    assert sum(line.startswith("REFUSED at step 3") for line in lines) == 2
    for aggregate in ("mean", "max-of-rolling-means:4"):
        assert sum(f"{aggregate} of text" in line for line in lines) == 3 * 20


def test_transcripts(smollm2: Path, tmp_path: Path) -> None:
    """With the tokens and the template of the real model, on which the heavy form runs."""
    model = LlamaForCausalLM(LlamaConfig(**COMMON | {"vocab_size": 49152, "num_hidden_layers": 16}))
    folder = save_model(model, tmp_path / "model")
    for path in smollm2.iterdir():
        if "token" in path.name or path.suffix == ".jinja":
            shutil.copy(path, folder)
    check(folder, tmp_path / "out")


@pytest.mark.heavy
def test_on_the_real_model(smollm2: Path, tmp_path: Path) -> None:
    check(smollm2, tmp_path / "out")
