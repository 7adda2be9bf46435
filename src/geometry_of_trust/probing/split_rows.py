"""Labelled rows in canonical order, split into folds, with the coordinates that a fit needs.

Formulas: docs/mathematics.md, sections 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import TooFewOfClass
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.equal_rows import joined_groups
from geometry_of_trust.probing.label_checks import check_two_of_each
from geometry_of_trust.probing.penalty import Penalty
from geometry_of_trust.probing.splits import (
    MAX_FOLDS,
    assign_folds,
    both_classes_remain,
    canonical_order,
    groups_by_class,
)


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Labelled rows in canonical order, their groups and folds, and their coordinates.

    Attributes:
        order: where each row was in the order given, shape (n,).
        H: states, shape (n, d), float64. y: 0 or 1, shape (n,).
        groups: 0, 1, 2, …, shape (n,). fold: 0 to K − 1, shape (n,).
        penalty: what a fit to them penalises.
        X: coordinates in which that is the squared length, shape (n, r), r = min(n, d), float64.
    """

    order: Indices
    H: Array
    y: Labels
    groups: Indices
    fold: Indices
    penalty: Penalty
    X: Array

    @classmethod
    def of(
        cls,
        H: Array,
        y: Labels,
        geometry: Geometry,
        groups: Labels | None = None,
        most_folds: int = MAX_FOLDS,
    ) -> SplitRows:
        """Put rows in order and split them; groups that share a row are one (`equal_rows`).

        Args:
            H: states, shape (n, d), float64. y: 0 or 1, shape (n,). geometry: of dimension d.
            groups: equal for rows that belong together, shape (n,); None: each on its own.
            most_folds: K at most.

        Raises:
            TooFewOfClass: a class has fewer than two rows, or lies in fewer than two groups, or
                all but a fold of its rows in one.
            NotPositiveDefinite: Φ has no Cholesky factor.
        """
        check_two_of_each(y)
        order, numbers = canonical_order(H, y, joined_groups(H, groups))
        H, y = H[order], y[order]
        if min(groups_by_class(y, numbers)) < 2:
            raise TooFewOfClass(
                "groups",
                expected="both classes in two groups or more",
                found=f"{numbers.max() + 1} in all",
                hint="Groups that share a row of equal numbers are one. Without groups (extract "
                "without --group-column) each text is one.",
            )
        fold = assign_folds(y, numbers, most_folds)
        if not both_classes_remain(y, fold, 1):
            raise TooFewOfClass(
                "groups", expected="both classes outside each fold", found="one class"
            )
        return cls(order, H, y, numbers, fold, *_penalised(H, geometry))

    def under(self, geometry: Geometry) -> SplitRows:
        """The same rows and folds under another inner product.

        Raises:
            NotPositiveDefinite: its Φ has no Cholesky factor.
        """
        penalised = _penalised(self.H, geometry)
        return SplitRows(self.order, self.H, self.y, self.groups, self.fold, *penalised)

    def with_states(self, H: Array) -> SplitRows:
        """The same rows, folds and inner product with other states, shape (n, d), in this order.

        Raises:
            NotPositiveDefinite: Φ has no Cholesky factor.
        """
        penalised = _penalised(H, self.geometry)
        return SplitRows(self.order, H, self.y, self.groups, self.fold, *penalised)

    @property
    def geometry(self) -> Geometry:
        """The inner product."""
        return self.penalty.geometry

    @property
    def fold_count(self) -> int:
        """K."""
        return int(self.fold.max()) + 1

    @property
    def group_count(self) -> int:
        """How many groups of rows there are."""
        return int(self.groups.max()) + 1


def _penalised(H: Array, geometry: Geometry) -> tuple[Penalty, Array]:
    with threadpool_limits(1, user_api="blas"):
        penalty = Penalty.of(H, geometry)
        return penalty, penalty.coordinates(H)
