"""The data sets of arXiv 2502.16681 as the package `sae-probes` on PyPI has them (MIT).

The package is a wheel with compressed tables; nothing of it is installed or run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer

VERSION = "0.4.2"
WHEEL = f"sae_probes-{VERSION}-py3-none-any.whl"
DATA = "sae_probes/data"
MASTER = f"{DATA}/probing_datasets_MASTER.csv.zst"

FIRST_PARTS = {
    "36_sciq_tf": "\nA: ",
    "41_truthqa_tf": "\nA. ",
    "44_phys_tf": "\n\nA.",
    "47_reasoning_tf": "\nA.",
    "50_deon_isvalid": "\n",
    "52_virtue_is": " [SEP] ",
    "89_glue_mrpc": " | ",
    "90_glue_qnli": " | ",
    "91_glue_qqp": " | ",
    "136_glue_mnli_entailment": " | ",
    "137_glue_mnli_neutral": " | ",
    "138_glue_mnli_contradiction": " | ",
}
"""What stands between the parts of a text, where several texts may share the first one: a question
or a premise. These are one group; other sets do not say which of their texts belong together."""


@dataclass(frozen=True)
class Entry:
    """One text: label 0 or 1, and what it shares with others of its group."""

    text: str
    label: int
    group: str


def wheel(folder: Path) -> Path:
    """The package in this folder, downloaded by pip where it is not there yet."""
    path = folder / WHEEL
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        subprocess.run([*pip, str(folder), f"sae-probes=={VERSION}"], check=True)
    return path


@dataclass(frozen=True)
class PublishedSets:
    """The sets of two classes, and how much of them is taken.

    Attributes:
        path: of the wheel. tokenizer: of the model.
        rows: texts of a set at most. tokens: of a text the last so many, as the package's own
            runs take the last 1024.
    """

    path: Path
    tokenizer: Tokenizer
    rows: int
    tokens: int

    def names(self) -> list[str]:
        """All sets of two classes: first those with a twin, then the ones with short texts."""
        found = [
            Path(row["Dataset save name"]).stem
            for row in self._table(MASTER)
            if row["Data type"] == "Binary Classification"
        ]
        sizes = {name: self._size(f"{DATA}/cleaned_data/{name}.csv.zst") for name in found}
        twins = self.twins()
        return sorted(found, key=lambda name: (name not in twins, sizes[name]))

    def twins(self) -> set[str]:
        """Names of the sets that have a twin of another distribution."""
        with zipfile.ZipFile(self.path) as archive:
            paths = [name for name in archive.namelist() if name.endswith("_OOD.csv.zst")]
        return {Path(path).name.removesuffix("_OOD.csv.zst") for path in paths}

    def entries(self, name: str) -> list[Entry]:
        """Texts of a set, each once; those that have both labels are left out.

        Which ones are taken, and their order, is that of their digests. Label 1 is the second of
        the two names in order, as scikit-learn's `LabelEncoder` has it, which the package uses.
        """
        return self._entries(f"{DATA}/cleaned_data/{name}.csv.zst", FIRST_PARTS.get(name))

    def twin(self, name: str) -> list[Entry]:
        """The same of its twin."""
        return self._entries(f"{DATA}/OOD data/{name}_OOD.csv.zst", None)

    def _entries(self, path: str, separator: str | None) -> list[Entry]:
        rows = list(self._table(path))
        _, positive = sorted({row["target"] for row in rows})
        labels: dict[str, set[str]] = {}
        for row in rows:
            labels.setdefault(row["prompt"], set()).add(row["target"])
        texts = [text for text, of_text in labels.items() if len(of_text) == 1 and text.strip()]
        chosen: dict[str, Entry] = {}
        for text in sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest()):
            end = self._end(text)
            label = int(labels[text] == {positive})
            group = text.partition(separator)[0] if separator else end
            chosen.setdefault(end, Entry(end, label, group))
            if len(chosen) == self.rows:
                break
        return list(chosen.values())

    def _end(self, text: str) -> str:
        """The last tokens of a text."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= self.tokens else text[offsets[-self.tokens][0] :]

    def _table(self, path: str) -> Iterator[dict[str, str]]:
        csv.field_size_limit(2**24)
        with zipfile.ZipFile(self.path) as archive:
            packed = pa.py_buffer(archive.read(path))
        text = io.TextIOWrapper(pa.CompressedInputStream(packed, "zstd"), "utf-8", newline="")
        yield from csv.DictReader(text)

    def _size(self, path: str) -> int:
        """Characters of the rows that a run would take, about."""
        lengths = [min(len(row["prompt"]), 5 * self.tokens) for row in self._table(path)]
        return sum(lengths) * min(self.rows, len(lengths)) // len(lengths)


def columns(entries: Iterable[Entry]) -> list[dict[str, str | int]]:
    """As rows of a corpus for `extract`."""
    return [{"text": one.text, "label": one.label, "group": one.group} for one in entries]
