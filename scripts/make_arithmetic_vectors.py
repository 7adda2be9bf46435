"""Vectors for every rule of docs/arithmetic.md: inputs and outputs in hexadecimal.

    .venv/bin/python scripts/make_arithmetic_vectors.py

writes tests/vectors/arithmetic/*.json, one file a rule. The outputs come from the plain forms of
the rules in tests/arithmetic/ (`oracle`, `row_oracle`, `rounding_oracle`), which know nothing of
the kernels; a test holds the kernels against the files, and the files against this script.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from arithmetic import oracle, row_oracle  # noqa: E402 - found in tests/
from arithmetic.rounding_oracle import FUNCTIONS, correctly_rounded  # noqa: E402

FOLDER = ROOT / "tests" / "vectors" / "arithmetic"
Floats = NDArray[np.float32]


def hexadecimal(x: Floats) -> dict[str, Any]:
    """Shape, and the bits of each number, eight digits each, the last index fastest."""
    words = np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(-1)
    return {"shape": list(x.shape), "bits": " ".join(f"{word:08x}" for word in words)}


def case(name: str, result: Floats, /, **given: Any) -> dict[str, Any]:
    """One vector."""
    inputs = {
        key: hexadecimal(value) if isinstance(value, np.ndarray) else value
        for key, value in given.items()
    }
    return {"name": name, "given": inputs, "result": hexadecimal(result)}


def numbers(seed: int, *shape: int, hard: bool = False) -> Floats:
    """Usual numbers; or of a huge range, with zeros of both signs and subnormals."""
    random = np.random.default_rng(seed)
    if not hard:
        return random.standard_normal(shape).astype(np.float32)
    wide = np.ldexp(random.uniform(-1, 1, shape), random.integers(-140, 40, shape))
    wide[random.random(shape) < 0.2] = -0.0
    return wide.astype(np.float32)


def products() -> Iterator[dict[str, Any]]:
    """Rule 2."""
    for k in (0, 1, 7, 255, 256, 257, 513):
        for hard in (False, True):
            a, w = numbers(k, 2, k, hard=hard), numbers(k + 1, 3, k, hard=hard)
            yield case(f"{k} terms", oracle.product(a, w), a=a, w=w)
    a, w, bias = numbers(5, 2, 40), numbers(6, 3, 40), numbers(7, 3)
    yield case("with a bias", oracle.product(a, w, bias), a=a, w=w, bias=bias)


def sums() -> Iterator[dict[str, Any]]:
    """Rule 3."""
    for n in (1, 15, 16, 17, 100, 577):
        for hard in (False, True):
            x = numbers(n, n, hard=hard)
            lanes = row_oracle.lane_sum(x.tolist())
            for name, value in (("sum", lanes), ("mean", lanes / n)):
                yield case(name, np.asarray(np.float32(value)), x=x)


def functions() -> Iterator[dict[str, Any]]:
    """Rule 4."""
    edges = np.array(
        [0.0, -0.0, 1e-45, -1e-45, 1e-38, 1.0, -1.0, 88.7, 89.0, -87.4, -103.9, -104.1, 1e30, 3e38,
         -3e38, math.inf, -math.inf], np.float32,
    )  # fmt: skip
    x = np.concatenate([edges, 4 * numbers(1, 40), numbers(2, 40, hard=True)])
    for name in sorted(FUNCTIONS):
        words = [correctly_rounded(name, int(word)) for word in x.view(np.uint32)]
        yield case(name, np.array(words, np.uint32).view(np.float32), x=x)
    roots = np.abs(x)
    yield case("sqrt", np.sqrt(roots), x=roots)  # numpy's is the processor's, by IEEE 754


def powers() -> Iterator[dict[str, Any]]:
    """Rule 5."""
    x = np.concatenate([3 * numbers(3, 20), numbers(4, 20, hard=True)])
    square = x * x
    for exponent, result in ((2.0, square), (3.0, square * x), (4.0, square * x * x)):
        yield case("power", result, base=x, exponent=exponent)
    for base, size in ((10000.0, 64), (500000.0, 128)):
        exponents = np.arange(0, size, 2).astype(np.float32) / np.float32(size)
        yield case("power", np.array([_power(base, float(e)) for e in exponents], np.float32),
                   base=base, exponent=exponents)  # fmt: skip


def _power(base: float, exponent: float) -> np.float32:
    """The float32 next to base^exponent."""
    with localcontext(prec=80):
        value = Decimal(base) ** Decimal(exponent)
        near = np.float32(float(value))
        around = [np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf)]
        return min([near, *around], key=lambda x: abs(Decimal(float(x)) - value))


def softmaxes() -> Iterator[dict[str, Any]]:
    """Rule 6."""
    for n in (1, 5, 16, 33):
        rows = 5 * numbers(n, 2, n)
        rows[1, n // 2 :] = -np.inf
        yield case("softmax", _softmax(rows), x=rows)


def _softmax(rows: Floats) -> Floats:
    return np.array(
        [[row_oracle.to_float32(x) for x in row_oracle.softmax(row)] for row in rows.tolist()],
        np.float32,
    )


def attentions() -> Iterator[dict[str, Any]]:
    """Rule 7, of one head."""
    for length in (1, 4, 9):
        query, key, value = (numbers(seed, length, 8) for seed in range(3))
        scale = np.float32(1 / math.sqrt(8))
        causal = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        some = numbers(9, length, length)
        for name, mask in (("causal", causal), ("a mask of numbers", some)):
            result = oracle.attention(query, key, value, scale=scale, mask=mask, softmax=_softmax)
            yield case(name, result, query=query, key=key, value=value, mask=mask)


def norms() -> Iterator[dict[str, Any]]:
    """Rule 8, of torch's norms; epsilon is 1e-5."""
    for n in (1, 16, 40):
        x, weight, bias = numbers(n, 2, n), numbers(n + 1, n), numbers(n + 2, n)
        w, b = weight.tolist(), bias.tolist()
        for name, rows, given in (
            (
                "layer_norm",
                [row_oracle.layer_norm(row, w, b) for row in x.tolist()],
                {"bias": bias},
            ),
            ("rms_norm", [row_oracle.rms_norm(row, w) for row in x.tolist()], {}),
        ):
            result = np.array([[row_oracle.to_float32(y) for y in row] for row in rows], np.float32)
            yield case(name, result, x=x, weight=weight, **given)


def convolutions() -> Iterator[dict[str, Any]]:
    """Rule 9."""
    for groups, stride, dilation in ((4, 1, 1), (2, 2, 1), (1, 1, 2)):
        x, w, bias = numbers(1, 4, 12), numbers(2, 4, 4 // groups, 3), numbers(3, 4)
        options = {"groups": groups, "stride": stride, "dilation": dilation}
        yield case("convolution", oracle.convolution(x, w, bias, **options), x=x, w=w, bias=bias,
                   **options)  # fmt: skip


RULES = {
    "2-products": products, "3-sums": sums, "4-functions": functions, "5-powers": powers,
    "6-softmax": softmaxes, "7-attention": attentions, "8-norms": norms,
    "9-convolutions": convolutions,
}  # fmt: skip


def text(rule: str) -> str:
    """A file's content: a case a line."""
    lines = ",\n".join(json.dumps(one) for one in RULES[rule]())
    return f'{{"rule": {json.dumps(rule)}, "cases": [\n{lines}\n]}}\n'


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for rule in RULES:
        FOLDER.joinpath(f"{rule}.json").write_text(text(rule), "ascii")


if __name__ == "__main__":
    main()
