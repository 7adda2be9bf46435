"""Operations that have one value: by the rules of docs/arithmetic.md, and what torch means."""

from __future__ import annotations

import contextlib
import io
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arithmetic.oracle import fused_exactly
from arithmetic.row_oracle import lane_sum, number
from geometry_of_trust.extraction import deterministic_operations
from geometry_of_trust.extraction.float32 import float32
from geometry_of_trust.extraction.options import ExtractionOptions
from tiny_models import FAMILIES, TEXT, build

pytestmark = pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter")

F = torch.nn.functional
Made = Callable[[int], torch.Tensor]


def noise(*shape: int, spread: float = 3.0, seed: int = 0) -> torch.Tensor:
    """Numbers of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randn(*shape, generator=generator) * spread
    return torch.randn(*shape, generator=generator) * torch.exp(sizes)


# --- what torch means -----------------------------------------------------------------------------


def triangle(x: torch.Tensor) -> torch.Tensor:
    """A triangular matrix of x that a system can be solved with."""
    return x.tanh().triu(1) / 16 + torch.eye(16)


def ties(x: torch.Tensor) -> torch.Tensor:
    """Many equal numbers."""
    return x.clamp(-2, 2).round()


AGAIN = torch.tensor([2, 0, 2, 2])


def put_in_columns(x: torch.Tensor) -> torch.Tensor:
    """As a mask of some tokens' logits does."""
    y = x.clone()
    y[:, AGAIN[:2]] = 0.5
    return y


OPERATIONS: dict[str, Callable[[Made], Any]] = {
    "linear": lambda m: F.linear(m(0)[None], m(1), m(2)[0]),
    "matmul of stacks": lambda m: torch.stack([m(0), m(1)])[None] @ torch.stack([m(2), m(3)]).mT,
    "matrix and vector": lambda m: [m(0) @ m(1)[0], m(1)[0] @ m(0), m(0)[0] @ m(1)[0]],
    "dot": lambda m: torch.dot(m(0)[:, 1], m(1)[2]),
    "addmm": lambda m: torch.addmm(m(0), m(1), m(2).T, beta=0.5, alpha=2),
    "baddbmm": lambda m: torch.baddbmm(m(0)[None], m(1)[None], m(2)[None].mT, beta=0, alpha=0.3),
    "einsum": lambda m: [torch.einsum("ij,kj->ik", m(0), m(1)),
                         torch.einsum("ij,ij->j", m(0), m(1)),
                         torch.einsum("ij,jk,kl->il", m(0), m(1), m(2))],
    "convolution": lambda m: [
        F.conv1d(m(0)[None], m(1)[:, None, :4], m(2)[0], padding=3, groups=16),
        F.conv1d(torch.stack([m(0), m(1)]), m(2)[:12, :8].reshape(4, 8, 3), stride=2, dilation=3,
                 groups=2),
    ],
    "softmax": lambda m: [torch.softmax(m(0), -1), torch.softmax(m(0), 0)],
    "layer norm": lambda m: F.layer_norm(m(0), (16,), m(1)[0], m(2)[0], 1e-5),
    "bare layer norm": lambda m: F.layer_norm(m(0), (16,)),
    "layer norm of two": lambda m: F.layer_norm(m(0), (16, 16), m(1), None),
    "rms norm": lambda m: [F.rms_norm(m(0), (16,), m(1)[0], 1e-6), F.rms_norm(m(0), (16,))],
    "mean": lambda m: m(0).pow(2).mean(-1, keepdim=True),
    "mean of all": lambda m: m(0).mean(),
    "sum": lambda m: [m(0).sum(0), m(0).reshape(2, 8, 16).sum((0, 2)), m(0).sum(-1, keepdim=True)],
    "sum of all": lambda m: m(0).sum(),
    "variance": lambda m: [m(0).var(), m(0).var(-1), m(0).var((0, 1), correction=0),
                           m(0).std(0, keepdim=True)],
    "norm": lambda m: [torch.linalg.vector_norm(m(0)), F.normalize(m(0), dim=-1),
                       m(0).norm(dim=0, keepdim=True)],
    "logsumexp": lambda m: [m(0).logsumexp(-1), m(0).logsumexp((0, 1)),
                            m(0).logsumexp(0, keepdim=True)],
    "cumsum": lambda m: [m(0).cumsum(0), m(0).cumsum(-1)],
    "gelu": lambda m: F.gelu(m(0)),
    "gelu by tanh": lambda m: F.gelu(m(0), approximate="tanh"),
    "silu": lambda m: [F.silu(m(0)), F.silu(m(0), inplace=True)],
    "softplus": lambda m: [F.softplus(m(0)), F.softplus(m(0), beta=0.5)],
    "log-sigmoid": lambda m: F.logsigmoid(m(0)),
    "in place": lambda m: m(0).clamp_(max=5).exp_().add_(m(1), alpha=2).mul_(0.5),
    "in place, others": lambda m: [m(0).sigmoid_(), m(0).tanh_(), m(0).abs_().log1p_(), m(0).sin_(),
                                   m(0).cumsum_(0), m(0).addcmul_(m(1), m(2)),
                                   m(0).index_add_(0, AGAIN, m(1)[:4]), m(0).pow_(2),
                                   m(0)[:, :4].lerp_(m(1)[:, :4], 0.3), m(0).addmm_(m(1), m(2))],
    "subtraction": lambda m: torch.sub(m(0), m(1), alpha=3),
    "sine": lambda m: torch.cat([m(0).sin(), m(0).cos()]),
    "reciprocal root": lambda m: torch.rsqrt(m(0).abs() + 1),
    "powers": lambda m: [m(0) ** n for n in (1, 2, 3, 4, -1)] + [m(0).abs() ** -0.5, m(0).square()],
    "any powers": lambda m: [
        10000.0 ** m(0).tanh(),
        m(0).abs().pow(m(1).tanh()),
        m(0).abs() ** 0.3,
    ],
    "exponentials": lambda m: [m(0).clamp(max=9).exp(), m(0).clamp(max=9).expm1()],
    "logarithms": lambda m: [m(0).abs().add(1e-3).log(), m(0).abs().log1p(),
                             m(0).abs().add(1e-3).log2()],
    "addcmul": lambda m: torch.addcmul(m(0), m(1), m(2), value=0.7),
    "addcdiv": lambda m: torch.addcdiv(m(0), m(1), m(2).abs() + 1, value=0.7),
    "lerp": lambda m: [torch.lerp(m(0), m(1), 0.3), torch.lerp(m(0), m(1), m(2).sigmoid())],
    "index add": lambda m: [m(0).index_add(0, AGAIN, m(1)[:4]),
                            m(0).index_add(-1, AGAIN, m(1)[:, :4], alpha=0.3)],
    "index put": lambda m: [m(0).index_put((AGAIN[:2],), m(1)[:2]), put_in_columns(m(0)),
                            m(0).index_put((AGAIN,), m(1)[:4], accumulate=True),
                            m(0).index_put((AGAIN, AGAIN), m(1)[0, :4], accumulate=True)],
    "scatter": lambda m: [
        m(0).scatter_add(0, AGAIN[:, None].expand(4, 16), m(1)),
        m(0).scatter(1, AGAIN[None].expand(16, 4), m(1), reduce="add"),
        m(0).scatter(0, AGAIN[:2, None].expand(2, 16), m(1)),
        m(0).scatter_reduce(0, AGAIN[:, None].expand(4, 16), m(1), "sum"),
    ],
    "triangular systems": lambda m: [
        torch.linalg.solve_triangular(triangle(m(0)), m(1), upper=True),
        torch.linalg.solve_triangular(triangle(m(0)).mT, m(1), upper=False, unitriangular=True),
        torch.linalg.solve_triangular(triangle(m(0)), m(1), upper=True, left=False),
    ],
    "complex numbers": lambda m: [
        torch.view_as_real(torch.polar(m(0).abs(), m(1))),
        torch.view_as_real(torch.complex(m(0), m(1)) * torch.polar(m(2).abs(), m(3))),
        torch.view_as_real(torch.complex(m(0), m(1)).conj() * torch.complex(m(2), m(3))),
        torch.complex(m(0), m(1)).mul_(torch.complex(m(2), m(3))).real,
    ],
    "error function": lambda m: torch.erf(m(0)),
    "roots": lambda m: [m(0).abs().sqrt(), m(0).abs()[:, ::2].T.sqrt_()],
    "quotients": lambda m: [m(0) / 3, m(0) / m(1), m(0).div_(7),
                            torch.div(m(0), 2, rounding_mode="floor")],
    "from a scaled one": lambda m: [torch.rsub(m(0), m(1), alpha=0.3),
                                    torch.rsub(m(0), 2.0, alpha=0.3)],
    "plus a scaled number": lambda m: torch.add(m(0), 0.7, alpha=0.3),
    "identity": lambda m: [torch.eye(3), torch.eye(2, 4) + m(0)[:2, :4]],
    "ranges": lambda m: [torch.arange(0, 9, 0.1), torch.arange(5.5), torch.arange(7),
                         torch.arange(0.5, 3), torch.arange(0, 9, 0.1, dtype=torch.float64)],
    "extremes": lambda m: [m(0).amax(-1), m(0).amin((0, 1)), m(0).max(), *m(0).min(1),
                           torch.maximum(m(0), m(1)), torch.minimum(m(0), m(1))],
    "topk": lambda m: [*m(0).topk(3), *m(0).topk(2, dim=0, largest=False)],
    "sort": lambda m: [*m(0).sort(dim=0), *ties(m(0)).sort(descending=True, stable=True),
                       m(0).argsort(-1)],
}  # fmt: skip


def parts(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, list | tuple) else [result]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_proved_and_what_torch_means(name: str) -> None:
    tensors = [noise(16, 16, spread=0.5, seed=seed) for seed in range(4)]

    def made(seed: int) -> torch.Tensor:
        return tensors[seed].clone()

    expected = OPERATIONS[name](made)
    unproved: set[str] = set()
    with float32(unproved):
        result = OPERATIONS[name](made)
    for found, meant in zip(parts(result), parts(expected), strict=True):
        assert (found.shape, found.dtype) == (meant.shape, meant.dtype)
        if meant.dtype == torch.int64:
            assert torch.equal(found, meant)
        else:
            assert (found - meant).abs().max() <= 1e-5 * meant.abs().max()
    assert unproved == set()


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: torch.add(x, x, out=torch.empty_like(x)), "add into a tensor"),
        (lambda x: torch.mm(x, x, out=torch.empty_like(x)), "mm into a tensor"),
        (lambda x: torch.lgamma(x.abs() + 1), "lgamma"),
        (lambda x: x.cumprod(0), "cumprod"),
        (
            lambda x: x.scatter(0, torch.zeros(2, 16, dtype=torch.int64), 2.5, reduce="add"),
            "scatter with a reduction",
        ),
        (
            lambda x: x.scatter(0, torch.zeros(2, 16, dtype=torch.int64), x, reduce="multiply"),
            "scatter with a reduction",
        ),
        (lambda x: (x.abs() + 1).repeat(500, 1) ** 0.3, "pow"),
        (lambda x: torch.complex(x, x).div(torch.complex(x, x) + 1).real, "div"),
        (
            lambda x: x.scatter_reduce(0, torch.zeros(2, 16, dtype=torch.int64), x, "mean"),
            "scatter_reduce",
        ),
        (
            lambda x: x.scatter_reduce(
                0, torch.zeros(2, 16, dtype=torch.int64), x, "sum", include_self=False
            ),
            "scatter_reduce",
        ),
        (lambda x: torch.linalg.vector_norm(x, 3), "linalg_vector_norm"),
        (lambda x: F.conv2d(x[None, None], x[None, None, :3, :3]), "convolution"),
        (lambda x: F.conv_transpose1d(x[None], x[:, :8, None]), "convolution"),
        (lambda x: x.double() @ x.double(), "mm"),
        (lambda x: x.sum(0, dtype=torch.float64), "sum"),
        (lambda x: x.double().tanh(), "tanh"),
    ],
)
def test_other_operations_are_named(operation: Callable[..., torch.Tensor], name: str) -> None:
    x = noise(16, 16, spread=0.5)
    unproved: set[str] = set()
    with float32(unproved):
        result = operation(x)
    assert name in unproved
    torch.testing.assert_close(result, operation(x))


def test_an_output_that_is_given_is_filled() -> None:
    """By torch, whose kernels fill it: named, and the value that torch has."""
    x, out = noise(16, 16), torch.empty(16, 16)
    unproved: set[str] = set()
    with float32(unproved):
        assert torch.exp(x, out=out) is out
    assert torch.equal(out, torch.exp(x))
    assert unproved == {"exp into a tensor"}


# --- the rules, in plain numbers ------------------------------------------------------------------


def test_products_are_chains_in_blocks() -> None:
    a, b = noise(2, 600), noise(600, 3, seed=1)
    with float32():
        product = a @ b
    for i in range(2):
        for j in range(3):
            blocks = []
            for start in (0, 256, 512):
                block = slice(start, start + 256)
                s = 0.0
                for x, y in zip(a[i, block].tolist(), b[block, j].tolist(), strict=True):
                    s = float(fused_exactly(x, y, s))
                blocks.append(s)
            assert float(product[i, j]) == number(number(blocks[0] + blocks[1]) + blocks[2])


def test_sums_and_what_is_made_of_them() -> None:
    x = noise(3, 100)
    with float32():
        sums, means, variances = x.sum(1), x.mean(1), x.var(1)
        norms, running = torch.linalg.vector_norm(x, dim=1), x.cumsum(1)
    for row, values in enumerate(x.tolist()):
        assert float(sums[row]) == number(lane_sum(values))
        assert float(means[row]) == number(lane_sum(values) / 100)
        apart = [number(v - float(means[row])) for v in values]
        assert float(variances[row]) == number(number(lane_sum([d * d for d in apart])) / 99)
        squares = number(lane_sum([v * v for v in values]))
        assert float(norms[row]) == number(math.sqrt(squares))
        s = 0.0
        for v, found in zip(values, running[row].tolist(), strict=True):
            s += v
            assert found == number(s)


def test_a_softmax_and_the_logarithm_of_its_sum() -> None:
    x = noise(3, 50, spread=0.5)
    with float32():
        weights, logs = torch.softmax(x, -1), x.logsumexp(-1)
        for row, values in enumerate(x.tolist()):
            apart = torch.tensor([number(v - max(values)) for v in values])
            powers = apart.exp().tolist()
            found = [number(e / lane_sum(powers)) for e in powers]
            assert weights[row].tolist() == found
            log = float(torch.tensor(number(lane_sum(powers))).log())
            assert float(logs[row]) == number(log + max(values))
        rows = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]])
        assert torch.softmax(rows, -1).tolist() == [[0.0, 0.0], [1.0, 0.0]]
        assert rows.logsumexp(-1).tolist() == [-math.inf, 0.0]


def test_sums_into_places_go_through_the_source_in_order() -> None:
    x, source = noise(4, 3), noise(40, 3, seed=1)
    index = torch.arange(40) % 3
    expected = x.tolist()
    for i, row in zip(index.tolist(), source.tolist(), strict=True):
        expected[i] = [number(a + b) for a, b in zip(expected[i], row, strict=True)]
    with float32():
        for result in (
            x.index_add(0, index, source),
            x.index_put((index,), source, accumulate=True),
            x.scatter_add(0, index[:, None].expand(40, 3), source),
            x.scatter(0, index[:, None].expand(40, 3), source, reduce="add"),
        ):
            assert result.tolist() == expected


def test_convolutions_go_by_taps_then_channels() -> None:
    x, w, bias = noise(1, 4, 9), noise(6, 2, 3, seed=1), noise(6, seed=2)
    with float32():
        result = F.conv1d(x, w, bias, padding=2, groups=2)
    padded = F.pad(x[0], (2, 2))
    for out in range(6):
        for t in range(result.shape[2]):
            s = 0.0
            for tap in range(3):
                for channel in range(2):
                    given = float(padded[out // 3 * 2 + channel, t + tap])
                    s = float(fused_exactly(given, float(w[out, channel, tap]), s))
            assert float(result[0, out, t]) == number(s + float(bias[out]))


def test_complex_products_and_triangles() -> None:
    a, b = (torch.complex(noise(9, seed=s), noise(9, seed=s + 1)) for s in (0, 2))
    upper, right = noise(5, 5).triu(1) + torch.eye(5) * 3, noise(5, 2, seed=1)
    with float32():
        product = a * b
        solved = torch.linalg.solve_triangular(upper, right, upper=True)
    p, q, r, s = (np.array(v.tolist(), np.float32) for v in (a.real, a.imag, b.real, b.imag))
    np.testing.assert_array_equal(product.real.numpy(), p * r - q * s)
    np.testing.assert_array_equal(product.imag.numpy(), p * s + q * r)
    for column in range(2):
        found = [0.0] * 5
        for i in reversed(range(5)):
            known = 0.0
            for k in range(i + 1, 5):
                known = float(fused_exactly(float(upper[i, k]), found[k], known))
            found[i] = number(number(float(right[i, column]) - known) / 3.0)
        assert solved[:, column].tolist() == found


def test_numbers_meet_tensors_as_float32() -> None:
    x = noise(50)
    third, scale = number(1 / 3), number(0.1)
    with float32():
        assert (x * (1 / 3)).tolist() == [number(v * third) for v in x.tolist()]
        scaled = torch.add(x, x, alpha=0.1)
        assert scaled.tolist() == [number(v + number(v * scale)) for v in x.tolist()]


def test_of_equal_values_the_lowest_index_is_first() -> None:
    x = (torch.arange(3000) % 3).float()
    firsts = [*range(2, 3000, 3)][:700]
    with float32():
        assert x.topk(700).indices.tolist() == firsts
        assert x.sort(descending=True).indices[:700].tolist() == firsts
        assert x.argsort()[:5].tolist() == [0, 3, 6, 9, 12]
        assert (int(x.argmax()), int(x.argmin())) == (2, 0)
        assert int(x.max(0).indices) == 2


def test_the_diagonal_of_an_addition_is_not_negative() -> None:
    """Products are never −0."""
    zero = torch.zeros(2, 3)
    with float32():
        for product in (zero @ -zero.T, -zero @ noise(3, 2), F.linear(-zero, zero)):
            assert not product.signbit().any()
        assert not (-zero).sum(1).signbit().any()
        assert (zero[:, :0] @ zero[:, :0].T).tolist() == [[0.0, 0.0]] * 2
        assert zero[:, :0].sum(1).tolist() == [0.0, 0.0]
        assert (zero[:0] @ zero.T).shape == (0, 2)


def test_not_numbers_are_not_lost() -> None:
    a, b = noise(2, 5), noise(5, 3, seed=1)
    a[0, 0] = torch.nan
    with float32():
        assert (a @ b).isnan()[0].all()
        assert (a @ b)[1].isfinite().all()
        assert a.sum(1).isnan().tolist() == [True, False]
        a[0, 0] = torch.inf
        assert not (a @ b)[0].isfinite().any()
        for function in (torch.exp, torch.tanh, torch.erf, torch.sin, F.silu, F.gelu, F.softplus):
            assert function(torch.tensor([torch.nan])).isnan().all()


def test_roots_are_correctly_rounded() -> None:
    """torch's, built with MKL, are not: of float64 one in a hundred is off by a unit."""
    near = torch.linspace(1.0, 4.0, 20_001, dtype=torch.float64)
    hard = torch.tensor([0.0, math.inf, 5e-324, float.fromhex("0x1.2332a3f5a869ep-31")],
                        dtype=torch.float64)  # fmt: skip
    with float32():
        for x in (torch.nextafter(near * near, near * 9), hard):
            assert x.sqrt().tolist() == [math.sqrt(value) for value in x.tolist()]
        narrow = noise(20_000).abs()
        assert narrow.sqrt().tolist() == [number(math.sqrt(v)) for v in narrow.tolist()]
        assert torch.tensor(-1.0).sqrt().isnan()


def test_of_two_zeros_an_extreme_is_the_positive_one() -> None:
    plus = torch.zeros(9)
    minus = -plus
    with float32():
        for result in (
            torch.maximum(minus, plus), torch.minimum(plus, minus), minus.amax(0),
            torch.stack([plus, minus]).min(0).values,
        ):  # fmt: skip
            assert not result.signbit().any()


def test_a_power_of_one_is_another_tensor() -> None:
    x = noise(5)
    with float32():
        y = x.pow(1)
        y.add_(1)
    assert torch.equal(y, x + 1)


def test_in_place_is_in_place() -> None:
    """Also of a part of a tensor that is not contiguous."""
    x = noise(6, 8)
    expected = x.clone()
    part = x[:, ::2].T
    with float32():
        expected[:, ::2] = expected[:, ::2].tanh()
        assert part.tanh_() is part
    assert torch.equal(x, expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3, "enable_gqa": True},
        {"attn_mask": "numbers"},
        {"attn_mask": "booleans"},
        {"attn_mask": "one row"},
    ],
    ids=str,
)
def test_attention(options: dict[str, Any]) -> None:
    q, k, v = (noise(2, 4, 9, 8, spread=0.5, seed=seed) for seed in range(3))
    if "enable_gqa" in options:
        k, v = k[:, :2], v[:, :2]
    masks = {
        "numbers": noise(9, 9, spread=0.5),
        "booleans": torch.ones(9, 9, dtype=torch.bool).tril(-1),  # the first sees nothing
        "one row": torch.arange(9)[None] % 2 == 0,
    }
    if "attn_mask" in options:
        options = options | {"attn_mask": masks[options["attn_mask"]]}
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    unproved: set[str] = set()
    with float32(unproved):
        result = F.scaled_dot_product_attention(q, k, v, **options)
    assert unproved == set()
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5, equal_nan=False)


def test_integers_stay_integers() -> None:
    four = torch.arange(4)
    unproved: set[str] = set()
    with float32(unproved):
        results = [torch.pow(2, four), four.sum(), four.cumsum(0),
                   four.sort(descending=True).values, four.topk(2).values,
                   four.index_add(0, torch.tensor([1, 1]), four[2:]),
                   torch.arange(0, 6, 2), four @ four, four.max()]  # fmt: skip
        truth = (four > 1).sum()
    assert {result.dtype for result in (*results, truth)} == {torch.int64}
    assert [result.tolist() for result in results] == [
        [1, 2, 4, 8], 6, [0, 1, 3, 6], [3, 2, 1, 0], [3, 2], [0, 6, 2, 3], [0, 2, 4], 14, 3,
    ]  # fmt: skip
    assert unproved == set()


def test_what_is_asked_for_in_float64_stays_that() -> None:
    x = noise(9, spread=0.5).double()
    unproved: set[str] = set()
    with float32(unproved):
        results = [x + 1, x.abs().sqrt(), x.exp(), (x.abs() + 1).log(), 10000.0**x.tanh().float(),
                   x / 3, x.maximum(-x), torch.arange(0, 1, 0.1, dtype=torch.float64)]  # fmt: skip
        few = 10000.0 ** (torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    assert [result.dtype for result in results] == [torch.float64] * 4 + [
        torch.float32] + [torch.float64] * 3  # fmt: skip
    assert unproved == {"tanh"}
    assert few.tolist() == [10000.0 ** (i / 8) for i in range(0, 8, 2)]
    assert results[2].tolist() == pytest.approx([math.exp(v) for v in x.tolist()], rel=1e-15)


def test_what_is_not_proved_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geometry_of_trust.documents.extraction_record_reading import read_record
    from geometry_of_trust.extraction.one_text import extract

    monkeypatch.setattr(
        deterministic_operations, "_ROUNDED", deterministic_operations._ROUNDED - {"mul", "add"}
    )
    extract(
        build(FAMILIES["llama"], tmp_path / "model"), TEXT, [0],
        options=ExtractionOptions(device="cpu"),
        output_activations=tmp_path / "a.gotact", output_unembedding=tmp_path / "u.gotue",
    )  # fmt: skip
    assert read_record(tmp_path / "a.record.json").unproved == ("add", "mul")


def test_what_nobody_computed_anew_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer that the model's code does not set up again keeps its value from loading."""
    from geometry_of_trust.documents.extraction_record_reading import read_record
    from geometry_of_trust.extraction import preparing
    from geometry_of_trust.extraction.one_text import extract

    class Idle:
        def _init_weights(self, module: torch.nn.Module) -> None: ...

    monkeypatch.setattr(preparing, "_owner", lambda *arguments: Idle())
    extract(
        build(FAMILIES["llama"], tmp_path / "model"), TEXT, [0],
        options=ExtractionOptions(device="cpu"),
        output_activations=tmp_path / "a.gotact", output_unembedding=tmp_path / "u.gotue",
    )  # fmt: skip
    names = read_record(tmp_path / "a.record.json").unproved
    assert "buffer model.rotary_emb.inv_freq" in names
    module = torch.nn.Module()
    module.table, module.places = torch.ones(3), torch.arange(3)
    assert preparing._tensors_beside(torch.nn.Sequential(module)) == {"tensor 0.table"}


def test_nothing_is_compiled() -> None:
    import torch._dynamo  # as a model's code does that compiles

    def refuse(*arguments: Any) -> Any:
        raise AssertionError

    doubled = torch.compile(lambda x: x * 2.0, backend=refuse)
    x = noise(5)
    with float32():
        assert torch.equal(doubled(x), x * 2)


# --- under other kernels --------------------------------------------------------------------------

DIGESTS = """
import hashlib, torch
from geometry_of_trust.extraction.float32 import float32

generator = torch.Generator().manual_seed(3)
scale = torch.arange(1, 577) ** 2 / 300
x = (torch.randint(-2**20, 2**20, (60, 576), generator=generator).float() / 2**18) * scale
w = torch.randint(-2**20, 2**20, (576, 200), generator=generator).float() / 2**20

def results():
    yield from (x @ w, x.sum(1), x.mean(0), torch.softmax(x, -1), x.var(1), x.cumsum(1))
    yield torch.nn.functional.layer_norm(x, (576,), x[0], x[1])
    yield torch.nn.functional.silu(x)
    yield torch.nn.functional.gelu(x)
    for name in ("exp", "tanh", "erf", "sin", "cos", "sigmoid"):
        yield getattr(torch, name)(x)

theirs = list(results())
with float32():
    ours = list(results())
for found in (ours, theirs):
    print(hashlib.sha256(b"".join(r.numpy().tobytes() for r in found)).hexdigest())
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64")
    or torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="the settings change the kernels of x86 processors with AVX2",
)
def test_the_same_bits_from_other_kernels() -> None:
    """And the control: torch's own functions give others."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(DIGESTS, {})  # noqa: S102 - from above
    others = {
        "GOT_KERNELS": "portable", "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS], capture_output=True, text=True, check=True,
        env=os.environ | others,
    )  # fmt: skip
    found = [printed.getvalue().split(), done.stdout.split()]
    assert len({ours for ours, _ in found}) == 1
    assert len({theirs for _, theirs in found}) > 1
