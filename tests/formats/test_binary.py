"""The binary formats and the labels file: bytes, refusals, bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geometry_of_trust import files
from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    BadLabel,
    BadMagic,
    BadText,
    GotError,
    LayerIndexChanged,
    LayerMissing,
    LayerOrder,
    MalformedInput,
    NonFinite,
    PositionMissing,
    PositionOrder,
    TooLarge,
    TrailingBytes,
    Truncated,
    UnknownPrecision,
    Unreadable,
    UnsupportedVersion,
)
from geometry_of_trust.files import StagedFiles
from geometry_of_trust.formats import gotact, gotue
from geometry_of_trust.formats.arrays import PRECISIONS, Activations, Layout, Unembedding
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.gotue import read_unembedding, stage_unembedding, write_unembedding
from geometry_of_trust.formats.labels import labels_stub, read_labels
from places import REFERENCE

V1 = bytes.fromhex(
    "474f54410100010000006d0002000000010000000200000003000000000000000000803f000000c001000000"
    "0000003f00000000"
)
V2 = bytes.fromhex("474f5455010003000000020000000000803f0000000000000000000000400000803f0000803f")
LAYOUTS: tuple[Layout, ...] = ("per-layer", "per-position")


def encode(
    values: NDArray[Any],
    layers: tuple[int, ...],
    layout: str = "per-layer",
    model_id: bytes = b"m",
    tag: int = 0,
) -> bytes:
    """The format once more, written the slow way from the specification."""
    out = b"GOTA" + struct.pack("<HI", 1, len(model_id)) + model_id
    out += struct.pack("<BIII", tag, values.shape[2], values.shape[0], values.shape[1])
    for layer, states in zip(layers, values, strict=True):
        out += struct.pack("<I", layer) if layout == "per-layer" else b""
        for position, state in enumerate(states):
            out += struct.pack("<I", layer) if layout == "per-position" else b""
            out += struct.pack("<I", position) + state.astype("<f4").tobytes()
    return out


def sample(layers: int = 2, positions: int = 3, d: int = 2) -> NDArray[np.float32]:
    count = layers * positions * d
    return (np.arange(count, dtype=np.float32) - 3.5).reshape(layers, positions, d)


PER_LAYER = encode(sample(), (4, 9))
PER_POSITION = encode(sample(), (4, 9), "per-position")
HEADER = len(V1) - 4 - 2 * 12  # of V1 and of the samples: their model id is one letter


def put(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


Read = Callable[[bytes], Any]


@pytest.fixture
def act(tmp_path: Path) -> Read:
    def read(data: bytes) -> Activations:
        path = tmp_path / "a.gotact"
        path.write_bytes(data)
        return read_activations(path)

    return read


@pytest.fixture
def unembed(tmp_path: Path) -> Read:
    def read(data: bytes) -> Unembedding:
        path = tmp_path / "u.gotue"
        path.write_bytes(data)
        return read_unembedding(path)

    return read


# --- the bytes --------------------------------------------------------------------------------


def test_v1_read_and_written(act: Read, tmp_path: Path) -> None:
    activations = act(V1)
    assert activations.model_id == "m"
    assert activations.precision == "Fp32"
    assert activations.layers == (3,)
    assert activations.positions == range(2)
    assert activations.hidden_dim == 2
    assert activations.layout == "per-layer"
    assert activations.values.tolist() == [[[1.0, -2.0], [0.5, 0.0]]]
    built = Activations(
        "m", "Fp32", (3,), range(2), np.array([[[1, -2], [0.5, 0]]], dtype=np.float32)
    )
    write_activations(tmp_path / "out", built)
    data = (tmp_path / "out").read_bytes()
    assert data == V1
    assert (
        hashlib.sha256(data).hexdigest()
        == "4c513a9478bece1b68504309370b6f7d48a3108087c5bc8a81771303de785ffd"
    )


def test_v2_read_and_written(unembed: Read, tmp_path: Path) -> None:
    unembedding = unembed(V2)
    assert (unembedding.vocab_size, unembedding.hidden_dim) == (3, 2)
    assert unembedding.values.tolist() == [[1, 0], [0, 2], [1, 1]]
    write_unembedding(tmp_path / "out", np.array([[1, 0], [0, 2], [1, 1]], dtype=np.float32))
    data = (tmp_path / "out").read_bytes()
    assert data == V2
    assert (
        hashlib.sha256(data).hexdigest()
        == "13ecc7ffd595ef24aece200de49338f5be445c6d209feadb2f2af1da4551e3df"
    )


@pytest.mark.parametrize(
    "name",
    [
        "synthetic/synthetic.gotact",
        "demo/activations.gotact",
        "per-position/activations_honesty.gotact",
    ],
)
def test_interop_activations_are_rewritten_byte_for_byte(name: str, tmp_path: Path) -> None:
    activations = read_activations(REFERENCE / name)
    write_activations(tmp_path / "same", activations)
    assert (tmp_path / "same").read_bytes() == (REFERENCE / name).read_bytes()
    for layout in LAYOUTS:  # and through the other layout and back
        write_activations(tmp_path / "other", activations, layout)
        other = read_activations(tmp_path / "other")
        assert other.layout == layout
        assert other.values.tobytes() == activations.values.tobytes()


def test_interop_per_position() -> None:
    activations = read_activations(REFERENCE / "per-position" / "activations_honesty.gotact")
    assert activations.layout == "per-position"
    assert activations.values.shape == (1, 20, 4096)
    assert activations.layers == (8,)
    assert np.abs(activations.layer(8)).max() < 1e4  # shifted words would not look so


@pytest.mark.parametrize("name", ["synthetic/synthetic.gotue", "demo/model.gotue"])
def test_interop_unembedding_is_rewritten_byte_for_byte(name: str, tmp_path: Path) -> None:
    write_unembedding(tmp_path / "same", read_unembedding(REFERENCE / name).values)
    assert (tmp_path / "same").read_bytes() == (REFERENCE / name).read_bytes()


@pytest.mark.parametrize("name", ["synthetic", "demo"])
def test_interop_labels(name: str) -> None:
    labels = read_labels(REFERENCE / name / "labels.txt")
    assert (
        "".join(f"{label}\n" for label in labels).encode()
        == (REFERENCE / name / "labels.txt").read_bytes()
    )
    assert set(labels.tolist()) == {0, 1}


# --- round trips ------------------------------------------------------------------------------


@st.composite
def any_activations(draw: st.DrawFn) -> Activations:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = rng.integers(0, 2**32, shape, np.uint32)  # any float32, NaN included
    first = draw(st.integers(0, 2**32 - 10))
    return Activations(
        draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        draw(st.sampled_from(PRECISIONS)),
        tuple(first + 2 * k for k in range(shape[0])),
        range(shape[1]),
        bits.view(np.float32),
        draw(st.sampled_from(LAYOUTS)),
    )


@settings(max_examples=60, deadline=None)
@given(built=any_activations(), chunk=st.sampled_from([1, 64, 2**23]))
def test_any_activations_survive(
    tmp_path_factory: pytest.TempPathFactory, built: Activations, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("round") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gotact, "CHUNK_BYTES", chunk)
        write_activations(path, built)
        read = read_activations(path)
    tag = PRECISIONS.index(built.precision)
    expected = encode(built.values, built.layers, built.layout, built.model_id.encode(), tag)
    assert path.read_bytes() == expected
    assert read.layout == (built.layout if len(built.positions) > 1 else "per-layer")
    for field in ("model_id", "precision", "layers", "positions"):
        assert getattr(read, field) == getattr(built, field)
    assert read.values.tobytes() == built.values.tobytes()  # every bit, also of a NaN


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


# --- refused on opening -----------------------------------------------------------------------

NOT_UTF8 = b"GOTA" + struct.pack("<HI", 1, 2) + b"\xc3\x28" + V1[11:]
ACTIVATION_CASES = {
    "empty": (b"", Truncated),
    "magic": (put(V1, 0, b"GOTB"), BadMagic),
    "half a magic": (b"GO", Truncated),
    "unembedding": (V2, BadMagic),
    "json": (b' [{"layer": 1, "token_position": 0, "values": [1.0]}]', BadMagic),
    "version 0": (put(V1, 4, struct.pack("<H", 0)), UnsupportedVersion),
    "version 2": (put(V1, 4, struct.pack("<H", 2)), UnsupportedVersion),
    "version 65535": (put(V1, 4, b"\xff\xff"), UnsupportedVersion),
    "model id too long": (put(V1, 6, u32(4097)) + b"m" * 5000, BadHeader),
    "model id beyond the file": (put(V1, 6, u32(4096)), Truncated),
    "model id not UTF-8": (NOT_UTF8, BadHeader),
    "precision 4": (put(V1, 11, b"\x04"), UnknownPrecision),
    "precision 255": (put(V1, 11, b"\xff"), UnknownPrecision),
    "no dimensions": (put(V1, 12, u32(0)), BadHeader),
    "no layers": (put(V1, 16, u32(0)), BadHeader),
    "no positions": (put(V1, 20, u32(0)), BadHeader),
    "too many layers": (put(V1, 16, u32(65537)), BadHeader),
    "layers repeated": (encode(sample(), (4, 4)), LayerOrder),
    "layers descending": (encode(sample(), (4, 3)), LayerOrder),
    "layers repeated, second layout": (encode(sample(), (4, 4), "per-position"), LayerOrder),
    "layers descending, second layout": (encode(sample(), (4, 3), "per-position"), LayerOrder),
    "positions from 1": (put(PER_LAYER, HEADER + 4, u32(1)), PositionOrder),
    "position repeated": (put(PER_LAYER, HEADER + 4 + 12, u32(0)), PositionOrder),
    "last position": (put(PER_LAYER, len(PER_LAYER) - 12, u32(3)), PositionOrder),
    "last position, second layout": (
        put(PER_POSITION, len(PER_POSITION) - 12, u32(3)),
        PositionOrder,
    ),
    "layer index changes": (
        put(PER_POSITION, len(PER_POSITION) - 16, u32(10)),
        LayerIndexChanged,
    ),
    "one byte less": (PER_LAYER[:-1], Truncated),
    "one byte more": (PER_LAYER + b"\0", TrailingBytes),
    "one byte less, second layout": (PER_POSITION[:-1], TrailingBytes),
    "one byte more, second layout": (PER_POSITION + b"\0", TrailingBytes),
    "padded to the second layout": (
        PER_LAYER + bytes(len(PER_POSITION) - len(PER_LAYER)),
        LayerIndexChanged,
    ),
}


@pytest.mark.parametrize("name", ACTIVATION_CASES)
def test_malformed_activations(name: str, act: Read, tmp_path: Path) -> None:
    data, kind = ACTIVATION_CASES[name]
    with pytest.raises(GotError) as caught:
        act(data)
    assert type(caught.value) is kind
    assert caught.value.exit_code == 3
    assert caught.value.where.startswith(str(tmp_path / "a.gotact"))


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


def test_wrong_kind_of_file_gets_a_hint(act: Read, unembed: Read) -> None:
    for read, data in [(act, V2), (unembed, V1), (act, b"[]"), (unembed, b"\n{}")]:
        with pytest.raises(BadMagic) as caught:
            read(data)
        assert caught.value.hint
    with pytest.raises(BadMagic) as caught:
        act(b"PK\x03\x04....")
    assert not caught.value.hint


def test_both_lengths_are_named(act: Read) -> None:
    with pytest.raises(TrailingBytes) as caught:
        act(PER_POSITION + b"\0")
    for data in (PER_LAYER, PER_POSITION):
        assert str(len(data)) in caught.value.expected


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(Unreadable):
            read_activations(path)
        with pytest.raises(Unreadable):
            read_unembedding(path)


# --- fuzz: only our errors, bounded memory ----------------------------------------------------


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


@pytest.mark.parametrize("data", [V1, PER_LAYER, PER_POSITION])
def test_every_truncation_of_activations(data: bytes, act: Read) -> None:
    with at_most(2**20):
        for end in range(len(data)):
            with pytest.raises(MalformedInput):
                act(data[:end])


def test_every_truncation_of_an_unembedding(unembed: Read) -> None:
    with at_most(2**20):
        for end in range(len(V2)):
            with pytest.raises(Truncated):
                unembed(V2[:end])


EXTREMES = [0, 1, 2, 4096, 4097, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]


@pytest.mark.parametrize("data", [V1, PER_LAYER, PER_POSITION])
def test_header_extremes_of_activations(data: bytes, act: Read) -> None:
    with at_most(2**20):
        for offset, value in itertools.product((6, 12, 16, 20), EXTREMES):
            changed = put(data, offset, u32(value))
            if changed != data:
                with pytest.raises(MalformedInput):
                    act(changed)


def test_three_extremes_at_once(act: Read) -> None:
    refused = 0
    with at_most(2**20):
        for counts in itertools.product(EXTREMES, repeat=3):
            try:
                act(put(V1, 12, struct.pack("<III", *counts)))
            except MalformedInput:
                refused += 1
            else:
                assert counts == (2, 1, 2)
    assert refused == len(EXTREMES) ** 3 - 1


def test_header_extremes_of_an_unembedding(unembed: Read) -> None:
    with at_most(2**20):
        for counts in itertools.product(EXTREMES, repeat=2):
            with pytest.raises(MalformedInput):
                unembed(put(V2, 6, struct.pack("<II", *counts)))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), base=st.sampled_from([V1, PER_LAYER, PER_POSITION]))
def test_random_bytes_change_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, base: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a"
    offset = data.draw(st.integers(0, len(base) - 1))
    path.write_bytes(put(base, offset, data.draw(st.binary(min_size=1, max_size=8)))[: len(base)])
    try:
        activations = read_activations(path)
    except MalformedInput:
        return
    write_activations(path.with_suffix(".again"), activations)
    assert path.with_suffix(".again").read_bytes() == path.read_bytes()


# --- bounded time and memory on big files -----------------------------------------------------


def resident_file_bytes() -> int:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_checking_every_index_gives_the_pages_back(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "COPIED_BYTES", 2**20)
    path = tmp_path / "a.gotact"
    values = np.zeros((2, 6000, 1024), np.float32)  # 49 MB, all of it in the page cache
    write_activations(path, Activations("m", "Fp32", (0, 1), range(6000), values), layout)
    before = resident_file_bytes()
    with at_most(2**20):
        activations = read_activations(path)
    assert resident_file_bytes() - before < 12 * 2**20
    assert float(activations.values.sum()) == 0
    assert resident_file_bytes() - before > 40 * 2**20  # what it is when the pages are kept


def test_writing_takes_bounded_memory(tmp_path: Path) -> None:
    array = np.zeros((16000, 1024), np.float32)  # 66 MB
    with at_most(2**20):
        write_unembedding(tmp_path / "u", array)
    with at_most(25 * 2**20):
        write_unembedding(tmp_path / "u", array.T)
    activations = Activations("m", "Fp32", (0,), range(16000), array[np.newaxis])
    with at_most(12 * 2**20):
        write_activations(tmp_path / "a", activations)


# --- values, when they are used ---------------------------------------------------------------


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


# --- built in memory: the same validate -------------------------------------------------------

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
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rows", [[2], [2, 2], [4], []])
def test_blocks_must_add_up(rows: list[int], tmp_path: Path) -> None:
    blocks = (np.zeros((count, 2), np.float32) for count in rows)
    with pytest.raises(BadArray), StagedFiles() as staged:
        stage_unembedding(staged, tmp_path / "u", (3, 2), blocks)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "block", [np.zeros((3, 3), np.float32), np.zeros((3, 2)), np.zeros(6, np.float32)]
)
def test_blocks_of_another_shape(block: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(BadArray), StagedFiles() as staged:
        stage_unembedding(staged, tmp_path / "u", (3, 2), [block])


def test_an_input_may_be_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(PER_LAYER)
    write_activations(path, read_activations(path), "per-position")
    assert path.read_bytes() == PER_POSITION


# --- labels -----------------------------------------------------------------------------------


def labels_of(tmp_path: Path, data: bytes) -> list[int]:
    (tmp_path / "l").write_bytes(data)
    labels = read_labels(tmp_path / "l")
    assert labels.dtype == np.int8
    return [int(label) for label in labels]


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"1\n0\n", [1, 0]),
        (b"1\n0", [1, 0]),
        (b"true\r\nfalse\r\n", [1, 0]),
        (b"\n \t1 \n\n\n\xc2\xa00\n\xe2\x80\xa8\n", [1, 0]),
        (b"", []),
        (b"\n\n", []),
    ],
)
def test_labels(data: bytes, labels: list[int], tmp_path: Path) -> None:
    assert labels_of(tmp_path, data) == labels


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (b"1\nyes\n", 2, "yes"),
        (b"\n\nTrue\n", 3, "True"),
        (b"1 0\n", 1, "1 0"),
        (b"01", 1, "01"),
        (b"0\x0c1\n", 1, "0\x0c1"),
        (b"0\n\x1c0\n", 2, "\x1c0"),
        ("0\n1\u2028x0".encode(), 2, "1\u2028x0"),
        (b"\xef\xbb\xbf0\n", 1, "\ufeff0"),
        (b"2", 1, "2"),
        ("١".encode(), 1, "١"),
    ],
)
def test_bad_labels(data: bytes, line: int, found: str, tmp_path: Path) -> None:
    with pytest.raises(BadLabel) as caught:
        labels_of(tmp_path, data)
    assert caught.value.where == f"{tmp_path / 'l'}, line {line}"
    assert caught.value.found == found
    assert caught.value.exit_code == 3


def test_labels_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadText):
        labels_of(tmp_path, b"0\n\xff\n")
    with pytest.raises(Unreadable):
        read_labels(tmp_path / "none")
    with (tmp_path / "l").open("wb") as handle:
        handle.truncate(2**30)
    with at_most(2**26), pytest.raises(TooLarge):
        read_labels(tmp_path / "l")


def test_the_stub_reads_back(tmp_path: Path) -> None:
    assert labels_stub(3) == b"0\n0\n0\n"
    assert labels_of(tmp_path, labels_stub(150)) == [0] * 150
