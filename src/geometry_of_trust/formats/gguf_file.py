"""The header of a GGUF file, versions 2 and 3, little-endian: its tensors as they are stored.

Read strictly: the tensors follow each other as `general.alignment` says, up to the end of the file.
"""

from __future__ import annotations

import math
import os
import struct

from geometry_of_trust.errors import BadGguf, Unreadable
from geometry_of_trust.files import Handle, PathLike, opened, reason
from geometry_of_trust.formats.stored_tensors import (
    MAX_NAME_BYTES,
    StoredTensor,
    StoredTensors,
    in_file_order,
)

MAX_COUNT = 2**20
"""Most tensors, and most values, that a header may have."""

MAX_GGUF_DIMENSIONS = 4

TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1),
    25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""By ggml's number of a type: its name, how many numbers a block of it has, and how many bytes."""

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each type that has a fixed size."""

_ALIGNMENT = "general.alignment"


def read_gguf_header(path: PathLike) -> StoredTensors:
    """What a GGUF file holds; no value of a tensor is read.

    Raises:
        Unreadable: it cannot be opened or read.
        BadGguf: it is not a GGUF file of version 2 or 3, has a tensor of a type that is not in
            `TYPES`, or its tensors do not cover it.
    """
    with opened(path) as handle:
        try:
            return _Reader(os.fspath(path), handle).header()
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None


class _Reader:
    """A place in a file, which moves on with what is read."""

    def __init__(self, where: str, handle: Handle) -> None:
        self._where, self._handle = where, handle
        self._size = handle.seek(0, os.SEEK_END)
        handle.seek(0)

    def header(self) -> StoredTensors:
        magic, version = self._bytes(4), self._number("I")
        if magic != _MAGIC or version not in _VERSIONS:
            raise self._bad("a GGUF file of version 2 or 3", f"{magic!r}, version {version}")
        tensors, values = self._count("tensors"), self._count("values")
        alignment = 32
        for _ in range(values):
            name, kind = self._string(), self._number("I")
            if name == _ALIGNMENT and kind == _UINT32:
                alignment = self._number("I")
            else:
                self._skip_value(kind)
        if not 1 <= alignment <= 2**16 or alignment & (alignment - 1):
            raise self._bad("an alignment that is a power of two up to 65536", alignment)
        found = [self._tensor() for _ in range(tensors)]
        begin = _up(self._handle.tell(), alignment)
        return self._placed(found, begin, alignment)

    def _placed(self, found: list[StoredTensor], begin: int, alignment: int) -> StoredTensors:
        """The tensors at their bytes in the file, which they cover but for padding."""
        ordered, end = in_file_order(found), begin
        placed: list[StoredTensor] = []
        for tensor in ordered:
            start = begin + tensor.start
            if start != end:
                raise self._bad(f"{tensor.name} at byte {end}", start)
            stop = begin + tensor.stop
            placed.append(StoredTensor(tensor.name, tensor.dtype, tensor.shape, start, stop))
            end = _up(stop, alignment)
        last = placed[-1].stop if placed else begin
        if not last <= self._size <= end and placed:
            raise self._bad(f"{last} bytes, as its header says", f"{self._size} bytes")
        if len({tensor.name for tensor in placed}) < len(placed):
            raise self._bad("each tensor once", "one twice")
        return StoredTensors(tuple(placed), self._size, {})

    def _tensor(self) -> StoredTensor:
        """One entry; its bytes from where the data begin."""
        name, count = self._string(), self._number("I")
        if count > MAX_GGUF_DIMENSIONS:
            raise self._bad(f"{name} of at most {MAX_GGUF_DIMENSIONS} dimensions", count)
        # The first dimension is the contiguous one.
        shape = tuple(self._number("Q") for _ in range(count))[::-1]
        kind, start = self._number("I"), self._number("Q")
        if kind not in TYPES:
            raise self._bad(f"{name} of a type that is known here", f"number {kind}")
        dtype, numbers, size = TYPES[kind]
        if (shape[-1] if shape else 1) % numbers:
            raise self._bad(f"{name} in rows of whole blocks of {numbers} numbers", shape)
        return StoredTensor(name, dtype, shape, start, start + math.prod(shape) // numbers * size)

    def _bytes(self, count: int) -> bytes:
        data = self._handle.read(count) if count <= self._size else b""
        if len(data) != count:
            raise self._bad("a header that ends before the file does", "the end of the file")
        return data

    def _number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self._bytes(struct.calcsize(f"<{kind}")))[0])

    def _count(self, what: str) -> int:
        count = self._number("Q")
        if count > MAX_COUNT:
            raise self._bad(f"at most {MAX_COUNT} {what}", count)
        return count

    def _string(self) -> str:
        length = self._number("Q")
        if length > MAX_NAME_BYTES:
            raise self._bad(f"a name of at most {MAX_NAME_BYTES} bytes", length)
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError:
            raise self._bad("a name in UTF-8", "another one") from None

    def _skip(self, count: int) -> None:
        at = self._handle.tell() + count
        if at > self._size:
            raise self._bad("a header that ends before the file does", "the end of the file")
        self._handle.seek(at)

    def _skip_value(self, kind: int) -> None:
        if kind == _ARRAY:
            kind, count = self._number("I"), self._number("Q")
        else:
            count = 1
        if kind in _SIZES:
            self._skip(count * _SIZES[kind])
        elif kind == _STRING:
            for _ in range(count):  # each ends the reading where the file ends
                self._skip(self._number("Q"))
        else:
            raise self._bad("a value of a type that is known here", f"number {kind}")

    def _bad(self, expected: str, found: object) -> BadGguf:
        return BadGguf(self._where, expected=expected, found=found)


def _up(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
