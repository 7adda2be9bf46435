"""Geometry checkpoints: an inner product kept as a file, to measure drift from (reference.md 1.3).

The file holds Φ and a digest, and not what was added to Φ's diagonal. Whoever loads it, the
reference too, takes the amount for 0. So the digest that is written here is the one with amount 0:
that of what is loaded, and of every Φ to which nothing was added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import (
    BadMagic,
    BadOption,
    Inconsistent,
    NonFinite,
    NotPositiveDefinite,
    TooLarge,
)
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.gotgeo import GotgeoFile, read_gotgeo, write_gotgeo
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.formats.unembedding_file import open_unembedding
from geometry_of_trust.geometry.exact import row_slices
from geometry_of_trust.geometry.inner_product import MAX_DIMENSION, Geometry, geometry_digest
from geometry_of_trust.memory import check_memory
from geometry_of_trust.progress import Progress

ASYMMETRY = 1e-6
"""How far Φ_ij and Φ_ji may be apart, relative to 1 + |Φ_ij| + |Φ_ji|, as the reference has it."""

_BYTES = 16
"""What reading a checkpoint and measuring with it needs, so much times d²."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A `.gotgeo` file. `open_checkpoint` makes it.

    Attributes:
        sha256: of the file.
        geometry: `Causal`, with Φ as it is in the file and nothing known to be added to it.
    """

    sha256: str
    geometry: Geometry


def write_checkpoint(path: PathLike, geometry: Geometry) -> None:
    """Write an inner product to a `.gotgeo` file.

    Raises:
        BadOption: the Euclidean one, of which there is no matrix.
        Unwritable, OutputExists, NotAFile, UnsafeFolder: as `write_gotgeo`.
    """
    if geometry.phi is None:
        raise BadOption("geometry", expected="a causal inner product", found="the Euclidean one")
    write_gotgeo(path, geometry_digest(geometry.hidden_dim, 0.0, geometry.phi), geometry.phi)


def make_checkpoint(
    unembedding: PathLike,
    output: PathLike,
    epsilon: float = 1e-6,
    progress: Progress | None = None,
) -> Geometry:
    """Write the causal inner product of an unembedding to a `.gotgeo` file.

    Args:
        epsilon: relative regularisation, as given to training; unused if Φ needs none.

    Raises:
        MalformedInput and its kinds, FileChanged: the unembedding cannot be read.
        BadOption, NonFinite, NotPositiveDefinite, TooLarge: as `Geometry.from_unembedding`.
        Unwritable, OutputExists, NotAFile, UnsafeFolder: as `write_checkpoint`.
    """
    geometry = _of_unembedding(unembedding, epsilon, progress)
    write_checkpoint(output, geometry)
    return geometry


def _of_unembedding(path: PathLike, epsilon: float, progress: Progress | None) -> Geometry:
    opened = open_unembedding(path)
    geometry = Geometry.from_unembedding(opened.unembedding, epsilon, progress=progress)
    opened.file.check_unchanged()
    return geometry


def open_checkpoint(path: PathLike, epsilon: float | None = 1e-6) -> Checkpoint:
    """Read a `.gotgeo` file.

    Args:
        epsilon: the option ε that the reference made it with, which the file does not say; None:
            the digest in the header is not looked at, as that of the file is known.

    Raises:
        MalformedInput and its kinds, FileChanged: as `read_gotgeo`.
        TooLarge, NotEnoughMemory: Φ is too large.
        NonFinite: a NaN or an infinity in Φ.
        Inconsistent: Φ is not symmetric, or the digest in the header is not that of Φ.
        NotPositiveDefinite: a number on the diagonal of Φ is not above 0, as of no inner product.
    """
    file = read_gotgeo(path)
    d = len(file.values)
    if d > MAX_DIMENSION:
        expected = f"a hidden dimension of at most {MAX_DIMENSION}"
        raise TooLarge(file.file, expected=expected, found=d)
    check_memory(file.file, _BYTES * d * d, f"an inner product in {d} dimensions")
    phi = np.array(settled(file.values), np.float32, order="C")
    _check_matrix(phi, file.file)
    phi.flags.writeable = False
    geometry = Geometry("Causal", 0.0, d, phi)
    if epsilon is not None:
        _check_digest(file, geometry, epsilon)
    return Checkpoint(file.file.sha256, geometry)


def _check_digest(file: GotgeoFile, geometry: Geometry, epsilon: float) -> None:
    """The digest in the header is that of Φ with no ε, or with this one."""
    if file.digest == geometry.digest:
        return
    if file.digest == geometry_digest(geometry.hidden_dim, epsilon, geometry.phi):
        return
    raise Inconsistent(
        f"{file.file}, geometry hash",
        expected=f"that of its Φ with ε = 0 or {epsilon:g}",
        found=file.digest,
        hint="A .gotgeo does not say its ε: if the reference made it with another one, give that "
        "as --epsilon; if not, the file is damaged.",
    )


def _check_matrix(phi: NDArray[np.float32], where: PathLike) -> None:
    """Φ is finite, as symmetric as the reference asks, and above 0 on the diagonal."""
    finite = np.isfinite(phi)
    if not finite.all():
        i, j = np.argwhere(~finite)[0]
        raise NonFinite(f"{where}, Φ[{i}, {j}]", expected="a finite number", found=phi[i, j])
    for part in row_slices(len(phi)):
        x, y = phi[part].astype(np.float64), phi[:, part].T.astype(np.float64)
        apart = np.abs(x - y) > ASYMMETRY * (1 + np.abs(x) + np.abs(y))
        if apart.any():
            i, j = np.argwhere(apart)[0]
            raise Inconsistent(
                f"{where}, Φ[{part.start + i}, {j}]",
                expected=f"{y[i, j]:.9g}, as Φ[{j}, {part.start + i}]",
                found=f"{x[i, j]:.9g}",
            )
    for i in np.flatnonzero(np.diagonal(phi) <= 0):
        raise NotPositiveDefinite(
            f"{where}, Φ[{i}, {i}]", expected="a number above 0", found=phi[i, i]
        )


def needs_epsilon(path: PathLike, geometry: Geometry) -> bool:
    """Whether the option ε had a part in the inner product that `open_geometry` gave of a file.

    Raises:
        MalformedInput and its kinds, FileChanged: as `read_gotgeo`.
    """
    file = FileBytes.of(path)
    if file.read(0, 4) == b"GOTG":
        return read_gotgeo(file).digest != geometry.digest
    return geometry.inner_product == "CausalRegularised"


def open_geometry(
    path: PathLike, epsilon: float = 1e-6, progress: Progress | None = None
) -> Geometry:
    """The causal inner product of a `.gotgeo` or of a `.gotue` file.

    Args:
        epsilon: as of `open_checkpoint` and of `make_checkpoint`.

    Raises:
        BadMagic: the file is neither. Others: as `open_checkpoint`, or as `make_checkpoint` of
            the unembedding.
    """
    file = FileBytes.of(path)
    if file.read(0, 4) == b"GOTG":
        return open_checkpoint(file, epsilon).geometry
    try:
        return _of_unembedding(file, epsilon, progress)
    except BadMagic as error:
        expected = f"{error.expected} or {b'GOTG'!r}"
        raise BadMagic(error.where, expected=expected, found=error.found, hint=error.hint) from None
