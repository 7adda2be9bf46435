"""The drift that an attestation states: measured from a checkpoint, or as it was signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.errors import GeometryMismatch
from geometry_of_trust.geometry.checkpoints import Checkpoint
from geometry_of_trust.geometry.drift import gram_moved, probe_moved
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.drifts import check_dimensions
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.reference_members import DirectionalDrift


@dataclass(frozen=True)
class SignedDrift:
    """How far an inner product is from a reference, as it is signed.

    Attributes:
        reference: SHA-256 of the checkpoint. geometry: the drift of Φ, a float32 value.
        directions: that of each probe, in the order of the readings.
    """

    reference: str
    geometry: float
    directions: tuple[DirectionalDrift, ...]


def signed_drift(attestation: Attestation) -> SignedDrift | None:
    """The drift that an attestation states and binds a reference for, or None.

    Raises:
        LegacyDocument: nothing is bound.
    """
    reference = attestation.bound().geometry_reference
    if reference is None or attestation.geometry_drift is None:
        return None
    return SignedDrift(reference, attestation.geometry_drift, attestation.directional_drifts)


def measured_drift(
    reference: Checkpoint, geometry: Geometry, probe_sets: Sequence[ProbeSet]
) -> SignedDrift:
    """The drift of an inner product and of probes from a checkpoint.

    Raises:
        GeometryMismatch: the inner product is Euclidean, which is the same for every model; or a
            drift is beyond the limit that a probe set states.
        DimensionMismatch: the checkpoint is of another dimension.
    """
    if geometry.phi is None:
        raise GeometryMismatch(
            "--geometry-reference", expected="probes of the causal inner product",
            found="Euclidean ones, whose inner product is the same for every model",
        )  # fmt: skip
    check_dimensions("the unembedding", reference.geometry, geometry)
    before = reference.geometry.matrix()
    whole = gram_moved(before, geometry.phi).drift
    directions = []
    for probe_set in probe_sets:
        _check_limit("geometry_drift", probe_set.max_drift, whole)
        for probe in probe_set.probes:
            drift = probe_moved(probe.weights, before, geometry.phi).drift
            _check_limit(f"drift of probe {probe.name!r}", probe_set.max_directional_drift, drift)
            directions.append(DirectionalDrift(probe.name, drift))
    return SignedDrift(reference.sha256, whole, tuple(directions))


def _check_limit(where: str, limit: float | None, drift: float) -> None:
    if limit is not None and drift > limit:
        raise GeometryMismatch(
            where, expected=f"at most {limit:g}, as the probe set says", found=f"{drift:g}"
        )
