"""A whole small pipeline on disk: activations, unembedding, labels, probes, key, attestation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.keys import SecretKey
from options import training_arguments

KEY = SecretKey.from_seed(bytes(range(1, 33)))
OTHER_KEY = SecretKey.from_seed(bytes([2]) * 32)
TIMESTAMP = 1_700_000_000
D, V, P, LAYERS = 6, 40, 30, (1, 4)


@dataclass(frozen=True)
class Files:
    """Paths of one pipeline in one folder."""

    activations: Path
    unembedding: Path
    labels: Path
    probes: tuple[Path, ...]

    def attest(self, **options: Any) -> Attestation:
        """Sign these files; options as of `attest`."""
        chosen: dict[str, Any] = {
            "activations": self.activations,
            "unembedding": self.unembedding,
            "probes": self.probes,
            "key": KEY,
            "timestamp": TIMESTAMP,
        }
        return attest(**(chosen | options))


def train_one(files: Files, output: Path, **options: Any) -> Path:
    """Train a probe on these files and write it."""
    chosen: dict[str, Any] = {"layer": LAYERS[0], "dimension": "warm"} | options
    result = train_files(
        activations=files.activations,
        labels=files.labels,
        unembedding=files.unembedding,
        **training_arguments(**chosen),
    )
    write_file(output, result.probe_set.to_json())
    return output


def build(folder: Path, seed: int = 7) -> Files:
    """Make the files: two layers of 30 positions, a direction that the labels follow."""
    rng = np.random.default_rng(seed)
    labels = np.arange(P) % 3 == 0
    values = rng.normal(size=(len(LAYERS), P, D)).astype(np.float32)
    values[:, :, 0] += np.where(labels, 1.9, -1.9)
    files = Files(
        activations=folder / "a.gotact",
        unembedding=folder / "u.gotue",
        labels=folder / "a.labels",
        probes=(folder / "p1.json", folder / "p4.json"),
    )
    write_activations(files.activations, Activations("tiny", "Fp32", LAYERS, range(P), values))
    write_unembedding(files.unembedding, rng.normal(size=(V, D)).astype(np.float32))
    files.labels.write_text("".join(f"{int(label)}\n" for label in labels))
    for path, layer, name in zip(files.probes, LAYERS, ("warm", "tall"), strict=True):
        train_one(files, path, layer=layer, dimension=name)
    return files


def replaced(tree: Any, path: tuple[str | int, ...], value: object) -> Any:
    """A frozen value with one leaf changed: attributes of dataclasses, indices of tuples."""
    head, *rest = path
    if isinstance(head, int):
        inner = replaced(tree[head], tuple(rest), value) if rest else value
        return (*tree[:head], inner, *tree[head + 1 :])
    inner = replaced(getattr(tree, head), tuple(rest), value) if rest else value
    return replace(tree, **{head: inner})


def signed_anew(attestation: Attestation, **changes: Any) -> bytes:
    """The attestation with other members, signed by the same key, whatever they say.

    A change of `binding` gets a fitting `probe_commitment` unless one is given.
    """
    if "binding" in changes and "probe_commitment" not in changes:
        changes["probe_commitment"] = changes["binding"].digest
    lie = replace(attestation, **changes)
    return replace(lie, signature=KEY.sign(lie.signed_bytes()).hex()).to_json()
