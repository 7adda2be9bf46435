"""How often labels that mean nothing pass: intervals, permutations and verdicts of noise.

The figures of docs/mathematics.md, section 7. Synthetic states, so many seeds each; for 400 some
ten minutes. `--seeds`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np

from geometry_of_trust.documents.probe_card import MOST_BY_CHANCE, Card
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import L2_GRID, cross_validate, nested_scores
from geometry_of_trust.probing.held_out_figures import figure_with_interval
from geometry_of_trust.probing.metrics import WithinFoldAuroc
from geometry_of_trust.probing.permutation_null import permutation_null
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.training import train

Rows = tuple[Array, Labels, Indices]
Maker = Callable[[np.random.Generator], Rows]


def rows_of(n: int, d: int, size: int = 1) -> Maker:
    """Normal states, in groups of one size that share nothing; half of the labels are 1."""

    def make(rng: np.random.Generator) -> Rows:
        y = rng.permutation(np.arange(n) % 2).astype(np.int8)
        return rng.normal(size=(n, d)), y, np.arange(n) // size

    return make


def alike(mixed: bool) -> Maker:
    """Groups of rows that resemble each other: of 1 to 11 and one label, or of 2 to 4 and both."""

    def make(rng: np.random.Generator) -> Rows:
        sizes = rng.integers(2, 5, 40) if mixed else rng.integers(1, 12, 40)
        groups = np.repeat(np.arange(40), sizes)
        H = 2 * rng.normal(size=(40, 20))[groups] + rng.normal(size=(len(groups), 20))
        marks = rng.permutation(np.arange(40) % 2)[groups]
        y = rng.integers(0, 2, len(groups)) if mixed else marks
        return H, y.astype(np.int8), groups

    return make


INTERVALS = {
    "40 rows, d = 2": rows_of(40, 2),
    "100 rows, d = 8": rows_of(100, 8),
    "100 rows, d = 20": rows_of(100, 20),
    "120 rows in 40 groups, d = 8": rows_of(120, 8, 3),
}
PERMUTATIONS = {
    "60 rows, d = 20": rows_of(60, 20),
    "40 groups of 1 to 11 rows that are alike, one label": alike(mixed=False),
    "40 groups of 2 to 4 rows that are alike, both labels": alike(mixed=True),
    "40 rows, d = 200": rows_of(40, 200),
}
VERDICTS = {"60 rows, d = 20": rows_of(60, 20), "60 rows, d = 200": rows_of(60, 200)}

EFFECT = 1.5
"""By how many standard deviations one coordinate differs between the classes."""


def geometry_of(d: int) -> Geometry:
    """The inner product of an unembedding some of whose directions are a hundred times others."""
    U = np.random.default_rng(0).normal(size=(3 * d, d)) * np.geomspace(1, 100, d)
    return Geometry.from_unembedding(U.astype(np.float32))


def intervals(make: Maker, seeds: int) -> str:
    """Which share of the AUROC's intervals holds one half, and would without the factor √2."""
    inside, narrow = 0, 0
    for seed in range(seeds):
        H, y, groups = make(np.random.default_rng(seed))
        split = SplitRows.of(H, y, geometry_of(H.shape[1]), groups)
        cross = cross_validate(split.X, split.y, split.fold, L2_GRID, nested=True)
        sample = Sample(split.y, split.groups, split.fold)
        logits = nested_scores(cross, split.y, split.fold).logits
        auroc = figure_with_interval(sample, WithinFoldAuroc(sample, logits))
        inside += auroc.low <= 0.5 <= auroc.high
        low, high = (auroc.value + (end - auroc.value) / math.sqrt(2)
                     for end in (auroc.low, auroc.high))  # fmt: skip
        narrow += low <= 0.5 <= high
    return f"{inside / seeds:.4g} | {narrow / seeds:.4g}"


def permutations(make: Maker, seeds: int) -> str:
    """Which share of the p-values is at most 0.05."""
    low = 0
    for seed in range(seeds):
        H, y, groups = make(np.random.default_rng(seed))
        split = SplitRows.of(H, y, geometry_of(H.shape[1]), groups)
        low += permutation_null(split.X, split.y, split.groups, L2_GRID).p <= 0.05
    return f"{low / seeds:.4g}"


def verdicts(make: Maker, seeds: int) -> str:
    """Which share of the cards of `train` says SUFFICIENT."""
    sufficient = 0
    for seed in range(seeds):
        H, y, _ = make(np.random.default_rng(seed))
        sufficient += card_of(H, y).verdict == "SUFFICIENT"
    return f"{sufficient / seeds:.4g}"


def power(seeds: int) -> str:
    """Of rows with an effect: how many intervals are above what they must be, and p-values low.

    An interval must be above one half, shuffled labels and random directions.
    """
    both = interval_alone = p_alone = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        H, y, _ = rows_of(80, 20)(rng)
        H[:, 0] += EFFECT * y
        card = card_of(H, y)
        assert card.null is not None
        controls = (card.controls.shuffled_labels, card.controls.random_directions)
        above = card.quality.auroc.low > max(0.5, *controls)
        low = card.null.p <= MOST_BY_CHANCE
        both += above and low
        interval_alone += above and not low
        p_alone += low and not above
    return f"both {both}, the interval alone {interval_alone}, the p-value alone {p_alone}"


def card_of(H: Array, y: Labels) -> Card:
    """The card of `train`, each row on its own."""
    states = Activations("synthetic", "Fp32", (0,), range(len(y)), H[np.newaxis].astype(np.float32))
    return train(states, y, geometry_of(H.shape[1]), layer=0).training.cards[0]


def show(heads: Sequence[str], cases: dict[str, Maker], share: Callable[[Maker], str]) -> None:
    """Print a table of Markdown."""
    print(f"\n| without an effect | {' | '.join(heads)} |")
    print("|---" * (1 + len(heads)) + "|")
    for name, make in cases.items():
        print(f"| {name} | {share(make)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=400)
    seeds = parser.parse_args().seeds
    heads = ["intervals that hold one half", "without the factor √2"]
    show(heads, INTERVALS, lambda make: intervals(make, seeds))
    show(["p at most 0.05"], PERMUTATIONS, lambda make: permutations(make, seeds))
    show(["SUFFICIENT"], VERDICTS, lambda make: verdicts(make, seeds))
    print(f"\n80 rows, d = 20, an effect of {EFFECT}, {seeds} seeds: {power(seeds)}")


if __name__ == "__main__":
    main()
