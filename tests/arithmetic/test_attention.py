from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_int64, c_void_p
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arithmetic import oracle
from arithmetic.trials import aligned, numbers, same
from geometry_of_trust.arithmetic.library import form, forms

Floats = NDArray[np.float32]
NONE, CAUSAL, BYTES, FLOATS = range(4)
OTHERS = [name for name in forms() if name != "portable"]
FIRST = "portable" if "portable" in forms() else forms()[0]


class Attention(ctypes.Structure):
    """`struct attention` of kernels.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("query", "key", "value", "mask", "out")),
        *((name, c_int64) for name in ("heads", "group", "rows", "keys", "d", "e")),
        *((f"{name}_strides", c_int64 * 3) for name in ("query", "key", "value", "out")),
        ("mask_strides", c_int64 * 4),
        ("mask_kind", c_int),
        ("scale", c_float),
    )


def strides(array: NDArray[Any]) -> list[int]:
    return [stride // array.itemsize for stride in array.strides]


def attention(
    name: str,
    query: Floats,
    key: Floats,
    value: Floats,
    kind: int = NONE,
    *,
    mask: NDArray[Any] | None = None,
    scale: float = 0.125,
    heads: tuple[int, int] | None = None,
) -> Floats:
    """By a form. The arrays may be views, as long as the numbers of a row are neighbours."""
    batch, count, rows, d = query.shape
    keys, e = value.shape[2:]
    memory = np.full((batch, rows, count, e + 2), -7.25, np.float32)
    out = memory.transpose(0, 2, 1, 3)[..., :e]
    at = np.broadcast_to(mask, (batch, count, rows, keys)) if mask is not None else None
    of = Attention(
        query=query.ctypes.data, key=key.ctypes.data, value=value.ctypes.data, out=out.ctypes.data,
        mask=None if at is None else at.ctypes.data,
        heads=count, group=count // key.shape[1], rows=rows, keys=keys, d=d, e=e,
        query_strides=(c_int64 * 3)(*strides(query)[:3]),
        key_strides=(c_int64 * 3)(*strides(key)[:3]),
        value_strides=(c_int64 * 3)(*strides(value)[:3]),
        out_strides=(c_int64 * 3)(*strides(out)[:3]),
        mask_strides=(c_int64 * 4)(*(strides(at) if at is not None else [0] * 4)),
        mask_kind=kind, scale=scale,
    )  # fmt: skip
    kernels = form(name)
    size = kernels.attention_scratch(rows, keys, d, e)
    scratch = aligned(size + 64)
    h0, h1 = heads or (0, batch * count)
    kernels.attention(ctypes.addressof(of), h0, h1, scratch.ctypes.data)
    assert (scratch[size:] == 0xFF).all()
    assert (memory[..., e:] == -7.25).all()
    return np.ascontiguousarray(out)


def by_rule(query: Floats, key: Floats, value: Floats, add: Floats) -> Floats:
    def softmax(scores: Floats) -> Floats:
        y = np.empty_like(scores)
        m, n = scores.shape
        form(FIRST).softmax(scores.ctypes.data, n, m, n, y.ctypes.data, n)
        return y

    batch, heads, rows, _ = query.shape
    group = heads // key.shape[1]
    add = np.broadcast_to(add, (batch, heads, rows, key.shape[2]))
    return np.array(
        [
            [
                oracle.attention(
                    query[t, h], key[t, h // group], value[t, h // group],
                    scale=np.float32(0.125), mask=add[t, h], softmax=softmax,
                )
                for h in range(heads)
            ]
            for t in range(batch)
        ]
    )  # fmt: skip


def states(
    rng: np.random.Generator, rows: int, keys: int, *, d: int = 7, e: int = 10, group: int = 2
) -> tuple[Floats, Floats, Floats]:
    """Two texts, four heads; heads after rows in memory, as models have them."""
    parts = ((rows, 4, d), (keys, 4 // group, d), (keys, 4 // group, e))
    query, key, value = (numbers(rng, (2, *shape)).transpose(0, 2, 1, 3) for shape in parts)
    return query, key, value


def masks(rng: np.random.Generator, rows: int, keys: int) -> list[tuple[int, Any, Floats]]:
    """Kind, mask, and what it adds to the scores."""
    infinite = np.float32(-np.inf)
    causal = np.triu(np.full((rows, keys), infinite), 1)
    attended = rng.random((2, 1, rows, keys)) < 0.6
    attended[0, 0, 0] = False  # a query that attends to nothing
    attended[1, ..., keys // 2 :] = False  # a text that ends
    hidden = np.where(attended, np.float32(0), infinite)
    added = np.where(attended, numbers(rng, (2, 4, rows, keys)), infinite)
    least = np.where(attended, np.float32(0), np.finfo(np.float32).min)
    return [
        (NONE, None, np.zeros((rows, keys), np.float32)),
        (CAUSAL, None, causal),
        (BYTES, attended.astype(np.uint8), hidden),
        (FLOATS, added, added),
        (FLOATS, least, least),
    ]


@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (5, 9), (9, 5), (70, 70), (3, 300), (2, 0)])
def test_the_first_form_is_the_rule(rows: int, keys: int) -> None:
    rng = np.random.default_rng(1)
    query, key, value = states(rng, rows, keys)
    for kind, mask, add in masks(rng, rows, keys):
        got = attention(FIRST, query, key, value, kind, mask=mask)
        assert same(got, by_rule(query, key, value, add)), kind


@pytest.mark.parametrize("name", OTHERS)
def test_every_form_gives_the_bits_of_the_first(name: str) -> None:
    rng = np.random.default_rng(2)
    for rows, keys, d, e, group in [
        *((n, n, 8, 9, 1) for n in range(1, 41)),
        (130, 130, 64, 64, 4),
        (1, 513, 33, 17, 2),
        (65, 3, 1, 1, 2),
    ]:
        query, key, value = states(rng, rows, keys, d=d, e=e, group=group)
        for kind, mask, _ in masks(rng, rows, keys):
            got = attention(name, query, key, value, kind, mask=mask)
            assert same(got, attention(FIRST, query, key, value, kind, mask=mask)), (
                rows,
                keys,
                kind,
            )


@pytest.mark.parametrize("name", forms())
def test_heads_one_by_one_are_those_of_all(name: str) -> None:
    rng = np.random.default_rng(3)
    query, key, value = states(rng, 20, 20)
    whole = attention(name, query, key, value, CAUSAL)
    for h in range(8):
        alone = attention(name, query, key, value, CAUSAL, heads=(h, h + 1)).reshape(8, 20, 10)
        assert same(alone[h], whole.reshape(8, 20, 10)[h])
        assert (np.delete(alone, h, 0) == np.float32(-7.25)).all()


@pytest.mark.parametrize("name", forms())
def test_keys_that_are_not_attended_to_change_no_bit(name: str) -> None:
    rng = np.random.default_rng(4)
    query, key, value = states(rng, 70, 70)
    causal = attention(name, query, key, value, CAUSAL)
    for length in (1, 13, 69):
        q, k, v = (part[:, :, :length] for part in (query, key, value))
        assert same(attention(name, q, k, v, CAUSAL), causal[:, :, :length].copy())
    attended = (np.arange(70) < 31).astype(np.uint8)
    padded = attention(name, query, key, value, BYTES, mask=attended)
    assert same(padded, attention(name, query, key[:, :, :31], value[:, :, :31]))


@pytest.mark.parametrize("name", forms())
def test_a_query_that_attends_to_nothing_gives_zero_whatever_the_values(name: str) -> None:
    rng = np.random.default_rng(5)
    query, key, value = states(rng, 3, 6)
    attended = np.ones((2, 1, 3, 6), np.uint8)
    attended[:, :, 1] = 0
    value[:, :, 2] = np.inf
    got = attention(name, query, key, value, BYTES, mask=attended)
    assert same(got[:, :, 1].copy(), np.zeros((2, 4, 10), np.float32))
    assert (got[:, :, 0] == np.inf).all()
    hidden = np.where(attended == 1, 0, -np.inf).astype(np.float32)
    assert same(attention(name, query, key, value, FLOATS, mask=hidden), got)


@pytest.mark.parametrize("name", forms())
def test_numbers_that_are_not_finite_are_those_of_the_rule(name: str) -> None:
    rng = np.random.default_rng(6)
    query, key, value = states(rng, 12, 12)
    query[0, 1, 3, 2] = np.nan
    query[0, 2, 4, 1] = np.inf
    value[1, 1, 5, 3] = -np.inf
    got = attention(name, query, key, value)
    assert same(got, by_rule(query, key, value, np.zeros((12, 12), np.float32)))
    assert np.isnan(got).any()
    assert np.isinf(got).any()
