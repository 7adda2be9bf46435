"""A tiny model in which a planted direction decides between two tokens, and probes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer

from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.documents.probe_card import PermutationNull, judged
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.probes import Training, read_probe_set
from geometry_of_trust.probing.training_files import train_files
from options import training_arguments
from tiny_models import FAMILIES, HIDDEN, TEXT, build

LAYER = 2
TARGETS = ("a", "b")
TEXTS = 24


@dataclass(frozen=True)
class Planted:
    """The model, its texts with labels, and a probe that reads the planted direction v."""

    model: Path
    corpus: Path
    probes: Path
    v: NDArray[np.float32]
    states: NDArray[np.float32]

    def training(self, *, sufficient: bool) -> Training:
        """What the probe was trained on, with a card that says this; of so few texts it says no."""
        training = read_probe_set(self.probes).training
        assert training is not None
        (card,) = training.cards
        auroc = replace(card.quality.auroc, value=1.0, low=1.0 if sufficient else 0.5, high=1.0)
        quality, null = replace(card.quality, auroc=auroc), PermutationNull(499, 0)
        verdict, reason = judged(auroc, card.controls, null)
        card = replace(card, quality=quality, null=null, verdict=verdict, reason=reason)
        return replace(training, cards=(card,))

    def probe_of(self, weights: NDArray[Any], to: Path, **changes: Any) -> Path:
        """A probe set like that of the planted direction, of another one."""
        probe_set = read_probe_set(self.probes)
        probe = replace(probe_set.probes[0], weights=weights.astype(np.float32))
        write_file(to, replace(probe_set, probes=(probe,), **changes).to_json())
        return to


def plant(folder: Path) -> Planted:
    """Make it: the rows of the two tokens in the unembedding differ along v."""
    model = build(FAMILIES["llama"], folder / "model")
    rng = np.random.default_rng(3)
    v = rng.normal(size=HIDDEN).astype(np.float32)
    v /= np.linalg.norm(v)
    file = model / "model.safetensors"
    weights = load_file(file)
    auto: Any = AutoTokenizer
    tokenizer = auto.from_pretrained(model)
    for word, sign in zip(TARGETS, (1, -1), strict=True):
        (number,) = tokenizer(word, add_special_tokens=False).input_ids
        weights["lm_head.weight"][number] += sign * v / weights["model.norm.weight"]
    save_file(weights, file, {"format": "pt"})
    words = TEXT.replace(";", "").split()
    texts = [" ".join(rng.choice(words, 4)) for _ in range(TEXTS)]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    to = {
        "output_activations": folder / "a.gotact",
        "output_unembedding": folder / "u.gotue",
    }
    states = extract_corpus(model, corpus, [LAYER], **to).activations.layer(LAYER)  # type: ignore[arg-type]
    scores = states @ v
    labels = (scores > np.median(scores)).astype(int)
    labels_file = folder / "a.labels"
    labels_file.write_text("".join(f"{label}\n" for label in labels))
    corpus.write_text(
        "".join(
            json.dumps({"text": text, "high": int(label)}) + "\n"
            for text, label in zip(texts, labels, strict=True)
        )
    )
    trained = train_files(
        activations=to["output_activations"],
        labels=labels_file,
        unembedding=to["output_unembedding"],
        **training_arguments(layer=LAYER, dimension="high"),
    )
    probes = folder / "p.json"
    write_file(probes, trained.probe_set.to_json())
    planted = Planted(model, corpus, probes, v, np.array(states))
    planted.probe_of(10 * v, probes, training=planted.training(sufficient=True))
    return planted
