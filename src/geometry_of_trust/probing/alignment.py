"""Maps from new states to old ones, fitted to pairs of the same texts; labels play no part.

Each map is fitted to some pairs and applied to others. Formulas: docs/transfer.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from geometry_of_trust.probing.array_types import Array, Indices

RIDGES = tuple(10.0**-k for k in range(13))
"""Strengths of the ridge to choose from, strongest first, in units of the greatest λ of XᵀX."""

_NEAREST = 1e-9
"""Weight of the identity beside the pairs, which decides where these leave a rotation open."""


@dataclass(frozen=True, eq=False)
class Affine:
    """h ↦ (h − centre)·M + target: takes new states to where the old ones of the same texts are.

    Attributes:
        centre, target: shape (d,). matrix: M, shape (d, d).
    """

    centre: Array
    matrix: Array
    target: Array

    def __call__(self, new: Array) -> Array:
        """Of states of shape (n, d), shape (n, d)."""
        mapped: Array = (new - self.centre) @ self.matrix + self.target
        return mapped


def rotation(new: Array, old: Array) -> Affine:
    """The orthogonal matrix that brings centred new states nearest to old ones (Procrustes).

    Of several such matrices the one nearest to the identity: pairs say nothing of directions that
    none of them has.

    Args:
        new, old: states of the same rows, shape (n, d) both.
    """
    centre, target = new.mean(axis=0), old.mean(axis=0)
    cross = (new - centre).T @ (old - target)
    size = float(np.linalg.norm(cross)) or 1.0
    left, _, right = np.linalg.svd(cross / size + _NEAREST * np.eye(len(cross)))
    return Affine(centre, left @ right, target)


@dataclass(frozen=True, eq=False)
class RidgeMaps:
    """Least squares from new states to old ones, for each strength of a penalty.

    Attributes:
        centre, target: means of the new and of the old states, shape (d,).
        lengths: singular values of the centred new states, shape (r,). right: their directions,
            shape (r, d). image: what the old states are along the left ones, shape (r, d).
    """

    centre: Array
    target: Array
    lengths: Array
    right: Array
    image: Array

    @classmethod
    def of(cls, new: Array, old: Array) -> RidgeMaps:
        """Fitted to states of the same rows, shape (n, d) both."""
        centre, target = new.mean(axis=0), old.mean(axis=0)
        left, lengths, right = np.linalg.svd(new - centre, full_matrices=False)
        return cls(centre, target, lengths, right, left.T @ (old - target))

    def map(self, strength: float) -> Affine:
        """That of one strength."""
        return Affine(self.centre, self.right.T @ self._shrunk(strength, self.image), self.target)

    def along(self, new: Array, directions: Array) -> Array:
        """Mapped states along directions, for each of `RIDGES`: shape (S, n, k).

        Args:
            new: shape (n, d). directions: shape (d, k).
        """
        rows, image = (new - self.centre) @ self.right.T, self.image @ directions
        parts = [rows @ self._shrunk(strength, image) for strength in RIDGES]
        return np.stack(parts) + self.target @ directions

    def _shrunk(self, strength: float, image: Array) -> Array:
        greatest = float(self.lengths.max(initial=0.0)) ** 2 or 1.0
        factors = self.lengths / (self.lengths**2 + strength * greatest)
        shrunk: Array = factors[:, np.newaxis] * image
        return shrunk


@dataclass(frozen=True, eq=False)
class Pairs:
    """States of the same texts under old and new weights.

    Attributes:
        old, new: shape (n, d) both, float64.
        folds: 0 to K − 1, K ≥ 2, shape (n,): texts that resemble each other are in one.
    """

    old: Array
    new: Array
    folds: Indices

    @property
    def fewest_outside(self) -> int:
        """How many pairs there are outside of the largest fold."""
        return len(self.folds) - int(np.bincount(self.folds).max())

    def mapped(self, directions: Array, unlabelled: Pairs | None) -> tuple[Array, Array]:
        """The new states, by maps that were fitted to other texts.

        Args:
            directions: what probes read, shape (d, k): of the strengths of the ridge the one is
                taken that keeps this best, in texts that it was not fitted to.
            unlabelled: pairs to fit to; None: for each fold of these the others.

        Returns:
            By a rotation and by a ridge, shape (n, d) both.
        """
        with threadpool_limits(1, user_api="blas"):
            if unlabelled is not None:
                ridge = unlabelled._best_ridge(directions)
                return rotation(unlabelled.new, unlabelled.old)(self.new), ridge(self.new)
            turned, ridged = np.empty_like(self.new), np.empty_like(self.new)
            errors, fits = self._errors(directions)
            for k, fit in enumerate(fits):
                inside = self.folds == k
                turned[inside] = rotation(*self._outside(k))(self.new[inside])
                # Of the errors those of other folds: the choice is not made by what is tested.
                best = RIDGES[int(np.delete(errors, k, axis=0).sum(axis=0).argmin())]
                ridged[inside] = fit.map(best)(self.new[inside])
            return turned, ridged

    def _best_ridge(self, directions: Array) -> Affine:
        errors, _ = self._errors(directions)
        best = RIDGES[int(errors.sum(axis=0).argmin())]
        return RidgeMaps.of(self.new, self.old).map(best)

    def _errors(self, directions: Array) -> tuple[Array, list[RidgeMaps]]:
        """Squared errors along directions in units of their variance, shape (K, S); the fits."""
        true = self.old @ directions
        unit = true.std(axis=0)
        unit[unit == 0] = 1.0
        errors, fits = [], []
        for k in range(int(self.folds.max()) + 1):
            fit, inside = RidgeMaps.of(*self._outside(k)), self.folds == k
            missed = (fit.along(self.new[inside], directions) - true[inside]) / unit
            errors.append(np.square(missed).sum(axis=(1, 2)))
            fits.append(fit)
        return np.array(errors), fits

    def _outside(self, k: int) -> tuple[Array, Array]:
        """The new and the old states outside of a fold."""
        outside = self.folds != k
        return self.new[outside], self.old[outside]
