"""What a file of weights says of its tensors: no value is read, and no numpy is needed.

Two kinds of file say it, safetensors and GGUF (`safetensors_file`, `gguf_file`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_DIMENSIONS = 8
"""How many dimensions a tensor may have; weights have up to five."""

MAX_NAME_BYTES = 4096
"""Longest name of a tensor, in UTF-8."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        name: as the file has it. dtype: the file's name of its type: `BF16`, `Q4_K`.
        shape: of the tensor in row-major order, the last dimension being contiguous.
        start, stop: its bytes in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class StoredTensors:
    """All tensors of a file, in the order of their bytes.

    Attributes:
        size: bytes of the file, each of which is of the header, of one tensor, or padding.
        metadata: what else the header of a safetensors file says.
    """

    tensors: tuple[StoredTensor, ...]
    size: int
    metadata: Mapping[str, str]


def in_file_order(tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
    """Ordered by where they begin; one without bytes before the one that begins where it does."""
    return sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop))


def spelt(entry: object) -> str:
    """A value of a header for an error, short."""
    text = json.dumps(entry, default=str)
    return text if len(text) <= 200 else f"{text[:200]}..."
