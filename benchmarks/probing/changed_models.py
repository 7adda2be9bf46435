"""SmolLM2 with other weights: in another basis, fine-tuned, and with noise on its weights."""

from __future__ import annotations

from pathlib import Path

import peft
import torch
from benchmarks.probing.corpora import MODEL, ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

TOKENS, TEXTS = 64, 4
"""Of a step of fine-tuning."""


def loaded() -> PreTrainedModel:
    """The model in float32."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    return model


def saved(model: PreTrainedModel, folder: Path) -> Path:
    """Write it where an extraction finds it, with its tokenizer."""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return folder


@torch.no_grad()
def in_another_basis(folder: Path) -> Path:
    """The same function with every residual stream turned by one orthogonal matrix.

    An RMS norm without weights commutes with rotations, so its weights go into what reads it.
    """
    model = loaded()
    d = model.config.hidden_size
    source = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(d, d, generator=source, dtype=torch.float64)).Q

    def reads(weight: torch.Tensor, norm: torch.Tensor) -> None:
        weight.copy_(weight.double() * norm.double() @ Q)

    def writes(weight: torch.Tensor) -> None:
        weight.copy_(Q.T @ weight.double())

    inner = model.model
    unembedding = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    reads(unembedding, inner.norm.weight)
    model.lm_head.weight, model.config.tie_word_embeddings = unembedding, False
    inner.embed_tokens.weight.copy_(inner.embed_tokens.weight.double() @ Q)
    for block in inner.layers:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            reads(linear.weight, block.input_layernorm.weight)
        for linear in (mlp.gate_proj, mlp.up_proj):
            reads(linear.weight, block.post_attention_layernorm.weight)
        writes(attention.o_proj.weight)
        writes(mlp.down_proj.weight)
        block.input_layernorm.weight.fill_(1.0)
        block.post_attention_layernorm.weight.fill_(1.0)
    inner.norm.weight.fill_(1.0)
    return saved(model, folder)


@torch.no_grad()
def with_noise(folder: Path, share: float) -> Path:
    """Normal noise on each matrix of the blocks, of a share of the standard deviation of each."""
    model, source = loaded(), torch.Generator().manual_seed(1)
    for weight in model.model.layers.parameters():
        if weight.dim() == 2:
            noise = torch.randn(weight.shape, generator=source)
            weight.add_(noise, alpha=share * float(weight.std()))
    return saved(model, folder)


def fine_tuned(folder: Path, steps: int, rate: float) -> Path:
    """An adapter (LoRA of rank 8), trained to go on with the text of the Apache License."""
    torch.manual_seed(2)
    text = (ROOT / "LICENSE").read_text("utf-8")
    tokens = AutoTokenizer.from_pretrained(MODEL)(text, return_tensors="pt").input_ids[0]
    config = peft.LoraConfig(
        r=8, lora_alpha=16, task_type="CAUSAL_LM",
        target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
    )  # fmt: skip
    model = peft.get_peft_model(loaded(), config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - TOKENS, (TEXTS,))
        batch = torch.stack([tokens[start : start + TOKENS] for start in starts.tolist()])
        model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(str(folder))
    return folder
