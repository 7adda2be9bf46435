"""The names that documents choose from, and the byte that stands for each under a signature.

One table for each: the type that the type checker sees, and the codes (reference.md 0).
"""

from __future__ import annotations

from typing import Literal

InnerProduct = Literal["Causal", "Euclidean", "CausalRegularised"]
Layout = Literal["per-layer", "per-position"]
Mode = Literal["reproducible", "fast"]
"""Whether the bytes of the activations are promised to be the same on every machine."""
Verdict = Literal["SUFFICIENT", "INSUFFICIENT"]

PRECISION_CODES = {"Fp32": 0, "Fp16": 1, "Bfloat16": 2, "Int8": 3}
"""What a model ran in, or its weights were in: Int8 for 8 bits or fewer. Tags of `.gotact`, too."""
INNER_PRODUCT_CODES: dict[InnerProduct, int] = {
    "Causal": 0,
    "Euclidean": 1,
    "CausalRegularised": 2,
}
LAYOUTS: tuple[Layout, ...] = ("per-layer", "per-position")
MODES: tuple[Mode, ...] = ("fast", "reproducible")
VERDICTS: tuple[Verdict, ...] = ("INSUFFICIENT", "SUFFICIENT")
