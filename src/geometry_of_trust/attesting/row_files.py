"""Readings that lie beside their document: held against it, against others, and one row proved.

The numbers beside the checks are those of docs/verification.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from geometry_of_trust.documents.row_proofs import RowProof, RowReading
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import BadOption, ContentMismatch, DigestMismatch
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.readings_file import (
    KINDS,
    ReadingRows,
    ReadingsDigest,
    open_readings,
)
from geometry_of_trust.hash_tree import leaf_hash, path_of
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BoundReadings


def bound_readings(attestation: Attestation, where: PathLike) -> BoundReadings:
    """What is bound of readings beside a document; `where` is what asks for them.

    Raises:
        ContentMismatch: they are in the document. LegacyDocument: nothing is bound.
    """
    found = attestation.bound().readings
    if found is None:
        raise ContentMismatch(
            where, expected="none, as all readings are in the document", found="one",
            hint="got-cli show prints them.",
        )  # fmt: skip
    return found


def check_readings_file(attestation: Attestation, path: PathLike) -> None:
    """A file holds the readings that are bound.

    Raises:
        DigestMismatch: it holds others. ContentMismatch: none are bound, or others are flagged or
            outside than is said.
        Others: as `open_readings`.
    """
    bound, digest = bound_readings(attestation, path), ReadingsDigest()
    with open_readings(path, bound.rows, len(attestation.bound().dimensions)) as parts:
        for part in parts:
            digest.add(part)
    # 5.22 The file of readings has the rows that are bound, of which so many are flagged, and so
    # many outside.
    if digest.root != bound.root:
        raise DigestMismatch(
            path, expected=f"readings under the signed root {bound.root}", found=digest.root
        )
    for name in ("flagged", "outside"):
        signed, found = getattr(bound, name), getattr(digest, name)
        if signed != found:
            raise ContentMismatch(f"{path}, {name}", expected=f"{signed}, as signed", found=found)


def prove_row(attestation: Attestation, readings: PathLike, row: int) -> RowProof:
    """What shows one row of the readings beside a document to who has the document alone.

    Args:
        attestation: not looked at but for what it binds of readings.
        readings: their file. row: its number, from 0.

    Raises:
        BadOption: there is no such row.
        DigestMismatch, ContentMismatch and others: as `check_readings_file`.
    """
    bound, binding = bound_readings(attestation, readings), attestation.bound()
    if not 0 <= row < bound.rows:
        raise BadOption("--row", expected=f"a row from 0 to {bound.rows - 1}", found=row)
    names = binding.dimensions
    found: list[RowReading] = []
    with open_readings(readings, bound.rows, len(names)) as parts:

        def leaves() -> Iterator[bytes]:
            done = 0
            for part in parts:
                if done <= row < done + len(part):
                    found.extend(_of_row(part, row - done, names))
                yield from map(leaf_hash, part.leaves(done))
                done += len(part)

        path = path_of(leaves(), bound.rows, row)
    proof = RowProof(row, tuple(found), tuple(digest.hex() for digest in path))
    root = proof.root(bound.rows)
    if root != bound.root:
        raise DigestMismatch(
            readings, expected=f"readings under the signed root {bound.root}", found=root
        )
    return proof


def _of_row(part: ReadingRows, index: int, names: Sequence[str]) -> Iterator[RowReading]:
    for j, name in enumerate(names):
        yield RowReading(name, *(values[index, j].item() for values in part.arrays))


class RowsAgainst:
    """Readings that are given row by row, compared with those of a file.

    Attributes:
        apart: where the first that differs is, what was given, and what the file holds; or None.
    """

    def __init__(self, names: Sequence[str], parts: Iterator[ReadingRows]) -> None:
        self.apart: tuple[str, str, str] | None = None
        self._names, self._parts = names, parts
        self._row = 0
        self._waiting: ReadingRows | None = None

    def add(self, rows: ReadingRows) -> None:
        """Compare the next rows."""
        while self.apart is None and len(rows):
            theirs = self._waiting or next(self._parts, None)
            if theirs is None:
                return
            count = min(len(rows), len(theirs))
            self._compare(rows.part(0, count), theirs.part(0, count))
            rows, self._waiting = rows.part(count), theirs.part(count)
            if not len(self._waiting):
                self._waiting = None
            self._row += count

    def _compare(self, ours: ReadingRows, theirs: ReadingRows) -> None:
        pairs = list(zip(ours.arrays, theirs.arrays, strict=True))
        apart = np.argwhere(np.stack([mine != signed for mine, signed in pairs], axis=2))
        if len(apart):
            row, probe, kind = apart[0].tolist()
            name = f"{KINDS[kind]} of probe {probe}, {self._names[probe]!r}"
            mine, signed = (_told(values[row, probe].item()) for values in pairs[kind])
            self.apart = (f"readings, row {self._row + row}: {name}", mine, signed)


def _told(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else shortest_float32(value)


@contextlib.contextmanager
def rows_against(attestation: Attestation, path: PathLike | None) -> Iterator[RowsAgainst]:
    """To compare readings with those of a file that is under the bound root; None: with nothing.

    Raises:
        As `open_readings`.
    """
    binding = attestation.bound()
    names = binding.dimensions
    if path is None or binding.readings is None:
        yield RowsAgainst(names, iter(()))
        return
    with open_readings(path, binding.readings.rows, len(names)) as parts:
        yield RowsAgainst(names, parts)
