"""Activations and unembeddings: what they may hold, and their values when they are used."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binary_bytes import (
    PER_LAYER,
    PER_POSITION,
    V1,
    V2,
    Read,
    encode,
    put,
    sample,
)
from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    GotError,
    LayerMissing,
    LayerOrder,
    NonFinite,
    PositionMissing,
    PositionOrder,
    UnknownPrecision,
)
from geometry_of_trust.formats.arrays import Activations, Unembedding


def test_layers_and_rows(act: Read) -> None:
    for data in (PER_LAYER, PER_POSITION):
        activations = act(data)
        states = activations.layer(9)
        assert states.tolist() == sample()[1].tolist()
        assert states.dtype == np.float64
        assert states.flags.c_contiguous
        assert states.flags.writeable  # a copy
        assert activations.row(4, 2).tolist() == sample()[0, 2].tolist()


def test_what_is_not_there(act: Read) -> None:
    activations = act(PER_LAYER)
    reads: list[Callable[[int], object]] = [
        activations.layer,
        lambda layer: activations.row(layer, 0),
    ]
    for read in reads:
        with pytest.raises(LayerMissing) as missing:
            read(5)
        assert missing.value.found == "5"
        assert "4, 9" in missing.value.expected
    for position in (3, -1):
        with pytest.raises(PositionMissing) as absent:
            activations.row(4, position)
        assert absent.value.found == str(position)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused_when_used(bad: float, act: Read, tmp_path: Path) -> None:
    values = sample()
    values[1, 2, 1] = bad
    activations = act(encode(values, (4, 9)))
    assert activations.layer(4).shape == (3, 2)
    assert activations.row(9, 1).shape == (2,)
    uses: list[Callable[[], object]] = [
        lambda: activations.layer(9),
        lambda: activations.row(9, 2),
    ]
    for use in uses:
        with pytest.raises(NonFinite) as caught:
            use()
        assert caught.value.where == f"{tmp_path / 'a.gotact'}, layer 9, position 2"
        assert caught.value.exit_code == 1


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_non_finite_row_of_an_unembedding(rows: int, unembed: Read, tmp_path: Path) -> None:
    unembedding = unembed(put(V2, 14 + 8, struct.pack("<f", np.nan)))
    with pytest.raises(NonFinite) as caught:
        list(unembedding.blocks(rows))
    assert caught.value.where == f"{tmp_path / 'u.gotue'}, row 1"
    whole = np.concatenate(list(unembed(V2).blocks(rows)))
    assert whole.tolist() == [[1, 0], [0, 2], [1, 1]]


def test_values_cannot_be_changed(act: Read, unembed: Read) -> None:
    built = Activations("m", "Fp32", (4, 9), range(3), sample())
    for values in (
        act(V1).values,
        unembed(V2).values,
        built.values,
        Unembedding(sample()[0]).values,
    ):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


GOOD: dict[str, Any] = {
    "model_id": "m",
    "precision": "Fp32",
    "layers": (4, 9),
    "positions": range(3),
    "values": sample(),
    "layout": "per-layer",
}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"model_id": "é" * 2049}, BadHeader),
        ({"model_id": "\ud800"}, BadHeader),
        ({"precision": "fp32"}, UnknownPrecision),
        ({"layers": (4, 4)}, LayerOrder),
        ({"layers": (9, 4)}, LayerOrder),
        ({"layers": (-1, 4)}, BadHeader),
        ({"layers": (4, 2**32)}, BadHeader),
        ({"layers": (4,)}, BadArray),
        ({"positions": range(1, 4)}, PositionOrder),
        ({"positions": range(2)}, PositionOrder),
        ({"values": sample().astype(np.float64)}, BadArray),
        ({"values": sample().astype(">f4")}, BadArray),
        ({"values": sample()[0]}, BadArray),
        ({"values": sample()[:, :0], "positions": range(0)}, BadHeader),
        ({"values": sample()[:, :, :0]}, BadHeader),
        ({"values": sample()[:0], "layers": ()}, BadHeader),
        ({"layout": "per-token"}, BadArray),
    ],
)
def test_activations_in_memory_are_validated(change: dict[str, Any], kind: type) -> None:
    Activations(**GOOD)
    with pytest.raises(GotError) as caught:
        Activations(**(GOOD | change))
    assert type(caught.value) is kind
