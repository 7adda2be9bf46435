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

from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GroupCount,
    OneClass,
    TooManyClasses,
)
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.cross_validation import L2_GRID, CrossFit, Study, crossfit, losses
from geometry_of_trust.probing.logistic import fit as fitted
from geometry_of_trust.probing.logistic import platt
from geometry_of_trust.probing.options import L2_RANGE
from geometry_of_trust.probing.splits import MAX_FOLDS
from geometry_of_trust.probing.whitening import to_states

Array = NDArray[np.float64]


class CausalProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A linear probe with logit wᵀΦh + b, penalised by wᵀΦw, and calibrated.

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
        classes_: the two labels, sorted; the second is the positive one.
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

    def fit(self, X: Any, y: Any, groups: Any = None) -> CausalProbe:
        """Fit to states X, shape (n, d), and two kinds of labels y, shape (n,).

        Args:
            groups: equal for rows that belong together, shape (n,): these stay on one side of
                every split. None: each row on its own.

        Raises:
            OneClass, TooManyClasses, TooFewOfClass, GroupCount: labels or groups that cannot be
                used; all of them ValueErrors.
            BadOption, DimensionMismatch, BadArray, NotPositiveDefinite: parameters.
            DidNotConverge: the solver stalled.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise OneClass("labels", expected="labels of two kinds", found="one class")
        if len(self.classes_) > 2:
            raise TooManyClasses(
                "Only binary classification is supported", expected=2, found=len(self.classes_)
            )
        numbers = None
        if groups is not None:
            if np.shape(groups) != (len(X),):
                raise GroupCount("groups", expected=f"{len(X)}, one a row", found=np.shape(groups))
            numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
        geometry = self._geometry(X.shape[1])
        return self.fit_study(Study.of(X, codes.astype(np.int8), geometry, numbers, self.folds))

    def fit_study(self, study: Study, cross: CrossFit | None = None) -> CausalProbe:
        """Fit to rows that are in order and split already; `cross` if it is there already."""
        cross = cross or crossfit(study.X, study.y, study.fold, self.strengths())
        held = losses(cross.held_out, study.y)
        best = cross.best(study.y)
        with threadpool_limits(1, user_api="blas"):
            solution = fitted(study.X, study.y, cross.strengths[best])
            self.weights_, self.bias_ = to_states(
                solution, study.X, study.H, study.y, study.geometry
            )
            scores = cross.held_out[best]
            self.platt_scale_, self.platt_shift_ = platt(scores, study.y)
        self.held_out_ = np.empty(len(scores))
        self.held_out_[study.order] = scores
        self.geometry_, self.folds_ = study.geometry, study.folds
        self.l2_, self.losses_ = solution.strength, list(zip(cross.strengths, held, strict=True))
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

    def logits(self, X: Any) -> Array:
        """wᵀΦh + b for each row, shape (n,), before calibration."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with threadpool_limits(1, user_api="blas"):
            values: Array = X @ self.geometry_.apply(self.weights_.astype(np.float64)) + self.bias_
        return values

    def decision_function(self, X: Any) -> Array:
        """Calibrated log odds of the second class, a·logit + c, shape (n,)."""
        logits = self.logits(X)
        calibrated: Array = self.platt_scale_ * logits + self.platt_shift_
        return calibrated

    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities of both classes, shape (n, 2)."""
        odds = self.decision_function(X)
        return np.column_stack([expit(-odds), expit(odds)])

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier class of each row, shape (n,)."""
        positive = self.decision_function(X) > 0
        labels: NDArray[Any] = self.classes_[positive.astype(np.intp)]
        return labels

    def _geometry(self, d: int) -> Geometry:
        if self.inner_product not in ("causal", "euclidean"):
            raise BadOption(
                "inner_product", expected="causal or euclidean", found=self.inner_product
            )
        if self.inner_product == "euclidean" or self.gram is None:
            return Geometry("Euclidean", 0.0, d, None)
        held = self.gram
        if not isinstance(held, Geometry):
            held = Geometry.from_gram(np.asarray(held), self.epsilon)
        if held.hidden_dim != d:
            raise DimensionMismatch("gram", expected=f"{d} columns, as X", found=held.hidden_dim)
        return held

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
