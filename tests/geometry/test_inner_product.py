"""Φ, the rule for adding to its diagonal, and the digest."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import lapack

import oracle
from binary_bytes import at_most
from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GotError,
    NonFinite,
    NotEnoughMemory,
    NotPositiveDefinite,
    TooLarge,
)
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.geometry import inner_product as geometry
from geometry_of_trust.geometry.inner_product import (
    PHI_BYTES,
    Geometry,
    cholesky_exists,
    geometry_digest,
)

V2 = np.array([[1, 0], [0, 2], [1, 1]], np.float32)
SINGULAR = np.array([[1, 1], [2, 2]], np.float32)


def random_matrix(rows: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, d)).astype(np.float32)


# --- vectors of reference.md 14 ---------------------------------------------------------------


def test_v2_gram_and_digest() -> None:
    g = Geometry.from_unembedding(Unembedding(V2))
    assert (g.inner_product, g.epsilon, g.hidden_dim) == ("Causal", 0.0, 2)
    assert g.phi is not None
    assert g.phi.tolist() == [[2, 1], [1, 5]]
    assert g.digest == "6b0975a00fe9000bf932c94898bbd4e58aae61c69c82bf0c66fbe0db8027f467"


@pytest.mark.parametrize(
    ("epsilon", "phi", "digest"),
    [
        (
            1e-6,
            [[2, 1], [1, 5]],
            "32d943dcdd6851b8c0611593fededde9c61b14ff21076503a3b71ecadba6726d",
        ),
        (
            1e-6,
            [[5.000001, 5], [5, 5.000001]],
            "f5dbd78e3d3e7faeb3cab5fe134569f66a269d10dc358dad3e57407e41de3d50",
        ),
    ],
)
def test_v3_digests_with_the_references_epsilon(epsilon: float, phi: Any, digest: str) -> None:
    assert geometry_digest(2, epsilon, np.array(phi, np.float32)) == digest


def test_digest_takes_minus_zero_as_zero() -> None:
    plus, minus = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    minus[0, 1] = -0.0
    assert geometry_digest(3, -0.0, minus) == geometry_digest(3, 0.0, plus)


def test_euclidean_digest_is_of_d_and_zero_only() -> None:
    g = Geometry.from_unembedding(V2, inner_product="euclidean")
    # sha256 of 02 00 00 00 00 00 00 00 00 00 00 00
    assert g.digest == "b76875c50ef704dbbf7f02c982445971d1bbd61aebe2e4b28ddc58a1d66317d5"
    assert (g.inner_product, g.epsilon, g.phi) == ("Euclidean", 0.0, None)


def test_v12_inner_product() -> None:
    g = Geometry.from_unembedding(V2)
    assert g.apply(np.array([1.0, -2.0])).tolist() == [0, -9]
    assert g.inner(np.array([2.0, 1.0]), np.array([1.0, -2.0])) == -9


# --- the object -------------------------------------------------------------------------------


def test_apply_and_inner() -> None:
    g = Geometry.from_unembedding(random_matrix(50, 7))
    assert g.phi is not None
    h = np.random.default_rng(1).normal(size=(3, 4, 7))
    np.testing.assert_allclose(g.apply(h), h @ g.phi.astype(float), rtol=1e-14)
    expected = np.einsum("abi,ij,abj->ab", h, g.phi.astype(float), h)
    np.testing.assert_allclose(g.inner(h, h), expected, rtol=1e-12)


def test_euclidean_is_the_identity() -> None:
    g = Geometry.from_unembedding(random_matrix(50, 7), inner_product="euclidean")
    h = np.random.default_rng(1).normal(size=(4, 7))
    assert np.array_equal(g.apply(h), h)


def test_progress_is_passed_on() -> None:
    said: list[str] = []
    Geometry.from_unembedding(V2, progress=said.append)
    assert said == ["Inner product 100 %"]


def test_frozen() -> None:
    g = Geometry.from_unembedding(V2)
    assert g.phi is not None
    with pytest.raises(ValueError, match="read-only"):
        g.phi[0, 0] = 1


def test_wrong_length_is_refused() -> None:
    with pytest.raises(DimensionMismatch):
        Geometry.from_unembedding(V2).apply(np.ones(3))


# --- regularisation ---------------------------------------------------------------------------


def test_singular_gets_epsilon_times_the_mean_diagonal() -> None:
    g = Geometry.from_unembedding(SINGULAR)
    assert g.inner_product == "CausalRegularised"
    assert g.epsilon == float(np.float32(1e-6 * 5))
    assert g.phi is not None
    assert g.phi.tolist() == [[float(np.float32(5.000005)), 5], [5, float(np.float32(5.000005))]]
    assert g.digest == geometry_digest(2, g.epsilon, g.phi)


def test_amount_is_relative() -> None:
    small = Geometry.from_unembedding(SINGULAR)
    large = Geometry.from_unembedding(SINGULAR * np.float32(1024))
    assert large.epsilon == small.epsilon * 2**20
    assert Geometry.from_unembedding(SINGULAR, 1e-3).epsilon == float(np.float32(5e-3))


def test_fewer_rows_than_columns() -> None:
    g = Geometry.from_unembedding(random_matrix(5, 12), 1e-4)
    assert g.inner_product == "CausalRegularised"
    assert g.phi is not None
    assert oracle.positive_definite(rationals(g.phi.astype(np.float64)))


def test_dead_dimension_is_regularised() -> None:
    U = random_matrix(50, 4)
    U[:, 2] = 0
    g = Geometry.from_unembedding(U)
    assert g.inner_product == "CausalRegularised"
    assert g.phi is not None
    assert g.phi[2].tolist() == [0, 0, g.epsilon, 0]


def test_epsilon_is_unused_where_none_is_needed() -> None:
    assert Geometry.from_unembedding(V2, 0.5).digest == Geometry.from_unembedding(V2, 0.0).digest


def test_verifier_adds_the_amount_that_is_signed() -> None:
    made = Geometry.from_unembedding(SINGULAR, 1e-5)
    again = Geometry.from_unembedding(SINGULAR, added=made.epsilon)
    assert (again.digest, again.epsilon) == (made.digest, made.epsilon)
    # Not where the rule adds nothing, and not nothing where the rule adds.
    assert Geometry.from_unembedding(V2, added=0.5).epsilon == 0.0
    with pytest.raises(NotPositiveDefinite):
        Geometry.from_unembedding(SINGULAR, added=0.0)


@pytest.mark.parametrize(
    ("U", "options", "error"),
    [
        (SINGULAR, {"epsilon": 0.0}, NotPositiveDefinite),
        (SINGULAR, {"epsilon": 1e-9}, NotPositiveDefinite),  # vanishes in rounding 5 + 5e-9
        (SINGULAR, {"epsilon": 1e39}, NotPositiveDefinite),
        (np.zeros((3, 2), np.float32), {}, NotPositiveDefinite),
        (V2, {"epsilon": -1e-6}, BadOption),
        (V2, {"epsilon": math.nan}, BadOption),
        (V2, {"epsilon": math.inf}, BadOption),
        (V2, {"added": -1.0}, BadOption),
        (V2, {"added": math.nan}, BadOption),
        (V2, {"inner_product": "other"}, BadOption),
        (np.array([[1, 2], [3, math.nan]], np.float32), {}, NonFinite),
        (np.array([[1, 2], [3, math.inf]], np.float32), {}, NonFinite),
        (np.array([[1, 2e19], [3, 1]], np.float32), {}, NonFinite),
    ],
)
def test_refusals(U: Any, options: dict[str, Any], error: type[GotError]) -> None:
    with pytest.raises(error):
        Geometry.from_unembedding(U, **options)


def test_non_finite_row_is_named() -> None:
    U = np.ones((5000, 3), np.float32)
    U[4321, 1] = math.nan
    with pytest.raises(NonFinite) as refused:
        Geometry.from_unembedding(Unembedding(U, "u.gotue"))
    assert refused.value.where == "u.gotue, row 4321"
    with pytest.raises(NonFinite) as overflow:
        Geometry.from_unembedding(np.array([[1, 2e19], [3, 1]], np.float32))
    assert overflow.value.where == "unembedding, Φ[1, 1]"


# --- the rule, alike on every machine ---------------------------------------------------------


def rationals(A: NDArray[np.float64]) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in A]


def with_eigenvalue(least: float, d: int, seed: int) -> NDArray[np.float64]:
    """A symmetric matrix of unit diagonal, nearly, whose least eigenvalue is near `least`."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(d, d))).Q
    A: NDArray[np.float64] = (Q * np.array([least, *rng.uniform(0.5, 2, d - 1)])) @ Q.T
    return (A + A.T) / 2


@pytest.mark.parametrize("least", [1e-3, 1e-9, -1e-9, -1e-3, 1.0])
def test_cholesky_is_right_away_from_the_edge(least: float) -> None:
    for seed in range(5):
        A = with_eigenvalue(least, 6, seed)
        assert cholesky_exists(A) == oracle.positive_definite(rationals(A)) == (least > 0)


def test_lapack_counts_only_where_rounding_cannot_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    normative = geometry.ldl

    def spy(A: Any) -> Any:
        asked.append(len(A))
        return normative(A)

    monkeypatch.setattr(geometry, "ldl", spy)
    for least, calls in ((1e-6, 0), (-1e-6, 0), (1e-16, 5), (-1e-16, 5)):
        asked.clear()
        for seed in range(5):
            A = with_eigenvalue(least, 6, seed)
            assert cholesky_exists(A) == (normative(A) is not None)
        assert len(asked) == calls


def test_whose_lapack_is_asked_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy's against scipy's, on matrices from clearly definite to clearly not."""
    matrices = [
        with_eigenvalue(sign * 10.0**-power, d, power)
        for d in (1, 6, 33, 120)
        for power in range(2, 18, 3)
        for sign in (1, -1)
    ]
    before = [A.copy() for A in matrices]
    ours = [cholesky_exists(A) for A in matrices]
    assert all(np.array_equal(a, b) for a, b in zip(matrices, before, strict=True))

    def by_scipy(A: NDArray[np.float64], scale: float) -> bool:
        scaled = A.copy()
        scaled[np.diag_indices(len(A))] *= scale
        return bool(lapack.dpotrf(scaled, lower=1)[1] == 0)

    monkeypatch.setattr(geometry, "_lapack_cholesky", by_scipy)
    assert [cholesky_exists(A) for A in matrices] == ours
    assert {True, False} == set(ours)


def test_ldl_is_a_factorisation() -> None:
    for seed in range(5):
        A = with_eigenvalue(1e-6, 9, seed)
        found = geometry.ldl(A)
        assert found is not None
        L = np.triu(found[0]).T
        np.testing.assert_allclose(L * found[1] @ L.T, A, atol=1e-13)
        A[4, 4] -= 3
        assert geometry.ldl(A) is None


def one_column_after_the_other(A: NDArray[np.float64]) -> bool:
    """What is normative, written down as it is proved: right-looking, the whole square."""
    S = A.copy()
    for k in range(len(S)):
        pivot = S[k, k]
        if not pivot > 0:
            return False
        column = S[k + 1 :, k].copy()
        S[k + 1 :, k + 1 :] -= (column / pivot)[:, np.newaxis] * column
    return True


def test_ldl_in_panels_is_the_same() -> None:
    """On matrices whose last pivots are nothing but rounding, which another order would change."""
    rng = np.random.default_rng(5)
    answers = []
    for _ in range(400):
        d = int(rng.integers(1, 2 * geometry.PANEL + 5))
        B = rng.normal(size=(int(rng.integers(1, d + 2)), d))
        A = B.T @ B
        A = (A + A.T) / 2
        A[np.diag_indices(d)] += 10.0 ** rng.integers(-18, -12)
        answers.append(geometry.ldl(A) is not None)
        assert answers[-1] == one_column_after_the_other(A)
    assert {True, False} == set(answers)


def test_work_ends_at_the_first_bad_pivot() -> None:
    """16 signs in 1,024 dimensions: the 17th pivot is zero."""
    signs = np.sign(np.random.default_rng(0).normal(size=(16, 1024)))
    A = signs.T @ signs
    start = time.process_time()
    assert geometry.ldl(A) is None
    assert time.process_time() - start < 0.5


def test_rule_compares_the_least_correlation_eigenvalue_with_rounding() -> None:
    d = 8
    threshold = d * 2.0**-24
    for factor, expected in ((1.5, True), (0.5, False)):
        phi = np.eye(d, dtype=np.float32)
        # Two columns of correlation ρ: least eigenvalue 1 − ρ.
        phi[0, 1] = phi[1, 0] = np.float32(1 - factor * threshold)
        assert geometry.numerically_definite(phi) == expected
        scales = np.float32(2.0) ** np.arange(-20, 20, 5, dtype=np.float32)
        assert geometry.numerically_definite(phi * scales * scales[:, np.newaxis]) == expected


# --- how large Φ may be -------------------------------------------------------------------------


def zeros(V: int, d: int) -> Unembedding:
    """A matrix that takes no memory."""
    return Unembedding(np.broadcast_to(np.float32(0), (V, d)))


@pytest.mark.parametrize(
    ("V", "d"),
    [(1, 1025), (1, 60_000), (64, 1025), (65, 1041), (10**6, 32_769)],
)
def test_a_dimension_out_of_proportion_is_refused(V: int, d: int) -> None:
    with at_most(2**20), pytest.raises(TooLarge) as caught:
        Geometry.from_unembedding(zeros(V, d))
    assert caught.value.found == str(d)
    assert Geometry.from_unembedding(zeros(V, d), inner_product="euclidean").phi is None


def test_the_largest_of_few_rows_is_taken() -> None:
    U = np.random.default_rng(1).normal(size=(1, 1024)).astype(np.float32)
    assert Geometry.from_unembedding(U, 1e-3).inner_product == "CausalRegularised"


@pytest.mark.parametrize(("V", "d"), [(65, 1040), (2048, 32_768)])
def test_what_does_not_fit_in_memory_is_refused(
    V: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geometry_of_trust.memory.available", lambda: 32 * d * d - 1)
    with at_most(2**20), pytest.raises(NotEnoughMemory):
        Geometry.from_unembedding(zeros(V, d))


def test_memory_is_what_is_estimated() -> None:
    """At d where what threads hold is little beside d²; LAPACK's copies are numpy's, and traced."""
    d = 800
    U = np.random.default_rng(1).normal(size=(900, d)).astype(np.float32)
    with at_most(PHI_BYTES * d * d):
        Geometry.from_unembedding(U)
