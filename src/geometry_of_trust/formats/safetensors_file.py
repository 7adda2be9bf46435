"""The header of a safetensors file, read strictly.

An 8-byte little-endian length, a JSON object of that length, then the tensors' bytes, which it
must cover exactly: no gap, no overlap, nothing left over.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable

from geometry_of_trust.documents.strictjson import loads
from geometry_of_trust.errors import BadTensors, Unreadable
from geometry_of_trust.files import PathLike, opened, reason
from geometry_of_trust.formats.stored_tensors import (
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    StoredTensor,
    StoredTensors,
    in_file_order,
    spelt,
)

MAX_HEADER_BYTES = 100_000_000
"""Longest header; the safetensors library has the same limit."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of a number of each type. Of a type that is not here the shape is not held against the
number of bytes: a newer library may know it."""

_MEMBERS = {"dtype", "shape", "data_offsets"}


def read_safetensors_header(path: PathLike) -> StoredTensors:
    """What a safetensors file holds; no value is read.

    Raises:
        Unreadable: it cannot be opened or read.
        BadTensors: it is not a safetensors file, or its header does not cover it exactly.
        BadJson, BadText, TooLarge: the header is not strict JSON, or has very many values.
    """
    where = os.fspath(path)
    with opened(path) as handle:
        try:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(0)
            start = handle.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise BadTensors(
                    where,
                    expected="a safetensors file, which begins with the length of its header",
                    found=f"{start!r} in a file of {size} bytes",
                    hint="Perhaps it was not downloaded to its end.",
                )
            text = handle.read(length)
        except OSError as error:
            raise Unreadable(path, expected="a readable file", found=reason(error)) from None
    header = loads(text, where, limit=MAX_HEADER_BYTES)
    if not isinstance(header, dict):
        raise BadTensors(where, expected="a JSON object as header", found=type(header).__name__)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadTensors(where, expected="metadata of strings", found=spelt(metadata))
    tensors = in_file_order(_tensor(where, n, entry, 8 + length) for n, entry in header.items())
    _check_cover(where, tensors, 8 + length, size)
    return StoredTensors(tuple(tensors), size, metadata)


def _tensor(where: str, name: str, entry: object, begin: int) -> StoredTensor:
    """One entry of the header.

    Args:
        begin: where the tensors' bytes begin.
    """
    if (
        not isinstance(entry, dict)
        or entry.keys() != _MEMBERS
        or not isinstance(entry["dtype"], str)
        or not _are_counts(entry["shape"], MAX_DIMENSIONS)
        or not _are_counts(entry["data_offsets"], 2)
        or len(entry["data_offsets"]) != 2
        or len(name.encode()) > MAX_NAME_BYTES
    ):
        expected = f"dtype, a shape of at most {MAX_DIMENSIONS} dimensions, and data_offsets"
        raise BadTensors(f"{where}, {name}", expected=expected, found=spelt(entry))
    start, stop = entry["data_offsets"]
    tensor = StoredTensor(name, entry["dtype"], tuple(entry["shape"]), begin + start, begin + stop)
    bits = BITS.get(tensor.dtype)
    if bits is not None and bits * math.prod(tensor.shape) != 8 * (stop - start):
        raise BadTensors(
            f"{where}, {name}",
            expected=f"bytes of {tensor.dtype} in shape {tensor.shape}",
            found=f"{stop - start} bytes",
        )
    return tensor


def _are_counts(value: object, most: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= most  # before they are multiplied
        and all(type(n) is int and 0 <= n < 2**63 for n in value)
    )


def _check_cover(where: str, tensors: Iterable[StoredTensor], begin: int, size: int) -> None:
    end = begin
    for tensor in tensors:
        if tensor.start != end or tensor.stop < end:
            raise BadTensors(
                f"{where}, {tensor.name}",
                expected=f"a tensor that begins at byte {end} of the file",
                found=f"bytes {tensor.start} to {tensor.stop}",
            )
        end = tensor.stop
    if end != size:
        raise BadTensors(
            where, expected=f"{end} bytes, as its header says", found=f"{size} bytes",
            hint="Perhaps it was not downloaded to its end." if size < end else "",
        )  # fmt: skip
