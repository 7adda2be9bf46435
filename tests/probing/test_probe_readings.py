"""Readings: the reference's values, exact means, and what cannot be read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from geometry_of_trust.documents import strictjson
from geometry_of_trust.errors import DimensionMismatch, GotError, NonFinite, ZeroState
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probe_readings import read_probe
from geometry_of_trust.probing.probes import Probe, read_probe_set


def float32(x: float) -> float:
    return float(np.float32(x))


V2 = np.array([[1, 0], [0, 2], [1, 1]], np.float32)


@pytest.mark.parametrize(
    ("state", "raw", "confidence", "flagged"),
    # reference.md V12; a confident "no" is reliable here (lessons.md 9), so never flagged.
    [([1, 1], 2.858232, 0.94574267, False), ([-1, -1], -2.845736, 0.054902148, False)],
)
def test_v12_readings(state: list[float], raw: float, confidence: float, flagged: bool) -> None:
    w = np.array([0x3E466F04, 0x3EC1C2C9], np.uint32).view(np.float32)
    bias = float(np.uint32(0x3BCCBCF7).view(np.float32))
    probe = Probe("x", w, bias)
    ours = read_probe(probe, Geometry.from_unembedding(V2), np.array([state], float))
    unit = 2.0**-22
    assert ours.raw == pytest.approx(raw, abs=2 * unit)
    assert ours.confidence == pytest.approx(confidence)
    assert ours.flagged == flagged
    assert ours.raw == oracle.reading(w, np.array([[2, 1], [1, 5]]), np.array([state]), bias)


@pytest.mark.parametrize(
    ("files", "layer", "raw", "confidence"),
    [
        (
            ("demo/activations.gotact", "demo/model.gotue", "demo/probe_layer0.json"),
            0,
            -0.5126178,
            0.37458006,
        ),
        (
            (
                "synthetic/synthetic.gotact",
                "synthetic/synthetic.gotue",
                "synthetic/probes-layer4.json",
            ),
            4,
            4.929886,
            0.99282455,
        ),
    ],
)
def test_v13_readings(
    interop: Path,
    files: tuple[str, str, str],
    layer: int,
    raw: float,
    confidence: float,
) -> None:
    activations, unembedding, probes = (interop / name for name in files)
    geometry = Geometry.from_unembedding(read_unembedding(unembedding))
    row = read_activations(activations).row(layer, 0)[np.newaxis]
    ours = read_probe(read_probe_set(probes).probes[0], geometry, row)
    # The reference rounds at every step, so only its first digits are a matter of fact.
    assert ours.raw == pytest.approx(raw, rel=3e-6)
    assert ours.confidence == pytest.approx(confidence, rel=3e-6)


@pytest.mark.parametrize(
    ("p", "threshold", "flagged"),
    [
        (0.75, 0.75, False),  # equal to the threshold: reliable
        (0.25, 0.75, False),  # a confident no
        (0.7, 0.7, False),  # both the float32 nearest to 0.7
        (0.5, 0.7, True),
        (0.31, 0.7, True),
        (0.69999, 0.7, True),
        (0.0, 1.0, False),
        (0.5, 0.5, False),
    ],
)
def test_flag_is_of_the_larger_probability(
    monkeypatch: pytest.MonkeyPatch, p: float, threshold: float, flagged: bool
) -> None:
    monkeypatch.setattr("geometry_of_trust.geometry.exact.sigmoid", lambda a, raw, c: float32(p))
    probe = Probe("x", np.ones(2, np.float32), 0.0, reliability_threshold=float32(threshold))
    euclidean = Geometry.from_unembedding(V2, inner_product="euclidean")
    assert read_probe(probe, euclidean, np.ones((1, 2))).flagged == flagged


def test_mean_position_reads_the_mean_state() -> None:
    geometry = Geometry.from_unembedding(V2)
    probe = Probe("x", np.array([0.25, -0.5], np.float32), 1.0)
    rows = np.array([[1, 2], [3, 4], [5, 9], [7, 1]], np.float32)
    assert read_probe(probe, geometry, rows) == read_probe(
        probe, geometry, rows.mean(axis=0, keepdims=True)
    )


def test_readings_are_float32() -> None:
    probe = Probe("x", np.array([0.1, 0.7], np.float32), float32(0.3), float32(1.7), float32(-0.2))
    ours = read_probe(probe, Geometry.from_unembedding(V2), np.array([[0.3, 0.9]], np.float32))
    assert (ours.raw, ours.confidence) == tuple(
        map(strictjson.float32, (ours.raw, ours.confidence))
    )


@pytest.mark.parametrize(
    ("weights", "rows", "error"),
    [
        ([1, 2, 3], [[1, 2]], DimensionMismatch),
        ([1, 2], [[1, 2, 3]], DimensionMismatch),
        ([1, 2], [1, 2], DimensionMismatch),
        ([1, 2], np.empty((0, 2)), DimensionMismatch),
        ([1, 2], [[1, math.nan]], NonFinite),
        ([1, 2], [[1, math.inf]], NonFinite),
        ([3e38, 3e38], [[3e38, 3e38]], NonFinite),
        ([1, 2], [[0, -0.0]], ZeroState),
        ([1, 2], [[1, 2], [0, 0]], ZeroState),
    ],
)
def test_what_cannot_be_read(weights: Any, rows: Any, error: type[GotError]) -> None:
    probe = Probe("x", np.array(weights, np.float32), 0.0)
    with pytest.raises(error):
        read_probe(probe, Geometry.from_unembedding(V2), np.array(rows, float))
