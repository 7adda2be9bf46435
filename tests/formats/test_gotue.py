"""The bytes of a `.gotue`: read, written, refused, in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binary_bytes import (
    EXTREMES,
    V1,
    V2,
    Read,
    at_most,
    put,
    u32,
)
from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    BadMagic,
    GotError,
    MalformedInput,
    NonFinite,
    TrailingBytes,
    Truncated,
    UnsupportedVersion,
)
from geometry_of_trust.formats import gotue
from geometry_of_trust.formats.gotue import (
    read_unembedding,
    stage_unembedding,
    unembedding_size,
    write_unembedding,
)
from geometry_of_trust.outputs.staged_files import StagedFiles
from places import REFERENCE


def test_v2_read_and_written(unembed: Read, tmp_path: Path) -> None:
    unembedding = unembed(V2)
    assert unembedding.source == str(tmp_path / "u.gotue")
    assert (unembedding.vocab_size, unembedding.hidden_dim) == (3, 2)
    assert unembedding.values.tolist() == [[1, 0], [0, 2], [1, 1]]
    write_unembedding(tmp_path / "out", np.array([[1, 0], [0, 2], [1, 1]], dtype=np.float32))
    data = (tmp_path / "out").read_bytes()
    assert data == V2
    assert (
        hashlib.sha256(data).hexdigest()
        == "13ecc7ffd595ef24aece200de49338f5be445c6d209feadb2f2af1da4551e3df"
    )


@pytest.mark.parametrize("name", ["synthetic/synthetic.gotue", "demo/model.gotue"])
def test_interop_unembedding_is_rewritten_byte_for_byte(name: str, tmp_path: Path) -> None:
    write_unembedding(tmp_path / "same", read_unembedding(REFERENCE / name).values)
    assert (tmp_path / "same").read_bytes() == (REFERENCE / name).read_bytes()


@pytest.mark.parametrize("chunk", [1, 100, 2**23])
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.float32),
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.float16),
        lambda a: a.astype(">f4"),
        lambda a: np.asfortranarray(a.astype(np.float32)),
        lambda a: np.repeat(a.astype(np.float32), 2, axis=1)[:, ::2],
    ],
)
def test_any_float_array_is_written_as_float32(
    change: Callable[[NDArray[Any]], NDArray[Any]],
    chunk: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = np.linspace(-4, 4, 21).astype(np.float16).reshape(7, 3)
    monkeypatch.setattr(gotue, "CHUNK_BYTES", chunk)
    write_unembedding(tmp_path / "u", change(array))
    assert read_unembedding(tmp_path / "u").values.tolist() == array.tolist()


UNEMBEDDING_CASES = {
    "empty": (b"", Truncated),
    "magic": (put(V2, 0, b"gotu"), BadMagic),
    "activations": (V1, BadMagic),
    "json": (b'{"vocab_size": 1}', BadMagic),
    "version 2": (put(V2, 4, struct.pack("<H", 2)), UnsupportedVersion),
    "no rows": (put(V2, 6, u32(0)), BadHeader),
    "no columns": (put(V2, 10, u32(0)), BadHeader),
    "more rows": (put(V2, 6, u32(4)), Truncated),
    "fewer rows": (put(V2, 6, u32(2)), TrailingBytes),
    "huge": (put(V2, 6, b"\xff" * 8), Truncated),
    "one byte more": (V2 + b"\0", TrailingBytes),
}


@pytest.mark.parametrize("name", UNEMBEDDING_CASES)
def test_malformed_unembedding(name: str, unembed: Read, tmp_path: Path) -> None:
    data, kind = UNEMBEDDING_CASES[name]
    with pytest.raises(GotError) as caught:
        unembed(data)
    assert type(caught.value) is kind
    assert caught.value.where == str(tmp_path / "u.gotue")


def test_every_truncation_of_an_unembedding(unembed: Read) -> None:
    with at_most(2**20):
        for end in range(len(V2)):
            with pytest.raises(Truncated):
                unembed(V2[:end])


def test_header_extremes_of_an_unembedding(unembed: Read) -> None:
    with at_most(2**20):
        for counts in itertools.product(EXTREMES, repeat=2):
            with pytest.raises(MalformedInput):
                unembed(put(V2, 6, struct.pack("<II", *counts)))


def test_opening_two_gigabytes_costs_nothing(tmp_path: Path) -> None:
    rows, d = 131072, 4096
    path = tmp_path / "big.gotue"
    with path.open("wb") as handle:  # holes: no disk is used
        handle.write(b"GOTU" + struct.pack("<HII", 1, rows, d))
        handle.truncate(14 + 4 * rows * d)
    start = time.perf_counter()
    with at_most(2**20):
        unembedding = read_unembedding(path)
    assert time.perf_counter() - start < 0.5
    assert unembedding.values[-1, -1] == 0
    block = next(unembedding.blocks(2))
    assert block.shape == (2, d)
    assert block.dtype == np.float64
    assert block.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((2, 3), np.int32), BadArray),
        (np.zeros(3, np.float32), BadArray),
        (np.zeros((0, 3), np.float32), BadHeader),
        (np.zeros((3, 0), np.float64), BadHeader),
        (np.full((2, 2), 1e300), NonFinite),
    ],
)
def test_arrays_that_cannot_be_written(array: NDArray[Any], kind: type, tmp_path: Path) -> None:
    with pytest.raises(GotError) as caught:
        write_unembedding(tmp_path / "u", array)
    assert type(caught.value) is kind
    assert caught.value.where.partition(",")[0] == "unembedding"
    assert os.listdir(tmp_path) == []


def test_the_row_that_does_not_fit_into_float32_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros((7, 3))
    array[5, 1], array[6, 0], array[0, 0] = 1e300, 1e300, np.inf  # the last one is one in float32
    for chunk in (1, 24, 2**23):
        monkeypatch.setattr(gotue, "CHUNK_BYTES", chunk)
        with pytest.raises(NonFinite) as caught:
            write_unembedding(tmp_path / "u", array)
        assert caught.value.where == "unembedding, row 5"


def test_blocks_are_small_and_only_copied_where_they_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[NDArray[Any]] = []

    def staged(to: object, path: object, shape: object, blocks: Iterable[NDArray[Any]]) -> None:
        made[:] = blocks

    monkeypatch.setattr(gotue, "stage_unembedding", staged)
    array = np.zeros((20, 3), np.float32)
    for chunk, rows in ((1, [1] * 20), (100, [8, 8, 4]), (59, [4] * 5), (2**23, [20])):
        monkeypatch.setattr(gotue, "CHUNK_BYTES", chunk)
        for given, copied in (
            (array, False), (np.asfortranarray(array), True), (array.astype(np.float64), True),
        ):  # fmt: skip
            write_unembedding(tmp_path / "u", given)
            assert [len(block) for block in made] == rows
            for block in made:
                assert block.dtype == np.float32
                assert block.flags.c_contiguous
                assert np.shares_memory(block, given) != copied or len(block) == 1


def test_the_size_is_that_of_the_file(tmp_path: Path) -> None:
    write_unembedding(tmp_path / "u", np.zeros((5, 3), np.float32))
    assert unembedding_size((5, 3)) == (tmp_path / "u").stat().st_size == 14 + 4 * 15


@pytest.mark.parametrize("rows", [[2], [2, 2], [4], [4, 4], []])
def test_blocks_must_add_up(rows: list[int], tmp_path: Path) -> None:
    blocks = (np.zeros((count, 2), np.float32) for count in rows)
    with pytest.raises(BadArray) as caught, StagedFiles() as staged:
        stage_unembedding(staged, tmp_path / "u", (3, 2), blocks)
    assert caught.value.where == "unembedding"
    assert os.listdir(tmp_path) == []
    assert len(list(blocks)) == (1 if rows == [4, 4] else 0)  # nobody asked for more than enough


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (2**32, 2), (3, 2**32)])
def test_shapes_that_cannot_be_written(shape: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(BadHeader) as caught, StagedFiles() as staged:
        stage_unembedding(staged, tmp_path / "u", shape, [])
    assert caught.value.where == "unembedding"


def test_the_field_that_is_cut_short_is_named(unembed: Read) -> None:
    for length, field in ((6, "vocab_size"), (10, "hidden_dim")):
        with pytest.raises(Truncated) as caught:
            unembed(V2[:length])
        assert caught.value.expected.endswith(f"its {field}")


@pytest.mark.parametrize(
    "block", [np.zeros((3, 3), np.float32), np.zeros((3, 2)), np.zeros(6, np.float32)]
)
def test_blocks_of_another_shape(block: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(BadArray) as caught, StagedFiles() as staged:
        stage_unembedding(staged, tmp_path / "u", (3, 2), [block])
    assert caught.value.where == "unembedding"
