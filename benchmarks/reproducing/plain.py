"""The same quantities as plain transformers, numpy and scikit-learn give them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.reproducing.ours import CHAIN_LAYER
from benchmarks.reproducing.work import Digests, Work, digest
from numpy.typing import NDArray

from geometry_of_trust.formats.gotue import read_unembedding

BATCH = 8
PROMPTS = 60
"""So many prompts are enough to see that plain results differ."""


class Plain:
    """A whole model in the given type, and its hidden states."""

    def __init__(self, model: Path, dtype: str = "float32") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self.network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))

    def states(self, texts: Sequence[str], layers: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """The outputs of blocks `layers` for each text, run together, without the padding."""
        import torch

        batch = self.tokenizer(list(texts), return_tensors="pt", padding=len(texts) > 1)
        with torch.no_grad():
            output = self.network(**batch, output_hidden_states=True)
        kept = torch.stack([output.hidden_states[i + 1] for i in layers]).float().numpy()
        for k, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
            yield kept[:, k, :length]


def prompts(work: Work, model: Plain) -> dict[str, Digests]:
    """Hidden states of each prompt, one at a time and in padded batches."""
    results: dict[str, Digests] = {}
    for name, size in (("prompts", 1), (f"prompts, batches of {BATCH}", BATCH)):
        digests = results[name] = {}
        for start in range(0, min(PROMPTS, len(work.prompts)), size):
            texts = work.prompts[start : min(start + size, PROMPTS)]
            for k, values in enumerate(model.states(texts, work.layers)):
                digests[f"{start + k}: {texts[k]}"] = digest(values)
    return results


def tiny(work: Work) -> Digests:
    """Hidden states of the tiny models."""
    digests = {}
    for path in work.tiny_models:
        for dtype in work.tiny_types:
            (values,) = Plain(path, dtype).states([work.tiny_text], work.tiny_layers)
            digests[f"{path.name}, {dtype}"] = digest(values)
    return digests


def phi(work: Work) -> dict[str, Digests]:
    """UᵀU by numpy in float32, and in float64 rounded to float32; also kept as arrays."""
    results: dict[str, Digests] = {"phi": {}, "phi by float64": {}}
    for name, path in {"SmolLM2": work.unembedding, "random": work.random}.items():
        U = np.array(read_unembedding(path).values)
        wide = U.astype(np.float64)
        for kind, product in (("phi", U.T @ U), ("phi by float64", wide.T @ wide)):
            values = product.astype(np.float32)
            np.save(work.output / f"{kind} of {name}.npy", values)
            results[kind][name] = digest(values)
    return results


def chain(work: Work, model: Plain) -> dict[str, Digests]:
    """A probe by scikit-learn, and the readings of the base setting's in float32."""
    from sklearn.linear_model import LogisticRegression

    labels = np.array(work.chain_labels.read_text().split(), int)
    (states,) = model.states([work.chain_text.read_text()], [CHAIN_LAYER])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = LogisticRegression(max_iter=1000).fit(states[0], labels)
    weights = np.append(fitted.coef_[0], fitted.intercept_[0]).astype(np.float32)
    np.save(work.output / "plain-probe.npy", weights)
    probe = np.load(work.base / "plain-probe.npy")
    product = np.load(work.output / "phi of SmolLM2.npy")
    readings = states[0] @ product @ probe[:-1] + probe[-1]
    return {
        "probe": {"journey": digest(weights)},
        "attestation": {"journey": digest(readings[-1:])},
    }


def all_of(work: Work) -> dict[str, Digests]:
    """Everything; needs torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Plain(work.model)
        results = prompts(work, model) | {"tiny": tiny(work)} | phi(work)
        return results | chain(work, model)
