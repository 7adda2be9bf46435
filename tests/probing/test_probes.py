"""The probe-set file, strictly, and readings."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from geometry_of_trust.documents import strictjson
from geometry_of_trust.documents.probe_card import Bin, Card, Controls, Figure, Quality, judged
from geometry_of_trust.errors import (
    BadJson,
    DimensionMismatch,
    DuplicateMember,
    GotError,
    Inconsistent,
    MissingMember,
    NonFinite,
    UnknownMember,
    Unreadable,
    WrongType,
)
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.geometry.spectrum import Spectrum
from geometry_of_trust.probing.probes import (
    Probe,
    ProbeSet,
    Training,
    read_probe,
    read_probe_set,
)

SHIPPED = ["synthetic/probes-layer4.json", "demo/probe_layer0.json"]
V2 = np.array([[1, 0], [0, 2], [1, 1]], np.float32)


def float32(x: float) -> float:
    return float(np.float32(x))


def figure(value: float) -> Figure:
    return Figure(*map(float32, (value, value - 0.1, value + 0.1)))


def sample_card() -> Card:
    quality = Quality(*map(figure, (0.9, 0.8, 0.7, 0.3, 0.2, 0.5, 0.1)))
    table = tuple(Bin(2, 1, *map(float32, (k / 10 + 0.05, 0.5, 0.1, 0.9))) for k in range(10))
    controls = Controls(0.5, float32(0.6), float32(0.95), float32(0.7), None)
    verdict, reason = judged(quality.auroc, controls)
    return Card(
        dimension="honesty", positives=3, negatives=9, groups=6, grouped=True,
        l2=float32(1e-3), l2_chosen=True, folds=3, nested=True, converged=True,
        training_auroc=1.0, quality=quality, ece_before_platt=figure(0.2), bins_before=table,
        bins=table, other_inner_product="Euclidean", other=quality, controls=controls,
        verdict=verdict, reason=reason,
    )  # fmt: skip


def sample() -> ProbeSet:
    training = Training(
        precision="Bfloat16",
        model_id="modèle",
        layer=7,
        rows=12,
        activations_sha256="0a" * 32,
        unembedding_sha256="1b" * 32,
        labels_sha256=None,
        rows_digest="2c" * 32,
        inner_product="CausalRegularised",
        epsilon=float32(5e-6),
        spectrum=Spectrum(float32(123.4), float32(1.5), None),
        effective_dimension=1.0,
        cards=(sample_card(),),
        versions={
            "python": "3.11",
            "numpy": "2",
            "scipy": "1",
            "scikit-learn": "1",
            "geometry-of-trust": "0",
        },
    )
    return ProbeSet(
        probes=(Probe("honesty", np.array([0.1, -2], np.float32), float32(0.3)),),
        layer=7,
        geometry_hash="c4" * 32,
        training=training,
    )


def fields(held: ProbeSet) -> Any:
    """Something that compares by value; arrays do not."""
    probes = [vars(p) | {"weights": p.weights.tobytes()} for p in held.probes]
    return probes, replace(held, probes=())


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_references_files_are_rewritten_byte_for_byte(interop: Path, name: str) -> None:
    held = read_probe_set(interop / name)
    assert held.to_json() == (interop / name).read_bytes()
    assert held.training is None
    assert held.geometry_hash is not None
    assert len(held.geometry_hash) == 64


def test_round_trip() -> None:
    data = sample().to_json()
    again = ProbeSet.from_json(data, "p.json")
    assert fields(again) == fields(sample())
    assert again.to_json() == data


def test_members_stand_where_the_reference_looks() -> None:
    tree = json.loads(sample().to_json())
    assert list(tree) == [
        "probes",
        "version",
        "corpus_version",
        "layer",
        "geometry_hash",
        "max_drift",
        "max_directional_drift",
        "training",
    ]
    assert list(tree["probes"][0]) == [
        "dimension_name",
        "weights",
        "bias",
        "platt_scale",
        "platt_shift",
        "reliability_threshold",
    ]
    assert tree["geometry_hash"] == [0xC4] * 32
    assert tree["max_drift"] is None
    assert tree["probes"][0]["reliability_threshold"] == 0.7
    without = json.loads(replace(sample(), training=None, geometry_hash=None).to_json())
    assert "training" not in without
    assert without["geometry_hash"] is None


def test_optional_members_may_be_absent() -> None:
    tree = json.loads(replace(sample(), training=None).to_json())
    for name in ("geometry_hash", "max_drift", "max_directional_drift"):
        del tree[name]
    held = ProbeSet.from_json(json.dumps(tree).encode(), "p.json")
    assert (held.geometry_hash, held.max_drift, held.max_directional_drift) == (None, None, None)


def auroc_of(tree: Any) -> Any:
    return tree["training"]["cards"][0]["quality"]["auroc"]


Change = Callable[[Any], Any]
CHANGES: list[tuple[str, Change, type[GotError]]] = [
    ("unknown member", lambda t: t | {"more": 1}, UnknownMember),
    ("unknown in probe", lambda t: t["probes"][0].update(more=1), UnknownMember),
    ("unknown in training", lambda t: t["training"].update(more=1), UnknownMember),
    ("unknown in card", lambda t: t["training"]["cards"][0].update(more=1), UnknownMember),
    ("unknown in figure", lambda t: auroc_of(t).update(more=1), UnknownMember),
    ("no interval", lambda t: auroc_of(t).pop("low") and None, MissingMember),
    ("no cards", lambda t: t["training"].update(cards=[]), Inconsistent),
    ("card of another", lambda t: t["training"]["cards"][0].update(dimension="x"), Inconsistent),
    (
        "verdict against the figures",
        lambda t: t["training"]["cards"][0].update(verdict="INSUFFICIENT"),
        Inconsistent,
    ),
    ("figures against the verdict", lambda t: auroc_of(t).update(low=0.69), Inconsistent),
    ("verdict unknown", lambda t: t["training"]["cards"][0].update(verdict="GOOD"), WrongType),
    ("unknown in versions", lambda t: t["training"]["versions"].update(more="1"), UnknownMember),
    ("no layer", lambda t: t.pop("layer") and t, MissingMember),
    ("no bias", lambda t: t["probes"][0].pop("bias") and None, MissingMember),
    ("no l2", lambda t: t["training"]["cards"][0].pop("l2") and None, MissingMember),
    ("layer a float", lambda t: t | {"layer": 1.0}, WrongType),
    ("layer a bool", lambda t: t | {"layer": True}, WrongType),
    ("layer negative", lambda t: t | {"layer": -1}, WrongType),
    ("layer large", lambda t: t | {"layer": 2**32}, WrongType),
    ("version a number", lambda t: t | {"version": 1}, WrongType),
    ("hash as hex", lambda t: t | {"geometry_hash": "c4" * 32}, WrongType),
    ("hash short", lambda t: t | {"geometry_hash": [0] * 31}, WrongType),
    ("hash beyond a byte", lambda t: t | {"geometry_hash": [256] * 32}, WrongType),
    ("no probes", lambda t: t | {"probes": []}, WrongType),
    ("no weights", lambda t: t["probes"][0].update(weights=[]), WrongType),
    ("weight a string", lambda t: t["probes"][0].update(weights=["1", 2]), WrongType),
    ("weight a bool", lambda t: t["probes"][0].update(weights=[True, 2]), WrongType),
    ("weight beyond float32", lambda t: t["probes"][0].update(weights=[1e39, 2]), NonFinite),
    ("bias beyond float64", lambda t: t["probes"][0].update(bias=10**400), NonFinite),
    ("bias null", lambda t: t["probes"][0].update(bias=None), WrongType),
    ("precision unknown", lambda t: t["training"].update(precision="Fp8"), WrongType),
    ("product unknown", lambda t: t["training"].update(inner_product="x"), WrongType),
    ("digest upper case", lambda t: t["training"].update(labels_sha256="AA" * 32), WrongType),
    ("training a list", lambda t: t | {"training": []}, WrongType),
    ("not an object", lambda t: [t], WrongType),
    (
        "unequal lengths",
        lambda t: t["probes"].append(t["probes"][0] | {"weights": [1.0]}),
        DimensionMismatch,
    ),
]


@pytest.mark.parametrize(("name", "change", "error"), CHANGES, ids=[c[0] for c in CHANGES])
def test_one_change_is_refused(name: str, change: Change, error: type[GotError]) -> None:
    tree = json.loads(sample().to_json())
    changed = change(copy.deepcopy(tree))
    if changed is None:  # changed in place
        changed = copy.deepcopy(tree)
        change(changed)
    assert changed != tree
    with pytest.raises(error) as refused:
        ProbeSet.from_json(json.dumps(changed).encode(), "p.json")
    assert refused.value.where.startswith("p.json")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"layer": 7,', b'"layer": 7, "layer": 7,', DuplicateMember),
        (b'"bias": 0.3', b'"bias": NaN', BadJson),
        (b'"bias": 0.3', b'"bias": Infinity', BadJson),
    ],
)
def test_other_json_is_refused(old: bytes, new: bytes, error: type[GotError]) -> None:
    data = sample().to_json()
    assert data.count(old) > 0
    with pytest.raises(error):
        ProbeSet.from_json(data.replace(old, new, 1), "p.json")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read_probe_set(tmp_path / "none.json")


def test_weights_are_frozen() -> None:
    with pytest.raises(ValueError, match="read-only"):
        sample().probes[0].weights[0] = 1


# --- readings ---------------------------------------------------------------------------------


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
    assert read_probe(probe, euclidean, np.zeros((1, 2))).flagged == flagged


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
    ],
)
def test_what_cannot_be_read(weights: Any, rows: Any, error: type[GotError]) -> None:
    probe = Probe("x", np.array(weights, np.float32), 0.0)
    with pytest.raises(error):
        read_probe(probe, Geometry.from_unembedding(V2), np.array(rows, float))
