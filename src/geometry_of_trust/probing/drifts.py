"""How far an inner product moved, and the probes of a set with it (reference.md 7.6 to 7.8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geometry_of_trust.errors import BadOption, DimensionMismatch
from geometry_of_trust.files import PathLike
from geometry_of_trust.geometry.checkpoints import needs_epsilon, open_geometry
from geometry_of_trust.geometry.drift import Moved, gram_moved, principal_angles, probe_moved
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import unit_effective_dimension
from geometry_of_trust.probing.probes import Probe
from geometry_of_trust.probing.sources import ProbeSetFile, open_probe_set
from geometry_of_trust.progress import Progress


@dataclass(frozen=True)
class ProbeDrift:
    """How far the direction of one probe moved.

    Attributes:
        name: the probe's dimension. layer: that it reads.
        moved: of wᵀΦw.
        angle: between Φref·w and Φw, which are what the probe reads, in degrees; None of zeros.
    """

    name: str
    layer: int
    moved: Moved
    angle: float | None


@dataclass(frozen=True)
class ProbeSetDrift:
    """How far the probes of one set moved together.

    Attributes:
        path: of the file. probes: one a probe.
        angles: principal angles between the spans of Φref·w and of Φw, in degrees, the smallest
            first; empty where probes are not independent.
        dimension_before, dimension_after: effective dimension of the probes under both, of
            length 1 each.
    """

    path: str
    probes: tuple[ProbeDrift, ...]
    angles: tuple[float, ...]
    dimension_before: float
    dimension_after: float


@dataclass(frozen=True)
class DriftReport:
    """How far one inner product is from another.

    Attributes:
        reference, current: their digests. hidden_dim: their dimension.
        moved: of Φ. probe_sets: one a file.
    """

    reference: str
    current: str
    hidden_dim: int
    moved: Moved
    probe_sets: tuple[ProbeSetDrift, ...]

    @property
    def projected_distance(self) -> float | None:
        """The mean alignment distance of all probes (reference.md 7.8); None without one."""
        distances = [probe.moved.distance for each in self.probe_sets for probe in each.probes]
        return math.fsum(distances) / len(distances) if distances else None


def measure_drift(
    reference: PathLike,
    current: PathLike,
    probes: Sequence[PathLike] = (),
    *,
    epsilon: float | None = None,
    progress: Progress | None = None,
) -> DriftReport:
    """Measure the drift between two inner products, and that of probes.

    Args:
        reference, current: `.gotgeo` or `.gotue` files.
        probes: probe sets of the same dimension.
        epsilon: as of `open_geometry`; None: 1e-6, if one of them needs it.

    Raises:
        MalformedInput and its kinds, FileChanged: a file cannot be read.
        DimensionMismatch: two of them are of different dimensions.
        BadOption: a probe set is given twice; or an epsilon, and neither file needs it.
        Inconsistent, NonFinite, NotPositiveDefinite, TooLarge, BadOption: as `open_geometry`.
    """
    files = [open_probe_set(path) for path in probes]
    seen: dict[str, str] = {}
    for file in files:
        if file.sha256 in seen:
            other = f"the one of {seen[file.sha256]}"
            raise BadOption(file.path, expected="each probe set once", found=other)
        seen[file.sha256] = file.path
    option = 1e-6 if epsilon is None else epsilon
    before = open_geometry(reference, option, progress)
    after = open_geometry(current, option, progress)
    needed = needs_epsilon(reference, before) or needs_epsilon(current, after)
    if epsilon is not None and not needed:
        raise BadOption(
            "--epsilon",
            expected="none, as nothing is added to either inner product",
            found=f"{epsilon:g}",
            hint="Leave it out.",
        )
    check_dimensions(current, before, after)
    for file in files:
        found = file.probe_set.probes[0].weights.size
        if found != before.hidden_dim:
            raise DimensionMismatch(
                file.path,
                expected=f"weights of {before.hidden_dim} numbers, as the reference's dimension",
                found=found,
            )
    phi_before, phi_after = before.matrix(), after.matrix()
    return DriftReport(
        reference=before.digest,
        current=after.digest,
        hidden_dim=before.hidden_dim,
        moved=gram_moved(phi_before, phi_after),
        probe_sets=tuple(_probe_set_drift(file, before, after) for file in files),
    )


def check_dimensions(path: PathLike, before: Geometry, after: Geometry) -> None:
    """Two inner products are of one dimension.

    Raises:
        DimensionMismatch: they are not, naming the file of the second.
    """
    if before.hidden_dim != after.hidden_dim:
        raise DimensionMismatch(
            path,
            expected=f"hidden dimension {before.hidden_dim}, as in the reference",
            found=after.hidden_dim,
        )


def _probe_set_drift(file: ProbeSetFile, before: Geometry, after: Geometry) -> ProbeSetDrift:
    probes, layer = file.probe_set.probes, file.probe_set.layer
    weights = [probe.weights for probe in probes]
    W = np.array(weights, np.float64)
    independent = np.linalg.matrix_rank(W) == len(W)
    return ProbeSetDrift(
        path=file.path,
        probes=tuple(_probe_drift(probe, layer, before, after) for probe in probes),
        angles=principal_angles(before.apply(W).T, after.apply(W).T) if independent else (),
        dimension_before=unit_effective_dimension(weights, before),
        dimension_after=unit_effective_dimension(weights, after),
    )


def _probe_drift(probe: Probe, layer: int, before: Geometry, after: Geometry) -> ProbeDrift:
    w = probe.weights.astype(np.float64)[np.newaxis, :]
    angles = principal_angles(before.apply(w).T, after.apply(w).T) if w.any() else (None,)
    return ProbeDrift(
        probe.name,
        layer,
        probe_moved(probe.weights, before.matrix(), after.matrix()),
        angles[0],
    )
