"""The last token's states of many texts, with plain transformers, nnsight or TransformerLens.

A process of its own: `python peers.py WHO PADDING MODEL CORPUS COUNT OUTPUT LAYERS...`. It writes
(layers, texts, d) as float32 with `np.save`. Batches of 32 in the order of the file, each library
as its documentation shows it, stopped after the deepest layer where it offers that.

PADDING is `left` or `right`, with the row at `[:, -1]`; `none`, one text at a time; or `given`:
for plain transformers the row of the last real token under the tokenizer's own padding, for the
others `[:, -1]` with all of the library's defaults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

BATCH = 32


def batches(texts: list[str], padding: str) -> Iterator[list[str]]:
    size = 1 if padding == "none" else BATCH
    return (texts[start : start + size] for start in range(0, len(texts), size))


@torch.no_grad()
def plain(model: str, texts: list[str], padding: str, layers: list[int]) -> Iterator[torch.Tensor]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    if padding in ("left", "right"):
        tokenizer.padding_side = padding
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for batch in batches(texts, padding):
        inputs = tokenizer(batch, padding=True, return_tensors="pt")
        states = network(**inputs, output_hidden_states=True).hidden_states
        rows = torch.arange(len(batch))
        last = torch.full_like(rows, -1)
        if padding == "given":
            width = inputs["attention_mask"].shape[1]
            last = width - 1 - inputs["attention_mask"].flip(1).argmax(1)
        yield torch.stack([states[layer + 1][rows, last] for layer in layers])


def nnsight(
    model: str, texts: list[str], padding: str, layers: list[int]
) -> Iterator[torch.Tensor]:
    import nnsight
    from nnsight import TransformersModel

    network: Any = TransformersModel(
        model, task="text-generation", dispatch=True, dtype=torch.float32
    )
    if padding in ("left", "right"):
        network.tokenizer.padding_side = padding
    for batch in batches(texts, padding):
        with network.trace(batch) as tracer:
            blocks = network.model.layers
            states = nnsight.save([blocks[layer].output[:, -1] for layer in layers])
            tracer.stop()
        yield torch.stack(states).detach()


@torch.no_grad()
def lens(model: str, texts: list[str], padding: str, layers: list[int]) -> Iterator[torch.Tensor]:
    from transformer_lens.model_bridge import TransformerBridge

    bridge: Any = TransformerBridge.boot_transformers(model, device="cpu", dtype=torch.float32)
    names = [f"blocks.{layer}.hook_out" for layer in layers]
    options: dict[str, Any] = {} if padding == "given" else {"prepend_bos": False}
    if padding in ("left", "right"):
        options["padding_side"] = padding
    for batch in batches(texts, padding):
        _, cache = bridge.run_with_cache(
            batch, names_filter=names, stop_at_layer=layers[-1] + 1, return_type=None, **options
        )
        yield torch.stack([cache[name][:, -1] for name in names])


def main() -> None:
    who, padding, model, corpus, count, output, *layers = sys.argv[1:]
    with open(corpus, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, int(count))]
    run = {"transformers": plain, "nnsight": nnsight, "TransformerLens": lens}[who]
    rows = list(run(model, texts, padding, [int(layer) for layer in layers]))
    np.save(output, torch.cat(rows, dim=1).numpy())


if __name__ == "__main__":
    main()
