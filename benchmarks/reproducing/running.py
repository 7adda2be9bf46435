"""Make the inputs once, run a setting in a process of its own, compare two results."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.reproducing.prompts import make_prompts
from benchmarks.reproducing.settings import ROOT, Setting, process_environment
from benchmarks.reproducing.work import Work

from geometry_of_trust.formats.gotue import write_unembedding

sys.path.insert(0, str(ROOT / "tests"))
from tiny_models import FAMILIES, TEXT, build, quick

MODEL = ROOT / ".models" / "smollm2-135m-instruct"
Result = dict[str, Any]
"""What a worker printed: `in effect`, `ours` and `plain` digests, `seconds`."""


def prepare(folder: Path, *, prompts: int, plain: bool, words: int | None = None) -> Work:
    """Make the inputs; random weights themselves differ between kernels, so they are saved.

    Args:
        folder: emptied, then filled.
        prompts: how many.
        plain: whether plain libraries compute too.
        words: how many of the labelled text; None: all.
    """
    if not (MODEL / "model.safetensors").is_file():
        sys.exit("the model is missing: run make model")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tiny").mkdir(parents=True)
    with quick():
        models = tuple(build(family, folder / "tiny" / name) for name, family in FAMILIES.items())
    matrix = np.random.default_rng(20240601).standard_normal((20_000, 512), np.float32)
    write_unembedding(folder / "random.gotue", matrix)
    _cut_chain(folder, words)
    return Work(
        model=MODEL,
        layers=(8, 15, 22),
        prompts=tuple(make_prompts(prompts)),
        tiny_models=models,
        tiny_types=("float32", "bfloat16"),
        tiny_layers=(0, 1, 2),
        tiny_text=TEXT,
        random=folder / "random.gotue",
        chain_text=folder / "chain.txt",
        chain_labels=folder / "chain.labels",
        plain=plain,
        base=folder / "base",
        output=folder / "base",
    )


def _cut_chain(folder: Path, words: int | None) -> None:
    """The labelled text of the examples, or its first words with the labels of their tokens."""
    examples = ROOT / "examples"
    text = " ".join((examples / "journey.txt").read_text().split()[:words])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
        from transformers import AutoTokenizer
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    labels = (examples / "journey.labels").read_text().split()
    (folder / "chain.txt").write_text(text)
    (folder / "chain.labels").write_text("\n".join(labels[: len(tokenizer(text)["input_ids"])]))


def run(work: Work, setting: Setting) -> Result:
    """Run one setting; its files go to a folder beside that of the base setting."""
    work = dataclasses.replace(work, output=work.base.parent / setting.name)
    shutil.rmtree(work.output, ignore_errors=True)
    work.output.mkdir()
    description = work.output / "work.json"
    work.write(description)
    done = subprocess.run(
        [setting.python, "-m", "benchmarks.reproducing.worker", description],
        cwd=ROOT, env=process_environment(setting), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"setting {setting.name!r}:\n{done.stderr[-4000:]}")
    if work.output != work.base:
        (work.output / "u.gotue").unlink(missing_ok=True)  # large, and its digest is known
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def differing(base: Result, other: Result, who: str = "ours") -> list[str]:
    """Names of what was computed in both and is not the same byte for byte."""
    return [
        f"{thing}: {name}"
        for thing, digests in other[who].items()
        for name, value in digests.items()
        if base[who][thing][name] != value
    ]
