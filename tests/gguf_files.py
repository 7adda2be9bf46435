"""A tiny Llama in a GGUF file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from tiny_models import HIDDEN, LAYERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from tokenizers.pre_tokenizers import ByteLevel

FEED_FORWARD = 48


def write_gguf(path: Path, kind: str = "F32", *, stored: bool = True) -> None:
    """A tiny Llama with a byte-level tokenizer of single bytes.

    Args:
        kind: ggml's type of the matrices with rows of whole blocks of 32.
        stored: False: what these stand for, in float32.
    """
    type_ = GGMLQuantizationType[kind]
    vocabulary = ["<s>", "</s>", *sorted(ByteLevel.alphabet()), "th"]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3, 3] + [1] * (len(vocabulary) - 2))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    random = np.random.default_rng(5)

    def add(name: str, *shape: int) -> None:
        values = random.normal(0, 0.3, shape).astype(np.float32)
        if kind == "F32" or len(shape) < 2 or shape[-1] % 32:
            writer.add_tensor(name, values)
            return
        rounded = quantize(values, type_)
        if stored:
            writer.add_tensor(name, rounded, raw_dtype=type_)
        else:
            writer.add_tensor(name, dequantize(rounded, type_))

    add("token_embd.weight", len(vocabulary), HIDDEN)
    add("output.weight", len(vocabulary), HIDDEN)
    add("output_norm.weight", HIDDEN)
    for block in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{block}.{name}.weight", HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{block}.{name}.weight", FEED_FORWARD, HIDDEN)
        add(f"blk.{block}.ffn_down.weight", HIDDEN, FEED_FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{block}.{name}.weight", HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
