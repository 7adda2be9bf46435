"""Kernels are given addresses and believe what they are told: here it is seen to be true."""

from __future__ import annotations

import torch
from torch import Tensor


def check(fits: bool, what: str) -> None:
    """Refuse, as torch does, what an operation cannot be done with.

    Raises:
        RuntimeError: it does not fit.
    """
    if not fits:
        raise RuntimeError(f"{what}: shapes or types that do not fit")


def check_float32(what: str, *tensors: Tensor | None) -> None:
    """All, of any shape, are float32 on the CPU; None is passed over.

    Raises:
        RuntimeError: one is not.
    """
    for x in tensors:
        check(x is None or (x.dtype == torch.float32 and x.device.type == "cpu"), what)
