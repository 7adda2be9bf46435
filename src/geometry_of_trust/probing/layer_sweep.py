"""Which layer to probe: each one judged on the same splits, and the one chosen on unseen groups.

Formulas: docs/mathematics.md, sections 4 to 7. The rule of choice: docs/probes.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geometry_of_trust.documents.probe_card import Controls, judged
from geometry_of_trust.errors import TooFewGroups
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.unembedding_file import open_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe, as_probe
from geometry_of_trust.probing.controls import measured_controls
from geometry_of_trust.probing.cross_validation import cross_validate, nested_scores
from geometry_of_trust.probing.equal_rows import joined_groups, text_groups
from geometry_of_trust.probing.fresh_rows import FreshScores, score_fresh_rows
from geometry_of_trust.probing.held_out_figures import quality_figures
from geometry_of_trust.probing.layer_choice import (
    DimensionSweep,
    FinalTest,
    LayerFigures,
    Sweep,
    choose_layer,
)
from geometry_of_trust.probing.options import FittingOptions
from geometry_of_trust.probing.permutation_null import permutation_null
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.shift_falls import (
    OwnStyle,
    Shifting,
    check_texts,
    direction_of,
    falls,
)
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.splits import assign_folds, canonical_order, groups_by_class
from geometry_of_trust.probing.surface_features import SurfaceFeatures, surface_features
from geometry_of_trust.probing.training import check_inputs
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.progress import Progress

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
    shifting: Shifting | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """`sweep` of files, with the row table beside the activations if there is one.

    Args:
        layers: None: all that the file has.
        options: how the probes are fitted. shifting: as of `sweep`.
        All others: as of `train_layers`.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        RecordMismatch: the extraction record beside the activations is of other files.
        TooFewGroups, RepeatedLayers, and all others: as `train_layers` and `sweep`.
    """
    activations_file = open_activations(activations)
    states, rows = activations_file.activations, activations_file.rows
    columns = named_labels(labels, label_columns, options.dimension, rows)
    unembedding_file = open_unembedding(unembedding)
    matrix = unembedding_file.unembedding
    activations_file.own_record(unembedding_file.sha256)
    wanted = _ascending(states, layers)
    check_inputs(states, columns, matrix.hidden_dim, layers=wanted, l2=options.l2, rows=rows)
    if progress is not None:
        progress("Inner product")
    geometry = Geometry.from_unembedding(
        matrix, options.epsilon, options.inner_product, progress=progress
    )
    return sweep(
        states,
        columns,
        geometry,
        layers=wanted,
        l2=options.l2,
        rows=rows,
        shifting=shifting,
        progress=progress,
    )


def sweep(
    activations: Activations,
    labels: Mapping[str, Labels],
    geometry: Geometry,
    *,
    layers: Sequence[int] | None = None,
    l2: float | None = None,
    rows: RowTable | None = None,
    shifting: Shifting | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Judge each layer on the same splits, choose one, and judge that on groups held out before.

    The test fold is a fifth of the groups, by the content of the deepest layer in the file, so that
    neither the order of the rows nor the layers asked for change it. Of the layers whose own
    verdict is `SUFFICIENT`, the earliest is chosen whose AUROC is within one standard error of the
    best one's.

    Args:
        labels: by the name of the dimension, 0 or 1, shape (P,).
        layers: None: all.
        shifting: extracts the texts of the test fold in other styles, to see how far the AUROC
            falls. All others: as of `train`.

    Raises:
        BadOption, BadLabel: as `check_texts`, with `shifting`; and what that raises.
        TooFewGroups: the test fold would have fewer than `LEAST_GROUPS` groups with some class.
        RepeatedLayers, and as `train`.
    """
    wanted = _ascending(activations, layers)
    check_inputs(activations, labels, geometry.hidden_dim, layers=wanted, l2=l2, rows=rows)
    if shifting is not None:
        check_texts(rows, labels)
    groups = text_groups(rows)
    swept = [
        _Sweeper(name, activations, column, geometry, groups, l2, rows, progress).run(wanted)
        for name, column in labels.items()
    ]
    dimensions = [dimension for dimension, _ in swept]
    if shifting is not None and rows is not None:
        if progress is not None:
            progress("Texts of the test fold in other styles")
        tested = {int(text) for _, test in swept for text in rows.text[test.rows]}
        shifted = shifting(sorted(tested), sorted({found.chosen for found in dimensions}))
        dimensions = [
            dataclasses.replace(
                found,
                shifts=falls(
                    shifted,
                    found.chosen,
                    OwnStyle(
                        test.scores.sample,
                        test.scores.logits,
                        rows.text[test.rows][test.scores.order],
                    ),
                    [direction_of(test.probe, geometry)],
                ),
            )
            for found, test in swept
        ]
    return Sweep(
        model_id=activations.model_id,
        inner_product=geometry.inner_product,
        grouped=groups is not None,
        layers=wanted,
        dimensions=tuple(dimensions),
    )


def _ascending(activations: Activations, layers: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(sorted(activations.chosen(layers)))


@dataclass(frozen=True, eq=False)
class _Test:
    """The probe of the chosen layer, the rows of the test fold, and what it says of these."""

    probe: Probe
    rows: Indices
    scores: FreshScores

    @property
    def figures(self) -> FinalTest:
        """How well it does."""
        scores = self.scores
        quality = quality_figures(scores.sample, scores.logits, scores.log_odds)
        return FinalTest(*scores.counts, quality)


@dataclass(frozen=True, eq=False)
class _Sweeper:
    """One dimension."""

    name: str
    activations: Activations
    labels: Labels
    geometry: Geometry
    groups: Labels | None
    l2: float | None
    rows: RowTable | None
    progress: Progress | None

    def run(self, layers: Sequence[int]) -> tuple[DimensionSweep, _Test]:
        """Split, judge each layer, choose, test."""
        deepest = self.activations.layer(self.activations.layers[-1])
        test = rows_of_test_fold(deepest, self.labels, self.groups)
        rest = np.setdiff1d(np.arange(len(self.labels)), test)
        groups = None if self.groups is None else self.groups[rest]
        split = SplitRows.of(deepest[rest], self.labels[rest], self.geometry, groups)
        split = dataclasses.replace(split, order=rest[split.order])
        figures: list[LayerFigures] = []
        for layer in layers:
            # Words and places are the same at each layer, and so are the splits.
            known = figures[0].controls if figures else None
            figures.append(self._judge(self._at(split, layer), layer, known))
        best, layer, why = choose_layer(figures)
        tested = self._test(self._at(split, layer), layer, test)
        final = tested.figures
        verdict, reason = _verdict(next(f for f in figures if f.layer == layer), final)
        found = DimensionSweep(
            dimension=self.name,
            positives=int((split.y == 1).sum()),
            negatives=int((split.y == 0).sum()),
            groups=split.group_count,
            layers=tuple(figures),
            best=best,
            chosen=layer,
            why=why,
            final=final,
            verdict=verdict,
            reason=reason,
        )
        return found, tested

    def _at(self, split: SplitRows, layer: int) -> SplitRows:
        """The same rows and splits at a layer."""
        return split.with_states(self.activations.layer(layer)[split.order])

    def _judge(self, split: SplitRows, layer: int, known: Controls | None) -> LayerFigures:
        """Nested figures and controls of a layer; `known`: those that another layer has too."""

        def tell(text: str) -> None:
            if self.progress is not None:
                self.progress(f"{self.name}, layer {layer}: {text}")

        strengths = CausalProbe(l2=self.l2).strengths()
        cross = cross_validate(split.X, split.y, split.fold, strengths, nested=True, progress=tell)
        l2 = strengths[cross.best(split.y)]
        scores = nested_scores(cross, split.y, split.fold)
        sample = Sample(split.y, split.groups, split.fold)
        quality = quality_figures(sample, scores.logits, scores.log_odds)
        surface = None if known else self._surface(split.order)
        controls = measured_controls(split, l2, surface, progress=tell)
        if known is not None:
            controls = dataclasses.replace(
                controls,
                bag_of_tokens=known.bag_of_tokens,
                position_and_length=known.position_and_length,
                ngrams=known.ngrams,
            )
        tell("Permutations of the labels")
        null = permutation_null(split.X, split.y, split.groups, strengths)
        verdict, reason = judged(quality.auroc, controls, null)
        return LayerFigures(layer, l2, quality, controls, verdict, reason, null)

    def _surface(self, order: Indices) -> SurfaceFeatures | None:
        if self.rows is None:
            return None
        return surface_features(self.rows, self.labels).in_order(order)

    def _test(self, split: SplitRows, layer: int, test: Indices) -> _Test:
        if self.progress is not None:
            self.progress(f"{self.name}, layer {layer}: test fold")
        # `fit_split` puts logits back in the order given: here, that of the rows of choice.
        split = dataclasses.replace(split, order=np.arange(len(split.y)))
        fitted = CausalProbe(gram=self.geometry, l2=self.l2).fit_split(split)
        probe = as_probe(self.name, fitted)
        H = self.activations.layer(layer)[test]
        groups = None if self.groups is None else self.groups[test]
        return _Test(
            probe, test, score_fresh_rows(probe, self.geometry, H, self.labels[test], groups)
        )


def rows_of_test_fold(H: Array, y: Labels, groups: Labels | None) -> Indices:
    """Rows of the test fold, ascending: a fold of five, that with most groups of each class.

    Args:
        H: states, shape (n, d). y: 0 or 1, shape (n,).
        groups: equal for rows that belong together, shape (n,); None: each on its own.

    Raises:
        TooFewGroups: in no fold are there `LEAST_GROUPS` groups with each class.
    """
    order, numbers = canonical_order(H, y, joined_groups(H, groups))
    y, most = y[order], 0
    fewest = min(groups_by_class(y, numbers))
    if fewest >= TEST_SHARE:
        fold = assign_folds(y, numbers, TEST_SHARE)
        counts = [min(groups_by_class(y[fold == k], numbers[fold == k])) for k in range(TEST_SHARE)]
        most = max(counts)
        if most >= LEAST_GROUPS:
            return np.sort(order[fold == counts.index(most)])
    raise TooFewGroups(
        "groups",
        expected=f"at least {LEAST_GROUPS} with each class in the test fold, a fifth of all",
        found=most or f"{fewest} with each class in all",
        hint="Choose a layer by hand, and train with --layer; or label more texts.",
    )


def _verdict(layer: LayerFigures, final: FinalTest) -> tuple[str, str]:
    if layer.verdict != "SUFFICIENT":
        return layer.verdict, f"no layer is SUFFICIENT; at layer {layer.layer}, {layer.reason}"
    verdict, reason = judged(final.quality.auroc, layer.controls)
    return verdict, f"on the test fold, {reason}"
