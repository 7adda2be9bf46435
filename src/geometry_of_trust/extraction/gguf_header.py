"""What a GGUF file says of its tensors: their names, and the types that they are stored in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from geometry_of_trust.documents import extraction_record
from geometry_of_trust.errors import BadGguf, IncompleteModel
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.gguf_file import read_gguf_header

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
    """The header of a file.

    Raises:
        IncompleteModel: it is none of version 2 or 3, or its tensors do not cover it.
        Unreadable: it cannot be opened.
    """
    try:
        tensors = read_gguf_header(path).tensors
    except BadGguf as error:
        raise IncompleteModel(path, expected=error.expected, found=error.found) from None
    return GgufHeader(path, {tensor.name: tensor.dtype for tensor in tensors})
