"""One extraction against plain transformers: wall time and peak memory of whole processes.

Ours is the command `got-cli extract` on SmolLM2, layers 8, 15 and 22, one sentence: it writes
activations, unembedding, labels stub and record, synced to disk. The peer loads the model with
`AutoModelForCausalLM.from_pretrained`, runs it with `output_hidden_states=True`, and writes
nothing. A second peer also saves the same arrays with `np.save`, without syncing. Ours and a peer
run in turn, and each figure is the median of the ratios of such pairs. To reach, against the
first peer: time at most 1.00, memory at most 0.85.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

MODEL = Path(__file__).resolve().parents[1] / ".models" / "smollm2-135m-instruct"
TEXT = "The capital of France is Paris, and the river that flows through it is the Seine."
LAYERS = ("8", "15", "22")

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


def measure(command: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak resident memory in MB of one process."""
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
    return seconds, usage.ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    if not (MODEL / "model.safetensors").is_file():
        sys.exit("the model is missing: run make model")
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "geometry_of_trust", "extract", "--model", str(MODEL),
                "--input", TEXT, "--layers", *LAYERS, "--device", "cpu",
                "--output-activations", f"{folder}/a.gotact",
                "--output-unembedding", f"{folder}/u.gotue"]  # fmt: skip
        arguments = [str(MODEL), TEXT, folder, *LAYERS]
        peers = {
            "transformers": [sys.executable, "-c", PEER, *arguments],
            "transformers + np.save": [sys.executable, "-c", PEER + SAVING, *arguments],
        }
        for command in (ours, *peers.values()):
            measure(command)  # once for the caches of the disk and of Python
        print(f"{'against':<24}{'time':>16}{'ratio':>8}{'memory':>20}{'ratio':>8}")
        for name, peer in peers.items():
            runs = [(measure(ours), measure(peer)) for _ in range(pairs)]
            columns = []
            for which, form in ((0, "{:.2f} / {:.2f} s"), (1, "{:.0f} / {:.0f} MB")):
                mine, theirs = ([pair[side][which] for pair in runs] for side in (0, 1))
                ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
                medians = form.format(statistics.median(mine), statistics.median(theirs))
                columns += [f"{medians:>{20 if which else 16}}", f"{ratio:>8.2f}"]
            print(f"{name:<24}{''.join(columns)}")
        print(f"Medians of {pairs} pairs in turn; ours / theirs. To reach: 1.00 and 0.85.")


if __name__ == "__main__":
    main()
