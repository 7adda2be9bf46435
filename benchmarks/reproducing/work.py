"""What one setting has to compute, the same for all settings, and its inputs."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

Digests = dict[str, str]
"""SHA-256, in hex, by the name of what was digested."""

if TYPE_CHECKING:
    from geometry_of_trust.extraction.options import Dtype


@dataclass(frozen=True)
class Work:
    """The inputs, where the results go, and the folder of the base setting's results."""

    model: Path
    layers: tuple[int, ...]
    prompts: tuple[str, ...]
    tiny_models: tuple[Path, ...]
    tiny_types: tuple[Dtype, ...]
    tiny_layers: tuple[int, ...]
    tiny_text: str
    random: Path
    chain_text: Path
    chain_labels: Path
    plain: bool
    base: Path
    output: Path

    @property
    def has_torch(self) -> bool:
        """Whether activations can be computed here."""
        return importlib.util.find_spec("torch") is not None

    @property
    def unembedding(self) -> Path:
        """SmolLM2's, as this setting extracted it."""
        return (self.output if self.has_torch else self.base) / "u.gotue"

    def write(self, path: Path) -> None:
        """Write the inputs for a worker."""
        path.write_text(json.dumps(vars(self), default=str))

    @classmethod
    def read(cls, path: Path) -> Work:
        """The inputs as `write` wrote them."""
        tree: dict[str, Any] = json.loads(path.read_text())
        for name in ("model", "random", "chain_text", "chain_labels", "base", "output"):
            tree[name] = Path(tree[name])
        tree["tiny_models"] = tuple(map(Path, tree["tiny_models"]))
        for name in ("layers", "prompts", "tiny_types", "tiny_layers"):
            tree[name] = tuple(tree[name])
        return cls(**tree)


def digest(values: NDArray[Any]) -> str:
    """SHA-256 of shape and float32 values, little endian."""
    data = np.ascontiguousarray(values, "<f4")
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
