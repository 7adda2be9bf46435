"""Which layer to probe: each one judged on the same splits, and the one chosen on unseen groups.

Formulas: docs/mathematics.md, sections 4 to 7. The rule of choice: docs/probes.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geometry_of_trust.documents.probe_card import Controls, judged
from geometry_of_trust.errors import RepeatedLayers, TooFewGroups
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.binary import Activations, read_activations, read_unembedding
from geometry_of_trust.formats.row_table import RowTable, row_table
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.controls import Surface, controls, surface
from geometry_of_trust.probing.cross_validation import Study, crossfit, honest
from geometry_of_trust.probing.held_out_figures import Sample, quality
from geometry_of_trust.probing.layer_choice import (
    DimensionSweep,
    FinalTest,
    LayerFigures,
    Sweep,
    choose,
)
from geometry_of_trust.probing.options import FittingOptions
from geometry_of_trust.probing.splits import Indices, canonical_order, folds, groups_with
from geometry_of_trust.probing.training import check
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.probing.whitening import coordinates

Labels = NDArray[np.int8]
Progress = Callable[[str], None]

TEST_SHARE = 5
"""One group in so many is held out as the test fold."""

LEAST_GROUPS = 4
"""Of each class in the test fold; resamples of fewer are no interval."""


def sweep_files(
    *,
    activations: PathLike,
    unembedding: PathLike,
    layers: Sequence[int] | None = None,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    options: FittingOptions = FittingOptions(),
    progress: Progress | None = None,
) -> Sweep:
    """`sweep` of files, with the row table beside the activations if there is one.

    Args:
        layers: None: all that the file has.
        options: how the probes are fitted. All others: as of `train_layers`.

    Raises:
        As `train_layers` and `sweep`.
    """
    states = read_activations(activations)
    rows = row_table(activations)
    columns = named_labels(labels, label_columns, options.dimension, rows)
    matrix = read_unembedding(unembedding)
    wanted = _check(states, columns, matrix.hidden_dim, layers, l2=options.l2, rows=rows)
    if progress is not None:
        progress("Inner product")
    geometry = Geometry.from_unembedding(
        matrix, options.epsilon, options.inner_product, progress=progress
    )
    return sweep(
        states, columns, geometry, layers=wanted, l2=options.l2, rows=rows, progress=progress
    )


def sweep(
    activations: Activations,
    labels: Mapping[str, Labels],
    geometry: Geometry,
    *,
    layers: Sequence[int] | None = None,
    l2: float | None = None,
    rows: RowTable | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Judge each layer on the same splits, choose one, and judge that on groups held out before.

    The test fold is a fifth of the groups, by the content of the deepest layer in the file, so that
    neither the order of the rows nor the layers asked for change it. Of the layers whose own
    verdict is `SUFFICIENT`, the earliest is chosen whose AUROC is within one standard error of the
    best one's.

    Args:
        labels: by the name of the dimension, 0 or 1, shape (P,).
        layers: None: all. All others: as of `train`.

    Raises:
        TooFewGroups: the test fold would have fewer than `LEAST_GROUPS` groups with some class.
        RepeatedLayers, and as `train`.
    """
    wanted = _check(activations, labels, geometry.hidden_dim, layers, l2=l2, rows=rows)
    groups = rows.groups if rows is not None else None
    if groups is not None and not groups.any():
        groups = None  # all rows of one text: there is nothing to hold apart
    return Sweep(
        model_id=activations.model_id,
        inner_product=geometry.inner_product,
        grouped=groups is not None,
        layers=wanted,
        dimensions=tuple(
            _Job(name, activations, column, geometry, groups, l2, rows, progress).run(wanted)
            for name, column in labels.items()
        ),
    )


def _check(
    activations: Activations,
    labels: Mapping[str, Labels],
    d: int,
    layers: Sequence[int] | None,
    *,
    l2: float | None,
    rows: RowTable | None,
) -> tuple[int, ...]:
    wanted = tuple(sorted(activations.layers if layers is None else layers))
    if not wanted or len(set(wanted)) < len(wanted):
        raise RepeatedLayers("--layers", expected="each layer once", found=list(wanted))
    for layer in wanted:  # before the long arithmetic
        check(activations, labels, d, layer=layer, l2=l2, rows=rows)
    return wanted


@dataclass(frozen=True)
class _Job:
    """One dimension."""

    name: str
    activations: Activations
    labels: Labels
    geometry: Geometry
    groups: NDArray[np.int64] | None
    l2: float | None
    rows: RowTable | None
    progress: Progress | None

    def run(self, layers: Sequence[int]) -> DimensionSweep:
        """Split, judge each layer, choose, test."""
        deepest = self.activations.layer(self.activations.layers[-1])
        test = held_out(deepest, self.labels, self.groups)
        rest = np.setdiff1d(np.arange(len(self.labels)), test)
        groups = None if self.groups is None else self.groups[rest]
        study = Study.of(deepest[rest], self.labels[rest], self.geometry, groups)
        study = dataclasses.replace(study, order=rest[study.order])
        figures: list[LayerFigures] = []
        for layer in layers:
            # Words and places are the same at each layer, and so are the splits.
            words = figures[0].controls if figures else None
            figures.append(self._layer(study, layer, words))
        best, layer, why = choose(figures)
        final = self._final(study, layer, test)
        verdict, reason = _verdict(next(f for f in figures if f.layer == layer), final)
        return DimensionSweep(
            dimension=self.name,
            positives=int((study.y == 1).sum()),
            negatives=int((study.y == 0).sum()),
            groups=int(study.groups.max()) + 1,
            layers=tuple(figures),
            best=best,
            chosen=layer,
            why=why,
            final=final,
            verdict=verdict,
            reason=reason,
        )

    def _at(self, study: Study, layer: int) -> Study:
        """The same rows and splits at a layer."""
        H = self.activations.layer(layer)[study.order]
        with threadpool_limits(1, user_api="blas"):
            return dataclasses.replace(study, H=H, X=coordinates(H, self.geometry))

    def _layer(self, study: Study, layer: int, words: Controls | None) -> LayerFigures:
        def tell(text: str) -> None:
            if self.progress is not None:
                self.progress(f"{self.name}, layer {layer}: {text}")

        held = self._at(study, layer)
        strengths = CausalProbe(l2=self.l2).strengths()
        cross = crossfit(held.X, held.y, held.fold, strengths, nested=True, progress=tell)
        l2 = strengths[cross.best(held.y)]
        scores = honest(cross, held.y, held.fold)
        figures = quality(Sample(held.y, held.groups, held.fold), scores.logits, scores.log_odds)
        rivals = controls(held, l2, None if words else self._seen(held.order), tell)
        if words is not None:
            rivals = dataclasses.replace(
                rivals,
                bag_of_tokens=words.bag_of_tokens,
                position_and_length=words.position_and_length,
            )
        return LayerFigures(layer, l2, figures, rivals, *judged(figures.auroc, rivals))

    def _seen(self, order: Indices) -> Surface | None:
        if self.rows is None:
            return None
        seen = surface(self.rows, self.labels)
        tokens = None if seen.tokens is None else [seen.tokens[i] for i in order.tolist()]
        return Surface(tokens, seen.place[order])

    def _final(self, study: Study, layer: int, test: Indices) -> FinalTest:
        if self.progress is not None:
            self.progress(f"{self.name}, layer {layer}: test fold")
        held = self._at(study, layer)
        held = dataclasses.replace(held, order=np.arange(len(held.y)))  # of the rows of choice
        probe = CausalProbe(gram=self.geometry, l2=self.l2).fit_study(held)
        H, y = self.activations.layer(layer)[test], self.labels[test]
        groups = None if self.groups is None else self.groups[test]
        order, numbers = canonical_order(H, y, groups)
        H, y = H[order], y[order]
        w = probe.weights_.astype(np.float64)
        with threadpool_limits(1, user_api="blas"):
            logits = H @ self.geometry.apply(w) + probe.bias_
        logits = logits.astype(np.float32).astype(np.float64)
        log_odds = probe.platt_scale_ * logits + probe.platt_shift_
        figures = quality(Sample(y, numbers, np.zeros(len(y), np.intp)), logits, log_odds)
        return FinalTest(int((y == 1).sum()), int((y == 0).sum()), int(numbers.max()) + 1, figures)


def held_out(H: NDArray[np.float64], y: Labels, groups: NDArray[np.int64] | None) -> Indices:
    """Rows of the test fold, ascending: a fold of five, that with most groups of each class.

    Raises:
        TooFewGroups.
    """
    order, numbers = canonical_order(H, y, groups)
    held, most = y[order], 0
    fold = np.zeros(len(y), np.intp)
    if min(groups_with(held, numbers)) >= TEST_SHARE:
        fold = folds(held, numbers, TEST_SHARE)
        counts = [min(groups_with(held[fold == k], numbers[fold == k])) for k in range(TEST_SHARE)]
        most = max(counts)
        if most >= LEAST_GROUPS:
            return np.sort(order[fold == counts.index(most)])
    raise TooFewGroups(
        "groups",
        expected=f"at least {LEAST_GROUPS} with each class in the test fold, a fifth of all",
        found=most or f"{min(groups_with(held, numbers))} with each class in all",
        hint="Choose a layer by hand, and train with --layer; or label more texts.",
    )


def _verdict(layer: LayerFigures, final: FinalTest) -> tuple[str, str]:
    if layer.verdict != "SUFFICIENT":
        return layer.verdict, f"no layer is SUFFICIENT; at layer {layer.layer}, {layer.reason}"
    verdict, reason = judged(final.quality.auroc, layer.controls)
    return verdict, f"on the test fold, {reason}"
