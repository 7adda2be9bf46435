"""One row of readings that lie in a file beside their document, with its audit path.

The bytes of a leaf, and what a proof holds: docs/evaluations.md. Needs no numpy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    STRING,
    U32,
    choice,
    member,
    real,
    record,
    vector,
    wrong_type,
)
from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.hash_tree import leaf_hash, root_by_path

PROOF_FORMAT = "geometry-of-trust row proof"


@dataclass(frozen=True)
class RowReading:
    """What a probe says of a row: `dimension` is its name, the others are as of `Reading`."""

    dimension: str
    raw: float
    probability: float
    flagged: bool
    outside: bool


@dataclass(frozen=True)
class RowProof:
    """The readings of one row, and what shows that they are among those signed.

    Attributes:
        row: its number, from 0.
        readings: one a probe, in the order of the readings of a row.
        path: the digests beside the way from its leaf to the root, 64 hex digits each.
    """

    row: int
    readings: tuple[RowReading, ...]
    path: tuple[str, ...]
    format: str = PROOF_FORMAT
    version: int = 1

    @property
    def leaf(self) -> bytes:
        """The bytes of its leaf."""
        count, each = len(self.readings), self.readings
        return struct.pack(
            f"<Q{count}f{count}f{count}B{count}B",
            self.row,
            *(reading.raw for reading in each),
            *(reading.probability for reading in each),
            *(reading.flagged for reading in each),
            *(reading.outside for reading in each),
        )

    def root(self, rows: int) -> str | None:
        """The root that its path leads to, of so many rows; None if no row can have such a path."""
        path = [bytes.fromhex(digest) for digest in self.path]
        root = root_by_path(leaf_hash(self.leaf), rows, self.row, path)
        return None if root is None else root.hex()

    def to_json(self) -> bytes:
        """The text of its file."""
        return dumps(_PROOF.write(self))


_PROOF = record(
    RowProof,
    member("format", choice((PROOF_FORMAT,))),
    member("version", U32),
    member("row", U32),
    member(
        "readings",
        vector(
            record(
                RowReading,
                member("dimension", STRING),
                member("raw", FLOAT),
                member("probability", real(0, 1)),
                member("flagged", BOOL),
                member("outside", BOOL),
            )
        ),
    ),
    member("path", vector(DIGEST)),
)


def read_row_proof(path: PathLike) -> RowProof:
    """Read the file of a proof; whether it proves anything, its document says.

    Raises:
        Unreadable, TooLarge, BadText, BadJson and its kinds, NonFinite: it is none.
    """
    proof = _PROOF.read(loads(read_bounded(path), path), str(path))
    if proof.version != 1:
        raise wrong_type(f"{path}.version", 1, proof.version)
    return proof
