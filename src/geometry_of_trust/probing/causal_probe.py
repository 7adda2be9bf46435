"""`CausalProbe`: the probe as a scikit-learn classifier. The one implementation of training.

The only room that uses scikit-learn. Formulas: docs/mathematics.md, sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import BadOption, DimensionMismatch, GroupCount, TooManyClasses
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.cross_validation import (
    L2_GRID,
    CrossValidation,
    cross_validate,
    mean_losses,
)
from geometry_of_trust.probing.label_checks import check_two_kinds
from geometry_of_trust.probing.logistic import fit_logistic, platt_scaling
from geometry_of_trust.probing.options import L2_RANGE
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.splits import MAX_FOLDS


class CausalProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A linear probe with logit wᵀΦh + b, calibrated.

    The penalty is on the spreads of the coordinates, Σ_j σ_j²(Φw)_j², and on wᵀΦw (`Penalty`).

    λ has the least log loss in cross-validation by group; Platt scaling is fitted to the held-out
    logits of the same folds. The result does not depend on the order of the rows, on the names
    of groups, or on threads.

    Args:
        inner_product: `causal`: Φ is `gram`; `euclidean`: Φ is the identity, whatever `gram` is.
        gram: Φ, shape (d, d), or a `Geometry`; None: the identity.
        epsilon: what a singular Φ gets on its diagonal, relative to the mean of that.
        l2: λ, from 1e-12 to 1e3; None: chosen from `grid`.
        grid: strengths to choose from, strongest first.
        folds: at most so many folds.

    Attributes:
        classes_: the two labels, sorted, shape (2,); the second is the positive one.
        weights_: w, shape (d,), float32. bias_: b. geometry_: the inner product.
        platt_scale_, platt_shift_: a and c of the log odds a·logit + c.
        l2_: λ. losses_: (λ, held-out log loss) for each one tried, those
            far from the least approximate. folds_: number of folds.
        held_out_: the logit of each row by the fit to the rows outside its fold, shape (n,).
        n_iter_: Hessians of the last fit. gradient_: its gradient, relative to what cancels in it.
    """

    def __init__(
        self,
        inner_product: Literal["causal", "euclidean"] = "causal",
        *,
        gram: Geometry | ArrayLike | None = None,
        epsilon: float = 1e-6,
        l2: float | None = None,
        grid: Sequence[float] = L2_GRID,
        folds: int = MAX_FOLDS,
    ) -> None:
        self.inner_product = inner_product
        self.gram = gram
        self.epsilon = epsilon
        self.l2 = l2
        self.grid = grid
        self.folds = folds

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> CausalProbe:
        """Fit to states and labels of two kinds.

        Args:
            X: states, shape (n, d), taken as float64.
            y: labels of any two kinds, shape (n,).
            groups: equal for rows that belong together, shape (n,): these stay on one side of
                every split. None: each row on its own.

        Raises:
            OneClass, TooManyClasses, TooFewOfClass, GroupCount: labels or groups that cannot be
                used; all of them ValueErrors.
            BadOption, DimensionMismatch, BadArray, NotPositiveDefinite: parameters.
            NonFinite: weights or bias beyond float32. DidNotConverge: the solver stalled.
            ValueError: what scikit-learn refuses: X or y of another shape, or not finite.
        """
        states, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        check_two_kinds("labels", self.classes_)
        if len(self.classes_) > 2:
            raise TooManyClasses(
                "Only binary classification is supported", expected=2, found=len(self.classes_)
            )
        numbers = None
        if groups is not None:
            if np.shape(groups) != (len(states),):
                raise GroupCount(
                    "groups", expected=f"{len(states)}, one a row", found=np.shape(groups)
                )
            numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
        geometry = self._geometry(states.shape[1])
        split = SplitRows.of(states, codes.astype(np.int8), geometry, numbers, self.folds)
        return self.fit_split(split)

    def fit_split(self, split: SplitRows, cross: CrossValidation | None = None) -> CausalProbe:
        """Fit to rows that are in order and split already.

        Args:
            split: n rows. cross: their cross-validation, if it is there already.

        Raises:
            BadOption: `l2` or `grid`. NonFinite: weights or bias beyond float32.
            DidNotConverge: the solver stalled.
        """
        cross = cross or cross_validate(split.X, split.y, split.fold, self.strengths())
        best = cross.best(split.y)
        with threadpool_limits(1, user_api="blas"):
            solution = fit_logistic(split.X, split.y, cross.strengths[best])
            self.weights_, self.bias_ = split.penalty.weights_and_bias(
                solution, split.X, split.H, split.y
            )
            scores = cross.held_out[best]
            self.platt_scale_, self.platt_shift_ = platt_scaling(scores, split.y)
        self.held_out_ = np.empty(len(scores))
        self.held_out_[split.order] = scores
        self.geometry_, self.folds_ = split.geometry, split.fold_count
        self.l2_ = solution.strength
        losses = mean_losses(cross.held_out, split.y)
        self.losses_ = list(zip(cross.strengths, losses, strict=True))
        self.n_iter_, self.gradient_ = solution.iterations, solution.gradient
        return self

    def strengths(self) -> tuple[float, ...]:
        """The candidates for λ, as float32 values, strongest first.

        Raises:
            BadOption: one beyond `L2_RANGE`, or an order other than descending.
        """
        given = tuple(self.grid) if self.l2 is None else (self.l2,)
        for strength in given:
            if not L2_RANGE[0] <= strength <= L2_RANGE[1]:
                raise BadOption("--l2", expected="a number from 1e-12 to 1e3", found=strength)
        if not given or any(a <= b for a, b in pairwise(given)):
            raise BadOption("grid", expected="strengths in descending order", found=given)
        return tuple(map(round32, given))

    def logits(self, X: ArrayLike) -> Array:
        """wᵀΦh + b for each row of X, shape (n, d): before calibration, shape (n,), float64.

        Raises:
            NotFittedError: not fitted. ValueError: X of another width, or not finite.
        """
        check_is_fitted(self)
        states = validate_data(self, X, dtype=np.float64, reset=False)
        weights = self.weights_.astype(np.float64)
        with threadpool_limits(1, user_api="blas"):
            values: Array = states @ self.geometry_.apply(weights) + self.bias_
        return values

    def decision_function(self, X: ArrayLike) -> Array:
        """Calibrated log odds of the second class, a·logit + c, shape (n,); as of `logits`."""
        logits = self.logits(X)  # first, as it says what is missing before the fit
        calibrated: Array = self.platt_scale_ * logits + self.platt_shift_
        return calibrated

    def predict_proba(self, X: ArrayLike) -> Array:
        """Calibrated probabilities of both classes, shape (n, 2); as of `logits`."""
        odds = self.decision_function(X)
        return np.column_stack([expit(-odds), expit(odds)])

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """The likelier class of each row, shape (n,), of the labels' dtype; as of `logits`."""
        positive = self.decision_function(X) > 0
        labels: NDArray[np.generic] = self.classes_[positive.astype(np.intp)]
        return labels

    def _geometry(self, d: int) -> Geometry:
        if self.inner_product not in ("causal", "euclidean"):
            raise BadOption(
                "inner_product", expected="causal or euclidean", found=self.inner_product
            )
        if self.inner_product == "euclidean" or self.gram is None:
            return Geometry("Euclidean", 0.0, d, None)
        geometry = self.gram
        if not isinstance(geometry, Geometry):
            geometry = Geometry.from_gram(np.asarray(geometry), self.epsilon)
        if geometry.hidden_dim != d:
            raise DimensionMismatch(
                "gram", expected=f"{d} columns, as X", found=geometry.hidden_dim
            )
        return geometry

    def __sklearn_tags__(self) -> Any:  # scikit-learn is untyped
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def as_probe(name: str, fitted: CausalProbe) -> Probe:
    """The probe of a fitted classifier, with a name: what a probe set holds."""
    return Probe(name, fitted.weights_, fitted.bias_, fitted.platt_scale_, fitted.platt_shift_)
