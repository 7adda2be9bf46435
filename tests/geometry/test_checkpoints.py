"""Geometry checkpoints: the reference's bytes, its way with ε, and files that are damaged."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.geometry import checkpoints
from geometry_of_trust.geometry.checkpoints import (
    make_checkpoint,
    open_checkpoint,
    open_geometry,
    write_checkpoint,
)
from geometry_of_trust.geometry.inner_product import Geometry
from pipeline import build

V2 = np.array([[1, 0], [0, 2], [1, 1]], np.float32)
V3 = bytes.fromhex(
    "474f544701000200000032d943dcdd6851b8c0611593fededde9c61b14ff21076503a3b71ecadba6726d"
    "000000400000803f0000803f0000a040"
)
"""reference.md, section 14: of V2, by the reference with ε = 1e-6."""
RELOADED = "6b0975a00fe9000bf932c94898bbd4e58aae61c69c82bf0c66fbe0db8027f467"
"""The geometry hash of its Φ with ε = 0, as after loading it."""


def loaded_by_the_reference(data: bytes) -> str:
    """The geometry hash of a checkpoint that the reference has loaded (reference.md 1.3, 5.2)."""
    magic, version, d = struct.unpack_from("<4sHI", data)
    assert (magic, version) == (b"GOTG", 1)
    assert len(data) == 42 + 4 * d * d
    return hashlib.sha256(struct.pack("<Qf", d, 0.0) + data[42:]).hexdigest()


def spoiled(path: Path, at: int, new: bytes) -> Path:
    path.write_bytes(V3[:at] + new + V3[at + len(new) :])
    return path


def test_the_bytes(tmp_path: Path) -> None:
    write_unembedding(tmp_path / "u.gotue", V2)
    geometry = make_checkpoint(tmp_path / "u.gotue", tmp_path / "g.gotgeo")
    data = (tmp_path / "g.gotgeo").read_bytes()
    assert data[:10] + data[42:] == V3[:10] + V3[42:]
    assert data[10:42].hex() == RELOADED == geometry.digest


def test_probes_of_ours_pass_where_the_reference_loads_it(tmp_path: Path) -> None:
    """It compares the hash that a probe set states with that of the loaded checkpoint."""
    from geometry_of_trust.probing.probes import read_probe_set

    files = build(tmp_path)
    make_checkpoint(files.unembedding, tmp_path / "g.gotgeo")
    data = (tmp_path / "g.gotgeo").read_bytes()
    assert loaded_by_the_reference(data) == read_probe_set(files.probes[0]).geometry_hash


def test_what_was_added_is_not_in_the_file(tmp_path: Path) -> None:
    """So the digest of a regularised Φ is another one after loading, here as in the reference."""
    singular = np.array([[1, 1], [2, 2]], np.float32)
    geometry = Geometry.from_unembedding(Unembedding(singular))
    assert geometry.epsilon > 0
    write_checkpoint(tmp_path / "g.gotgeo", geometry)
    data = (tmp_path / "g.gotgeo").read_bytes()
    again = open_checkpoint(tmp_path / "g.gotgeo").geometry
    assert again.phi is not None
    assert geometry.phi is not None
    assert np.array_equal(again.phi, geometry.phi)
    assert again.digest == data[10:42].hex() == loaded_by_the_reference(data) != geometry.digest
    assert (again.inner_product, again.epsilon) == ("Causal", 0.0)


def test_the_references_file(tmp_path: Path) -> None:
    path = tmp_path / "g.gotgeo"
    path.write_bytes(V3)
    opened = open_checkpoint(path)
    assert opened.geometry.digest == RELOADED
    assert opened.sha256 == hashlib.sha256(V3).hexdigest()
    assert np.array_equal(opened.geometry.matrix(), [[2, 1], [1, 5]])
    with pytest.raises(ValueError, match="read-only"):
        opened.geometry.matrix()[0, 0] = 1


def test_the_hint_where_the_epsilon_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "g.gotgeo"
    other = hashlib.sha256(struct.pack("<Qf", 2, 0.5) + V3[42:]).digest()
    path.write_bytes(V3[:10] + other + V3[42:])
    with pytest.raises(errors.Inconsistent) as refused:
        open_checkpoint(path)
    assert "--epsilon" in refused.value.hint
    assert refused.value.found == other.hex()
    assert open_checkpoint(path, 0.5).geometry.digest == RELOADED
    assert open_checkpoint(path, None).geometry.digest == RELOADED  # its own digest is known


@pytest.mark.parametrize("at", [10, 41, 42, 57])
def test_a_changed_byte_is_seen(at: int, tmp_path: Path) -> None:
    """Of the digest, and of Φ."""
    with pytest.raises(errors.Inconsistent):
        open_checkpoint(spoiled(tmp_path / "g.gotgeo", at, bytes([V3[at] ^ 1])))


@pytest.mark.parametrize(
    ("at", "new", "error", "where"),
    [
        (0, b"GOTX", errors.BadMagic, ""),
        (4, b"\2\0", errors.UnsupportedVersion, ""),
        (6, b"\0\0\0\0", errors.BadHeader, ""),
        (6, b"\3\0\0\0", errors.Truncated, ""),
        (6, b"\1\0\0\0", errors.TrailingBytes, ""),
        (50, struct.pack("<f", np.nan), errors.NonFinite, ", Φ[1, 0]"),
        (54, struct.pack("<f", np.inf), errors.NonFinite, ", Φ[1, 1]"),
        (46, struct.pack("<f", 1.0001), errors.Inconsistent, ", Φ[0, 1]"),
    ],
)
def test_what_is_no_checkpoint(
    at: int, new: bytes, error: type[errors.GotError], where: str, tmp_path: Path
) -> None:
    path = spoiled(tmp_path / "g.gotgeo", at, new)
    with pytest.raises(error) as refused:
        open_checkpoint(path)
    assert refused.value.where == f"{path}{where}"


def test_as_symmetric_as_the_reference_asks(tmp_path: Path) -> None:
    """Within 1e-6 of 1 + |Φij| + |Φji|."""
    for off, taken in ((2e-6, True), (4e-6, False)):
        phi = np.array([[2, 1], [1 + off, 5]], np.float32)
        digest = hashlib.sha256(struct.pack("<Qf", 2, 0.0) + phi.tobytes()).digest()
        path = tmp_path / "g.gotgeo"
        path.write_bytes(V3[:10] + digest + phi.tobytes())
        if taken:
            assert np.array_equal(open_checkpoint(path).geometry.matrix(), phi)
        else:
            with pytest.raises(errors.Inconsistent):
                open_checkpoint(path)


@pytest.mark.parametrize("diagonal", [(0, 0), (2, 0), (2, -5)])
def test_what_is_no_inner_product(diagonal: tuple[float, float], tmp_path: Path) -> None:
    """No UᵀU has a diagonal that is not above 0, once regularised."""
    phi = np.diag(diagonal).astype(np.float32)
    path = tmp_path / "g.gotgeo"
    digest = hashlib.sha256(struct.pack("<Qf", 2, 0.0) + phi.tobytes()).digest()
    path.write_bytes(V3[:10] + digest + phi.tobytes())
    with pytest.raises(errors.NotPositiveDefinite) as refused:
        open_checkpoint(path)
    at = 0 if diagonal[0] == 0 else 1
    assert refused.value.where == f"{path}, Φ[{at}, {at}]"


def test_other_files(tmp_path: Path) -> None:
    write_unembedding(tmp_path / "u.gotue", V2)
    with pytest.raises(errors.BadMagic) as refused:
        open_checkpoint(tmp_path / "u.gotue")
    assert "got-cli checkpoint" in refused.value.hint
    (tmp_path / "g.gotgeo").write_bytes(V3)
    with pytest.raises(errors.BadMagic) as refused:
        read_unembedding(tmp_path / "g.gotgeo")
    assert ".gotue" in refused.value.hint
    with pytest.raises(errors.Unreadable):
        open_checkpoint(tmp_path / "nothing")
    with pytest.raises(errors.BadOption):
        write_checkpoint(tmp_path / "e.gotgeo", Geometry("Euclidean", 0.0, 2, None))
    assert not (tmp_path / "e.gotgeo").exists()


def test_either_kind_gives_the_geometry(tmp_path: Path) -> None:
    write_unembedding(tmp_path / "u.gotue", V2)
    (tmp_path / "g.gotgeo").write_bytes(V3)
    assert open_geometry(tmp_path / "u.gotue").digest == RELOADED
    assert open_geometry(tmp_path / "g.gotgeo").digest == RELOADED


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MAX_DIMENSION", 1)
    (tmp_path / "g.gotgeo").write_bytes(V3)
    with pytest.raises(errors.TooLarge):
        open_checkpoint(tmp_path / "g.gotgeo")
