"""The native kernels (`kernels/kernels.h`), loaded when they are first asked for."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometry_of_trust.errors import BadOption, NoKernels, brief

PATH = Path(__file__).with_name("_kernels.so")
"""Where hatch_build.py puts the library, on every system."""
VARIABLE = "GOT_KERNELS"

FUNCTIONS = (
    "exp", "expm1", "log", "log1p", "log2", "tanh", "erf", "sin", "cos", "sigmoid", "log_sigmoid",
    "silu", "softplus", "gelu", "gelu_tanh", "rsqrt",
)  # fmt: skip
"""Those of one number (rule 4): addresses of the arguments and of the results, and how many."""
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
    "sum": (None, [c_void_p, c_int64, c_int64, c_int64, c_int, c_void_p]),
    "sum_of_squares": (None, [c_void_p, c_int64, c_int64, c_int64, c_int, c_void_p]),
    "softmax": (None, [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64]),
    "layer_norm": (None, [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_double, c_void_p]),
    "rms_norm": (None, [c_void_p, c_int64, c_int64, c_void_p, c_double, c_void_p]),
    **dict.fromkeys(FUNCTIONS, (None, [c_void_p, c_void_p, c_int64])),
}  # fmt: skip
"""What each function returns and takes. A pointer is an address, as an int, or None."""


class Form:
    """One form of the kernels: an attribute for each function of `SIGNATURES`.

    A call holds no lock of Python's, so that threads run side by side. Nothing is checked: sizes,
    strides and addresses are the caller's.

    Attributes:
        name: `portable`, `avx2`, `avx512` or `neon`.
    """

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        for function, (result, arguments) in SIGNATURES.items():
            call = library[f"{name}_{function}"]
            call.restype, call.argtypes = result, arguments
            setattr(self, function, call)

    if TYPE_CHECKING:

        def __getattr__(self, function: str) -> Callable[..., int]: ...


@cache
def _library() -> ctypes.CDLL:
    """The library, loaded.

    Raises:
        NoKernels: it is not there, or is not for this machine.
    """
    try:
        return ctypes.CDLL(os.fspath(PATH))
    except OSError as error:
        found = brief(error) if PATH.exists() else "none"
        raise NoKernels(
            "native kernels", expected="those that `extract` computes with", found=found
        ) from None


@cache
def forms() -> tuple[str, ...]:
    """Names of the forms that this processor can run, the fastest first.

    Raises:
        NoKernels.
    """
    ask = _library().kernel_forms
    ask.restype = ctypes.c_char_p
    names: bytes = ask()
    return tuple(names.decode("ascii").split())


@cache
def form(name: str) -> Form:
    """A form, by its name.

    Raises:
        BadOption: none of `forms`.
        NoKernels.
    """
    if name not in forms():
        expected = "one that this processor runs: " + ", ".join(forms())
        raise BadOption(VARIABLE, expected=expected, found=name)
    return Form(_library(), name)


def chosen() -> Form:
    """The form that GOT_KERNELS names in the environment, else the fastest.

    Raises:
        BadOption: it names none that this processor can run.
        NoKernels.
    """
    return form(os.environ.get(VARIABLE) or forms()[0])
