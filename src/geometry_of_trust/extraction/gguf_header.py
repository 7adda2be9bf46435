"""What a GGUF file says of its tensors: their names, and the types that they are stored in."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from geometry_of_trust.documents import extraction_record
from geometry_of_trust.errors import IncompleteModel
from geometry_of_trust.files import opened, sha256_file

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each type that has a fixed size."""
_UNROUNDED = {"F64", "F32", "F16", "BF16"}
_COMPUTED = ".ssm_a"
"""How a tensor is called of which transformers takes the logarithm: numpy's and torch's differ."""


@dataclass(frozen=True)
class GgufHeader:
    """The tensors of a GGUF file.

    Attributes:
        path: the file. types: of each tensor by its name, what ggml calls its type.
    """

    path: str
    types: Mapping[str, str]

    @property
    def rounded(self) -> bool:
        """Whether it has weights of 8 bits or fewer."""
        return not _UNROUNDED.issuperset(self.types.values())

    @property
    def unproved(self) -> set[str]:
        """What is computed of its tensors that may differ between machines."""
        return {"logarithm of ssm_a"} if any(_COMPUTED in name for name in self.types) else set()

    @cached_property
    def sha256(self) -> str:
        """Of the file; taken once.

        Raises:
            Unreadable: it cannot be read.
        """
        return sha256_file(self.path)

    @property
    def recorded(self) -> extraction_record.RecordedGguf:
        """What an extraction record says of it."""
        return extraction_record.RecordedGguf(self.sha256, Counter(self.types.values()))


def read_header(path: str) -> GgufHeader:
    """The header of a file, read in the order in which it is written.

    Raises:
        IncompleteModel: it is none of version 2 or 3, or cut short.
        Unreadable: it cannot be opened.
    """
    from gguf.constants import GGMLQuantizationType  # noqa: PLC0415 - only for such files

    try:
        with opened(path) as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            numbers = _Reader(data).types()
        types = {name: GGMLQuantizationType(number).name for name, number in numbers.items()}
    except (ValueError, LookupError, RecursionError, struct.error) as error:
        raise IncompleteModel(
            path, expected="a GGUF file of version 2 or 3", found=str(error)
        ) from None
    return GgufHeader(path, types)


class _Reader:
    """A place in a file, which moves on with what is read. Raises struct.error at the end of it."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = len(_MAGIC)

    def types(self) -> dict[str, int]:
        """The number of each tensor's type."""
        if self._data[: len(_MAGIC)] != _MAGIC or self._number("I") not in _VERSIONS:
            raise ValueError("another file, or another version of it")
        tensors, values = self._number("Q"), self._number("Q")
        for _ in range(values):
            self._skip(self._number("Q"))  # its name
            self._skip_value(self._number("I"))
        found = {}
        for _ in range(tensors):
            name = self._string()
            self._skip(8 * self._number("I"))  # its shape
            found[name] = self._number("I")
            self._skip(8)  # where it lies
        return found

    def _skip(self, count: int) -> None:
        self._at += count

    def _number(self, kind: str) -> int:
        (number,) = struct.unpack_from(f"<{kind}", self._data, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return int(number)

    def _string(self) -> str:
        length = self._number("Q")
        self._skip(length)
        return self._data[self._at - length : self._at].decode()

    def _skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self._skip(self._number("Q"))
        elif kind != _ARRAY:
            self._skip(_SIZES[kind])
        else:
            kind, count = self._number("I"), self._number("Q")
            if kind in _SIZES:
                self._skip(count * _SIZES[kind])
                return
            for _ in range(count):  # each ends the reading where the file ends
                self._skip_value(kind)
