"""How long the product kernel takes against torch's float32 product, in one thread.

In turn; medians of pairs, in processor time of the thread. On x86-64 torch's product is MKL's, of
the widest instructions that there are: to compare with the avx2 form, set
MKL_ENABLE_INSTRUCTIONS=AVX2. Forms as arguments; without any, those that the processor runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from geometry_of_trust.arithmetic import library

SHAPES = [(1536, 576), (576, 1536), (576, 576), (4096, 4096)]
"""Outputs and inputs of a layer."""
ROWS = (512, 32, 8, 4, 1)
TYPES = [torch.float32, torch.bfloat16, torch.float16]
PAIRS = 9
OPERATIONS = 10**8
"""A measurement repeats a product until it is as long as so many multiplications."""


def seconds(call: Callable[[], object], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - start) / times


def ours(name: str, x: Tensor, w: Tensor) -> Callable[[], object]:
    form = library.form(name)
    (m, k), n = x.shape, len(w)
    y, scratch = torch.zeros(m, n), torch.empty(form.product_scratch(m, k), dtype=torch.uint8)

    def call() -> Tensor:
        form.product(
            x.data_ptr(), k, m, k, w.data_ptr(), TYPES.index(w.dtype), k, 1, None, None,
            y.data_ptr(), n, 0, n, scratch.data_ptr(),
        )  # fmt: skip
        return y

    torch.testing.assert_close(call(), x @ w.to(torch.float32).T, rtol=1e-4, atol=1e-3)
    return call


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print("MKL_ENABLE_INSTRUCTIONS:", os.environ.get("MKL_ENABLE_INSTRUCTIONS", "not set"))
    print(f"{PAIRS} pairs; median ratio to torch's float32 product, and milliseconds of ours")
    for name in sys.argv[1:] or [name for name in library.forms() if name != "portable"]:
        for n, k in SHAPES:
            for m in ROWS:
                x, w = torch.randn(m, k), torch.randn(n, k)
                line = f"{name:<7} {m:>3} rows, {n:>4} x {k:<4}"
                for dtype in TYPES:
                    call, times = ours(name, x, w.to(dtype)), max(1, OPERATIONS // (m * n * k))
                    theirs = partial(torch.nn.functional.linear, x, w)
                    pairs = [(seconds(call, times), seconds(theirs, times)) for _ in range(PAIRS)]
                    ratio, own = median(a / b for a, b in pairs), median(a for a, _ in pairs)
                    line += f"   {str(dtype)[6:]} {ratio:.2f} ({1000 * own:.3f})"
                print(line, flush=True)


if __name__ == "__main__":
    main()
