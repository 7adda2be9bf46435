"""`CausalProbe` as a scikit-learn classifier, and the theorems that make it worth using."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from geometry_of_trust.errors import (
    BadArray,
    BadOption,
    DimensionMismatch,
    GotError,
    GroupCount,
    OneClass,
    TooFewOfClass,
    TooManyClasses,
)
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.held_out_figures import quality_figures
from geometry_of_trust.probing.reliability_bins import reliability_bins
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.splits import canonical_order

D = 6
GRID = (1.0, 1e-2, 1e-4)


def gram(d: int = D, seed: int = 1) -> Array:
    """A Φ with a condition number of some thousands."""
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(10 * d, d)) * np.geomspace(0.1, 5, d)
    phi: Array = (U.T @ U).astype(np.float32).astype(np.float64)
    return (phi + phi.T) / 2


def states(
    n: int, seed: int = 0, gain: float = 2.0, d: int = D, phi: Array | None = None
) -> tuple[Array, NDArray[np.int8], Array]:
    """States round under Φ, labels by chance along a direction w, P(1) = σ(wᵀΦh), and w."""
    phi = gram(d) if phi is None else phi
    rng = np.random.default_rng(seed)
    lower = np.linalg.cholesky(phi)
    H = rng.normal(size=(n, d)) @ np.linalg.inv(lower)
    direction = np.random.default_rng(99).normal(size=d)
    w = np.linalg.solve(lower.T, gain * direction / np.linalg.norm(direction))
    p = 1 / (1 + np.exp(-(H @ phi @ w)))
    return H, (rng.random(n) < p).astype(np.int8), w


@pytest.mark.parametrize("probe", [CausalProbe(), CausalProbe("euclidean", grid=GRID)], ids=str)
def test_it_is_a_scikit_learn_classifier(probe: CausalProbe) -> None:
    results = check_estimator(probe, on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert sum(result["status"] == "passed" for result in results) > 50


def test_it_works_inside_scikit_learns_tools() -> None:
    H, y, _ = states(90)
    groups = np.arange(90) // 3
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), CausalProbe(gram=gram(), l2=0.1)),
        {"causalprobe__inner_product": ["causal", "euclidean"]},
        cv=GroupKFold(3),
        scoring="roc_auc",
    )
    assert search.fit(H, y, groups=groups).best_score_ > 0.8
    probe = CausalProbe(gram=Geometry.from_gram(gram()), grid=GRID)
    assert clone(probe).get_params()["grid"] == GRID


# --- theorems, with their controls ------------------------------------------------------------


def correlation(a: Array, b: Array) -> float:
    return float(np.asarray(np.corrcoef(a, b))[0, 1])


def cosine(a: Array, b: Array, phi: Array) -> float:
    return float(a @ phi @ b / math.sqrt((a @ phi @ a) * (b @ phi @ b)))


def test_a_known_direction_is_recovered_under_its_inner_product() -> None:
    H, y, w = states(4000)
    probe = CausalProbe(gram=gram(), grid=GRID).fit(H, y)
    assert cosine(probe.weights_.astype(float), w, gram()) > 0.99
    # Read without Φ, the same logit has other weights: Φw.
    plain = CausalProbe("euclidean", gram=gram(), grid=GRID).fit(H, y)
    assert correlation(plain.logits(H), H @ gram() @ w) > 0.97
    assert cosine(plain.weights_.astype(float), w, np.eye(D)) < 0.9
    # Control: labels that do not follow it.
    noise = np.random.default_rng(5).permutation(y)
    lost = CausalProbe(gram=gram(), grid=GRID).fit(H, noise)
    assert abs(cosine(lost.weights_.astype(float), w, gram())) < 0.9


def test_few_rows_favour_the_inner_product_under_which_the_states_are_round() -> None:
    d, phi = 30, gram(30)
    wins = {"phi": 0, "identity": 0}
    for name, shape in (("phi", phi), ("identity", np.eye(d))):
        for seed in range(8):
            H, y, w = states(60, seed, d=d, phi=shape)
            fresh, _, _ = states(500, 100 + seed, d=d, phi=shape)
            causal, euclidean = (
                correlation(
                    CausalProbe(gram=g, grid=GRID).fit(H, y).logits(fresh), fresh @ shape @ w
                )
                for g in (phi, None)
            )
            wins[name] += causal > euclidean
    assert wins["phi"] >= 7
    assert wins["identity"] <= 1


def test_for_full_rank_the_inner_product_only_changes_the_regulariser() -> None:
    """With hardly any penalty both give one classifier; with a strong one they do not."""
    H, y, _ = states(300)
    weak = [CausalProbe(gram=g, l2=1e-9).fit(H, y).logits(H) for g in (gram(), None)]
    strong = [CausalProbe(gram=g, l2=1.0).fit(H, y).logits(H) for g in (gram(), None)]
    assert correlation(*weak) > 1 - 1e-6
    assert correlation(*strong) < 0.999


def test_probabilities_are_calibrated_on_fresh_data() -> None:
    H, y, _ = states(1500)
    probe = CausalProbe(gram=gram()).fit(H, y)
    fresh, truth, _ = states(5000, seed=1)
    p = probe.predict_proba(fresh)[:, 1]
    rows = np.arange(5000)
    table = reliability_bins(p, truth, rows)
    assert sum(not b.calibrated for b in table) <= 1
    odds = probe.decision_function(fresh)
    ours = quality_figures(Sample.of_one_scorer(truth, rows), odds, odds)
    assert ours.ece.value < 0.03
    # Control: an overconfident probe is seen to be one.
    wild = quality_figures(Sample.of_one_scorer(truth, rows), odds, 5 * odds)
    assert wild.ece.value > 0.1
    assert wild.ece.low > ours.ece.high


# --- what it does not depend on ---------------------------------------------------------------


def parts(probe: CausalProbe) -> tuple[Any, ...]:
    return (
        probe.weights_.tobytes(), probe.bias_, probe.platt_scale_, probe.platt_shift_, probe.l2_,
    )  # fmt: skip


def test_neither_order_nor_names_nor_threads_change_a_bit() -> None:
    H, y, _ = states(80)
    groups = np.array([f"g{i // 3}" for i in range(80)])
    first = CausalProbe(gram=gram(), grid=GRID).fit(H, y, groups)
    for seed, threads in ((0, 1), (1, 2), (2, 4)):
        order = np.random.default_rng(seed).permutation(80)
        renamed = np.array([hash((seed, name)) for name in groups])
        with threadpool_limits(threads):
            again = CausalProbe(gram=gram(), grid=GRID).fit(H[order], y[order], renamed[order])
        assert parts(again) == parts(first)
        assert np.array_equal(again.held_out_, first.held_out_[order])
    other = CausalProbe(gram=gram(), grid=GRID).fit(H, y, np.roll(groups, 1))
    assert parts(other) != parts(first)


def test_any_two_labels_will_do() -> None:
    H, y, _ = states(60)
    numbers = CausalProbe(gram=gram(), grid=GRID).fit(H, y)
    words = CausalProbe(gram=gram(), grid=GRID).fit(H, np.array(["no", "yes"])[y])
    assert parts(words) == parts(numbers)
    assert words.classes_.tolist() == ["no", "yes"]
    assert set(words.predict(H)) <= {"no", "yes"}
    assert np.array_equal(words.predict(H) == "yes", words.predict_proba(H)[:, 1] > 0.5)


def test_the_order_of_rows_is_by_group() -> None:
    H, y, _ = states(30)
    _, numbers = canonical_order(H, y, np.arange(30) // 5)
    assert (np.diff(numbers) >= 0).all()


# --- refusals ---------------------------------------------------------------------------------

H0, Y0, _ = states(20)


@pytest.mark.parametrize(
    ("options", "y", "groups", "error"),
    [
        ({}, np.zeros(20, int), None, OneClass),
        ({}, np.arange(20) % 3, None, TooManyClasses),
        ({}, (np.arange(20) == 0).astype(int), None, TooFewOfClass),
        ({}, Y0, np.arange(19), GroupCount),
        ({}, Y0, np.zeros(20), TooFewOfClass),
        ({"l2": 0.0}, Y0, None, BadOption),
        ({"grid": (1e-3, 1.0)}, Y0, None, BadOption),
        ({"grid": ()}, Y0, None, BadOption),
        ({"inner_product": "cosine"}, Y0, None, BadOption),
        ({"gram": np.eye(D + 1)}, Y0, None, DimensionMismatch),
        ({"gram": np.ones((D, 2))}, Y0, None, BadArray),
        ({"gram": np.triu(np.ones((D, D)))}, Y0, None, BadArray),
        ({"gram": np.eye(D), "epsilon": -1.0}, Y0, None, BadOption),
    ],
)
def test_refusals(options: dict[str, Any], y: Any, groups: Any, error: type[GotError]) -> None:
    with pytest.raises(error):
        CausalProbe(**options).fit(H0, y, groups)


def test_a_singular_gram_matrix_is_regularised() -> None:
    singular = np.diag([1.0, 1, 1, 1, 1, 0])
    probe = CausalProbe(gram=singular, l2=0.1, epsilon=1e-3).fit(H0, Y0)
    assert probe.geometry_.inner_product == "CausalRegularised"
    assert np.isfinite(probe.weights_).all()
