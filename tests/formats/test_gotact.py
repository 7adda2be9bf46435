"""The bytes of a `.gotact`: read, written, refused, in bounded memory."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binary_bytes import (
    EXTREMES,
    HEADER,
    LAYOUTS,
    PER_LAYER,
    PER_POSITION,
    V1,
    V2,
    Read,
    at_most,
    encode,
    put,
    sample,
    u32,
)
from geometry_of_trust import files
from geometry_of_trust.errors import (
    BadHeader,
    BadMagic,
    GotError,
    LayerIndexChanged,
    LayerOrder,
    MalformedInput,
    PositionOrder,
    TrailingBytes,
    Truncated,
    UnknownPrecision,
    UnsupportedVersion,
)
from geometry_of_trust.formats import gotact
from geometry_of_trust.formats.arrays import PRECISIONS, Activations, Layout
from geometry_of_trust.formats.gotact import ActivationsSink, read_activations, write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from places import REFERENCE


def test_v1_read_and_written(act: Read, tmp_path: Path) -> None:
    activations = act(V1)
    assert activations.source == str(tmp_path / "a.gotact")
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


@pytest.mark.parametrize("chunk", [1, 40, 2**23])
def test_the_first_wrong_index_is_named(
    chunk: int, act: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gotact, "CHUNK_BYTES", chunk)
    values, layers = sample(3, 4, 2), (4, 9, 11)
    row = {"per-layer": 12, "per-position": 16}
    layer = {"per-layer": 4 + 4 * 12, "per-position": 4 * 16}
    for layout in LAYOUTS:
        data = encode(values, layers, layout)
        for k, p in itertools.product(range(3), range(4)):
            at = HEADER + k * layer[layout] + p * row[layout]
            with pytest.raises(PositionOrder) as wrong_position:
                # The last one is wrong, too.
                act(put(put(data, len(data) - 12, u32(9)), at + 4, u32(7)))
            assert wrong_position.value.where == f"{tmp_path / 'a.gotact'}, layer {layers[k]}"
            if layout == "per-layer" or p == 0:
                continue
            with pytest.raises(LayerIndexChanged) as wrong_layer:
                act(put(put(data, len(data) - 16, u32(10)), at, u32(3)))
            place = f"{tmp_path / 'a.gotact'}, layer {layers[k]}, position {p}"
            assert wrong_layer.value.where == place


def test_the_field_that_is_cut_short_is_named(act: Read) -> None:
    fields = [
        (6, "model id"), (10, "model id"), (11, "precision tag"), (12, "hidden_dim"),
        (16, "num_layers"), (20, "num_positions"),
    ]  # fmt: skip
    for length, field in fields:
        with pytest.raises(Truncated) as caught:
            act(V1[:length])
        assert caught.value.expected.endswith(f"its {field}")


def test_a_few_megabytes_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gotact, "CHUNK_BYTES", 100)
    rows = gotact.Body("per-position", 30, 2, 5, 8)  # of 40 bytes, 200 a layer
    assert list(rows.chunks()) == [
        (k, k + 1, first, last) for k in range(2) for first, last in ((0, 2), (2, 4), (4, 5))
    ]
    one_layer = gotact.Body("per-layer", 30, 3, 2, 8)  # of 76 bytes
    assert list(one_layer.chunks()) == [(k, k + 1, 0, 2) for k in range(3)]
    layers = gotact.Body("per-layer", 30, 5, 2, 4)  # of 44 bytes
    assert list(layers.chunks()) == [(0, 2, 0, 2), (2, 4, 0, 2), (4, 5, 0, 2)]
    monkeypatch.setattr(gotact, "CHUNK_BYTES", 1)
    assert list(gotact.Body("per-layer", 30, 2, 2, 8).chunks()) == [
        (0, 1, 0, 1), (0, 1, 1, 2), (1, 2, 0, 1), (1, 2, 1, 2),
    ]  # fmt: skip


def test_a_few_megabytes_are_written_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handle(io.BytesIO):
        """One that remembers how much it was given at a time."""

        def write(self, data: Any) -> int:
            sizes.append(len(memoryview(data).cast("B")))
            return super().write(data)

    for chunk, expected in ((1, [32] * 3), (70, [64, 32]), (2**23, [96])):
        monkeypatch.setattr(gotact, "CHUNK_BYTES", chunk)
        sizes: list[int] = []
        sink = ActivationsSink(
            Handle(), model_id="m", precision="Fp32", layers=(1,), shape=(3, 6),
            layout="per-position",
        )  # fmt: skip
        sink.write_layer(0, np.zeros((3, 6), np.float32))
        assert sizes == expected


# --- row by row, in any order -----------------------------------------------------------------

STATES = np.random.default_rng(1).integers(0, 2**32, (3, 7, 4), np.uint32).view(np.float32)


def sink_of(handle: BinaryIO, layout: Layout, shape: tuple[int, int] = (7, 4)) -> ActivationsSink:
    return ActivationsSink(
        handle, model_id="m", precision="Fp32", layers=(2, 5, 9), shape=shape, layout=layout
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reserved", [True, False])
def test_rows_in_any_order_make_the_same_file(
    layout: Layout, reserved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reserved:
        monkeypatch.delattr(os, "posix_fallocate")
    pwrite = os.pwrite  # the system may take less than it is given
    monkeypatch.setattr(os, "pwrite", lambda number, data, at: pwrite(number, data[:5], at))
    expected = encode(STATES, (2, 5, 9), layout)
    with (tmp_path / "a").open("w+b") as handle:
        sink = sink_of(handle, layout)
        sink.allocate()
        assert sink.size == os.fstat(handle.fileno()).st_size == len(expected)
        assert not sink.get(0, 7).any()
        for first, last in ((5, 7), (0, 1), (1, 5)):
            sink.put(first, STATES[:, first:last])
        for first, count in ((0, 7), (2, 3), (6, 1)):
            states = sink.get(first, count)
            assert states.dtype == np.float32
            assert states.tobytes() == STATES[:, first : first + count].tobytes()
    assert (tmp_path / "a").read_bytes() == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_not_written_yet_reads_as_zeros(layout: Layout, tmp_path: Path) -> None:
    with (tmp_path / "a").open("w+b") as handle:
        sink = sink_of(handle, layout)
        assert sink.get(1, 2).tobytes() == bytes(3 * 2 * 4 * 4)
        sink.put(0, STATES)
        handle.truncate(sink.size - 8)  # in the last row of the last layer
        whole = STATES[:, 5:].tobytes()
        assert sink.get(5, 2).tobytes() == whole[:-8] + bytes(8)


def test_a_disk_without_room_is_found_before_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (tmp_path / "a").open("w+b") as handle, pytest.raises(OSError, match="full"):
        sink_of(handle, "per-layer").allocate()


@pytest.mark.parametrize("shape", [(0, 4), (7, 0), (2**32, 4), (7, 2**32)])
def test_shapes_that_cannot_be_written(shape: tuple[int, int], tmp_path: Path) -> None:
    with (tmp_path / "a").open("w+b") as handle, pytest.raises(BadHeader) as caught:
        sink_of(handle, "per-layer", shape)
    assert caught.value.where == "activations"
    with pytest.raises(BadHeader):
        ActivationsSink(
            io.BytesIO(), model_id="m", precision="Fp32", layers=(), shape=(7, 4),
            layout="per-layer",
        )  # fmt: skip


def test_both_lengths_are_named(act: Read) -> None:
    with pytest.raises(TrailingBytes) as caught:
        act(PER_POSITION + b"\0")
    for data in (PER_LAYER, PER_POSITION):
        assert str(len(data)) in caught.value.expected


@pytest.mark.parametrize("data", [V1, PER_LAYER, PER_POSITION])
def test_every_truncation_of_activations(data: bytes, act: Read) -> None:
    with at_most(2**20):
        for end in range(len(data)):
            with pytest.raises(MalformedInput):
                act(data[:end])


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


def resident_file_bytes() -> int:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_checking_every_index_reads_a_few_mb_at_a_time_and_not_the_map(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "COPIED_BYTES", 2**20)
    path = tmp_path / "a.gotact"
    values = np.zeros((2, 6000, 1024), np.float32)  # 49 MB, all of it in the page cache
    write_activations(path, Activations("m", "Fp32", (0, 1), range(6000), values), layout)
    before = resident_file_bytes()
    with at_most(20 * 2**20):
        activations = read_activations(path)
    assert resident_file_bytes() - before < 2 * 2**20
    assert float(activations.values.sum()) == 0
    assert resident_file_bytes() - before > 40 * 2**20  # what it is when the map is read


def test_an_input_may_be_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(PER_LAYER)
    write_activations(path, read_activations(path), "per-position")
    assert path.read_bytes() == PER_POSITION


def test_writing_takes_bounded_memory(tmp_path: Path) -> None:
    array = np.zeros((16000, 1024), np.float32)  # 66 MB
    with at_most(2**20):
        write_unembedding(tmp_path / "u", array)
    with at_most(25 * 2**20):
        write_unembedding(tmp_path / "u", array.T)
    activations = Activations("m", "Fp32", (0,), range(16000), array[np.newaxis])
    with at_most(12 * 2**20):
        write_activations(tmp_path / "a", activations)
