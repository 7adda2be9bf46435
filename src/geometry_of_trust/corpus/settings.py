"""What decides the bytes of a corpus run, in names and values, so that no other run is resumed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.corpus.choosing import Batching
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.corpus.planning import Plan
from geometry_of_trust.extraction.running import Opened

if TYPE_CHECKING:
    from geometry_of_trust.extraction.tokenizing import Tokenizer

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def settings_of(
    opened: Opened, plan: Plan, rows: RowOptions, batching: Batching, libraries: dict[str, str]
) -> dict[str, object]:
    """All that must be as it was when a run is resumed, as JSON.

    Weights are told apart by their files' names, sizes and times of change: reading them all
    would take as long as loading them. Versions of libraries count only for a fast run, since a
    reproducible one has the same bytes with each.
    """
    request, options = opened.request, opened.request.options
    return {
        "model": _model_digest(opened),
        "model_id": request.model_id,
        "revision": options.revision,
        "tokenizer": tokenizer_digest(opened.tokenizer),
        "dtype": options.dtype,
        "quantization": options.quantization,
        "adapter": opened.adapter and opened.adapter.sha256,
        "stream": options.stream,
        "reproducible": request.reproducible,
        "device": str(opened.device),
        "layers": list(opened.layers),
        "layout": options.layout,
        "tokens": rows.tokens,
        "position": rows.place.name,
        "skip_special_tokens": rows.skip_special_tokens,
        "add_generation_prompt": rows.add_generation_prompt,
        "date": rows.date,
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


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """Of all that a fast tokenizer is made of; of another one, of its vocabulary and template."""
    if tokenizer.is_fast:
        parts = tokenizer.backend_tokenizer.to_str()
    else:
        parts = repr(sorted(tokenizer.get_vocab().items()))
    template = template_digest(tokenizer) or ""
    return hashlib.sha256(f"{parts}\0{template}".encode()).hexdigest()


def template_digest(tokenizer: Tokenizer) -> str | None:
    """SHA-256 of the chat template, None if there is none."""
    template = getattr(tokenizer, "chat_template", None)
    return hashlib.sha256(str(template).encode()).hexdigest() if template else None
