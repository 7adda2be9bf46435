"""Where the time of a reproducible batch goes: kernels of ours, torch's operations, and Python.

One batch of statements of one length (about 512 tokens) through the 23 blocks of SmolLM2-135M up to
layer 22, by one thread, in processor time; the median of several runs. Beside it plain transformers
on the same batch, the same blocks, one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.corpus import STATEMENTS
from benchmarks.extraction import MODEL

from geometry_of_trust.arithmetic import library
from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request

LAYER, TOKENS = 22, 512
PARTS = {"product": "products", "attention": "attention", "sum": "sums", "softmax": "softmax"}


def timed(form: library.Form, spent: defaultdict[str, float]) -> None:
    """Let each function of a form add what it takes."""
    for name in library.SIGNATURES:
        if not name.endswith("_scratch"):
            setattr(form, name, _timed(getattr(form, name), PARTS.get(name, "functions"), spent))


def _timed(
    call: Callable[..., None], part: str, spent: defaultdict[str, float]
) -> Callable[..., None]:
    def measured(*arguments: object) -> None:
        start = time.thread_time()
        call(*arguments)
        spent[part] += time.thread_time() - start

    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    texts = [json.loads(line)["text"] for line in STATEMENTS.read_text("utf-8").splitlines()]
    with running_model():
        options = ExtractionOptions(device="cpu", reproducible=True)
        request = Request.of(str(MODEL), [LAYER], "a.gotact", "u.gotue", options)
        opened = running.open_model(request, lambda text: None)
        runner = running.load(opened, LAYER + 1, once=False)
        ids = opened.tokenizer(texts)["input_ids"]
        lengths = Counter(map(len, ids))
        length = lengths.most_common(1)[0][0]
        rows = [one for one in ids if len(one) == length][: TOKENS // length]
        batch = Batch(rows, [[length - 1]] * len(rows))
        torch.set_num_threads(1)
        spent = defaultdict[str, float](float)
        timed(library.chosen(), spent)
        plain_model, tensor = runner.loaded.model.base_model, torch.tensor(rows)

        def plain() -> None:
            with torch.inference_mode():
                plain_model(tensor)

        ours_, plain_, parts = [], [], []
        runner.states(batch)
        plain()
        for _ in range(runs):
            spent.clear()
            start = time.thread_time()
            runner.states(batch)
            ours_.append(time.thread_time() - start)
            parts.append(dict(spent))
            start = time.thread_time()
            plain()
            plain_.append(time.thread_time() - start)
    total = median(ours_)
    print(f"{len(rows)} texts of {length} tokens, {library.chosen().name}, one thread, {runs} runs")
    print(f"ours {total:.3f} s, plain transformers {median(plain_):.3f} s, ratio of medians "
          f"{total / median(plain_):.2f}")  # fmt: skip
    for name in sorted({name for part in parts for name in part}):
        print(f"{name:<24}{median(part.get(name, 0.0) for part in parts) / total:>6.0%}")
    rest = median(1 - sum(part.values()) / one for part, one in zip(parts, ours_, strict=True))
    print(f"{'torch, Python':<24}{rest:>6.0%}")


if __name__ == "__main__":
    main()
