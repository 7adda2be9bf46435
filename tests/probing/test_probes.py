"""The probe-set file, strictly, and readings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.documents.probe_card import Bin, Card, Controls, Figure, Quality, judged
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import GotError, Inconsistent, Unreadable, WrongType
from geometry_of_trust.geometry.spectrum import Spectrum
from geometry_of_trust.probing.fitted_range import FittedRange, Range
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
    quality = Quality(*map(figure, (0.9, 0.8, 0.5, 0.3, 0.33, 0.9, 0.25)))
    table = tuple(Bin(2, 1, *map(float32, (k / 10 + 0.05, 0.5, 0.1, 0.9))) for k in range(10))
    controls = Controls(0.5, float32(0.6), float32(0.95), float32(0.7), None)
    verdict, reason = judged(quality.auroc, controls)
    return Card(
        dimension="honesty", positives=10, negatives=10, groups=6, grouped=True,
        l2=float32(1e-3), l2_chosen=True, folds=3, nested=True, converged=True,
        training_auroc=1.0, quality=quality, ece_before_platt=figure(0.25), bins_before=table,
        bins=table, other_inner_product="Euclidean", other=quality, controls=controls,
        verdict=verdict, reason=reason,
    )  # fmt: skip


def sample() -> ProbeSet:
    training = Training(
        precision="Bfloat16",
        model_id="modèle",
        layer=7,
        rows=20,
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
    of_last = TrainedTokens("assistant", "last", skip_special_tokens=True)
    fitted = FittedRange(Range(0.5, 2.0), (Range(-3.0, 3.0),))
    old, training = sample(), sample().training
    assert training is not None
    new = replace(old, training=replace(training, tokens=of_last, fitted=fitted))
    for probe_set in (old, new):
        data = probe_set.to_json()
        again = ProbeSet.from_json(data, "p.json")
        assert fields(again) == fields(probe_set)
        assert again.to_json() == data
    assert not {"tokens", "fitted"} & set(json.loads(old.to_json())["training"])


@pytest.mark.parametrize(
    ("member", "value", "error"),
    [
        ("tokens", {"chosen": "some", "position": "last", "skip_special_tokens": False}, WrongType),
        ("tokens", {"chosen": "all", "position": "07", "skip_special_tokens": False}, WrongType),
        ("fitted", {"norms": {"low": 1.0, "high": 2.0}, "scores": []}, Inconsistent),
    ],
)
def test_tokens_and_ranges_that_are_none(member: str, value: object, error: type[GotError]) -> None:
    tree = json.loads(sample().to_json())
    tree["training"][member] = value
    with pytest.raises(error) as refused:
        ProbeSet.from_json(json.dumps(tree).encode(), "p.json")
    assert refused.value.where.startswith(f"p.json.training.{member}")


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


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read_probe_set(tmp_path / "none.json")


def test_weights_are_frozen() -> None:
    with pytest.raises(ValueError, match="read-only"):
        sample().probes[0].weights[0] = 1


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("training", "rows"), 10**6, Inconsistent),
        (("training", "effective_dimension"), 900.0, Inconsistent),
        (("training", "effective_dimension"), 0.5, WrongType),
        (("training", "spectrum", "effective_rank"), 1e6, Inconsistent),
        (("training", "spectrum", "condition"), 0.5, WrongType),
        (("training", "spectrum", "mean_share"), 7.0, WrongType),
        (("training", "epsilon"), -1.0, WrongType),
        (("probes", 0, "reliability_threshold"), -1.0, WrongType),
    ],
)  # fmt: skip
def test_what_no_training_gives(
    path: tuple[str | int, ...], value: float, error: type[GotError]
) -> None:
    tree: Any = json.loads(sample().to_json())
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(error):
        ProbeSet.from_json(json.dumps(tree).encode(), "p.json")
