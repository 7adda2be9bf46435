"""Rule 7: scaled dot-product attention."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library
from geometry_of_trust.arithmetic.checks import check, check_float32
from geometry_of_trust.arithmetic.threads import share


class _Attention(ctypes.Structure):
    """`struct attention` of the kernels' contract."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "mask", "out")),
        *((name, ctypes.c_int64) for name in ("heads", "group", "rows", "keys", "d", "e")),
        *(
            (f"{name}_strides", ctypes.c_int64 * count)
            for name, count in (("query", 3), ("key", 3), ("value", 3), ("out", 3), ("mask", 4))
        ),
        ("mask_kind", ctypes.c_int),
        ("scale", ctypes.c_float),
    )


_NONE, _CAUSAL, _BYTES, _FLOATS = range(4)


def attention(  # noqa: PLR0917 - the order of torch
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `torch.nn.functional.scaled_dot_product_attention` says it computes: softmax(QKᵀ/√d)V.

    Args:
        query, key, value: float32, shapes (…, L, d), (…, S, d), (…, S, e).
        attn_mask: true where to attend, or float32 to add to the scores.
        dropout_p: 0: nothing is dropped when a model is only run.
        is_causal: query i attends to keys 0 to i.
        scale: instead of 1/√d.
        enable_gqa: there are fewer keys and values than queries, each for several.

    Returns:
        float32, shape (…, L, e). A query that attends to nothing gives zeros.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    check_float32("attention", query, key, value)
    check(min(query.ndim, key.ndim, value.ndim) > 1, "attention")
    check(query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2], "attention")
    flat = max(query.ndim, key.ndim, value.ndim) == 2
    batch = np.broadcast_shapes(*(tuple(x.shape[:-3]) for x in (query, key, value)))
    heads = query.shape[-3] if query.ndim > 2 else 1
    group = 1
    if enable_gqa:
        check(min(key.ndim, value.ndim) > 2 and key.shape[-3] == value.shape[-3] > 0, "attention")
        check(heads % key.shape[-3] == 0 and heads > 0, "attention")
        group = heads // key.shape[-3]
    query, key, value = (_heads(x, batch) for x in (query, key, value))
    if not enable_gqa and len({x.shape[1] for x in (query, key, value)}) > 1:
        heads = max(x.shape[1] for x in (query, key, value))
        query, key, value = (x.expand(-1, heads, -1, -1) for x in (query, key, value))
    texts, _, rows, d = query.shape
    keys, e = value.shape[2:]
    out = torch.empty(texts, rows, heads, e).transpose(1, 2)  # as models go on with it
    kind, mask = _CAUSAL if is_causal else _NONE, None
    if attn_mask is not None:
        kind, mask = _mask(attn_mask, rows, keys, is_causal=is_causal)
        mask = mask.expand(*batch, *([heads] if mask.ndim > 2 or batch else []), rows, keys)
        mask = _heads(mask, batch).expand(texts, heads, rows, keys)
    arguments = _Attention(
        query.data_ptr(), key.data_ptr(), value.data_ptr(),
        None if mask is None else mask.data_ptr(), out.data_ptr(),
        heads, group, rows, keys, d, e,
        *(_strides(x.stride()[:3]) for x in (query, key, value, out)),
        _strides((0, 0, 0, 0) if mask is None else mask.stride()), kind,
        1 / math.sqrt(d) if scale is None else scale,
    )  # fmt: skip
    form = library.chosen()
    size = form.attention_scratch(rows, keys, d, e)

    def some(start: int, end: int) -> None:
        room = torch.empty(size, dtype=torch.uint8)
        form.attention(ctypes.byref(arguments), start, end, room.data_ptr())

    share(some, texts * heads, texts * heads * rows * keys * (d + e))
    return out.reshape(*batch, *([] if flat else [heads]), rows, e)


def _mask(mask: Tensor, rows: int, keys: int, *, is_causal: bool) -> tuple[int, Tensor]:
    """What kind of mask it is, and the mask as a kernel takes it, causal if it is to be."""
    boolean = mask.dtype == torch.bool
    check(boolean or mask.is_floating_point(), "attention")
    mask = mask if boolean else mask.to(torch.float32)
    if is_causal:
        seen = torch.ones(rows, keys, dtype=torch.bool).tril()
        mask = mask & seen if boolean else mask.masked_fill(~seen, -torch.inf)
    return _BYTES if boolean else _FLOATS, mask


def _heads(x: Tensor, batch: tuple[int, ...]) -> Tensor:
    """With the shape (texts, heads, rows, numbers), and a row's numbers beside each other."""
    if x.ndim == 2:
        x = x[None]
    x = x.expand(*batch, *x.shape[-3:])
    x = x.reshape(math.prod(batch), *x.shape[-3:])
    return x if x.dtype == torch.bool or x.stride(-1) == 1 else x.contiguous()


def _strides(of: tuple[int, ...]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(of))(*of)
