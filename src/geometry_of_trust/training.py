"""From labelled activations to a probe set: a convex fit, its λ, its quality, its calibration.

Formulas: docs/mathematics.md, sections 5 to 7.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from geometry_of_trust import __version__, exact, metrics
from geometry_of_trust.errors import (
    BadLabel,
    BadOption,
    DimensionMismatch,
    LabelCount,
    OneClass,
    TooFewOfClass,
)
from geometry_of_trust.files import PathLike, sha256_file
from geometry_of_trust.formats import (
    Activations,
    read_activations,
    read_labels,
    read_unembedding,
)
from geometry_of_trust.geometry import Geometry
from geometry_of_trust.logistic import Fit, fit, platt
from geometry_of_trust.probes import Metrics, Probe, ProbeSet, Training
from geometry_of_trust.whitening import canonical_order, coordinates, to_states

Array = NDArray[np.float64]
Labels = NDArray[np.int8]
Progress = Callable[[str], None]

L2_GRID = tuple(exact.round32(10.0**k) for k in range(1, -10, -1))
"""Strengths λ that cross-validation chooses from, strongest first: 10, 1, … 10^-9."""

L2_RANGE = (1e-12, 1e3)
MAX_FOLDS = 5
TIE = 1e-9
"""Held-out losses closer than this, relatively, are equal; the stronger penalty is taken."""


@dataclass(frozen=True)
class TrainingResult:
    """What training returns.

    Attributes:
        probe_set: one probe, with its `training` member.
        losses: for each λ tried, strongest first: (λ, held-out log loss in nats).
        gradient: norm of the gradient at the solution, relative to the terms that cancel in it.
    """

    probe_set: ProbeSet
    losses: tuple[tuple[float, float], ...]
    gradient: float


def train_files(
    *,
    activations: PathLike,
    labels: PathLike,
    unembedding: PathLike,
    layer: int,
    dimension: str = "unnamed",
    epsilon: float = 1e-6,
    l2: float | None = None,
    inner_product: Literal["causal", "euclidean"] = "causal",
    corpus_version: str = "unversioned",
    progress: Progress | None = None,
) -> TrainingResult:
    """Read the files, build the geometry and train; the files' digests go into the probe set.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        Refusal and its kinds, BadOption: as `Geometry.from_unembedding` and `train`.
    """
    tell = progress or _silent
    states, marks, matrix = (
        read_activations(activations),
        read_labels(labels),
        read_unembedding(unembedding),
    )
    _check(
        states, marks, matrix.hidden_dim, layer=layer, dimension=dimension, l2=l2
    )  # before the long arithmetic
    tell("Inner product")
    geometry = Geometry.from_unembedding(matrix, epsilon, inner_product, progress=progress)
    digests = {
        "activations": sha256_file(activations),
        "unembedding": sha256_file(unembedding),
        "labels": sha256_file(labels),
    }
    return train(
        states,
        marks,
        geometry,
        layer=layer,
        dimension=dimension,
        l2=l2,
        corpus_version=corpus_version,
        digests=digests,
        progress=progress,
    )


def train(
    activations: Activations,
    labels: Labels,
    geometry: Geometry,
    *,
    layer: int,
    dimension: str = "unnamed",
    l2: float | None = None,
    corpus_version: str = "unversioned",
    digests: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Fit a probe wᵀΦh + b to labelled states of one layer.

    Minimises (1/n)Σ log-loss + (λ/2)s²·wᵀΦw, s the median of ‖h − h̄‖_Φ: strictly convex, and
    without units. λ has the least log loss in stratified cross-validation; Platt scaling is
    fitted to the held-out logits of the same folds.

    Args:
        activations: P states of dimension d in layer `layer`.
        labels: 0 or 1, shape (P,).
        geometry: of dimension d.
        dimension: what the probe is said to read.
        l2: λ from 1e-12 to 1e3, or None to choose it from `L2_GRID`.
        corpus_version: kept in the probe set.
        digests: SHA-256 of `activations`, `unembedding` and `labels`, where they are files.
        progress: called with what is being done.

    Returns:
        The probe set; independent of the order of the rows.

    Raises:
        LabelCount, BadLabel, OneClass, TooFewOfClass: the labels cannot be used.
        LayerMissing, NonFinite, DimensionMismatch: the states cannot be used.
        BadOption: l2 or the name. DidNotConverge: the solver stalled.
    """
    tell = progress or _silent
    _check(activations, labels, geometry.hidden_dim, layer=layer, dimension=dimension, l2=l2)
    H, y = canonical_order(activations.layer(layer), labels)
    candidates = L2_GRID if l2 is None else (exact.round32(l2),)
    # One thread: on many systems of this size threads cost more than they bring (measured: 65
    # times on a busy machine), and their number must not reach the last bits.
    with threadpool_limits(1, user_api="blas"):
        made = _search(H, y, geometry, candidates, tell)
        scale, shift = platt(made.held_out, y)
        logits = H @ geometry.apply(made.weights.astype(np.float64)) + made.bias
    digests = digests or {}
    training = Training(
        precision=activations.precision,
        model_id=activations.model_id,
        layer=layer,
        activations_sha256=digests.get("activations"),
        unembedding_sha256=digests.get("unembedding"),
        labels_sha256=digests.get("labels"),
        inner_product=geometry.inner_product,
        epsilon=geometry.epsilon,
        positives=int(y.sum()),
        negatives=int((1 - y).sum()),
        l2=made.solution.strength,
        l2_chosen=l2 is None,
        folds=made.folds,
        converged=True,
        iterations=made.solution.iterations,
        metrics=_quality(logits, made.held_out, y, scale, shift),
        versions=_versions(),
    )
    probe_set = ProbeSet(
        probes=(Probe(dimension, made.weights, made.bias, scale, shift),),
        layer=layer,
        corpus_version=corpus_version,
        geometry_hash=geometry.digest,
        training=training,
    )
    return TrainingResult(probe_set, made.losses, made.solution.gradient)


@dataclass(frozen=True, eq=False)
class _Made:
    """The fit at the chosen λ, and the held-out logits that Platt scaling and quality rest on."""

    solution: Fit
    weights: NDArray[np.float32]
    bias: float
    held_out: Array
    losses: tuple[tuple[float, float], ...]
    folds: int


def _search(
    H: Array, y: Labels, geometry: Geometry, candidates: Sequence[float], tell: Progress
) -> _Made:
    """Cross-validate the candidates, strongest first, and fit all rows with the best."""
    tell("Whitening")
    X = coordinates(H, geometry)
    fold = _folds(y)
    held_out, losses = {}, []
    for strength in candidates:
        tell(f"Cross-validation, penalty {strength:g}")
        held_out[strength] = _held_out_logits(X, y, fold, strength)
        losses.append((strength, metrics.log_loss(held_out[strength], y)))
    least = min(loss for _, loss in losses)
    chosen = next(strength for strength, loss in losses if loss <= least * (1 + TIE))
    tell("Final fit")
    solution = fit(X, y, chosen)
    weights, bias = to_states(solution, X, H, y, geometry)
    return _Made(
        solution, weights, bias, held_out[chosen], tuple(losses), folds=int(fold.max()) + 1
    )


def _silent(text: str) -> None:
    """What is called where nobody listens."""


def _check(
    activations: Activations,
    labels: Labels,
    d: int,
    *,
    layer: int,
    dimension: str,
    l2: float | None,
) -> None:
    positions = len(activations.positions)
    if labels.shape != (positions,):
        raise LabelCount("labels", expected=f"{positions}, one a position", found=labels.size)
    if not np.isin(labels, (0, 1)).all():
        raise BadLabel("labels", expected="0 or 1", found=labels[~np.isin(labels, (0, 1))][0])
    counts = {"positive": int((labels == 1).sum()), "negative": int((labels == 0).sum())}
    if 0 in counts.values():
        raise OneClass("labels", expected="both classes", found=f"{positions} of one")
    for name, count in counts.items():
        if count < 2:
            raise TooFewOfClass("labels", expected=f"at least two {name} ones", found=count)
    if activations.hidden_dim != d:
        raise DimensionMismatch(
            activations.source, expected=f"{d}, as the unembedding", found=activations.hidden_dim
        )
    if l2 is not None and not L2_RANGE[0] <= l2 <= L2_RANGE[1]:
        raise BadOption("--l2", expected="a number from 1e-12 to 1e3", found=l2)
    try:
        dimension.encode()
    except UnicodeEncodeError:
        raise BadOption("--dimension", expected="Unicode text", found=repr(dimension)) from None
    activations.layer(layer)


def _folds(y: Labels) -> NDArray[np.intp]:
    """Fold of each row: within a class, in canonical order, 0, 1, … K − 1, 0, …"""
    counts = np.bincount(y, minlength=2)
    folds = min(MAX_FOLDS, int(counts.min()))
    fold = np.empty(len(y), np.intp)
    for label in (0, 1):
        fold[y == label] = np.arange(counts[label]) % folds
    return fold


def _held_out_logits(X: Array, y: Labels, fold: NDArray[np.intp], strength: float) -> Array:
    """The logit of each row by the fit to all rows outside its fold."""
    logits = np.empty(len(y))
    for k in range(int(fold.max()) + 1):
        inside = fold == k
        logits[inside] = fit(X[~inside], y[~inside], strength).logits(X[inside])
    return logits


# --- quality ---------------------------------------------------------------------------------


def _quality(logits: Array, held_out: Array, y: Labels, scale: float, shift: float) -> Metrics:
    values = {
        "training_auroc": metrics.auroc(logits, y),
        "training_accuracy": metrics.accuracy(logits, y),
        "held_out_auroc": metrics.auroc(held_out, y),
        "held_out_accuracy": metrics.accuracy(held_out, y),
        "held_out_log_loss": metrics.log_loss(held_out, y),
        "ece_before_platt": metrics.expected_calibration_error(expit(held_out), y),
        "ece_after_platt": metrics.expected_calibration_error(expit(scale * held_out + shift), y),
    }
    return Metrics(**{name: exact.round32(value) for name, value in values.items()})


def _versions() -> dict[str, str]:
    versions: dict[str, Any] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": version("scikit-learn"),
        "geometry-of-trust": __version__,
    }
    return versions
