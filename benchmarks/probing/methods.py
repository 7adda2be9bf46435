"""Ways to make a probe, each from the same training rows, groups and inner folds.

All but the reference's choose and calibrate within the training rows; it has no choice to make,
and calibrates only on labels that it is given besides.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import joblib  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.cross_validation import L2_GRID
from geometry_of_trust.probing.logistic import platt_scaling
from geometry_of_trust.probing.splits import assign_folds, canonical_order


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to train on: states H, shape (n, d), labels y, groups, and the inner fold of each."""

    H: Array
    y: Labels
    groups: Indices
    fold: Indices

    @classmethod
    def of(cls, H: Array, y: Labels, groups: Indices) -> Rows:
        """Rows in the order given, in the folds that `CausalProbe.fit` makes of them."""
        order, numbers = canonical_order(H, y, groups)
        fold = np.empty(len(y), np.intp)
        fold[order] = assign_folds(y[order], numbers)
        return cls(H, y, groups, fold)


Scores = tuple[Array, Array]
"""Of rows held out: scores to rank by, and probabilities."""

Method = Callable[[Rows, Array], Scores]


def ours(geometry: Geometry, rows: Rows, test_rows: Array) -> Scores:
    """`CausalProbe`, calibrated."""
    probe = CausalProbe(gram=geometry).fit(rows.H, rows.y, rows.groups)
    return probe.logits(test_rows), probe.predict_proba(test_rows)[:, 1]


def peer(rows: Rows, test_rows: Array) -> Scores:
    """scikit-learn's, uncalibrated: it has no calibration of its own."""
    fitted = fit_peer(rows)
    return fitted.decision_function(test_rows), fitted.predict_proba(test_rows)[:, 1]


def fit_peer(rows: Rows, solver: str = "lbfgs", tolerance: float = 1e-4) -> Pipeline:
    """Standardised states, `LogisticRegressionCV` on our folds and grid, chosen by log loss.

    Our λ is for rows divided by their median length s, and for the mean loss, so that C is
    1/(nλs²). Folds in parallel as ours: one BLAS thread each.
    """
    lengths = np.linalg.norm(StandardScaler().fit_transform(rows.H), axis=1)
    penalties = [1 / (len(rows.y) * strength * np.median(lengths) ** 2) for strength in L2_GRID]
    splits = [
        (np.flatnonzero(rows.fold != k), np.flatnonzero(rows.fold == k))
        for k in range(int(rows.fold.max()) + 1)
    ]
    search = LogisticRegressionCV(
        Cs=penalties, cv=splits, scoring="neg_log_loss", solver=solver, tol=tolerance,
        max_iter=10_000, l1_ratios=(0,), use_legacy_attributes=False, n_jobs=os.cpu_count(),
    )  # fmt: skip
    with (
        threadpool_limits(1, user_api="blas"),
        joblib.parallel_config("threading"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # at tolerances beyond float64
        return make_pipeline(StandardScaler(), search).fit(rows.H, rows.y)


def means(rows: Rows, test_rows: Array) -> Scores:
    """The direction from one class's mean to the other's, Platt scaling on inner folds."""

    def direction(inside: NDArray[np.bool_]) -> Array:
        H, y = rows.H[inside], rows.y[inside]
        difference: Array = H[y == 1].mean(axis=0) - H[y == 0].mean(axis=0)
        return difference

    out = np.empty(len(rows.y))
    for k in range(int(rows.fold.max()) + 1):
        out[rows.fold == k] = rows.H[rows.fold == k] @ direction(rows.fold != k)
    scale, shift = platt_scaling(out, rows.y)
    scores = test_rows @ direction(np.full(len(rows.y), True))
    return scores, expit(scale * scores + shift)


def reference(geometry: Geometry, rows: Rows, test_rows: Array) -> Scores:
    """The reference's training (reference.md 7.3): 100 epochs, row by row, learning rate 0.001."""
    assert geometry.phi is not None
    images = rows.H.astype(np.float32) @ geometry.phi
    weights, bias, rate = np.zeros(images.shape[1], np.float32), np.float32(0), np.float32(0.001)
    labels = rows.y.astype(np.float32)
    for _ in range(100):
        for image, label in zip(images, labels, strict=True):
            error = np.float32(sigmoid(float(weights @ image + bias))) - label
            weights -= (rate * error) * image
            bias -= rate * error
    logits = test_rows @ geometry.phi.astype(np.float64) @ weights + float(bias)
    return logits, expit(logits)


def sigmoid(x: float) -> float:
    """σ(x) of one number."""
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def methods(geometry: Geometry) -> dict[str, Method]:
    """All of them, by name; ours first, then the peer."""
    plain = Geometry("Euclidean", 0.0, geometry.hidden_dim, None)
    return {
        OURS: partial(ours, geometry),
        "ours, Euclidean": partial(ours, plain),
        PEER: peer,
        "difference in means": means,
        "the reference's SGD": partial(reference, geometry),
    }


OURS, PEER = "ours, causal", "scikit-learn"
