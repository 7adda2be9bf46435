"""The forms of the kernels that this machine can run: the library's, else compiled from source."""

from __future__ import annotations

import ctypes
import importlib
import platform
import subprocess
import sys
import tempfile
from ctypes import c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY: Any
try:
    LIBRARY = importlib.import_module("geometry_of_trust.arithmetic.library")
except ImportError:
    LIBRARY = None

KERNELS = ROOT / "src/geometry_of_trust/arithmetic/kernels"
FLAGS = [
    "-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-fno-sanitize=all",
    "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror",
]  # fmt: skip
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
    "product": (None, [
        c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int, c_int64, c_int64, c_void_p, c_void_p,
        c_void_p, c_int64, c_int64, c_int64, c_void_p,
    ]),
    "product_scratch": (c_int64, [c_int64, c_int64]),
    "attention": (None, [c_void_p, c_int64, c_int64, c_void_p]),
    "attention_scratch": (c_int64, [c_int64, c_int64, c_int64, c_int64]),
    "convolution": (None, [
        c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64,
        c_void_p, c_int64, c_int64,
    ]),
    "softmax": (None, [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64]),
}  # fmt: skip


class Form:
    """One form, compiled here."""

    def __init__(self, name: str, library: ctypes.CDLL) -> None:
        self.name = name
        for function, (result, arguments) in SIGNATURES.items():
            call = library[f"{name}_{function}"]
            call.restype, call.argtypes = result, arguments
            setattr(self, function, call)

    if TYPE_CHECKING:

        def __getattr__(self, function: str) -> Callable[..., int]: ...


@cache
def forms() -> tuple[str, ...]:
    """Names of the forms that this machine can run."""
    if LIBRARY is not None:
        return tuple(LIBRARY.forms())
    if platform.machine() != "x86_64":
        return ("neon",)
    able = Path("/proc/cpuinfo").read_text().split()
    fast = [name for name, flag in (("avx512", "avx512vl"), ("avx2", "avx2")) if flag in able]
    return (*fast, "portable")


def compiling(name: str, *more: str) -> list[str]:
    """The command that compiles a form's sources."""
    cpu = {"avx2": "x86_64_v3", "avx512": "x86_64_v4"}.get(name, "baseline")
    sources = [str(KERNELS / f"{source}.c") for source in ("products", "attention", "convolution")]
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    return [*compiler, *FLAGS, f"-DGOT_FORM={name}", f"-mcpu={cpu}", f"-I{KERNELS}", *sources, *more]


@cache
def form(name: str) -> Any:
    """A form: its attributes are the functions."""
    if LIBRARY is not None:
        return LIBRARY.form(name)
    folder = Path(tempfile.mkdtemp())
    (folder / "softmax.c").write_text(SOFTMAX)
    out = str(folder / f"{name}.so")
    command = compiling(name, str(folder / "softmax.c"), "-lm", "-shared", "-o", out)
    subprocess.run(command, check=True)
    return Form(name, ctypes.CDLL(out))
