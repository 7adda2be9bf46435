"""The vectors that others can run: our kernels give their outputs, and the script gives them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust.arithmetic import functions, library, products, rows, sequences
from geometry_of_trust.arithmetic.attention import attention

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from make_arithmetic_vectors import FOLDER, RULES, text

Given = dict[str, Any]
OURS: dict[str, Callable[[Given], torch.Tensor | None]] = {
    "sum": lambda g: rows.total(g["x"], [0]),
    "mean": lambda g: rows.mean(g["x"], [0]),
    "sqrt": lambda g: functions.sqrt(g["x"]),
    "power": lambda g: functions.power(g["base"], g["exponent"]),
    "softmax": lambda g: rows.softmax(g["x"], -1),
    "layer_norm": lambda g: rows.layer_norm(
        g["x"], g["weight"].shape, g["weight"], g["bias"], 1e-5
    ),
    "rms_norm": lambda g: rows.rms_norm(g["x"], g["weight"].shape, g["weight"], 1e-5),
    "convolution": lambda g: sequences.convolution(
        g["x"][None],
        g["w"],
        g["bias"],
        [g["stride"]],
        [0],
        [g["dilation"]],
        False,
        [0],
        g["groups"],
    ),
}


def read(given: Any) -> Any:
    """A tensor of what a file has in hexadecimal; other values as they are."""
    if not isinstance(given, dict):
        return given
    words = np.array([int(word, 16) for word in given["bits"].split()], np.uint32)
    return torch.from_numpy(words.view(np.float32).reshape(given["shape"]).copy())


def computed(rule: str, name: str, given: Given) -> torch.Tensor | None:
    if rule == "2-products":
        return products.linear(given["a"], given["w"], given.get("bias"))
    if rule == "7-attention":
        return attention(given["query"], given["key"], given["value"], given["mask"])
    return functions.function(name)(given["x"]) if name not in OURS else OURS[name](given)


@pytest.mark.parametrize("form", library.forms())
@pytest.mark.parametrize("rule", RULES)
def test_ours(rule: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, form)
    cases = json.loads(FOLDER.joinpath(f"{rule}.json").read_text("ascii"))["cases"]
    assert cases
    for case in cases:
        given = {key: read(value) for key, value in case["given"].items()}
        result = computed(rule, case["name"], given)
        assert result is not None
        found, expected = result.reshape(-1), read(case["result"]).reshape(-1)
        # Which not-a-number it is says nothing.
        assert torch.equal(found.isnan(), expected.isnan()), case["name"]
        finite = ~expected.isnan()
        bits = [x[finite].view(torch.int32) for x in (found, expected)]
        assert torch.equal(*bits), case["name"]


@pytest.mark.parametrize("rule", RULES)
def test_they_are_what_the_script_makes(rule: str) -> None:
    assert FOLDER.joinpath(f"{rule}.json").read_text("ascii") == text(rule)
