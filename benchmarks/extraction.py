"""One extraction against plain transformers and itself: wall time and peak memory of processes.

Ours is the command `got-cli extract` on SmolLM2, layers 8, 15 and 22: it writes activations,
unembedding, labels stub and record, synced to disk. `default` is the reproducible run, `fast` the
one in float32 throughout (`--fast`). The peer loads the model with
`AutoModelForCausalLM.from_pretrained`, runs it with `output_hidden_states=True`, and writes
nothing; a second one also saves the same arrays with `np.save`, without syncing. The two of a line
run in turn, and each figure is the median of the ratios of such pairs. To reach, `default` against
the first peer: for one sentence time at most 0.95 and memory at most 0.5; for 265 tokens time at
most 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).resolve().parents[1] / ".models" / "smollm2-135m-instruct"
SENTENCE = "The capital of France is Paris, and the river that flows through it is the Seine."
JOURNEY = Path(__file__).resolve().parents[1] / "examples" / "journey.txt"
LAYERS = ("8", "15", "22")
OURS = {
    "default": [],
    "fast": ["--fast"],
}
# What is compared with what, on which text.
LINES = (
    ("fast", "transformers", "sentence"),
    ("fast", "transformers + np.save", "sentence"),
    ("default", "transformers", "sentence"),
    ("default", "fast", "sentence"),
    ("default", "transformers", "265 tokens"),
)

PEER = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, text, folder, layers = sys.argv[1], sys.argv[2], sys.argv[3], map(int, sys.argv[4:])
tokenizer = AutoTokenizer.from_pretrained(model)
network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
with torch.no_grad():
    output = network(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
arrays = {f"layer{i}": output.hidden_states[i + 1][0].numpy() for i in layers}
"""
SAVING = """
import numpy as np
arrays["unembedding"] = network.get_output_embeddings().weight.detach().numpy()
for name, array in arrays.items():
    np.save(f"{folder}/{name}.npy", array)
"""


class Cost(NamedTuple):
    """Of one process: wall time in seconds, peak resident memory in MB, processor time in seconds.

    Wall time counts what others do on the machine; processor time hardly does.
    """

    seconds: float
    memory: float
    processor: float


def measure(command: list[str]) -> Cost:
    """Run one process, without its output."""
    quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
             (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]  # fmt: skip
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(seconds, usage.ru_maxrss / unit, usage.ru_utime + usage.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    if not (MODEL / "model.safetensors").is_file():
        sys.exit("the model is missing: run make model")
    texts = {"sentence": SENTENCE, "265 tokens": JOURNEY.read_text("utf-8")}
    with tempfile.TemporaryDirectory() as folder:

        def command(name: str, text: str) -> list[str]:
            if name in OURS:
                return [sys.executable, "-m", "geometry_of_trust", "extract", "--model", str(MODEL),
                        "--input", text, "--layers", *LAYERS, "--device", "cpu", *OURS[name],
                        "--output-activations", f"{folder}/a.gotact",
                        "--output-unembedding", f"{folder}/u.gotue"]  # fmt: skip
            code = PEER + SAVING if "np.save" in name else PEER
            return [sys.executable, "-c", code, str(MODEL), text, folder, *LAYERS]

        for name in ("default", "transformers"):
            measure(command(name, SENTENCE))  # once for the caches of the disk and of Python
        columns = f"{'time':>16}{'ratio':>8}{'memory':>20}{'ratio':>8}"
        print(f"{'':<21}{'against':<24}{'text':<12}{columns}")
        for ours, theirs, which in LINES:
            pair = [command(name, texts[which]) for name in (ours, theirs)]
            line(f"{ours:<21}{theirs:<24}{which:<12}", pair, pairs)
        print(f"Medians of {pairs} pairs in turn.")


def line(names: str, commands: list[list[str]], pairs: int) -> None:
    """Run two commands in turn and print the medians and those of the ratios."""
    runs = [[measure(command) for command in commands] for _ in range(pairs)]
    columns = ""
    for which, form in ((0, "{:.2f} / {:.2f} s"), (1, "{:.0f} / {:.0f} MB")):
        mine, theirs = ([pair[side][which] for pair in runs] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
        medians = form.format(statistics.median(mine), statistics.median(theirs))
        columns += f"{medians:>{20 if which else 16}}{ratio:>8.2f}"
    print(names + columns, flush=True)


if __name__ == "__main__":
    main()
