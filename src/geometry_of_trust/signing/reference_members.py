"""Members of an attestation that the reference defines: values only.

All but drifts and causal scores are made by nothing here: they are read, shown as not checked,
signed and written back; reference.md 3 says what they mean.
Floats are float32 values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScopeMode = Literal["read-only", "advisory", "cooperative", "supervised"]


@dataclass(frozen=True)
class CausalScore:
    """How far the model follows interventions along a probe's direction, both ways.

    Where interventions are bound: changes of the logit difference, 1 − p, and whether it STEERS
    (docs/intervene.md).
    """

    delta_plus: float
    delta_minus: float
    consistency: float
    is_causal: bool


@dataclass(frozen=True)
class DirectionalDrift:
    """How far the direction of a probe of this name has moved."""

    probe_name: str
    drift: float


@dataclass(frozen=True)
class DensityPoint:
    """Density and dimension of the states around one state."""

    log_density: float
    intrinsic_dim: float


@dataclass(frozen=True)
class DensityReading:
    """Densities from `k` neighbours; `num_degenerate` states had none."""

    points: tuple[DensityPoint, ...]
    mean_intrinsic_dim: float
    std_intrinsic_dim: float
    mean_log_density: float
    k: int
    num_degenerate: int


@dataclass(frozen=True)
class CurvaturePoint:
    """Curvature around one state, from triangles of its neighbours."""

    sectional_curvature: float
    num_triangles: int


@dataclass(frozen=True)
class CurvatureReading:
    """Curvatures from `k` neighbours; the correlation is None where it is not defined."""

    points: tuple[CurvaturePoint, ...]
    mean_curvature: float
    std_curvature: float
    curvature_uncertainty_correlation: float | None
    k: int
    num_degenerate: int


@dataclass(frozen=True)
class PermittedDomain:
    """A pattern of domains, and what a model may do there."""

    pattern: str
    mode: ScopeMode


@dataclass(frozen=True)
class DomainScope:
    """Domains that a model is declared to be for."""

    primary: str
    permitted: tuple[PermittedDomain, ...]
    exclusions: tuple[str, ...]
