"""The fit is the optimum of the stated objective, and its quality is measured on rows held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

import oracle
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.errors import (
    BadLabel,
    BadOption,
    BadText,
    DidNotConverge,
    DimensionMismatch,
    GotError,
    LabelCount,
    LayerMissing,
    NonFinite,
    OneClass,
    TooFewOfClass,
    ZeroState,
)
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import logistic, training
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe, as_probe
from geometry_of_trust.probing.cross_validation import L2_GRID, cross_validate
from geometry_of_trust.probing.logistic import fit_logistic, platt_scaling
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.penalty import Penalty
from geometry_of_trust.probing.probe_readings import read_probe
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.split_rows import SplitRows
from geometry_of_trust.probing.splits import assign_folds, canonical_order
from geometry_of_trust.probing.training import TrainingContext, train
from geometry_of_trust.probing.training_files import train_files

D = 8


def unembedding(d: int = D, seed: int = 9) -> NDArray[np.float32]:
    """Columns of unequal lengths and correlated, so that Φ is far from the identity."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) * np.geomspace(0.5, 2, d)
    return (rng.normal(size=(5 * d, d)) @ mixing).astype(np.float32)


GEOMETRY = Geometry.from_unembedding(unembedding())
EUCLIDEAN = Geometry.from_unembedding(unembedding(), inner_product="euclidean")


def activations(states: NDArray[Any], layer: int = 3) -> Activations:
    values = states.astype(np.float32)[np.newaxis]
    return Activations("tiny", "Fp16", (layer,), range(len(states)), values)


def data(n: int = 90, d: int = D, gap: float = 1.0, seed: int = 0) -> tuple[Array, Labels]:
    """States whose first coordinate follows the labels, a third of them positive."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3 == 0).astype(np.int8)
    H = rng.normal(size=(n, d)) + 5.0
    H[:, 0] += np.where(y == 1, gap, -gap)
    return H.astype(np.float32).astype(np.float64), y


def fitted(
    H: Array, y: Labels, geometry: Geometry = GEOMETRY, l2: float | None = 1e-3
) -> training.TrainingResult:
    return train(activations(H), y, geometry, layer=3, l2=l2)


def card(result: training.TrainingResult) -> Card:
    return result.training.cards[0]


def in_order(H: Array, y: Labels) -> tuple[Array, Labels, NDArray[np.intp]]:
    """Rows as training sees them, and their folds."""
    order, groups = canonical_order(H, y)
    return H[order], y[order], assign_folds(y[order], groups)


def logits(result: training.TrainingResult, H: Array, geometry: Geometry = GEOMETRY) -> Array:
    probe = result.probe_set.probes[0]
    return geometry.apply(H) @ probe.weights.astype(np.float64) + probe.bias


# --- the optimum ------------------------------------------------------------------------------


def objective(
    H: Array, y: Labels, geometry: Geometry, strength: float
) -> tuple[Callable[[Array], float], Callable[[Array], Array]]:
    """(1/n)Σ log-loss + (λ/2)s²(Σ σ²(Φw)² + μwᵀΦw), its gradient, in (w, b), as in the docs."""
    phi = np.eye(H.shape[1]) if geometry.phi is None else geometry.phi.astype(np.float64)
    centred = H - H.mean(axis=0)
    penalty = oracle.penalty(H, phi)
    quadratic = phi @ penalty @ phi  # on w
    # x'x of section 5 is (h − h̄)ᵀP⁻¹(h − h̄).
    s2 = float(np.median(np.sqrt(np.sum(centred @ np.linalg.inv(penalty) * centred, axis=1)))) ** 2
    sign = np.where(y == 1, 1.0, -1.0)

    def value(point: Array) -> float:
        w, b = point[:-1], point[-1]
        margins = sign * (H @ phi @ w + b)
        return float(np.logaddexp(0, -margins).mean() + strength / 2 * s2 * w @ quadratic @ w)

    def gradient(point: Array) -> Array:
        w, b = point[:-1], point[-1]
        p = np.exp(-np.logaddexp(0, -(H @ phi @ w + b)))
        g = phi @ (H.T @ (p - y)) / len(y) + strength * s2 * (quadratic @ w)
        return np.append(g, (p - y).mean())

    return value, gradient


@pytest.mark.parametrize("geometry", [GEOMETRY, EUCLIDEAN], ids=["causal", "euclidean"])
@pytest.mark.parametrize("strength", [1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("n", [90, 6], ids=["n > d", "n < d"])
def test_gradient_of_the_stated_objective_vanishes(
    geometry: Geometry, strength: float, n: int
) -> None:
    H, y = data(n)
    result = fitted(H, y, geometry, strength)
    probe = result.probe_set.probes[0]
    point = np.append(probe.weights, probe.bias).astype(np.float64)
    value, gradient = objective(H, y, geometry, strength)
    zero = np.zeros(H.shape[1] + 1)
    # Weights are rounded to float32, relatively 2^-24 each; at w = 0 the gradient is full size.
    assert np.linalg.norm(gradient(point)) < 1e-4 * np.linalg.norm(gradient(zero))
    assert result.gradient < 1e-12
    # And no other point is lower: an independent optimiser ends there too.
    other = minimize(value, zero, jac=gradient, method="BFGS", options={"gtol": 1e-9})
    assert value(point) <= value(other.x) + 1e-7
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = rng.normal(size=len(point)) * np.abs(point) * 0.01
        assert value(point + step) > value(point)


def test_mean_logit_survives_rounding() -> None:
    H, y = data()
    H = (H + 1000.0).astype(np.float32).astype(np.float64)  # large mean: w rounded moves it most
    result = fitted(H, y, l2=1e-2)
    X = Penalty.of(H, GEOMETRY).coordinates(H)
    exact = fit_logistic(X, y, float(np.float32(1e-2)))
    bias = abs(result.probe_set.probes[0].bias)
    assert abs(logits(result, H).mean() - exact.b) <= 2.0**-24 * bias + 1e-9 * bias


def test_known_direction_is_recovered() -> None:
    rng = np.random.default_rng(2)
    H = rng.normal(size=(4000, D)).astype(np.float32).astype(np.float64)
    truth = rng.normal(size=D)
    truth *= 3 / np.std(H @ GEOMETRY.apply(truth))
    chance = 1 / (1 + np.exp(-(H @ GEOMETRY.apply(truth))))
    y = (rng.random(4000) < chance).astype(np.int8)
    w = fitted(H, y, l2=None).probe_set.probes[0].weights.astype(np.float64)
    found, read = GEOMETRY.apply(w), GEOMETRY.apply(truth)
    assert found @ read / np.sqrt((found @ found) * (read @ read)) > 0.995
    # The angle of the directions themselves counts what Φ hardly reads as much as what it does.
    cosine = GEOMETRY.inner(w, truth) / np.sqrt(GEOMETRY.inner(w, w) * GEOMETRY.inner(truth, truth))
    assert cosine > 0.9


# --- what it does not depend on ---------------------------------------------------------------


@pytest.mark.parametrize("n", [90, 7])
def test_row_order_changes_no_byte(n: int) -> None:
    H, y = data(n)
    H[4], y[4] = H[5], 1 - y[5]  # equal states, unlike labels
    H[2], y[2] = H[0], y[0]  # equal rows
    expected = fitted(H, y, l2=None).probe_set.to_json()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n)
        assert fitted(H[order], y[order], l2=None).probe_set.to_json() == expected


@pytest.mark.parametrize(("factor", "tolerance"), [(2.0, 0.0), (0.25, 0.0), (3.0, 2e-5)])
def test_scale_of_the_unembedding_changes_no_reading(factor: float, tolerance: float) -> None:
    H, y = data()
    scaled = Geometry.from_unembedding(unembedding() * np.float32(factor))
    one, other = fitted(H, y, GEOMETRY, None), fitted(H, y, scaled, None)
    for row in H[:20, np.newaxis]:
        a = read_probe(one.probe_set.probes[0], GEOMETRY, row)
        b = read_probe(other.probe_set.probes[0], scaled, row)
        assert abs(a.raw - b.raw) <= tolerance * (1 + abs(a.raw))
        assert abs(a.confidence - b.confidence) <= tolerance
    assert card(one).l2 == card(other).l2


# --- separable, tiny and degenerate data ------------------------------------------------------


def test_separable_data_have_an_optimum() -> None:
    H, y = data(gap=40.0)
    result = fitted(H, y, l2=None)
    quality = card(result).quality
    assert quality.auroc.value == quality.auroc.low == quality.accuracy.value == 1.0
    assert card(result).verdict == "SUFFICIENT"
    assert np.isfinite(result.probe_set.probes[0].weights).all()


@pytest.mark.parametrize("strength", [1e-9, 1e-6, 1e3])
def test_extremes_of_the_penalty(strength: float) -> None:
    for H, y in (data(), data(6), data(gap=40.0)):
        result = fitted(H, y, l2=strength)
        assert result.gradient < 1e-12
        assert oracle.auroc(logits(result, H), y) > 0.5


def test_two_of_each_class_suffice() -> None:
    H, y = data(4)
    y = np.array([0, 0, 1, 1], np.int8)
    trained = card(fitted(H, y, l2=None))
    assert (trained.folds, trained.positives, trained.negatives) == (2, 2, 2)
    assert not trained.nested
    assert trained.verdict == "INSUFFICIENT"


def test_states_that_say_nothing_give_the_base_rate() -> None:
    """And of equal losses the one of the stronger penalty is taken."""
    H, y = np.ones((30, D)), (np.arange(30) % 3 == 0).astype(np.int8)
    order, groups = canonical_order(H, y)
    penalty = Penalty.of(H, GEOMETRY)
    split = SplitRows(
        order, H, y[order], groups, assign_folds(y[order], groups), penalty, 0 * H
    )  # as `SplitRows.of` refuses equal rows
    fit = CausalProbe(gram=GEOMETRY).fit_split(split)
    probe = as_probe("flat", fit)
    assert not probe.weights.any()
    assert read_probe(probe, GEOMETRY, H[:1]).confidence == pytest.approx(1 / 3, abs=0.03)
    assert fit.l2_ == max(L2_GRID)


# --- held out ---------------------------------------------------------------------------------


def test_noise_is_learnt_by_heart_and_not_held_out() -> None:
    rng = np.random.default_rng(6)
    aurocs = []
    for seed in range(4):
        H, _ = data(60, 80, seed=seed)
        y = rng.permutation(np.arange(60) % 2).astype(np.int8)
        geometry = Geometry.from_unembedding(unembedding(80))
        trained = card(fitted(H, y, geometry, 1e-4))
        assert trained.training_auroc > 0.99
        assert trained.verdict == "INSUFFICIENT"
        aurocs.append(trained.quality.auroc.value)
    assert 0.3 < np.mean(aurocs) < 0.7


def test_strength_is_that_of_least_held_out_loss() -> None:
    H, y = data()
    result = fitted(H, y, l2=None)
    trained = card(result)
    assert [strength for strength, _ in result.losses[0]] == list(L2_GRID)
    assert trained.l2 == min(result.losses[0], key=lambda pair: pair[1])[0]
    assert trained.l2_chosen
    # The choice given by hand is the same probe.
    again = fitted(H, y, l2=trained.l2)
    assert (card(again).l2, card(again).l2_chosen) == (trained.l2, False)
    assert np.array_equal(again.probe_set.probes[0].weights, result.probe_set.probes[0].weights)
    assert again.probe_set.probes[0].platt_scale == result.probe_set.probes[0].platt_scale


# --- calibration ------------------------------------------------------------------------------


def test_platt_is_fitted_to_held_out_logits() -> None:
    H, y = data(60, 30)
    geometry = Geometry.from_unembedding(unembedding(30))
    H, y, fold = in_order(H, y)
    strength = float(np.float32(1e-4))
    X = Penalty.of(H, geometry).coordinates(H)
    scores = cross_validate(X, y, fold, (strength,)).held_out[0]
    probe = fitted(H, y, geometry, 1e-4).probe_set.probes[0]
    assert (probe.platt_scale, probe.platt_shift) == platt_scaling(scores, y)
    # On the rows trained on, the logits are overconfident: fitted there, the scale is larger.
    assert probe.platt_scale < 0.5 * platt_scaling(fit_logistic(X, y, strength).logits(X), y)[0]


# --- figures ----------------------------------------------------------------------------------


# --- what is recorded -------------------------------------------------------------------------


def test_provenance() -> None:
    H, y = data()
    digests = {"activations": "a1" * 32, "labels": "b2" * 32}
    result = train(
        activations(H),
        y,
        GEOMETRY,
        layer=3,
        dimension="tall",
        l2=0.1,
        context=TrainingContext("c1", digests),
    )
    probe_set = result.probe_set
    trained = result.training
    assert probe_set.training is trained
    assert (probe_set.layer, probe_set.corpus_version) == (3, "c1")
    assert probe_set.geometry_hash == GEOMETRY.digest
    assert (probe_set.probes[0].name, len(probe_set.probes)) == ("tall", 1)
    assert probe_set.probes[0].reliability_threshold == float(np.float32(0.7))
    assert (trained.precision, trained.model_id, trained.layer) == ("Fp16", "tiny", 3)
    assert (trained.activations_sha256, trained.unembedding_sha256) == ("a1" * 32, None)
    assert (trained.inner_product, trained.epsilon) == ("Causal", 0.0)
    made = card(result)
    assert (made.positives, made.negatives, made.folds) == (30, 60, 5)
    assert (made.l2, made.l2_chosen) == (float(np.float32(0.1)), False)
    assert (made.dimension, made.grouped, made.groups) == ("tall", False, 90)
    assert made.other_inner_product == "Euclidean"
    assert trained.versions["numpy"] == np.__version__
    data_ = probe_set.to_json()
    assert ProbeSet.from_json(data_, "p").to_json() == data_


def test_from_files(tmp_path: Path) -> None:
    H, y = data()
    write_activations(tmp_path / "a.gotact", activations(H))
    write_unembedding(tmp_path / "u.gotue", unembedding())
    (tmp_path / "a.labels").write_text("".join(f"{label}\n" for label in y))
    said: list[str] = []
    result = train_files(
        activations=tmp_path / "a.gotact",
        labels=tmp_path / "a.labels",
        unembedding=tmp_path / "u.gotue",
        layer=3,
        options=TrainingOptions(dimension="tall"),
        progress=said.append,
    )
    trained = result.training
    assert trained.activations_sha256 == sha256_file(tmp_path / "a.gotact")
    assert trained.unembedding_sha256 == sha256_file(tmp_path / "u.gotue")
    assert trained.labels_sha256 == sha256_file(tmp_path / "a.labels")
    assert np.array_equal(
        result.probe_set.probes[0].weights, fitted(H, y, l2=None).probe_set.probes[0].weights
    )
    assert len(said) > 3


# --- refusals ---------------------------------------------------------------------------------

H0, Y0 = data(12)
ONE_CLASS = np.zeros(12, np.int8)
ONE_POSITIVE = np.array([1] + [0] * 11, np.int8)
BROKEN = H0.copy()
BROKEN[7, 2] = math.nan
EMPTY = H0.copy()
EMPTY[7] = 0


@pytest.mark.parametrize(
    ("H", "y", "options", "error"),
    [
        (H0, Y0[:-1], {}, LabelCount),
        (H0[:-1], Y0, {}, LabelCount),
        (H0, Y0[:, np.newaxis], {}, LabelCount),
        (H0, Y0 * 2, {}, BadLabel),
        (H0, ONE_CLASS, {}, OneClass),
        (H0, 1 - ONE_CLASS, {}, OneClass),
        (H0, ONE_POSITIVE, {}, TooFewOfClass),
        (H0, 1 - ONE_POSITIVE, {}, TooFewOfClass),
        (BROKEN, Y0, {}, NonFinite),
        (EMPTY, Y0, {}, ZeroState),
        (H0[:, 1:], Y0, {}, DimensionMismatch),
        (H0, Y0, {"layer": 4}, LayerMissing),
        (H0, Y0, {"l2": 0.0}, BadOption),
        (H0, Y0, {"l2": -1.0}, BadOption),
        (H0, Y0, {"l2": math.nan}, BadOption),
        (H0, Y0, {"l2": math.inf}, BadOption),
        (H0, Y0, {"dimension": "\udc80"}, BadText),
    ],
)
def test_refusals(H: Array, y: Labels, options: dict[str, Any], error: type[GotError]) -> None:
    chosen: dict[str, Any] = {"layer": 3} | options
    with pytest.raises(error):
        train(activations(H), y, GEOMETRY, **chosen)


def test_weights_beyond_float32_are_refused() -> None:
    H, y = data(12)
    small = Geometry.from_unembedding(np.eye(D, dtype=np.float32) * np.float32(1e-22))
    with pytest.raises(NonFinite):
        fitted(H, y, small, 1e-6)


def test_stalled_solver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "GRADIENT_TOLERANCE", 1e-40)
    H, y = data(12)
    with pytest.raises(DidNotConverge):
        fitted(H, y)


def test_a_few_huge_states_do_not_set_the_unit_of_the_penalty() -> None:
    """As the first token's state in a language model: a hundred times longer than the others."""
    rng = np.random.default_rng(11)
    H = rng.normal(size=(120, GEOMETRY.hidden_dim)).astype(np.float32).astype(np.float64)
    y = (H[:, 0] + 0.5 * rng.normal(size=len(H)) > 0).astype(np.int8)
    huge = H.copy()
    huge[0] *= 1000
    plain, outlier = (
        train(activations(states), y, EUCLIDEAN, layer=3, l2=1e-3).probe_set.probes[0].weights
        for states in (H, huge)
    )
    # In units of the mean square the penalty would be some 8,000 times as strong.
    assert np.linalg.norm(outlier) > 0.2 * np.linalg.norm(plain)
