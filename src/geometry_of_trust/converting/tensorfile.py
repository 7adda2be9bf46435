"""The safetensors container: an 8-byte length, a JSON header, and the tensors' bytes.

Read and written here and not by the safetensors package, because that one wants whole contiguous
tensors in memory to write, and torch to read bfloat16. The format is small and fixed; the tests
read what is written here with that package, and the other way round.
"""

from __future__ import annotations

import json
import math
import reprlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.strictjson import loads
from geometry_of_trust.errors import BadTensors
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, FileBytes, PathLike

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}
"""Types of tensors that are looked into; numpy has no bfloat16, whose bits are given instead."""

MAX_DIMENSIONS = 8
"""How many dimensions a tensor may have; those that are converted have two or three."""


@dataclass(frozen=True)
class Tensor:
    """Where one tensor of a file is: bytes `start` to `stop` of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class TensorFile:
    """A safetensors file: metadata and tensors by name; no value has been read.

    Attributes:
        where: what the file was called. metadata: strings by name.
        tensors: where each lies in `data`: the bytes after the header, shape (bytes,).
    """

    where: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    data: NDArray[np.uint8]

    def view(self, name: str) -> NDArray[np.generic]:
        """A tensor as a read-only view of the file, in its shape; bfloat16 as uint16.

        It may be unaligned.

        Raises:
            BadTensors: of a type that is not looked into.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in DTYPES:
            raise BadTensors(
                f"{self.where}, {name}", expected=" or ".join(DTYPES), found=tensor.dtype
            )
        values = self.data[tensor.start : tensor.stop].view(DTYPES[tensor.dtype])
        return values.reshape(tensor.shape)


def read_tensors(path: PathLike) -> TensorFile:
    """Open a safetensors file; its header is checked, no value is read.

    Raises:
        Unreadable, FileChanged: as `FileBytes`.
        BadTensors: it is not a safetensors file, or its header does not cover it exactly.
        BadJson, BadText: the header is not strict JSON.
    """
    file = FileBytes.of(path)
    where, size, start = file.path, len(file), file.read(0, 8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_DOCUMENT_BYTES + 1
    if length > min(size - 8, MAX_DOCUMENT_BYTES):
        raise BadTensors(
            where,
            expected="a safetensors file, which begins with the length of its header",
            found=f"{start!r} in a file of {size} bytes",
            hint="Perhaps it is still being written.",
        )
    header = loads(file.read(8, 8 + length), where)
    data = np.frombuffer(file.data, np.uint8, offset=8 + length)
    if not isinstance(header, dict):
        raise BadTensors(where, expected="a JSON object as header", found=type(header).__name__)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadTensors(where, expected="metadata of strings", found="others")
    tensors = {name: _tensor(f"{where}, {name}", entry) for name, entry in header.items()}
    _check_cover(where, tensors.values(), len(data))
    return TensorFile(where, metadata, tensors, data)


def _tensor(where: str, entry: object) -> Tensor:
    def counts(value: object, most: int) -> bool:
        return (
            isinstance(value, list)
            and len(value) <= most  # before they are multiplied
            and all(type(n) is int and 0 <= n < 2**63 for n in value)
        )

    if (
        not isinstance(entry, dict)
        or set(entry) != {"dtype", "shape", "data_offsets"}
        or not isinstance(entry["dtype"], str)
        or not counts(entry["shape"], MAX_DIMENSIONS)
        or not counts(entry["data_offsets"], 2)
        or len(entry["data_offsets"]) != 2
    ):
        expected = f"dtype, a shape of at most {MAX_DIMENSIONS} dimensions, and data_offsets"
        raise BadTensors(where, expected=expected, found=reprlib.repr(entry))
    tensor = Tensor(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
    if tensor.dtype in DTYPES:
        size = math.prod(tensor.shape) * np.dtype(DTYPES[tensor.dtype]).itemsize
        if tensor.stop - tensor.start != size:
            raise BadTensors(
                where,
                expected=f"{size} bytes, as its shape says",
                found=tensor.stop - tensor.start,
            )
    return tensor


def _check_cover(where: str, tensors: Iterable[Tensor], size: int) -> None:
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop)):
        if tensor.start != end or tensor.stop < end:
            raise BadTensors(
                where,
                expected=f"a tensor that begins at byte {end} of the data",
                found=f"bytes {tensor.start} to {tensor.stop}",
            )
        end = tensor.stop
    if end != size:
        raise BadTensors(where, expected=f"{end} bytes of data", found=size)


def write_header(
    handle: BinaryIO, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Write all but the data of a file of float32 tensors, whose data then follow in this order."""
    tree: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        tree[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    handle.write(struct.pack("<Q", len(text)) + text)
