"""How far a probe's AUROC falls on the same held-out texts in another style.

Formulas: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.probe_card import ShiftFall
from geometry_of_trust.errors import BadOption
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import CrossValidation, chosen_outside
from geometry_of_trust.probing.held_out_figures import figure_of
from geometry_of_trust.probing.judged_units import aggregated, labels_of_texts
from geometry_of_trust.probing.logistic import fit_logistic
from geometry_of_trust.probing.metrics import WithinFoldAuroc
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.split_rows import SplitRows


class Shifted(Protocol):
    """Texts in another style, as rows.

    `changed`: the numbers of the texts that the style changed. `text`: of each row the number of
    its text, shape (n,). `states`: by layer, shape (n, d), float32.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def changed(self) -> frozenset[int]: ...  # noqa: D102
    @property
    def text(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def states(self) -> Mapping[int, NDArray[np.float32]]: ...  # noqa: D102


Shifting = Callable[[Sequence[int], Sequence[int]], Sequence[Shifted]]
"""Extracts texts, by their numbers, at some layers again, in several styles."""


def check_texts(rows: RowTable | None, labels: Mapping[str, Labels]) -> None:
    """There are texts, each with one label.

    Args:
        rows: n of them. labels: by the name of the dimension, shape (n,).

    Raises:
        BadOption: there is no row table. BadLabel: a text has both labels.
    """
    if rows is None:
        raise BadOption("--shifts", expected="a row table beside the activations", found="none")
    for name, column in labels.items():
        labels_of_texts(name, column, rows)


Directions = Sequence[tuple[Array, float]]
"""Φw, shape (d,), and the bias b of the scorer of each fold."""


def direction_of(probe: Probe, geometry: Geometry) -> tuple[Array, float]:
    """Φw, shape (d,), and b of a probe that was trained under this geometry."""
    return geometry.apply(probe.weights.astype(np.float64)), probe.bias


def fold_directions(split: SplitRows, cross: CrossValidation) -> Directions:
    """The scorer that each fold of rows was held out from, with the λ chosen outside of it.

    Raises:
        DidNotConverge: the solver stalled.
    """
    found = []
    with threadpool_limits(1, user_api="blas"):
        for k, best, _ in chosen_outside(cross, split.y, split.fold):
            rest = split.fold != k
            X, H, y = split.X[rest], split.H[rest], split.y[rest]
            solution = fit_logistic(X, y, cross.strengths[best])
            weights, bias = split.penalty.weights_and_bias(solution, X, H, y)
            found.append((split.geometry.apply(weights.astype(np.float64)), bias))
    return found


@dataclass(frozen=True, eq=False)
class OwnStyle:
    """Rows, or texts, as they are judged in their own style, m of them.

    Attributes:
        sample: their labels, groups and folds. logits: shape (m,).
        texts: the number of the text of each, shape (m,).
    """

    sample: Sample
    logits: Array
    texts: Indices


def falls(
    shifted: Sequence[Shifted],
    layer: int,
    own: OwnStyle,
    directions: Directions,
    aggregate: Aggregate | None = None,
) -> tuple[ShiftFall, ...]:
    """How far the AUROC falls in each style, with the same texts and scorers.

    Args:
        shifted: of these texts, and perhaps of others, which do not count.
        layer: whose states count.
        own: what is judged, in its own style. directions: of the scorer of each of its folds.
        aggregate: of the logits of a text, if texts are judged.
    """
    sample = own.sample
    numbers, first = np.unique(own.texts, return_index=True)
    before = _values(sample, own.logits)
    found = []
    for style in shifted:
        mine = np.isin(style.text, numbers)
        text, H = style.text[mine], style.states[layer][mine].astype(np.float64)
        at = first[np.searchsorted(numbers, text)]  # one of the rows of the text in its own style
        rows = Sample(sample.y[at], sample.groups[at], sample.fold[at])
        scores = _scores(H, rows.fold, directions)
        if aggregate is not None:
            begins = np.flatnonzero(np.diff(text, prepend=-1))
            parts = np.split(scores, begins[1:])
            scores = np.array([float(aggregated(aggregate, part)) for part in parts])
            rows = Sample(rows.y[begins], rows.groups[begins], rows.fold[begins])
        scores = scores.astype(np.float32).astype(np.float64)
        after = _values(rows, scores)
        found.append(
            ShiftFall(
                style.name,
                len(style.changed.intersection(numbers.tolist())),
                figure_of(after, sample.stretch, (0.0, 1.0)),
                figure_of(before - after, sample.stretch, (-1.0, 1.0)),
            )
        )
    return tuple(found)


def _scores(H: Array, fold: Indices, directions: Directions) -> Array:
    scores = np.empty(len(H))
    with threadpool_limits(1, user_api="blas"):
        for k, (direction, bias) in enumerate(directions):
            inside = fold == k
            scores[inside] = H[inside] @ direction + bias
    return scores


def _values(sample: Sample, scores: Array) -> Array:
    """The AUROC of the rows and of each resample of their groups, shape (1 + resamples,).

    The same groups are drawn for each sample of the same groups.
    """
    metric = WithinFoldAuroc(sample, scores)
    return np.concatenate([metric.of(weights) for weights in sample.weights()])
