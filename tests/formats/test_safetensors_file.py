"""Headers of safetensors files: strict, and the same as what the safetensors library reads."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open

from geometry_of_trust import errors
from geometry_of_trust.errors import GotError
from geometry_of_trust.files import MAX_DOCUMENT_BYTES
from geometry_of_trust.formats import safetensors_file
from geometry_of_trust.formats.safetensors_file import BITS, read_safetensors_header
from model_folders import TENSORS, bytes_of, safetensors


def test_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(TENSORS, {"format": "pt"}))
    found = read_safetensors_header(path)
    data = path.read_bytes()
    assert found.size == len(data)
    assert found.metadata == {"format": "pt"}
    assert {t.name: (t.dtype, t.shape) for t in found.tensors} == TENSORS
    for t in found.tensors:
        assert data[t.start : t.stop] == bytes_of(t.name, t.dtype, t.shape)


def test_as_the_library_reads_it(smollm2: Path) -> None:
    path = smollm2 / "model.safetensors"
    found = {t.name: t for t in read_safetensors_header(path).tensors}
    with safe_open(path, "np") as file:
        assert found.keys() == set(file.keys())
        for name, tensor in found.items():
            part = file.get_slice(name)
            assert (tensor.dtype, list(tensor.shape)) == (part.get_dtype(), part.get_shape())


@pytest.mark.parametrize("dtype", BITS)
def test_the_library_knows_every_type_and_its_size(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for size, fits in ((BITS[dtype], True), (BITS[dtype] + 1, False)):
        path.write_bytes(framed({"a": entry(dtype, [8], 0, size)}, bytes(size)))
        assert library_reads(path) is fits
        if fits:
            assert read_safetensors_header(path).tensors[0].dtype == dtype
        else:
            with pytest.raises(errors.BadTensors):
                read_safetensors_header(path)


def library_reads(path: Path) -> bool:
    try:
        with safe_open(path, "np") as file:
            return list(file.keys()) == ["a"]
    except SafetensorError:
        return False


def test_a_type_that_is_not_known_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(framed({"a": entry("F3", [8], 0, 3)}, bytes(3)))
    assert read_safetensors_header(path).tensors[0].dtype == "F3"


def entry(dtype: str, shape: object, start: object, stop: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def framed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = entry("F32", [2], 0, 8)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.BadTensors),
        (b"\1\0\0", errors.BadTensors),
        (struct.pack("<Q", 10) + b"{}", errors.BadTensors),
        (struct.pack("<Q", 2**63) + b"{}", errors.BadTensors),
        (framed(b"{"), errors.BadJson),
        (framed(b"[]"), errors.BadTensors),
        (framed(b'{"a": 1, "a": 2}'), errors.DuplicateMember),
        (framed(b"\xff"), errors.BadText),
        (framed({"__metadata__": {"a": 1}}), errors.BadTensors),
        (framed({"__metadata__": []}), errors.BadTensors),
        (framed({"a": GOOD}, bytes(7)), errors.BadTensors),
        (framed({"a": GOOD}, bytes(9)), errors.BadTensors),
        (framed({"a": GOOD | {"data_offsets": [1, 9]}}, bytes(9)), errors.BadTensors),
        (framed({"a": GOOD, "b": GOOD}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"data_offsets": [8, 0]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"data_offsets": [0, 8, 8]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"data_offsets": [0]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"data_offsets": [False, 8]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"shape": [-2]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"shape": [2.0]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"shape": [1] * 8 + [2]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"shape": [3]}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"dtype": 1}}, bytes(8)), errors.BadTensors),
        (framed({"a": GOOD | {"more": 1}}, bytes(8)), errors.BadTensors),
        (framed({"a": []}, bytes(8)), errors.BadTensors),
        (framed({"a" * 4097: GOOD}, bytes(8)), errors.BadTensors),
    ],
)
def test_what_is_none_is_refused(data: bytes, error: type[GotError], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        read_safetensors_header(path)
    assert caught.value.where.startswith(str(path))


def test_what_is_at_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"a" * 4096: GOOD}).encode()
    path.write_bytes(framed(text.ljust(MAX_DOCUMENT_BYTES + 1), bytes(8)))
    assert len(read_safetensors_header(path).tensors) == 1
    assert safetensors_file.MAX_HEADER_BYTES == 100_000_000  # as the library's
    path.write_bytes(framed(text, bytes(8)))
    for most, reads in ((len(text), True), (len(text) - 1, False)):
        monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", most)
        if reads:
            read_safetensors_header(path)
        else:
            with pytest.raises(errors.BadTensors):
                read_safetensors_header(path)


def test_a_number_that_a_leaf_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for number, reads in ((2**63 - 1, True), (2**63, False)):
        path.write_bytes(framed({"a": entry("F32", [0, number], 0, 0)}))
        if reads:
            assert read_safetensors_header(path).tensors[0].shape == (0, number)
        else:
            with pytest.raises(errors.BadTensors):
                read_safetensors_header(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable) as caught:
        read_safetensors_header(tmp_path / "a")
    assert caught.value.where == str(tmp_path / "a")
