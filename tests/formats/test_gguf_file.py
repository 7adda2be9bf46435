"""Headers of GGUF files: as the gguf library reads them, and strict."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES

from geometry_of_trust import errors
from geometry_of_trust.formats import gguf_file
from geometry_of_trust.formats.gguf_file import TYPES, read_gguf_header
from gguf_files import write_gguf

NOT_STORED = {"Q8_1"}
"""Types that no file has: products of others are computed in them."""


def test_the_types_are_those_of_the_library() -> None:
    known = {name for name, _, _ in TYPES.values()}
    assert {kind.name for kind in GGMLQuantizationType} - known == NOT_STORED
    for number, (name, numbers, size) in TYPES.items():
        kind = GGMLQuantizationType(number)
        assert (kind.name, GGML_QUANT_SIZES[kind]) == (name, (numbers, size))


def check(path: Path) -> None:
    found = {tensor.name: tensor for tensor in read_gguf_header(path).tensors}
    data = path.read_bytes()
    read = GGUFReader(path)
    assert found.keys() == {tensor.name for tensor in read.tensors}
    for tensor in read.tensors:
        mine = found[tensor.name]
        assert mine.dtype == tensor.tensor_type.name
        assert mine.shape == tuple(int(n) for n in tensor.shape)[::-1]
        assert data[mine.start : mine.stop] == tensor.data.tobytes()


def test_as_the_library_reads_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    check(tmp_path / "a.gguf")


def test_quantised_and_aligned_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_array("names", ["a", "b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("q", np.zeros((3, 34), np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.add_tensor("v", np.ones(5, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check(path)
    assert [t.shape for t in read_gguf_header(path).tensors] == [(3, 32), (5,)]


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def info(name: str, shape: tuple[int, ...], kind: int, start: int) -> bytes:
    return (
        string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, start)
    )  # fmt: skip


def made(
    infos: list[bytes], values: Sequence[bytes] = (), size: int = 32, version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(infos), len(values))
    head += b"".join([*values, *infos])
    return head + bytes(-len(head) % 32) + bytes(size)


ONE = info("a", (8,), 0, 0)


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_made_here_is_read(version: int, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(made([ONE], version=version))
    assert [t.name for t in read_gguf_header(tmp_path / "a.gguf").tensors] == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGUX" + made([ONE])[4:],
        made([ONE], version=1),
        made([ONE])[:40],
        made([ONE], size=31),
        made([ONE], size=64),
        made([ONE, ONE]),
        made([info("a", (8,), 0, 32)], size=64),
        made([ONE, info("a", (8,), 0, 32)], size=64),
        made([ONE, info("b", (8,), 0, 16)], size=64),
        made([ONE, info("b", (8,), 0, 64)], size=96),
        made([info("a", (1,) * 5, 0, 0)]),
        made([info("a", (8,), 4, 0)]),
        made([info("a", (8,), 12, 0)], size=0),
        made([ONE], [string("k") + struct.pack("<IQ", 13, 0)]),
        made([ONE], [string("general.alignment") + struct.pack("<II", 4, 2**17)]),
        made([info("a" * 4097, (8,), 0, 0)]),
        made([info("a", (2**63,), 0, 0)]),
        made([ONE], [string("k") + struct.pack("<I", 13)]),
        made([ONE], [string("k") + struct.pack("<IIQ", 9, 9, 1)]),
        made([ONE], [string("k") + struct.pack("<IIQ", 9, 8, 2**60)]),
        made([ONE], [string("k") + struct.pack("<IIQ", 9, 0, 2**60)]),
        made([ONE], [string("k") + struct.pack("<IQ", 8, 2**63)]),
        made([ONE], [string("general.alignment") + struct.pack("<II", 4, 0)]),
        made([ONE], [string("general.alignment") + struct.pack("<II", 4, 48)]),
        made([ONE], [struct.pack("<Q", 5000) + bytes(5000)]),
        made([ONE], [struct.pack("<Q", 1) + b"\xff"]),
        b"GGUF" + struct.pack("<IQQ", 3, 2**21, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**21),
    ],
)
def test_what_is_none_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    with pytest.raises(errors.BadGguf) as caught:
        read_gguf_header(path)
    assert caught.value.where == str(path)


def test_every_value_is_passed_over(tmp_path: Path) -> None:
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    values = [string("s") + struct.pack("<I", 8) + string("text")]
    values.append(string("l") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string(""))
    for kind, size in sizes.items():
        values.append(string("n") + struct.pack("<I", kind) + bytes(size))
        values.append(string("n") + struct.pack("<IIQ", 9, kind, 3) + bytes(3 * size))
    (tmp_path / "a.gguf").write_bytes(made([ONE], values))
    found = read_gguf_header(tmp_path / "a.gguf")
    assert [(t.name, t.stop - t.start) for t in found.tensors] == [("a", 32)]
    assert found.size == (tmp_path / "a.gguf").stat().st_size
    assert found.metadata == {}


def test_what_is_at_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "MAX_COUNT", 1)
    path = tmp_path / "a.gguf"
    value = string("k") + struct.pack("<IB", 0, 1)
    for data in (
        made([info("a", (), 0, 0)], size=4),
        made([info("a", (2, 1, 2, 2), 0, 0)]),
        made([info("a" * 4096, (8,), 0, 0)], [value]),
        made([], size=5),
    ):
        path.write_bytes(data)
        read_gguf_header(path)
    for data in (made([ONE, info("b", (8,), 0, 32)], size=64), made([ONE], [value, value])):
        path.write_bytes(data)
        with pytest.raises(errors.BadGguf):
            read_gguf_header(path)


@pytest.mark.parametrize("alignment", [1, 2**16])
def test_alignments_at_the_limits(alignment: int, tmp_path: Path) -> None:
    value = string("general.alignment") + struct.pack("<II", 4, alignment)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + value + ONE
    path = tmp_path / "a.gguf"
    path.write_bytes(head + bytes(-len(head) % alignment) + bytes(32))
    (tensor,) = read_gguf_header(path).tensors
    assert tensor.start == -(-len(head) // alignment) * alignment


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable) as caught:
        read_gguf_header(tmp_path / "a")
    assert caught.value.where == str(tmp_path / "a")
