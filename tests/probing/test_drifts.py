"""The drift of probes between two files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.formats.gotgeo import write_gotgeo
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.geometry.checkpoints import make_checkpoint
from geometry_of_trust.geometry.drift import gram_moved, probe_moved
from geometry_of_trust.geometry.inner_product import Geometry, geometry_digest
from geometry_of_trust.probing.drifts import measure_drift
from geometry_of_trust.probing.probes import Probe, ProbeSet
from geometry_of_trust.showing import drifts
from places import REFERENCE


def unembedding(path: Path, seed: int, d: int = 4) -> Path:
    rng = np.random.default_rng(seed)
    write_unembedding(path, rng.normal(size=(9, d)).astype(np.float32))
    return path


def probe_set(path: Path, *weights: list[float]) -> Path:
    probes = tuple(Probe(f"p{i}", np.array(w, np.float32), 0.0) for i, w in enumerate(weights))
    path.write_bytes(ProbeSet(probes, 3).to_json())
    return path


def test_every_figure_is_that_of_its_formula(tmp_path: Path) -> None:
    a, b = unembedding(tmp_path / "a.gotue", 1), unembedding(tmp_path / "b.gotue", 2)
    make_checkpoint(a, tmp_path / "a.gotgeo")
    probes = probe_set(tmp_path / "p.json", [1, 0, 0, 0], [0, 1, 1, 0])
    report = measure_drift(tmp_path / "a.gotgeo", b, [probes])
    assert report == measure_drift(a, b, [probes])
    before, after = (Geometry.from_unembedding(read_unembedding(path)) for path in (a, b))
    assert (report.reference, report.current) == (before.digest, after.digest)
    assert report.moved == gram_moved(before.matrix(), after.matrix())
    (moved,) = report.probe_sets
    assert [(p.name, p.layer) for p in moved.probes] == [("p0", 3), ("p1", 3)]
    for probe, w in zip(
        moved.probes, np.array([[1, 0, 0, 0], [0, 1, 1, 0]], np.float32), strict=True
    ):
        assert probe.moved == probe_moved(w, before.matrix(), after.matrix())
        x, y = (g.matrix().astype(float) @ w for g in (before, after))
        cosine = abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y)
        assert probe.angle == pytest.approx(np.degrees(np.arccos(cosine)), rel=1e-6)
    distances = [probe.moved.distance for probe in moved.probes]
    assert report.projected_distance == pytest.approx(np.mean(distances))
    assert len(moved.angles) == 2
    assert 1 <= moved.dimension_before <= 2
    assert 1 <= moved.dimension_after <= 2
    shown = drifts.report(report)
    for word in ("drift  ", "alignment distance", "principal angles", "probes span", "'p1'"):
        assert word in shown
    tree = json.loads(drifts.report_json(report))
    assert tree["moved"]["drift"] == report.moved.drift
    assert tree["projected_distance"] == report.projected_distance


def test_nothing_has_moved(tmp_path: Path) -> None:
    a = unembedding(tmp_path / "a.gotue", 1)
    probes = probe_set(tmp_path / "p.json", [1, 2, 3, 4])
    report = measure_drift(a, a, [probes])
    assert report.moved.drift == report.moved.distance == 0.0
    assert report.probe_sets[0].probes[0].moved.drift == 0.0
    assert report.probe_sets[0].probes[0].angle == pytest.approx(0, abs=1e-5)
    assert measure_drift(a, a).projected_distance is None
    assert "mean of the probes" not in drifts.report(measure_drift(a, a))


def test_an_epsilon_that_nothing_needs_is_refused(tmp_path: Path) -> None:
    """That of a singular Φ is needed, and that of a checkpoint that the reference made with one."""
    a, flat = unembedding(tmp_path / "a.gotue", 1), tmp_path / "flat.gotue"
    write_unembedding(flat, np.ones((9, 4), np.float32))
    make_checkpoint(a, tmp_path / "a.gotgeo")
    for file in (a, tmp_path / "a.gotgeo"):
        with pytest.raises(errors.BadOption) as caught:
            measure_drift(file, a, epsilon=1e-6)
        assert caught.value.where == "--epsilon"
    assert measure_drift(a, flat, epsilon=1e-2) != measure_drift(a, flat)
    phi = Geometry.from_unembedding(read_unembedding(a)).matrix()
    write_gotgeo(tmp_path / "theirs.gotgeo", geometry_digest(4, 1e-3, phi), phi)
    assert measure_drift(tmp_path / "theirs.gotgeo", a, epsilon=1e-3).moved.drift == 0.0


def test_probes_that_are_not_independent(tmp_path: Path) -> None:
    a, b = unembedding(tmp_path / "a.gotue", 1), unembedding(tmp_path / "b.gotue", 2)
    probes = probe_set(tmp_path / "p.json", [1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0])
    report = measure_drift(a, b, [probes])
    assert report.probe_sets[0].angles == ()
    assert report.probe_sets[0].probes[2].angle is None
    assert "not independent" in drifts.report(report)


def test_dimensions_that_differ(tmp_path: Path) -> None:
    a, b = unembedding(tmp_path / "a.gotue", 1), unembedding(tmp_path / "b.gotue", 2, d=5)
    with pytest.raises(errors.DimensionMismatch) as refused:
        measure_drift(a, b)
    assert refused.value.where == str(b)
    probes = probe_set(tmp_path / "p.json", [1, 0, 0])
    with pytest.raises(errors.DimensionMismatch) as refused:
        measure_drift(a, a, [probes])
    assert refused.value.where == str(probes)


def test_a_probe_set_of_the_reference() -> None:
    """Which says nothing of what it was trained on."""
    folder = REFERENCE / "synthetic"
    report = measure_drift(
        folder / "synthetic.gotue", folder / "synthetic.gotue", [folder / "probes-layer4.json"]
    )
    assert report.moved.drift == 0.0
    assert len(report.probe_sets[0].probes) >= 1


def test_what_is_expected_is_said(tmp_path: Path) -> None:
    """Of other dimensions, of files of another kind, and of a probe set that is there twice."""
    a = unembedding(tmp_path / "a.gotue", 1)
    with pytest.raises(errors.DimensionMismatch) as mismatch:
        measure_drift(a, a, [probe_set(tmp_path / "five.json", [1, 0, 0, 0, 0])])
    assert mismatch.value.expected == "weights of 4 numbers, as the reference's dimension"
    probes = probe_set(tmp_path / "p.json", [1, 0, 0, 0])
    with pytest.raises(errors.BadMagic) as magic:
        measure_drift(a, probes)
    assert magic.value.expected == "b'GOTU' or b'GOTG'"
    copy = probe_set(tmp_path / "copy.json", [1, 0, 0, 0])
    for again in (probes, copy):
        with pytest.raises(errors.BadOption) as twice:
            measure_drift(a, a, [probes, again])
        assert (twice.value.where, twice.value.found) == (str(again), f"the one of {probes}")
