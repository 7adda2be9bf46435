"""How probes are trained, as a user says it: values that are checked where they are made.

As in `extraction.options`: the command line's options are these fields, with their help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.interventions import LEAST_DIRECTIONS, MOST_DIRECTIONS
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.errors import BadOption
from geometry_of_trust.option_types import check_choice, check_types

InnerProductName = Literal["causal", "euclidean"]

L2_RANGE = (1e-12, 1e3)
"""Strengths of the penalty that the solver is shown to converge for."""


@dataclass(frozen=True, kw_only=True)
class FittingOptions:
    """How a probe is fitted, and under which inner product.

    Attributes:
        dimension: What the probe reads, e.g. place_name [default: the column's name, or unnamed].
        epsilon: Added to the diagonal of a singular Gram matrix, relative to its mean.
        l2: Strength of the L2 penalty [default: chosen by cross-validation].
        inner_product: causal (the unembedding's Gram matrix) or euclidean; the card shows both.

    Raises:
        BadOption: a strength or an epsilon out of range, another inner product, or a value of
            another type.
    """

    dimension: str | None = None
    epsilon: float = 1e-6
    l2: float | None = None
    inner_product: InnerProductName = "causal"

    def __post_init__(self) -> None:
        check_types(self)
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise BadOption("--epsilon", expected="a finite number from 0 up", found=self.epsilon)
        if self.l2 is not None and not L2_RANGE[0] <= self.l2 <= L2_RANGE[1]:
            raise BadOption("--l2", expected="a number from 1e-12 to 1e3", found=self.l2)
        check_choice("--inner-product", self.inner_product, get_args(InnerProductName))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(FittingOptions):
    """How a probe set is trained.

    Attributes:
        corpus_version: Name of the labelled data, kept in the probe set.
        aggregate: Judge, calibrate and read whole texts, by this of their tokens' readings: mean,
            max, top-k-mean:K, max-of-rolling-means:N (of N tokens in a row) [default: each row].

    Raises:
        BadOption: as `FittingOptions`; another aggregate.
        LimitExceeded, BadText: a corpus version, as `check_name`.
    """

    corpus_version: str = "unversioned"
    aggregate: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.corpus_version, "--corpus-version")
        if self.aggregate is not None:
            Aggregate.parse(self.aggregate)


@dataclass(frozen=True, kw_only=True)
class InterventionOptions:
    """How states are moved along a probe's direction.

    Attributes:
        delta: How far: standard deviations of the probe's projection on these texts.
        directions: How many random directions it is held against.

    Raises:
        BadOption: a distance that is not above 0, too few or too many directions, or a value of
            another type.
    """

    delta: float = 2.0
    directions: int = LEAST_DIRECTIONS

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "delta", float32(self.delta))
        if not 0 < self.delta < math.inf:
            raise BadOption("--delta", expected="a finite number above 0", found=self.delta)
        if not LEAST_DIRECTIONS <= self.directions <= MOST_DIRECTIONS:
            raise BadOption(
                "--directions", expected=f"{LEAST_DIRECTIONS} to {MOST_DIRECTIONS}",
                found=self.directions,
            )  # fmt: skip
