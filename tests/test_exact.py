"""Sums and readings are the real numbers rounded once, whatever adds them up."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

import oracle
from geometry_of_trust import exact, gram

F32 = NDArray[np.float32]


def same_bits(a: Any, b: Any) -> bool:
    return np.array(a, np.float32).tobytes() == np.array(b, np.float32).tobytes()


# --- rounding ---------------------------------------------------------------------------------

HALF = Fraction(1, 2**24)  # half a unit of 1.0 as a float32
TINY = Fraction(1, 2**200)


@pytest.mark.parametrize(
    "x",
    [
        1 + HALF,  # a tie: to even, down
        1 + HALF + TINY,  # rounding to double first would lose the tail
        1 + HALF - TINY,
        1 + 3 * HALF,  # a tie: to even, up
        1 + 3 * HALF - TINY,
        -(1 + HALF + TINY),
        Fraction(1, 2**150),  # half the least float32: to zero
        Fraction(1, 2**150) + Fraction(1, 2**300),
        -Fraction(1, 2**151),  # to zero, and that is +0
        Fraction(3, 2**150),
        Fraction(1, 2**1200),  # below the least double
        -Fraction(1, 2**1200),
        oracle.LARGEST + 2**103 - TINY,
        oracle.LARGEST + 2**103,  # overflows
        -(Fraction(2) ** 2000),
        Fraction(0),
        Fraction(1, 3),
    ],
)
def test_rounding_of_rationals(x: Fraction) -> None:
    assert same_bits(exact.round32(x), oracle.nearest32(x))


def test_rounding_of_random_rationals() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        numerator = int(rng.integers(-(2**60), 2**60))
        x = Fraction(numerator) * Fraction(2) ** int(rng.integers(-215, 70))
        # Near a tie in one case of two, where rounding twice goes wrong.
        if rng.random() < 0.5:
            f = Fraction(float(np.float32(rng.normal())))
            x = f + abs(f) * HALF * int(rng.integers(-2, 3)) + TINY * int(rng.integers(-1, 2))
        assert same_bits(exact.round32(x), oracle.nearest32(x))


# --- Gram matrix ------------------------------------------------------------------------------


def _wide(rng: np.random.Generator) -> F32:
    """Numbers from the least subnormal to 10^18, of both signs, with zeros of both signs."""
    magnitude = 10.0 ** rng.uniform(-46, 18, (60, 6))
    U: F32 = (magnitude * rng.choice([-1, 1], magnitude.shape)).astype(np.float32)
    U[rng.random(U.shape) < 0.1] = 0.0
    U[rng.random(U.shape) < 0.1] = -0.0
    return U


def _cancelling(rng: np.random.Generator) -> F32:
    """Columns whose products cancel to nothing, or to a last crumb."""
    x = rng.normal(size=200).astype(np.float32)
    y = rng.normal(size=200).astype(np.float32)
    left = np.concatenate([x, x, [1e-20]])
    right = np.concatenate([y, -y, [1e-20]])
    columns = [left, right, np.concatenate([y, y, [0]]), left[::-1]]
    return np.stack(columns, axis=1).astype(np.float32)


def _ties() -> F32:
    """Entries 2^24 + 1 (a tie), and the same with a crumb more or less."""
    rows = [[4096, 4096, 4096, 4096], [1, 1, 1, 1], [2.0**-70, 0, 2.0**-70, -(2.0**-70)]]
    return np.array(rows, np.float32)


def _cases() -> Iterator[tuple[str, F32]]:
    rng = np.random.default_rng(0)
    yield "normal", rng.normal(size=(150, 6)).astype(np.float32)
    yield "normal, offset", (rng.normal(size=(150, 5)) + 30).astype(np.float32)
    yield "wide", _wide(rng)
    yield "cancelling", _cancelling(rng)
    yield "ties", _ties()
    yield "integers", rng.integers(-5000, 5000, (90, 6)).astype(np.float32)
    yield "zeros", np.array([[0.0, -0.0, 1.0]] * 4, np.float32)
    yield "one row", np.array([[1e-30, -1e-20, 3.0]], np.float32)  # -1e-50 rounds to +0
    yield "subnormals", (rng.integers(-9, 9, (50, 4)) * 2.0**-149).astype(np.float32)
    yield "large", np.array([[1.8e19, -1.8e19, 1e-3]] * 2, np.float32)  # overflows
    yield (
        "orthogonal",
        np.kron(np.array([[1, 1], [1, -1]]), np.full((9, 2), 0.1)).astype(np.float32),
    )


CASES = dict(_cases())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("rows", "columns"), [(512, 1536), (7, 1536), (16, 2), (1, 1)])
def test_every_entry_is_the_exact_sum_rounded_once(name: str, rows: int, columns: int) -> None:
    ours = gram.gram(CASES[name], block_rows=rows, tile_columns=columns)
    assert same_bits(ours, oracle.gram(CASES[name]))


def test_tie_needs_the_last_crumb() -> None:
    phi = gram.gram(_ties())
    assert phi[0, 1] == 2**24  # 2^24 + 1 exactly: to even
    assert phi[0, 2] == 2**24 + 2  # and 2^-140 more
    assert phi[0, 3] == 2**24  # and 2^-140 less
    assert phi[1, 1] == 2**24


def test_all_three_stages_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    for name in ("_entries", "_entry"):
        inner = getattr(gram, name)

        def spy(*args: Any, inner: Any = inner, name: str = name) -> Any:
            reached.append(name)
            return inner(*args)

        monkeypatch.setattr(gram, name, spy)
    gram.gram(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    assert reached == []
    gram.gram(_ties())
    assert set(reached) == {"_entries", "_entry"}


def test_extraction_alone_is_right() -> None:
    U = CASES["wide"]
    i, j = np.triu_indices(U.shape[1])
    norms = np.linalg.norm(U.astype(np.float64), axis=0) * exact.SLACK
    ours = gram._entries(U, np.stack([i, j]), norms)
    assert same_bits(ours, oracle.gram(U)[i, j])


class TestAnyBlas:
    """The BLAS may add in any order: every order gives the same bytes."""

    U = np.random.default_rng(5).normal(size=(3000, 24)).astype(np.float32)

    @pytest.mark.parametrize(
        ("rows", "columns", "buffer"), [(64, 99, 1), (100, 10, 10**5), (3000, 5, 1), (513, 24, 1)]
    )
    def test_blocks(
        self, monkeypatch: pytest.MonkeyPatch, rows: int, columns: int, buffer: int
    ) -> None:
        expected = gram.gram(self.U)
        monkeypatch.setattr(gram, "BUFFER_BYTES", buffer)
        ours = gram.gram(self.U, block_rows=rows, tile_columns=columns)
        assert ours.tobytes() == expected.tobytes()

    @pytest.mark.parametrize("order", ["forwards", "backwards", "ascending", "exact"])
    def test_order(self, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
        def added(_: float, x: Any, *, c: Any, overwrite_c: int) -> Any:
            terms = x[:, np.newaxis, :] * x[np.newaxis, :, :]
            if order == "backwards":
                terms = terms[:, :, ::-1]
            if order == "ascending":
                terms = np.sort(terms, axis=2)
            if order == "exact":
                c[...] = np.array([[math.fsum(t) for t in row] for row in terms])
            else:
                c[...] = np.cumsum(terms, axis=2)[:, :, -1]  # strictly one after the other
            return c

        expected = gram.gram(self.U[:600])
        monkeypatch.setattr(gram, "dsyrk", added)
        assert gram.gram(self.U[:600]).tobytes() == expected.tobytes()

    def test_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        i, j = np.triu_indices(24)
        norms = np.linalg.norm(self.U.astype(np.float64), axis=0) * exact.SLACK
        results = set()
        for workers in (1, 2, 5):
            monkeypatch.setattr(gram, "WORKERS", workers)
            results.add(gram._entries(self.U, np.stack([i, j]), norms).tobytes())
        assert len(results) == 1


def test_non_finite_rows_reach_the_diagonal() -> None:
    for value in (np.nan, np.inf):
        U = np.ones((5, 3), np.float32)
        U[2, 1] = value
        assert not np.isfinite(np.diagonal(gram.gram(U))).all()


def test_unaligned_memory_map(tmp_path: Path) -> None:
    U = CASES["normal"]
    path = tmp_path / "u"
    path.write_bytes(b"x" + U.tobytes())
    mapped = np.memmap(path, np.uint8, "r")[1:].view(np.float32).reshape(U.shape)
    assert same_bits(gram.gram(mapped), gram.gram(U))


def test_entries_of_smollm2(smollm2: Path) -> None:
    with safe_open(smollm2 / "model.safetensors", "np") as file:
        U = np.array(file.get_tensor("model.embed_tokens.weight"))
    phi = gram.gram(U)
    rng = np.random.default_rng(0)
    for i, j in rng.integers(0, U.shape[1], (20, 2)):
        total = sum(map(Fraction, (U[:, i].astype(float) * U[:, j].astype(float)).tolist()))
        assert same_bits(phi[i, j], oracle.nearest32(Fraction(total)))


# --- readings ---------------------------------------------------------------------------------


def _reading_cases() -> Iterator[tuple[F32, F32, F32, float]]:
    rng = np.random.default_rng(3)
    for k in (1, 1, 1, 2, 3, 7):
        d = int(rng.integers(1, 7))
        U = rng.normal(size=(30, d)).astype(np.float32)
        rows = rng.normal(size=(k, d)).astype(np.float32)
        yield rng.normal(size=d).astype(np.float32), gram.gram(U), rows, 0.125
    # Everything cancels but a crumb; a tie; a tie and a crumb; underflow; wide range.
    eye = np.eye(3, dtype=np.float32)
    one = np.ones(3, np.float32)
    yield one, eye, np.array([[1e8, -1e8, 1e-30]], np.float32), 0.0
    yield one, eye, np.array([[1, 2**-24, 0]], np.float32), 0.0
    yield one, eye, np.array([[1, 2**-24, 2**-149]], np.float32), 0.0
    yield one, eye, np.array([[1, 2**-24, -(2**-149)]], np.float32), 0.0
    yield one, eye, np.array([[1, 0, 0], [2**-23, 2**-149, 0]], np.float32), 0.0
    yield one * np.float32(1e-30), eye, np.array([[-1e-30, 0, 0]], np.float32), 0.0
    wide = (10.0 ** rng.uniform(-40, 12, (3, 3))).astype(np.float32)
    yield wide[0], wide + wide.T, -wide[1:], 1e-3


@pytest.mark.parametrize("case", list(_reading_cases()))
def test_reading_is_rounded_once(case: tuple[F32, F32, F32, float]) -> None:
    w, phi, rows, b = case
    b = float(np.float32(b))
    assert same_bits(exact.reading(w, phi, rows, b), oracle.reading(w, phi, rows, b))
    eye = np.eye(len(w), dtype=np.float32)
    assert same_bits(exact.reading(w, None, rows, b), oracle.reading(w, eye, rows, b))


def test_exact_path_agrees_with_the_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    U = rng.normal(size=(300, 40)).astype(np.float32)
    phi, w = gram.gram(U), rng.normal(size=40).astype(np.float32)
    rows = rng.normal(size=(9, 40)).astype(np.float32)
    fast = exact.reading(w, phi, rows, 0.5)
    monkeypatch.setattr(exact, "SLACK", 1e30)  # no bound is ever small enough
    assert exact.reading(w, phi, rows, 0.5) == fast


def test_reading_overflows_to_infinity() -> None:
    big = np.array([3e38], np.float32)
    assert exact.reading(big, None, big[np.newaxis], 0.0) == math.inf


@pytest.mark.parametrize("a", [1.0, -1.0, 0.0, 1.0e-3, 37.25])
@pytest.mark.parametrize("raw", [0.0, 1e-8, 0.3, -2.845736, 17.0, -88.0, 103.9, -104.0, 1e4, -3e38])
def test_sigmoid_is_rounded_once(a: float, raw: float) -> None:
    for c in (0.0, 0.09, -1.5):
        values = [float(np.float32(x)) for x in (a, raw, c)]
        x = Fraction(values[0]) * Fraction(values[1]) + Fraction(values[2])
        with localcontext() as context:
            context.prec = 120
            clipped = max(min(x, Fraction(10**4)), Fraction(-(10**4)))
            power = (Decimal(-clipped.numerator) / Decimal(clipped.denominator)).exp()
            expected = oracle.nearest32(Fraction(1 / (1 + power)))
        assert same_bits(exact.sigmoid(*values), expected)


def test_decimal_path_agrees_with_the_fast_one() -> None:
    for bits in range(0x3D000000, 0x41800000, 2_000_003):
        raw = struct.unpack("<f", struct.pack("<I", bits))[0]
        for x in (raw, -raw):
            assert exact._sigmoid_decimal(Fraction(x)) == exact.sigmoid(1.0, x, 0.0)
