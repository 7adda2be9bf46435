"""Attestations of tiny models, with the model, the text and all files that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.signing.attestation import write_attestation
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.reproduction import Reproduction
from options import arguments_of
from pipeline import KEY, TIMESTAMP
from tiny_models import FAMILIES, TEXT, Family, build, save_model


@dataclass(frozen=True)
class Case:
    """A signed attestation of a tiny model's reading, and its files."""

    folder: Path
    model: Path

    @property
    def document(self) -> Path:
        return self.folder / "t.json"

    @property
    def activations(self) -> Path:
        return self.folder / "a.gotact"

    @property
    def probes(self) -> Path:
        return self.folder / "p.json"

    def sign(self, **options: Any) -> None:
        """Attest these files again."""
        write_attestation(
            self.document,
            attest(
                activations=self.activations, probes=[self.probes],
                unembedding=self.folder / "u.gotue", key=KEY, timestamp=TIMESTAMP, **options,
            ),
        )  # fmt: skip

    def reproduce(self, **options: Any) -> Reproduction:
        """Reproduce with the right model, text and probes, or with others."""
        chosen: dict[str, Any] = {"model": self.model, "text": TEXT, "probes": [self.probes]}
        return reproduce(self.document, KEY.public, **(chosen | options))


def make(folder: Path, model: Any = FAMILIES["llama"], **options: Any) -> Case:
    """Extract, label, train and attest in `folder`.

    `model` is a family of tiny models, one of transformers', or where one is; options as of
    `extract`.
    """
    to = folder / "model"
    if isinstance(model, Family):
        model = build(model, to)
    elif not isinstance(model, Path):
        model = save_model(model, to)
    case = Case(folder, model)
    chosen: dict[str, Any] = {"model_id": "tiny", "reproducible": True} | options
    extract(
        case.model, TEXT, [1, 2], output_activations=case.activations,
        output_unembedding=folder / "u.gotue", **arguments_of(**chosen),
    )  # fmt: skip
    positions = len(read_activations(case.activations).positions)
    labels = folder / "a.labels"
    labels.write_text("".join(f"{i % 2}\n" for i in range(positions)))
    result = train_files(
        activations=case.activations, labels=labels, unembedding=folder / "u.gotue", layer=2
    )
    write_file(case.probes, result.probe_set.to_json())
    case.sign()
    return case


def copied(case: Case, folder: Path) -> Case:
    """The same files, in another folder."""
    for path in case.folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return Case(folder, case.model)


def other_weights(case: Case, folder: Path, change: Any) -> Path:
    """A copy of the model with its tensors changed."""
    folder.mkdir()
    for path in case.model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
