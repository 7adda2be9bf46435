"""An unembedding file: opened once, and digested as parsed."""

from __future__ import annotations

from dataclasses import dataclass

from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import Unembedding
from geometry_of_trust.formats.gotue import read_unembedding


@dataclass(frozen=True, eq=False)
class UnembeddingFile:
    """A `.gotue` file. `open_unembedding` makes it.

    Attributes:
        file: its bytes.
        unembedding: what was parsed from these bytes.
    """

    file: FileBytes
    unembedding: Unembedding

    @property
    def sha256(self) -> str:
        """Of the bytes that were parsed: 64 lower-case hex digits.

        Raises:
            FileChanged: the file is mapped, and was written to since it was opened.
        """
        return self.file.sha256


def open_unembedding(path: PathLike) -> UnembeddingFile:
    """Open a `.gotue` file.

    Raises:
        MalformedInput and its kinds, FileChanged: as `read_unembedding`.
    """
    file = FileBytes.of(path)
    return UnembeddingFile(file, read_unembedding(file))
