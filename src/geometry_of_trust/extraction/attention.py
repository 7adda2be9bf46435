"""Scaled dot-product attention by its formula, for as many queries at a time as fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SCORES = 2**22
"""How many scores are held at a time; each is eight bytes, and some copies."""


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
        query, key, value: shapes (…, L, d), (…, S, d), (…, S, e).
        attn_mask: true where to attend, or numbers to add to the scores.
        dropout_p: 0: nothing is dropped when a model is only run.
        is_causal: query i attends to keys 0 to i.
        scale: instead of 1/√d.
        enable_gqa: there are fewer keys and values than queries, each for several.
    """
    if enable_gqa:
        key, value = (
            x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value)
        )
    length, keys = query.shape[-2], key.shape[-2]
    if is_causal:
        attn_mask = torch.ones(length, keys, dtype=torch.bool, device=query.device).tril()
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    step = max(1, _SCORES // max(1, math.prod(query.shape[:-2]) * keys))
    parts = []
    for start in range(0, length, step):
        scores = torch.matmul(query[..., start : start + step, :], key.mT) * factor
        if attn_mask is not None:
            one = attn_mask.shape[-2] == 1  # for all queries
            rows = attn_mask if one else attn_mask[..., start : start + step, :]
            if rows.dtype == torch.bool:
                scores = scores.masked_fill(~rows, -torch.inf)
            else:
                scores = scores + rows
        # A query that attends to nothing gets nothing.
        nothing = (scores == -torch.inf).all(-1, keepdim=True)
        weights = torch.softmax(scores.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)
        parts.append(torch.matmul(weights, value))
    return torch.cat(parts, dim=-2)
