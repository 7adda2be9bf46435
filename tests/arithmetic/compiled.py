"""The kernels' forms that this machine can run, for tests: the library's, else compiled from the sources."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import tempfile
from ctypes import c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from places import ROOT

KERNELS = ROOT / "src/geometry_of_trust/arithmetic/kernels"
X86 = {"portable": "baseline", "avx2": "x86_64_v3", "avx512": "x86_64_v4"}
FLAGS = "-std=c11 -O3 -ffp-contract=off -fPIC -fno-sanitize=all -Wall -Wextra -Wconversion -Wshadow -Werror".split()
# Rule 6 is another file's; attention is judged by whether it hands on the right numbers.
SOFTMAX = """
#include <math.h>
#include "kernels.h"
void FORM(softmax)(const float *x, int64_t ldx, int64_t m, int64_t n, float *y, int64_t ldy) {
    for (int64_t i = 0; i < m; i++) {
        float most = -INFINITY;
        double lanes[16] = {0};
        for (int64_t j = 0; j < n; j++) {
            float number = x[i * ldx + j];
            if (number > most || number != number) most = number;
        }
        for (int64_t j = 0; j < n; j++) {
            y[i * ldy + j] = (float)exp((double)(x[i * ldx + j] - most));
            lanes[j % 16] += (double)y[i * ldy + j];
        }
        for (int half = 8; half > 0; half /= 2)
            for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
        for (int64_t j = 0; j < n; j++) y[i * ldy + j] = (float)((double)y[i * ldy + j] / lanes[0]);
    }
}
"""
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "product": (None, [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p]),
    "product_scratch": (c_int64, [c_int64, c_int64]),
    "attention": (None, [c_void_p, c_int64, c_int64, c_void_p]),
    "attention_scratch": (c_int64, [c_int64, c_int64, c_int64, c_int64]),
    "convolution": (None, [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_void_p, c_int64, c_int64]),
    "softmax": (None, [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64]),
}


class Form:
    def __init__(self, name: str, library: ctypes.CDLL) -> None:
        for function, (result, arguments) in SIGNATURES.items():
            try:
                call = library[f"{name}_{function}"]
            except AttributeError:
                continue
            call.restype, call.argtypes = result, arguments
            setattr(self, function, call)


@cache
def forms() -> tuple[str, ...]:
    if platform.machine() != "x86_64":
        return ("neon",)
    flags = Path("/proc/cpuinfo").read_text().split()
    return tuple(n for n, f in [("avx512", "avx512vl"), ("avx2", "avx2")] if f in flags) + ("portable",)


@cache
def form(name: str) -> Form:
    folder = Path(tempfile.mkdtemp())
    (folder / "softmax.c").write_text(SOFTMAX)
    sources = [p for p in map(KERNELS.joinpath, ("products.c", "attention.c", "convolution.c")) if p.exists()]
    out = folder / f"{name}.so"
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-shared", f"-DGOT_FORM={name}", f"-mcpu={X86.get(name, 'baseline')}", f"-I{KERNELS}"]
    subprocess.run([*command, *map(os.fspath, sources), os.fspath(folder / "softmax.c"), "-lm", "-o", os.fspath(out)], check=True)
    return Form(name, ctypes.CDLL(os.fspath(out)))
