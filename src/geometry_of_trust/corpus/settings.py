"""What decides the bytes of a corpus run, in names and values, so that no other run is resumed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from geometry_of_trust.corpus.choosing import Batching, Position
from geometry_of_trust.corpus.planning import Plan
from geometry_of_trust.extraction.running import Opened

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def settings_of(
    opened: Opened,
    plan: Plan,
    position: Position,
    batching: Batching,
    *,
    add_generation_prompt: bool,
    libraries: dict[str, str],
) -> dict[str, Any]:
    """All that must be as it was when a run is resumed, as JSON.

    Weights are told apart by their files' names, sizes and times of change: reading them all
    would take as long as loading them. Versions of libraries count only for a fast run, since a
    reproducible one has the same bytes with each.
    """
    request = opened.request
    return {
        "model": _model_digest(opened),
        "model_id": request.model_id,
        "revision": request.revision,
        "tokenizer": tokenizer_digest(opened.tokenizer),
        "dtype": request.dtype,
        "quantization": request.quantization,
        "reproducible": request.reproducible,
        "device": str(opened.device),
        "layers": list(request.layers),
        "layout": request.layout,
        "position": position.name,
        "skip_special_tokens": position.skip_special,
        "add_generation_prompt": add_generation_prompt,
        "batches": batching.to_tree(),
        "corpus": plan.corpus_sha256,
        "rows": plan.rows_sha256,
        "libraries": None if request.reproducible else libraries,
    }


def _model_digest(opened: Opened) -> str:
    """Of a model on the hub its commit, else of its configuration and of its files' facts."""
    source = opened.source
    if source.commit is not None:
        return source.commit
    digest = hashlib.sha256(opened.config.to_json_string().encode())
    for path in sorted(Path(source.location).iterdir()):
        if path.suffix in _WEIGHTS and source.gguf in (None, path.name):
            facts = os.stat(path)
            digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Of all that a fast tokenizer is made of; of another one, of its vocabulary and template."""
    if tokenizer.is_fast:
        parts = tokenizer.backend_tokenizer.to_str()
    else:
        parts = repr(sorted(tokenizer.get_vocab().items()))
    template = template_digest(tokenizer) or ""
    return hashlib.sha256(f"{parts}\0{template}".encode()).hexdigest()


def template_digest(tokenizer: Any) -> str | None:
    """SHA-256 of the chat template, None if there is none."""
    template = getattr(tokenizer, "chat_template", None)
    return hashlib.sha256(str(template).encode()).hexdigest() if template else None
