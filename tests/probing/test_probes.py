"""The probe-set file, strictly, and readings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
from geometry_of_trust.geometry.spectrum import Spectrum
from geometry_of_trust.probing.probes import (
    Probe,
    ProbeSet,
    Training,
    read_probe_set,
)

SHIPPED = ["synthetic/probes-layer4.json", "demo/probe_layer0.json"]


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


def fields(probe_set: ProbeSet) -> Any:
    """Something that compares by value; arrays do not."""
    probes = [vars(p) | {"weights": p.weights.tobytes()} for p in probe_set.probes]
    return probes, replace(probe_set, probes=())


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_references_files_are_rewritten_byte_for_byte(interop: Path, name: str) -> None:
    probe_set = read_probe_set(interop / name)
    assert probe_set.to_json() == (interop / name).read_bytes()
    assert probe_set.training is None
    assert probe_set.geometry_hash is not None
    assert len(probe_set.geometry_hash) == 64


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
    probe_set = ProbeSet.from_json(json.dumps(tree).encode(), "p.json")
    assert (probe_set.geometry_hash, probe_set.max_drift, probe_set.max_directional_drift) == (
        None,
        None,
        None,
    )


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
