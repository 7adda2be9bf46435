"""What a fit penalises, and the coordinates in which that is the squared length."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from geometry_of_trust.errors import DidNotConverge, NonFinite, NotPositiveDefinite
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Array, Labels
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.logistic import fit_logistic, residuals
from geometry_of_trust.probing.penalty import Penalty, factor


def geometry(d: int, rows: int = 50) -> Geometry:
    U = np.random.default_rng(0).normal(size=(rows, d)).astype(np.float32)
    return Geometry.from_unembedding(U, 1e-4)


@pytest.mark.parametrize(("d", "rows"), [(7, 50), (12, 5)])
def test_the_factor(d: int, rows: int) -> None:
    g = geometry(d, rows)
    assert g.phi is not None
    assert g.inner_product == ("Causal" if rows > d else "CausalRegularised")
    L = factor(g)
    assert np.array_equal(L, np.tril(L))
    np.testing.assert_allclose(L @ L.T, g.phi, rtol=1e-13, atol=1e-13)


def test_the_factor_of_the_identity() -> None:
    assert np.array_equal(factor(Geometry("Euclidean", 0.0, 3, None)), np.eye(3))


def test_no_factor() -> None:
    with pytest.raises(NotPositiveDefinite):
        factor(Geometry("Causal", 0.0, 2, np.array([[1, 2], [2, 1]], np.float32)))


def states(n: int, d: int = 7) -> Array:
    """Coordinates of sizes from a tenth to ten, none of mean 0."""
    scales = np.geomspace(0.1, 10, d)
    return np.random.default_rng(1).normal(size=(n, d)) * scales + 3 * scales


def quadratic(H: Array, g: Geometry) -> Array:
    """The matrix of the penalty on Φw."""
    return oracle.penalty(H, np.eye(H.shape[1]) if g.phi is None else g.phi.astype(np.float64))


@pytest.mark.parametrize("rows", [4, 7, 20])
@pytest.mark.parametrize("g", [geometry(7), Geometry("Euclidean", 0.0, 7, None)])
def test_in_the_coordinates_the_penalty_is_the_squared_length(g: Geometry, rows: int) -> None:
    """The least penalty of what gives certain logits is the length of what gives them from X."""
    H = states(rows)
    X = Penalty.of(H, g).coordinates(H)
    assert X.shape == (rows, min(rows, 7))
    C = H - H.mean(axis=0)
    np.testing.assert_allclose(
        X @ X.T, C @ np.linalg.inv(quadratic(H, g)) @ C.T, rtol=1e-9, atol=1e-9
    )


def labelled(n: int = 60, d: int = 7) -> tuple[Array, Labels]:
    H, y = states(n, d), (np.arange(n) % 3 == 0).astype(np.int8)
    H[:, 2] += np.where(y == 1, 0.1, -0.1)
    return H, y


@pytest.mark.parametrize("n", [60, 6], ids=["n > d", "n < d"])
def test_the_weights_are_those_of_the_fit(n: int) -> None:
    H, y = labelled(n)
    g = geometry(7)
    penalty = Penalty.of(H, g)
    X = penalty.coordinates(H)
    solution = fit_logistic(X, y, 1e-3)
    weights, bias = penalty.weights_and_bias(solution, X, H, y)
    logits = H @ g.apply(weights.astype(np.float64)) + bias
    np.testing.assert_allclose(logits, solution.logits(X), rtol=1e-5, atol=1e-5)
    # And in the terms of the definition: Pf = Σ (y − p)(h − h̄) / (nλs²).
    f = g.apply(weights.astype(np.float64))
    pull = (H - H.mean(axis=0)).T @ residuals(logits, y) / (n * 1e-3 * solution.scale**2)
    np.testing.assert_allclose(quadratic(H, g) @ f, pull, rtol=1e-3, atol=1e-3 * abs(pull).max())


def fit_under_singular(strength: float) -> tuple[Array, Array]:
    """Logits of the rounded weights, and of the fit, where Φ has three dimensions of seven."""
    U = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    g = Geometry.from_unembedding(U, 1e-6)
    H, y = labelled()
    penalty = Penalty.of(H, g)
    X = penalty.coordinates(H)
    solution = fit_logistic(X, y, strength)
    weights, bias = penalty.weights_and_bias(solution, X, H, y)
    return H @ g.apply(weights.astype(np.float64)) + bias, solution.logits(X)


def test_a_singular_gram_matrix_loses_few_digits() -> None:
    logits, expected = fit_under_singular(1e-3)
    assert np.abs(logits - expected).max() < 1e-3 * expected.std()


def test_weights_that_rounding_would_make_others_are_refused() -> None:
    """With next to no penalty w is 10⁶ times as long as Φw."""
    with pytest.raises(DidNotConverge) as caught:
        fit_under_singular(1e-9)
    assert caught.value.hint.startswith("Give a larger --epsilon")


def weights_of(H: Array, g: Geometry, strength: float = 1e-2) -> Array:
    """Weights of labelled states."""
    penalty, y = Penalty.of(H, g), labelled()[1]
    X = penalty.coordinates(H)
    weights, _ = penalty.weights_and_bias(fit_logistic(X, y, strength), X, H, y)
    return weights.astype(np.float64)


def test_a_vocabulary_of_a_sixth_of_the_dimensions_trains_by_default() -> None:
    """Though the labels follow what U does not read, and rounding moves logits by more than 1 %."""
    U = np.random.default_rng(10).normal(size=(10, 64)).astype(np.float32)
    unread = np.linalg.svd(U)[2][10]
    y = np.arange(100) % 2
    H = np.random.default_rng(0).normal(size=(100, 64)) + 3 * np.outer(2 * y - 1, unread)
    probe = CausalProbe(gram=Geometry.from_unembedding(U)).fit(H.astype(np.float32), y)
    assert ((probe.held_out_ > 0) == y).mean() > 0.9
    assert ((probe.logits(H) > 0) == y).mean() > 0.9


def test_rounding_of_the_bias_counts() -> None:
    """A coordinate that never varies makes the bias so large that float32 loses the rest."""
    H = states(60)
    H[:, 3] = 1e9
    with pytest.raises(DidNotConverge) as caught:
        weights_of(H, geometry(7))
    assert "--epsilon" not in caught.value.hint  # which adds nothing to a definite Φ


def test_weights_below_float32() -> None:
    """Refused, as weights beyond it are, and not taken for what Φ does not read."""
    U = 1e15 * np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    with pytest.raises(NonFinite) as caught:
        weights_of(1e30 * states(60), Geometry.from_unembedding(U))
    assert (caught.value.where, caught.value.found) == ("probe", "an underflow")


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_states_whose_squares_are_beyond_float64(size: float) -> None:
    with pytest.raises(NonFinite) as caught:
        Penalty.of(size * states(60), geometry(7))
    assert caught.value.where == "states"


@pytest.mark.parametrize("noise", [1e-9, 1e-30])
def test_coordinates_that_vary_by_rounding_only_are_no_features(noise: float) -> None:
    """Not even where they are most of the coordinates, so that their median is that of noise."""
    H = 10 * states(60)
    H[:, 2:] = 1.0 + noise * H[:, 2:]
    for g in (Geometry("Euclidean", 0.0, 7, None), geometry(7)):
        X = Penalty.of(H, g).coordinates(H)
        lengths = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
        assert lengths[1] > 0.5 * lengths[0]
        assert lengths[2] < 0.05 * lengths[0]
        weights_of(H, g)


@pytest.mark.parametrize("size", [1e9, 1e30])
def test_a_coordinate_far_larger_than_all_others_can_be_factored(size: float) -> None:
    H = states(60)
    H[:, 3] *= size
    X = Penalty.of(H, geometry(7)).coordinates(H)
    assert np.isfinite(fit_logistic(X, labelled()[1], 1e-2).v).all()


def test_one_row_far_out_hardly_moves_a_spread() -> None:
    H = states(51)
    far = H.copy()
    far[0] *= 1000
    before, after = (Penalty.of(one, geometry(7)).spreads for one in (H, far))
    assert (after <= 1.2 * before).all()
    assert (far.std(axis=0) > 50 * before).all()


def test_coordinates_that_hardly_vary() -> None:
    """One that never varies reads nothing; one that seldom does is not divided by nothing."""
    H, y = labelled()
    H[:, 4], H[:, 5] = 0.1, 0.0
    H[:3, 5] = 1.0
    penalty = Penalty.of(H, geometry(7))
    assert penalty.spreads[4] == 0
    assert penalty.spreads[5] == pytest.approx(np.sqrt(3 / 60))
    X = penalty.coordinates(H)
    weights, _ = penalty.weights_and_bias(fit_logistic(X, y, 1e-3), X, H, y)
    assert weights[4] == 0
    assert np.isfinite(weights).all()


def test_rows_that_are_all_the_same_have_no_coordinates() -> None:
    assert not Penalty.of(np.ones((6, 7)), geometry(7)).coordinates(np.ones((6, 7))).any()


def test_there_are_no_units() -> None:
    """Neither those of the states nor those of the unembedding."""
    H, U = states(20), np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    X = Penalty.of(H, Geometry.from_unembedding(U, 1e-4)).coordinates(H)
    longer = Geometry.from_unembedding(64 * U, 1e-4)
    np.testing.assert_allclose(
        Penalty.of(1024 * H, longer).coordinates(1024 * H), X, rtol=1e-12, atol=1e-12
    )
