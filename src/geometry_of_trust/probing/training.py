"""From labelled activations to a probe set: the fit, and a card for each probe.

Formulas: docs/mathematics.md, sections 4 to 8. How to read a card: docs/probes.md.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import numpy as np
import scipy

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import BadOption, BadRowTable, DimensionMismatch, RepeatedLayers
from geometry_of_trust.formats.arrays import Activations, check_not_zero
from geometry_of_trust.formats.row_table import RowTable, groups_of
from geometry_of_trust.geometry import exact
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import (
    Spectrum,
    effective_dimension,
    unit_effective_dimension,
)
from geometry_of_trust.geometry.spectrum import spectrum as spectrum_of
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.card_making import FittedProbe, make_card
from geometry_of_trust.probing.causal_probe import CausalProbe, as_probe
from geometry_of_trust.probing.cross_validation import cross_validate
from geometry_of_trust.probing.equal_rows import text_groups
from geometry_of_trust.probing.fitted_range import FittedRange, Range, range_of_norms
from geometry_of_trust.probing.judged_units import TextsJudged, Units, judged_scores, texts_of
from geometry_of_trust.probing.label_checks import check_label_column
from geometry_of_trust.probing.logistic import platt_scaling
from geometry_of_trust.probing.other_rows import (
    Others,
    TrainedRows,
    benign_thresholds,
    check_groups,
    figures_on,
    thresholds_of,
)
from geometry_of_trust.probing.probes import Probe, ProbeSet, Training
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.score_histogram import ScoreHistogram, score_histogram
from geometry_of_trust.probing.shift_falls import OwnStyle, falls, fold_directions
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.surface_features import surface_features
from geometry_of_trust.progress import Progress
from geometry_of_trust.version import __version__


@dataclass(frozen=True)
class TrainingResult:
    """What training returns.

    Attributes:
        probe_set: a probe for each dimension, with its `training` member.
        training: that member, which no probe set that was trained here lacks.
        losses: for each probe, for each λ tried, strongest first: (λ, held-out log loss in nats);
            approximate where far from the least.
        gradient: the greatest norm of a gradient at a solution, relative to the terms that cancel.
        iterations: for each probe, the solver's steps to it; other machines may need others.
        scores: for each probe, the held-out logits by class.
        geometry: what was trained under.
        recorded: whether an extraction record says that states and unembedding are of one model.
        unread: whether it says that the unembedding does not read such states, and the inner
            product is of it all the same.
    """

    probe_set: ProbeSet
    training: Training
    losses: tuple[tuple[tuple[float, float], ...], ...]
    gradient: float
    iterations: tuple[int, ...]
    scores: tuple[ScoreHistogram, ...]
    geometry: Geometry
    recorded: bool
    unread: bool


@dataclass(frozen=True)
class TrainingContext:
    """What is known besides states, labels and geometry, and goes into the probe set.

    Attributes:
        corpus_version: name of the labelled data.
        digests: SHA-256 of `activations`, `unembedding` and `labels`, where they are files.
        beside: an inner product to measure next to that of the training; None: next to a causal
            one the Euclidean, next to that none.
        spectrum: of Φ; None: computed, without the share of the mean.
        recorded: whether an extraction record says that states and unembedding are of one model.
        unread: whether it says that the unembedding does not read such states.
        weights: of which weights it says that the states are.
        tokens: of which tokens of their texts.
        texts_sha256: of the texts of the corpus that they are of.
    """

    corpus_version: str = "unversioned"
    digests: Mapping[str, str] = field(default_factory=dict)
    beside: Geometry | None = None
    spectrum: Spectrum | None = None
    recorded: bool = False
    unread: bool = False
    weights: Weights | None = None
    tokens: TrainedTokens | None = None
    texts_sha256: str | None = None


def train(
    activations: Activations,
    labels: Labels | Mapping[str, Labels],
    geometry: Geometry,
    *,
    layer: int,
    dimension: str = "unnamed",
    l2: float | None = None,
    rows: RowTable | None = None,
    aggregate: Aggregate | None = None,
    others: Others = Others(),
    context: TrainingContext = TrainingContext(),
    progress: Progress | None = None,
) -> TrainingResult:
    """Fit a probe wᵀΦh + b to labelled states of one layer, for each dimension, and judge it.

    Minimises (1/n)Σ log-loss + (λ/2)s²·(Σ_j σ_j²(Φw)_j² + μ·wᵀΦw), σ_j the spread of coordinate j:
    strictly convex, and without units (docs/mathematics.md, section 5). λ has the least log loss in
    stratified cross-validation by group; Platt scaling is fitted to the held-out logits of the same
    folds. The figures of the card are nested.

    Args:
        activations: P states of dimension d in layer `layer`.
        labels: 0 or 1, shape (P,); or such labels by the name of the dimension.
        geometry: of dimension d.
        dimension: what the probe is said to read, where `labels` does not say.
        l2: λ from 1e-12 to 1e3, or None to choose it from `cross_validation.L2_GRID`.
        rows: the row table: which rows belong together, and what a reader sees of them.
        aggregate: fit to rows, and calibrate and judge by what becomes of the readings of a text's
            rows together; needs `rows`.
        others: rows that thresholds are set on, and that the probes are judged on as they are.
        context: what is known of the files that these came from.
        progress: called with what is being done.

    Returns:
        The probe set; independent of the order of the rows.

    Raises:
        LabelCount, BadLabel, OneClass, TooFewOfClass: the labels or the groups cannot be used.
            BadLabel, too, if a text of which there is an aggregate has both.
        LayerMissing, NonFinite, ZeroState, DimensionMismatch, BadRowTable: the states cannot be
            used.
        BadOption: l2, a name, or an aggregate without a row table, or of rows that are no tokens.
        NotPositiveDefinite: Φ has no Cholesky factor.
        DidNotConverge: the solver stalled.
        TooFewGroups, TooFewOfClass, and as `Others.check`: `others` cannot be used.
    """
    columns = labels if isinstance(labels, Mapping) else {dimension: labels}
    check_inputs(activations, columns, geometry.hidden_dim, layers=(layer,), l2=l2, rows=rows)
    others.check(activations, list(columns), (layer,), aggregate)
    beside = context.beside
    if beside is None and geometry.inner_product != "Euclidean":
        beside = Geometry("Euclidean", 0.0, geometry.hidden_dim, None)
    tokens = _tokens(context.tokens, aggregate)  # refused before the long arithmetic
    texts = (
        None if aggregate is None else texts_of(aggregate, rows, columns, activations.layer(layer))
    )
    trained_rows = TrainedRows(activations.layer(layer), rows, layer, geometry, aggregate)
    check_groups(others, trained_rows)
    trainer = _Trainer(trained_rows, beside, l2, texts, others, progress)
    trained = [trainer.probe(name, column) for name, column in columns.items()]
    weights = [one.probe.weights for one in trained]
    training = Training(
        precision=activations.precision,
        model_id=activations.model_id,
        layer=layer,
        rows=len(activations.positions),
        activations_sha256=context.digests.get("activations"),
        unembedding_sha256=context.digests.get("unembedding"),
        labels_sha256=context.digests.get("labels"),
        rows_digest=rows.digest() if rows is not None else None,
        inner_product=geometry.inner_product,
        epsilon=geometry.epsilon,
        spectrum=context.spectrum or spectrum_of(geometry),
        effective_dimension=effective_dimension(weights, geometry),
        cards=tuple(one.card for one in trained),
        versions=_versions(),
        weights=context.weights,
        tokens=tokens,
        fitted=trainer.fitted_range(trained),
        unit_effective_dimension=unit_effective_dimension(weights, geometry),
        texts_sha256=context.texts_sha256,
    )
    probe_set = ProbeSet(
        probes=tuple(one.probe for one in trained),
        layer=layer,
        corpus_version=context.corpus_version,
        geometry_hash=geometry.digest,
        training=training,
    )
    return TrainingResult(
        probe_set=probe_set,
        training=training,
        losses=tuple(tuple(one.classifier.losses_) for one in trained),
        gradient=max(one.classifier.gradient_ for one in trained),
        iterations=tuple(one.classifier.n_iter_ for one in trained),
        scores=tuple(score_histogram(one.held_out, one.units.sample.y) for one in trained),
        geometry=geometry,
        recorded=context.recorded,
        unread=context.unread and geometry.inner_product != "Euclidean",
    )


@dataclass(frozen=True, eq=False)
class _Trained:
    """The probe of one dimension, its card, and the classifier that it is.

    `held_out` are the logits of the `units` that are judged.
    """

    probe: Probe
    card: Card
    classifier: CausalProbe
    units: Units
    held_out: Array


@dataclass(frozen=True, eq=False)
class _Trainer:
    """What all probes of a layer share."""

    trained: TrainedRows
    beside: Geometry | None
    l2: float | None
    texts: TextsJudged | None
    others: Others
    progress: Progress | None

    def probe(self, name: str, labels: Labels) -> _Trained:
        """Fit to one dimension, and judge the fit."""

        def tell(text: str) -> None:
            if self.progress is not None:
                self.progress(f"{name}: {text}")

        rows, geometry = self.trained.rows, self.trained.geometry
        given = groups_of(rows)
        tell("Coordinates")
        split = SplitRows.of(self.trained.H, labels, geometry, text_groups(rows))
        classifier = CausalProbe(gram=geometry, l2=self.l2)
        cross = cross_validate(
            split.X, split.y, split.fold, classifier.strengths(), nested=True, progress=tell
        )
        classifier.fit_split(split, cross)
        units = (
            Units.rows(split)
            if self.texts is None
            else self.texts.units(split.order, Sample(split.y, split.groups, split.fold))
        )
        held_out = units.of(cross.held_out[cross.best(split.y)])
        probe = as_probe(name, classifier)
        if self.texts is not None:
            scale, shift = platt_scaling(held_out, units.sample.y)
            probe = replace(probe, platt_scale=scale, platt_shift=shift)
        card = make_card(
            name,
            FittedProbe(split, classifier, cross, units),
            given_groups=None if given is None else int(given.max()) + 1,
            beside=self.beside,
            surface=surface_features(rows, labels) if rows is not None else None,
            progress=tell,
        )
        card = self._carried(card, probe, units.sample, held_out)
        if self.others.shifted and rows is not None:
            tell("Other styles")
            shifts = falls(
                self.others.shifted,
                self.trained.layer,
                OwnStyle(
                    units.sample,
                    judged_scores(cross, split, units).logits,
                    rows.text[split.order[units.first]],
                ),
                fold_directions(split, cross),
                self.trained.aggregate,
            )
            card = replace(card, shifts=shifts)
        return _Trained(probe, card, classifier, units, held_out)

    def _carried(self, card: Card, probe: Probe, sample: Sample, held_out: Array) -> Card:
        """A card with the probe's thresholds and its figures on other rows, if there are some.

        Args:
            sample, held_out: what is judged of the rows trained on, and its held-out logits.
        """
        others = self.others
        if others.benign is not None:
            thresholds = benign_thresholds(others.benign, probe, self.trained)
        elif others.ood:
            negative = sample.y == 0
            logits = held_out[negative].astype(np.float32).astype(np.float64)
            thresholds = thresholds_of(logits, sample.groups[negative], benign=False)
        else:
            return card
        elsewhere = tuple(
            figures_on(entry, probe, thresholds, self.trained) for entry in others.ood
        )
        return replace(card, thresholds=thresholds, elsewhere=elsewhere)

    def fitted_range(self, trained: Sequence[_Trained]) -> FittedRange | None:
        """The range of the states, and of what each probe says of them; exact, of rows at the ends.

        None where a norm or a logit is beyond float32.
        """
        geometry, H = self.trained.geometry, self.trained.H
        norms = range_of_norms(geometry, H)
        scores = []
        for one in trained:
            probe = one.probe
            each = exact.readings(probe.weights, geometry.phi, H, probe.bias)
            if not (math.isfinite(norms.high) and np.isfinite(each).all()):
                return None
            scores.append(Range.of(each if self.texts is None else self.texts.exactly(each)))
        return FittedRange(norms, tuple(scores))


def _tokens(known: TrainedTokens | None, aggregate: Aggregate | None) -> TrainedTokens | None:
    """What is said of the tokens trained on; of an aggregate something in any case.

    Raises:
        BadOption: an aggregate of rows that are one a text.
    """
    if aggregate is None:
        return known
    known = known or TrainedTokens()
    if known.position != "all":
        raise BadOption(
            "--aggregate", expected="a row for each token (extract --position all)",
            found=f"rows of --position {known.position}",
        )  # fmt: skip
    return replace(known, aggregate=str(aggregate))


def check_inputs(
    activations: Activations,
    labels: Mapping[str, Labels],
    d: int,
    *,
    layers: Sequence[int],
    l2: float | None = None,
    rows: RowTable | None = None,
) -> None:
    """What can be refused before any arithmetic.

    Args:
        activations: P states a layer. labels: by the name of the dimension, shape (P,).
        d: the dimension of the geometry. layers: each one once. l2, rows: as of `train`.

    Raises:
        RepeatedLayers: no layer, or one twice. LayerMissing: the activations lack one.
        LabelCount, BadLabel, OneClass: a column. BadOption: no column, or l2.
        LimitExceeded, BadText: the name of a dimension, as `check_name`.
        BadRowTable: not one row a state. DimensionMismatch: of the states and d.
        NonFinite: a state is not finite. ZeroState: one is zero in every coordinate.
    """
    if not layers or len(set(layers)) < len(layers):
        raise RepeatedLayers("--layers", expected="each layer once", found=list(layers))
    positions = len(activations.positions)
    if not labels:
        raise BadOption("labels", expected="at least one dimension", found="none")
    for name, column in labels.items():
        check_label_column(name, column, positions)
    if rows is not None and len(rows) != positions:
        raise BadRowTable("row table", expected=f"{positions}, one a position", found=len(rows))
    if activations.hidden_dim != d:
        raise DimensionMismatch(
            activations.source, expected=f"{d}, as the unembedding", found=activations.hidden_dim
        )
    CausalProbe(l2=l2).strengths()
    for layer in layers:
        check_not_zero(f"{activations.source}, layer {layer}", activations.layer(layer))


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": version("scikit-learn"),
        "geometry-of-trust": __version__,
    }
