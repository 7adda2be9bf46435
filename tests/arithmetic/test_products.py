from __future__ import annotations

import ctypes
import itertools
import mmap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arithmetic import oracle
from arithmetic.trials import KINDS, aligned, numbers, same
from geometry_of_trust.arithmetic.library import form, forms

FLOAT32, BFLOAT16, FLOAT16, INT8 = range(4)
NAMES = {FLOAT32: "float32", BFLOAT16: "bfloat16", FLOAT16: "float16", INT8: "int8"}
OTHERS = [name for name in forms() if name != "portable"]
FIRST = "portable" if "portable" in forms() else forms()[0]
UNTOUCHED = np.float32(-7.25)


@dataclass(frozen=True)
class Weights:
    """Weights as a file holds them, and what they are worth."""

    stored: NDArray[Any]
    type: int
    scale: NDArray[np.float32] | None
    worth: NDArray[np.float32]


def weights(rng: np.random.Generator, n: int, k: int, of: int, kind: str = "normal") -> Weights:
    if of == FLOAT32:
        w = numbers(rng, (n, k), kind)
        return Weights(w, of, None, w)
    if of == BFLOAT16:
        half = (numbers(rng, (n, k), kind).view(np.uint32) >> 16).astype(np.uint16)
        return Weights(half, of, None, (half.astype(np.uint32) << 16).view(np.float32))
    if of == FLOAT16:
        bits = rng.integers(0, 2**16, (n, k), np.uint16)
        finite = np.where(bits & 0x7C00 == 0x7C00, bits ^ 0x4000, bits)
        half = (bits if kind == "not finite" else finite).view(np.float16)
        return Weights(half, of, None, half.astype(np.float32))
    small = rng.integers(-128, 128, (n, k), np.int8)
    scale = numbers(rng, (n,), "normal" if kind == "not finite" else kind)
    with np.errstate(all="ignore"):
        return Weights(small, of, scale, small.astype(np.float32) * scale[:, None])


def product(
    name: str,
    a: NDArray[np.float32],
    w: Weights,
    bias: NDArray[np.float32] | None = None,
    *,
    columns: tuple[int, int] | None = None,
    transposed: int = 0,
) -> NDArray[np.float32]:
    """By a form; rows of a and y have strides of their own. Checks what is not to be touched."""
    (m, k), n = a.shape, len(w.stored)
    wide = np.full((m, k + 3), np.nan, np.float32)
    wide[:, :k] = a
    y = np.full((m, n + 5), UNTOUCHED)
    stored, ldj, ldk = np.ascontiguousarray(w.stored), k, 1
    if transposed == 1:
        stored, ldj, ldk = np.ascontiguousarray(w.stored.T), 1, n
    if transposed == 2:  # neighbours nowhere
        stored = np.zeros((n, k, 3), w.stored.dtype)
        stored[:, :, 0] = w.stored
        ldj, ldk = 3 * k, 3
    j0, j1 = columns or (0, n)
    kernels = form(name)
    size = kernels.product_scratch(m, k)
    scratch = aligned(size + 64)
    kernels.product(
        wide.ctypes.data, k + 3, m, k, stored.ctypes.data, w.type, ldj, ldk,
        None if w.scale is None else w.scale.ctypes.data,
        None if bias is None else bias.ctypes.data,
        y.ctypes.data, n + 5, j0, j1, scratch.ctypes.data,
    )  # fmt: skip
    assert (scratch[size:] == 0xFF).all()
    assert (y[:, :j0] == UNTOUCHED).all()
    assert (y[:, j1:] == UNTOUCHED).all()
    return y[:, j0:j1].copy()


def test_the_oracles_fused_operation_is_the_exact_one() -> None:
    rng = np.random.default_rng(1)
    for kind_a, kind_c in itertools.product(KINDS[:-1], repeat=2):
        a, b = numbers(rng, (2, 40), kind_a)
        c = numbers(rng, (40,), kind_c)
        # Sums that lie on, or next to, the middle of two neighbours.
        with np.errstate(over="ignore"):
            near = -(np.float64(a) * np.float64(b)).astype(np.float32)
        c = np.where(rng.random(40) < 0.4, np.where(np.isfinite(near), near, c), c)
        got = oracle.fused(a, b, c)
        for i in range(40):
            exact = oracle.fused_exactly(float(a[i]), float(b[i]), float(c[i]))
            assert same(got[i : i + 1] + np.float32(0), np.array([exact])), (a[i], b[i], c[i])


@pytest.mark.parametrize("name", forms())
def test_what_float64_would_round_twice_is_rounded_once(name: str) -> None:
    x = 1 + 2**-12  # x² = 1 + 2⁻¹¹ + 2⁻²⁴, the middle of two float32; the lower is even
    a = np.array([[2**-80, x]], np.float32)
    for sign, rounded in ((1, 1 + 2**-11 + 2**-23), (-1, 1 + 2**-11)):
        w = np.array([[sign * 2**-20, x]], np.float32)
        assert product(name, a, Weights(w, FLOAT32, None, w))[0, 0] == rounded


@pytest.mark.parametrize("of", NAMES, ids=NAMES.get)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_form_is_the_rule(of: int, kind: str) -> None:
    rng = np.random.default_rng(2)
    for m, n, k in [(1, 1, 1), (3, 9, 255), (5, 17, 257), (7, 6, 515), (2, 35, 31)]:
        a, w = numbers(rng, (m, k), kind), weights(rng, n, k, of, kind)
        bias = numbers(rng, (n,), kind)
        for plus in (None, bias):
            assert same(product(FIRST, a, w, plus), oracle.product(a, w.worth, plus)), (m, n, k)


def test_a_long_product_is_the_rule() -> None:
    rng = np.random.default_rng(3)
    a, w = numbers(rng, (2, 5000)), weights(rng, 10, 5000, FLOAT32)
    assert same(product(FIRST, a, w), oracle.product(a, w.worth))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("of", NAMES, ids=NAMES.get)
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_bits_of_the_first(name: str, of: int, kind: str) -> None:
    rng = np.random.default_rng(4)
    shapes = [(m, 2 * m + 1, 19 + m) for m in range(1, 41)]  # all remainders of rows and columns
    shapes += [(3, 33, k) for k in (1, 2, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 255, 256, 257, 513)]
    shapes += [(9, 40, k) for k in (1, 5, 16, 31, 256, 300, 511, 576)]
    for i, (m, n, k) in enumerate(shapes):
        a, w = numbers(rng, (m, k), kind), weights(rng, n, k, of, kind)
        bias = numbers(rng, (n,), kind) if i % 2 else None
        assert same(product(name, a, w, bias), product(FIRST, a, w, bias)), (m, n, k)


@pytest.mark.parametrize("name", OTHERS)
def test_every_form_gives_the_bits_of_the_first_in_larger_products(name: str) -> None:
    rng = np.random.default_rng(5)
    for m, n, k in [(1, 50, 5000), (8, 37, 5000), (40, 33, 1000), (800, 19, 300)]:
        a, w = numbers(rng, (m, k)), weights(rng, n, k, BFLOAT16)
        assert same(product(name, a, w), product(FIRST, a, w)), (m, n, k)


@pytest.mark.parametrize("name", forms())
@pytest.mark.parametrize("of", NAMES, ids=NAMES.get)
@pytest.mark.parametrize("transposed", [1, 2])
def test_how_the_weights_lie_changes_no_bit(name: str, of: int, transposed: int) -> None:
    rng = np.random.default_rng(6)
    for m, n, k in [(1, 16, 8), (2, 37, 300), (5, 64, 33), (20, 70, 259)]:
        a, w = numbers(rng, (m, k)), weights(rng, n, k, of)
        assert same(product(name, a, w, transposed=transposed), product(name, a, w)), (m, n, k)


@pytest.mark.parametrize("name", forms())
def test_rows_and_columns_alone_are_those_of_the_whole(name: str) -> None:
    rng = np.random.default_rng(7)
    a, w = numbers(rng, (40, 290)), weights(rng, 100, 290, FLOAT16)
    bias = numbers(rng, (100,))
    whole = product(name, a, w, bias)
    for m in (1, 2, 3, 4, 5, 6, 7, 11, 13, 27):
        assert same(product(name, a[m : 2 * m], w, bias)[:m], whole[m : 2 * m][:m])
    for j0, j1 in [(0, 1), (5, 5), (3, 36), (17, 100), (99, 100)]:
        assert same(product(name, a, w, bias, columns=(j0, j1)), whole[:, j0:j1])
        assert same(product(name, a[:2], w, bias, columns=(j0, j1)), whole[:2, j0:j1])


@pytest.mark.parametrize("name", forms())
@pytest.mark.parametrize("m", [1, 9])
def test_zeros_are_positive(name: str, m: int) -> None:
    n = 35
    bias = np.full(n, -0.0, np.float32)
    tiny = np.full((m, 3), 1e-30, np.float32)  # -tiny · tiny underflows to -0
    for k in (0, 1, 3):
        w = Weights(-np.full((n, k), 1e-30, np.float32), FLOAT32, None, tiny)
        for plus in (None, bias):
            got = product(name, tiny[:, :k], w, plus)
            assert same(got, np.zeros((m, n), np.float32))


@pytest.mark.parametrize("name", forms())
def test_of_nothing_is_the_bias(name: str) -> None:
    rng = np.random.default_rng(8)
    bias = numbers(rng, (21,))
    w = weights(rng, 21, 0, FLOAT32)
    got = product(name, np.zeros((3, 0), np.float32), w, bias)
    assert same(got, np.broadcast_to(bias, (3, 21)).copy())


@pytest.mark.parametrize("name", forms())
def test_every_float16_and_every_int8_is_widened_exactly(name: str) -> None:
    one = np.ones((1, 1), np.float32)
    half = np.arange(2**16, dtype=np.uint16).reshape(-1, 1).view(np.float16)
    w = Weights(half, FLOAT16, None, half.astype(np.float32))
    positive = np.where(w.worth == 0, np.float32(0), w.worth).T
    assert same(product(name, one, w), positive)
    for scale in (np.float32(0.1), np.float32(1e-44), np.float32(3e38)):
        small = np.arange(-128, 128).astype(np.int8).reshape(-1, 1)
        with np.errstate(over="ignore"):
            worth = small.astype(np.float32) * scale
        w = Weights(small, INT8, np.full(256, scale), worth)
        assert same(product(name, one, w), worth.T + np.float32(0))


@pytest.mark.parametrize("name", forms())
@pytest.mark.parametrize("of", NAMES, ids=NAMES.get)
def test_nothing_is_read_past_the_weights(name: str, of: int) -> None:
    """As they may end where a mapped file does. Else this ends the process."""
    rng = np.random.default_rng(9)
    page = mmap.PAGESIZE
    pages = mmap.mmap(-1, 16 * page)
    memory = np.frombuffer(pages, np.uint8)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    last = memory.ctypes.data + 15 * page
    assert protect(last, page, 0) == 0
    for m, n, k in itertools.product((1, 9), (1, 15, 16, 33), (1, 3, 4, 7, 16, 31, 64, 257)):
        a, w = numbers(rng, (m, k)), weights(rng, n, k, of)
        at_end = memory[15 * page - w.stored.nbytes : 15 * page].view(w.stored.dtype).reshape(n, k)
        at_end[:] = w.stored
        for j0 in (0, n - 1):
            got = product(name, a, replace(w, stored=at_end), columns=(j0, n))
            assert same(got, product(name, a, w, columns=(j0, n)))
    assert protect(last, page, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@pytest.mark.parametrize("name", forms())
def test_scratch_for_more_rows_serves_fewer(name: str) -> None:
    scratch = form(name).product_scratch
    for k in (0, 1, 256, 257, 5000):
        sizes = [scratch(m, k) for m in range(1, 1700)]
        assert sizes == sorted(sizes)
    assert [scratch(8, k) for k in range(0, 9000, 100)] == sorted(
        scratch(8, k) for k in range(0, 9000, 100)
    )
