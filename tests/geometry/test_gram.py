"""Entries of Φ are the real sums rounded once, whatever BLAS adds them up."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from threadpoolctl import threadpool_limits

import oracle
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.geometry import exact, gram

F32 = NDArray[np.float32]
CPUINFO = Path("/proc/cpuinfo")


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


def cut(monkeypatch: pytest.MonkeyPatch, chunk: int, block: int, tile: int) -> None:
    monkeypatch.setattr(gram, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(gram, "BLOCK_ROWS", block)
    monkeypatch.setattr(gram, "TILE_COLUMNS", tile)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cuts", [(240, 1200, 352), (7, 30, 8), (16, 16, 352), (1, 1, 8)])
def test_every_entry_is_the_exact_sum_rounded_once(
    monkeypatch: pytest.MonkeyPatch, name: str, cuts: tuple[int, int, int]
) -> None:
    U = CASES[name]
    columns = np.arange(20) % U.shape[1]  # 3 tiles where tiles are narrow
    cut(monkeypatch, *cuts)
    ours = gram.gram(np.ascontiguousarray(U[:, columns]))
    assert oracle.same_bits(ours, oracle.gram(U)[np.ix_(columns, columns)])


def test_tie_needs_the_last_crumb() -> None:
    phi = gram.gram(_ties())
    assert phi[0, 1] == 2**24  # 2^24 + 1 exactly: to even
    assert phi[0, 2] == 2**24 + 2  # and 2^-140 more
    assert phi[0, 3] == 2**24  # and 2^-140 less
    assert phi[1, 1] == 2**24


def test_a_matrix_of_ties_with_crumbs_is_rounded_many_entries_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All entries are 1 + 2^-24 and a crumb: no bound can tell which way they round."""
    calls: list[int] = []

    def counted(terms: Any) -> F32:
        calls.append(len(terms))
        return exact.sums32(terms)

    monkeypatch.setattr(gram, "sums32", counted)
    U = np.full((40, 150), 2.0**-40, np.float32)
    U[:2] = [[1.0], [2.0**-12]]
    assert (gram.gram(U) == np.float32(1 + 2.0**-23)).all()
    assert sum(calls) == 150 * 151 // 2
    assert len(calls) < 10


def test_all_three_stages_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    for name in ("_entries", "_exact"):
        inner = getattr(gram, name)

        def spy(*args: Any, inner: Any = inner, name: str = name) -> Any:
            reached.append(name)
            return inner(*args)

        monkeypatch.setattr(gram, name, spy)
    gram.gram(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    assert reached == []
    gram.gram(_ties())
    assert set(reached) == {"_entries", "_exact"}


def test_extraction_alone_is_right() -> None:
    U = CASES["wide"]
    i, j = np.triu_indices(U.shape[1])
    norms = np.linalg.norm(U.astype(np.float64), axis=0) * exact.SLACK
    ours = gram._entries(U, np.stack([i, j]), norms, lambda text: None)
    assert oracle.same_bits(ours, oracle.gram(U)[i, j])


class TestAnyBlas:
    """The BLAS may add in any order: every order gives the same bytes."""

    U = np.random.default_rng(5).normal(size=(3000, 24)).astype(np.float32)

    @pytest.mark.parametrize("cuts", [(64, 100, 8), (100, 3000, 16), (3000, 3000, 8), (1, 513, 24)])
    def test_blocks(self, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, int, int]) -> None:
        expected = gram.gram(self.U)
        cut(monkeypatch, *cuts)
        assert gram.gram(self.U).tobytes() == expected.tobytes()

    @pytest.mark.parametrize("level", [1, 2, 1000])
    def test_levels(self, monkeypatch: pytest.MonkeyPatch, level: int) -> None:
        """Whole groups of chunk sums, groups that end in the middle, no group that is full."""
        expected = gram.gram(self.U)
        cut(monkeypatch, 60, 200, 8)
        monkeypatch.setattr(gram, "CHUNK_SUMS", level)
        assert gram.gram(self.U).tobytes() == expected.tobytes()

    @pytest.mark.parametrize("order", ["forwards", "backwards", "ascending", "exact"])
    def test_order(self, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
        def added(x: Any, y: Any, out: Any) -> Any:
            terms = x.T[:, np.newaxis, :] * y.T[np.newaxis, :, :]
            if order == "backwards":
                terms = terms[:, :, ::-1]
            if order == "ascending":
                terms = np.sort(terms, axis=2)
            if order == "exact":
                out[...] = np.array([[math.fsum(t) for t in row] for row in terms])
            else:
                out[...] = np.cumsum(terms, axis=2)[:, :, -1]  # strictly one after the other
            return out

        expected = gram.gram(self.U[:600])
        monkeypatch.setattr(gram, "_product", added)
        assert gram.gram(self.U[:600]).tobytes() == expected.tobytes()

    def test_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        i, j = np.triu_indices(24)
        norms = np.linalg.norm(self.U.astype(np.float64), axis=0) * exact.SLACK
        monkeypatch.setattr(gram, "BLOCK_ROWS", 100)
        results = set()
        for threads in (1, 2, 5):
            monkeypatch.setattr(gram, "_threads", lambda threads=threads: threads)
            again = gram._entries(self.U, np.stack([i, j]), norms, lambda text: None)
            results.add((gram.gram(self.U).tobytes(), again.tobytes()))
        assert len(results) == 1

    def test_blocks_run_at_the_same_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As many as the BLAS has threads: each of two waits until the other is there."""
        both = threading.Barrier(2, timeout=30)
        product = gram._product

        def waiting(*arguments: Any) -> Any:
            both.wait()
            return product(*arguments)

        cut(monkeypatch, 240, 240, 352)
        monkeypatch.setattr(gram, "_product", waiting)
        with threadpool_limits(2, user_api="blas"):
            gram.gram(self.U[:480])

    @pytest.mark.parametrize("size", [(1, 1), (7, 2**17), (400, 900), (400, 2**17)])
    def test_passes(self, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
        """What stage 2 makes of a block at a time changes nothing."""
        i, j = np.triu_indices(24)
        norms = np.linalg.norm(self.U.astype(np.float64), axis=0) * exact.SLACK
        rows, products = size
        monkeypatch.setattr(gram, "PASS_ROWS", rows)
        monkeypatch.setattr(gram, "PASS_PRODUCTS", products)
        again = gram._entries(self.U[:500], np.stack([i, j]), norms, lambda text: None)
        assert oracle.same_bits(again, oracle.gram(self.U[:500])[i, j])


KERNELS = """
import hashlib, sys
import numpy as np
from threadpoolctl import threadpool_info
from geometry_of_trust.geometry.gram import gram
from geometry_of_trust.formats.gotue import read_unembedding

def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()

U = np.random.default_rng(6).normal(size=(5000, 300)).astype(np.float32)
A = U.astype(np.float64)
print(threadpool_info()[0]["architecture"], threadpool_info()[0]["num_threads"])
print(digest(A.T @ A), digest(gram(U)), digest(gram(read_unembedding(sys.argv[1]).values)))
"""


@pytest.mark.skipif(not CPUINFO.is_file(), reason="the names of kernels are those of x86 OpenBLAS")
def test_kernels_and_threads(smollm2_gotue: Path) -> None:
    """Φ is the same for every kernel and number of threads, where the float64 product is not."""
    kernels = ["Prescott", "Haswell"] + ["SkylakeX"] * ("avx512f" in CPUINFO.read_text())
    ran, products, ours = set(), set(), set()
    for kernel in kernels:
        for threads in ("1", "2"):
            process = subprocess.run(
                [sys.executable, "-c", KERNELS, str(smollm2_gotue)],
                env=os.environ | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            architecture, _, product, *digests = process.stdout.split()
            ran.add(architecture)
            products.add(product)
            ours.add(tuple(digests))
    if len(ran) < len(kernels):
        pytest.skip("this BLAS does not let its kernel be chosen")
    assert len(products) > 1  # the control
    assert len(ours) == 1


MEMORY = """
import re, sys
from pathlib import Path
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.formats.gotue import read_unembedding

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024

unembedding = read_unembedding(sys.argv[1])
Geometry.from_unembedding(unembedding.values[:2000, :8].copy())  # starts threads
before = peak()
Geometry.from_unembedding(unembedding)
print(peak() - before)
"""


@pytest.mark.skipif(not CPUINFO.is_file(), reason="reads /proc")
@pytest.mark.parametrize(
    ("rows", "d"), [(400_000, 256), pytest.param(128_256, 4096, marks=pytest.mark.heavy)]
)
def test_peak_memory_does_not_grow_with_the_rows(tmp_path: Path, rows: int, d: int) -> None:
    """At most 4d² doubles and 256 MB, pages of the file included, though it is longer."""
    path = tmp_path / "u.gotue"
    with path.open("wb") as file:
        file.write(b"GOTU" + struct.pack("<HII", 1, rows, d))
        file.write(np.random.default_rng(0).normal(size=(2 * d, d)).astype("<f4").tobytes())
        file.truncate(14 + 4 * rows * d)  # zeros that take no room on the disk
    process = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    limit = 32 * d * d + 256 * 2**20
    assert int(process.stdout) <= limit
    assert path.stat().st_size > limit


def test_pages_are_given_back_to_read_only_maps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram, "KEPT_BYTES", 0)
    U = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)
    path = tmp_path / "u"
    path.write_bytes(U.tobytes())
    changed = np.memmap(path, np.float32, "c", shape=U.shape)
    changed *= 2  # in private pages: given back, they would be lost
    assert oracle.same_bits(gram.gram(changed), gram.gram(2 * U))
    assert oracle.same_bits(changed, 2 * U)


def test_progress() -> None:
    said: list[str] = []
    gram.gram(np.random.default_rng(0).normal(size=(4000, 60)).astype(np.float32), said.append)
    assert said[:4] == [f"Inner product {percent} %" for percent in (30, 60, 90, 100)]
    assert all("entries again" in text for text in said[4:])


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
    assert oracle.same_bits(gram.gram(mapped), gram.gram(U))


@pytest.fixture(scope="module")
def smollm2_matrix(smollm2: Path) -> F32:
    with safe_open(smollm2 / "model.safetensors", "np") as file:
        U: F32 = file.get_tensor("model.embed_tokens.weight")
        return U


@pytest.fixture(scope="module")
def smollm2_gotue(smollm2_matrix: F32, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smollm2") / "u.gotue"
    write_unembedding(path, smollm2_matrix)
    return path


@pytest.mark.heavy
def test_entries_of_smollm2(smollm2_matrix: F32) -> None:
    phi = gram.gram(smollm2_matrix)
    columns = smollm2_matrix.T.astype(np.float64)
    for i, j in np.random.default_rng(0).integers(0, len(phi), (2000, 2)):
        nearest = math.fsum((columns[i] * columns[j]).tolist())
        # Rounding again to float32 is right unless the double lies half-way between two.
        assert int(np.float64(nearest).view(np.uint64)) % 2**29 != 2**28
        assert oracle.same_bits(phi[i, j], np.float32(nearest))


def test_entries_that_all_stay_open_come_together() -> None:
    """Squares that end beside a tie: 131,328 entries that only exact sums decide."""
    u = np.full(64, 2.0**-46, np.float32)
    u[:2] = 1, 2.0**-12
    signs = np.where(np.arange(512) % 3 == 0, np.float32(-1), np.float32(1))
    start = time.process_time()
    phi = gram.gram(np.outer(u, signs).astype(np.float32))
    assert time.process_time() - start < 10
    above = np.float32(1 + 2.0**-23)  # 1 + 2^-24 exactly would go to 1
    assert np.array_equal(phi, above * np.outer(signs, signs))
