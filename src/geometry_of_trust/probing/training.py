"""From labelled activations to a probe set: the fit, and a card for each probe.

Formulas: docs/mathematics.md, sections 4 to 8. How to read a card: docs/probes.md.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import scipy
from numpy.typing import NDArray

from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.errors import (
    BadLabel,
    BadOption,
    BadRowTable,
    DimensionMismatch,
    LabelCount,
    OneClass,
)
from geometry_of_trust.formats.binary import Activations
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import Spectrum, effective_dimension
from geometry_of_trust.geometry.spectrum import spectrum as spectrum_of
from geometry_of_trust.probing.card_making import assessed
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.controls import surface
from geometry_of_trust.probing.cross_validation import Study, crossfit
from geometry_of_trust.probing.probes import Probe, ProbeSet, Training
from geometry_of_trust.probing.score_histogram import Histogram, histogram
from geometry_of_trust.version import __version__

Labels = NDArray[np.int8]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """What training returns.

    Attributes:
        probe_set: a probe for each dimension, with its `training` member.
        losses: for each probe, for each λ tried, strongest first: (λ, held-out log loss in nats);
            approximate where far from the least.
        gradient: the greatest norm of a gradient at a solution, relative to the terms that cancel.
        iterations: for each probe, the solver's steps to it; other machines may need others.
        scores: for each probe, the held-out logits by class.
        geometry: what was trained under.
    """

    probe_set: ProbeSet
    losses: tuple[tuple[tuple[float, float], ...], ...]
    gradient: float
    iterations: tuple[int, ...]
    scores: tuple[Histogram, ...]
    geometry: Geometry


@dataclass(frozen=True)
class TrainingContext:
    """What is known besides states, labels and geometry, and goes into the probe set.

    Attributes:
        corpus_version: name of the labelled data.
        digests: SHA-256 of `activations`, `unembedding` and `labels`, where they are files.
        beside: an inner product to measure next to that of the training; None: next to a causal
            one the Euclidean, next to that none.
        spectrum: of Φ; None: computed, without the share of the mean.
    """

    corpus_version: str = "unversioned"
    digests: Mapping[str, str] = field(default_factory=dict)
    beside: Geometry | None = None
    spectrum: Spectrum | None = None


def train(
    activations: Activations,
    labels: Labels | Mapping[str, Labels],
    geometry: Geometry,
    *,
    layer: int,
    dimension: str = "unnamed",
    l2: float | None = None,
    rows: RowTable | None = None,
    context: TrainingContext = TrainingContext(),
    progress: Progress | None = None,
) -> TrainingResult:
    """Fit a probe wᵀΦh + b to labelled states of one layer, for each dimension, and judge it.

    Minimises (1/n)Σ log-loss + (λ/2)s²·wᵀΦw, s the median of ‖h − h̄‖_Φ: strictly convex, and
    without units. λ has the least log loss in stratified cross-validation by group; Platt scaling
    is fitted to the held-out logits of the same folds. The figures of the card are nested.

    Args:
        activations: P states of dimension d in layer `layer`.
        labels: 0 or 1, shape (P,); or such labels by the name of the dimension.
        geometry: of dimension d.
        dimension: what the probe is said to read, where `labels` does not say.
        l2: λ from 1e-12 to 1e3, or None to choose it from `crossfit.L2_GRID`.
        rows: the row table: which rows belong together, and what a reader sees of them.
        context: what is known of the files that these came from.
        progress: called with what is being done.

    Returns:
        The probe set; independent of the order of the rows.

    Raises:
        LabelCount, BadLabel, OneClass, TooFewOfClass: the labels or the groups cannot be used.
        LayerMissing, NonFinite, DimensionMismatch, BadRowTable: the states cannot be used.
        BadOption: l2 or a name. DidNotConverge: the solver stalled.
    """
    columns = labels if isinstance(labels, Mapping) else {dimension: labels}
    check(activations, columns, geometry.hidden_dim, layer=layer, l2=l2, rows=rows)
    beside = context.beside
    if beside is None and geometry.inner_product != "Euclidean":
        beside = Geometry("Euclidean", 0.0, geometry.hidden_dim, None)
    job = _Job(activations.layer(layer), geometry, beside, l2, rows, progress)
    made = [job.probe(name, column) for name, column in columns.items()]
    probes = tuple(probe for probe, _, _ in made)
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
        effective_dimension=effective_dimension([probe.weights for probe in probes], geometry),
        cards=tuple(card for _, card, _ in made),
        versions=_versions(),
    )
    probe_set = ProbeSet(
        probes=probes,
        layer=layer,
        corpus_version=context.corpus_version,
        geometry_hash=geometry.digest,
        training=training,
    )
    return TrainingResult(
        probe_set,
        tuple(tuple(fitted.losses_) for _, _, fitted in made),
        max(fitted.gradient_ for _, _, fitted in made),
        tuple(fitted.n_iter_ for _, _, fitted in made),
        tuple(
            histogram(fitted.held_out_, column)
            for (_, _, fitted), column in zip(made, columns.values(), strict=True)
        ),
        geometry,
    )


@dataclass(frozen=True)
class _Job:
    """What all probes of a layer share."""

    states: NDArray[np.float64]
    geometry: Geometry
    beside: Geometry | None
    l2: float | None
    rows: RowTable | None
    progress: Progress | None

    def probe(self, name: str, labels: Labels) -> tuple[Probe, Card, CausalProbe]:
        """The probe of one dimension, its card, and the estimator."""

        def tell(text: str) -> None:
            if self.progress is not None:
                self.progress(f"{name}: {text}")

        groups = self.rows.groups if self.rows is not None else None
        if groups is not None and not groups.any():
            groups = None  # all rows of one text: there is nothing to hold apart
        tell("Whitening")
        study = Study.of(self.states, labels, self.geometry, groups)
        fitted = CausalProbe(gram=self.geometry, l2=self.l2)
        cross = crossfit(
            study.X, study.y, study.fold, fitted.strengths(), nested=True, progress=tell
        )
        fitted.fit_study(study, cross)
        card = assessed(
            name,
            study,
            fitted,
            cross,
            grouped=groups is not None,
            beside=self.beside,
            seen=surface(self.rows, labels) if self.rows is not None else None,
            progress=tell,
        )
        probe = Probe(name, fitted.weights_, fitted.bias_, fitted.platt_scale_, fitted.platt_shift_)
        return probe, card, fitted


def check(
    activations: Activations,
    labels: Mapping[str, Labels],
    d: int,
    *,
    layer: int,
    l2: float | None,
    rows: RowTable | None = None,
) -> None:
    """What can be refused before any arithmetic; raises as `train`."""
    positions = len(activations.positions)
    if not labels:
        raise BadOption("labels", expected="at least one dimension", found="none")
    for name, column in labels.items():
        _check_labels(name, column, positions)
    if rows is not None and len(rows) != positions:
        raise BadRowTable("row table", expected=f"{positions}, one a position", found=len(rows))
    if activations.hidden_dim != d:
        raise DimensionMismatch(
            activations.source, expected=f"{d}, as the unembedding", found=activations.hidden_dim
        )
    CausalProbe(l2=l2).strengths()
    activations.layer(layer)


def _check_labels(name: str, labels: Labels, positions: int) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadOption("--dimension", expected="Unicode text", found=repr(name)) from None
    where = f"labels {name!r}"
    if labels.shape != (positions,):
        raise LabelCount(where, expected=f"{positions}, one a position", found=labels.size)
    if not np.isin(labels, (0, 1)).all():
        raise BadLabel(where, expected="0 or 1", found=labels[~np.isin(labels, (0, 1))][0])
    if len(set(labels.tolist())) == 1:
        raise OneClass(where, expected="both classes", found=f"{positions} of one")


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": version("scikit-learn"),
        "geometry-of-trust": __version__,
    }
