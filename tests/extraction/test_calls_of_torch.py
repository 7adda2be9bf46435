"""Calls that a model's code may make: what torch answers is answered, what it refuses is refused.

Kernels get addresses, so that a shape or a type that does not fit must not reach them.
`calls_of_torch.txt` has a call a line; `r` is what it gives.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geometry_of_trust.extraction.float32 import float32

CALLS = dict(
    line.split(": ", 1)
    for line in Path(__file__).with_name("calls_of_torch.txt").read_text("ascii").splitlines()
)


def answer(code: str) -> torch.Tensor | None:
    """What a call gives; None if it is refused."""
    torch.manual_seed(1)
    names = {"torch": torch}
    try:
        exec(code, names)  # noqa: S102 - from the file above
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
    result = names["r"]
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.filterwarnings("ignore:The reduce argument")
@pytest.mark.parametrize("name", CALLS)
def test_as_torch(name: str) -> None:
    with torch.no_grad():
        expected = answer(CALLS[name])
    with float32():
        found = answer(CALLS[name])
    if expected is None or found is None:
        assert expected is found
        return
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
