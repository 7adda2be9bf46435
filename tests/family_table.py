"""The table of families: one row for every model type that transformers loads as a language model.

`families/causal.json` has those of its mapping of causal models, `families/wrappers.json` those of
its mappings of models that take images, sound or video, too; `families/expectations.json` has what
a row may expect. docs/models.md is made of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometry_of_trust.documents.extraction_record import (
    EQUAL,
    NO_NORM,
    RISING,
    SCALED,
    TRANSFORMED,
)

FOLDER = Path(__file__).resolve().parent / "families"
RUNS = "runs"

USUAL: dict[str, Any] = {
    "vocab_size": 320,  # more than the tokenizer has: padding rows, as many checkpoints have
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
"""Members of every configuration, and of each part of one, that has such and is not given them."""

READS = {
    "equal": EQUAL,
    "scaled": SCALED,
    "rising": RISING,
    "transformed": TRANSFORMED,
    "no norm": NO_NORM,
}
"""What extraction records say of what the unembedding reads."""


@dataclass(frozen=True)
class Row:
    """A tiny model of a kind, and what comes of it.

    Attributes:
        name: its model type; behind a slash, what sets it apart from another row of that type.
        model_class: the class of transformers' that it is saved as.
        config: what its configuration has beside `USUAL` and the defaults of its class.
        blocks: path of the list of blocks in that class; empty if transformers cannot run, or not
            build, it with text alone: then nothing but its configuration is saved.
        part: path of the part of it that takes text, if it is a frame around several models.
        kinds: what its blocks are made of.
        streams: how many residual streams they keep.
        reads: how the logits follow from the last state, its norm and the unembedding: a key of
            `READS`.
        expect: "runs", or the name of an expectation.
        unproved: what the record of a reproducible run names.
        portable: whether the plain form of the kernels is run, too, for the same bytes.
        heavy: whether `make test` leaves it out.
    """

    name: str
    model_class: str
    config: dict[str, Any]
    blocks: str = "model.layers"
    part: str = ""
    kinds: tuple[str, ...] = ("attention",)
    streams: int = 1
    reads: str = "equal"
    expect: str = RUNS
    unproved: tuple[str, ...] = ()
    portable: bool = False
    heavy: bool = False

    @property
    def model_type(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Expectation:
    """A refusal.

    Attributes:
        title, why: what docs/models.md says of it.
        error: its class. words: what its message has.
        options: options of `extract` with which the model runs all the same; None: it never does.
    """

    title: str
    why: str
    error: str
    words: tuple[str, ...]
    options: dict[str, Any] | None = None


def _read(name: str) -> dict[str, dict[str, Any]]:
    table = json.loads((FOLDER / name).read_text("utf-8"))
    return {
        name: {key: tuple(x) if isinstance(x, list) else x for key, x in members.items()}
        for name, members in table.items()
    }


def _rows(name: str) -> dict[str, Row]:
    return {
        name: Row(name, model_class=members.pop("class"), **members)
        for name, members in _read(name).items()
    }


CAUSAL = _rows("causal.json")
WRAPPERS = _rows("wrappers.json")
EXPECTATIONS = {
    name: Expectation(**members) for name, members in _read("expectations.json").items()
}


def parameters(rows: dict[str, Row]) -> list[Any]:
    """The rows as parameters of a test."""
    import pytest

    return [
        pytest.param(row, id=name, marks=[pytest.mark.heavy] if row.heavy else [])
        for name, row in rows.items()
    ]
