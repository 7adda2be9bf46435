"""Readings of every row that are too many for a document: Parquet, whose rows are leaves of a tree.

The root is of what the rows say, not of the file's bytes, which depend on the version of pyarrow.
Columns: docs/formats.md. Leaf: docs/evaluations.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.errors import BadReadings
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.parquet_table import ParquetTable, open_parquet, refusing
from geometry_of_trust.formats.row_writer import arrow
from geometry_of_trust.hash_tree import RunningRoot, leaf_hash

if TYPE_CHECKING:
    from pyarrow import Field, RecordBatch

MAX_FILE_ROWS, MAX_FILE_PROBES, MAX_FILE_READINGS = 2**26, 2**10, 2**30

_GROUP_VALUES, _CHUNKS = 2**20, 2**15
"""Readings of a row group, and most row groups times probes: so the footer stays small."""

_BATCH_VALUES = 2**17

KINDS = ("raw", "probability", "flagged", "outside")
"""What is said of each reading."""


@dataclass(frozen=True, eq=False)
class ReadingRows:
    """Readings of k rows in order, each of n probes; all arrays have shape (k, n).

    Attributes:
        raw, probability: float32, without −0.
        flagged, outside: bool; as of `Reading`.
    """

    raw: NDArray[np.float32]
    probability: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    outside: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def arrays(self) -> tuple[NDArray[np.float32] | NDArray[np.bool_], ...]:
        """One of each of `KINDS`, in order."""
        return self.raw, self.probability, self.flagged, self.outside

    def part(self, start: int, stop: int | None = None) -> ReadingRows:
        """Some of the rows."""
        rows = slice(start, stop)
        return ReadingRows(
            self.raw[rows], self.probability[rows], self.flagged[rows], self.outside[rows]
        )

    @property
    def columns(self) -> list[NDArray[np.float32] | NDArray[np.bool_]]:
        """Those of the file, in order, each of shape (k,)."""
        return [values[:, probe] for probe in range(self.raw.shape[1]) for values in self.arrays]

    def leaves(self, first: int) -> Iterator[bytes]:
        """The bytes of the leaf of each row; `first` is the number of the first one."""
        n = self.raw.shape[1]
        data = np.empty(
            len(self),
            [
                ("row", "<u8"), ("raw", "<f4", (n,)), ("probability", "<f4", (n,)),
                ("flagged", "u1", (n,)), ("outside", "u1", (n,)),
            ],
        )  # fmt: skip
        data["row"] = np.arange(first, first + len(self))
        for name, values in zip(KINDS, self.arrays, strict=True):
            data[name] = values
        whole, size = data.tobytes(), data.itemsize
        return (whole[start : start + size] for start in range(0, len(whole), size))


class ReadingsDigest:
    """What is bound of readings that are given row by row.

    Attributes:
        rows: how many there were so far. flagged, outside: how many readings of them are that.
    """

    def __init__(self) -> None:
        self.rows = self.flagged = self.outside = 0
        self._root = RunningRoot()

    def add(self, rows: ReadingRows) -> None:
        """Take the next rows."""
        for leaf in rows.leaves(self.rows):
            self._root.add(leaf_hash(leaf))
        self.rows += len(rows)
        self.flagged += int(rows.flagged.sum())
        self.outside += int(rows.outside.sum())

    @property
    def root(self) -> str:
        """The root over them, 64 hex digits."""
        return self._root.digest().hex()


def _columns(probes: int) -> list[Field]:
    pa, _ = arrow()
    kinds = {
        "raw": pa.float32(), "probability": pa.float32(), "flagged": pa.bool_(),
        "outside": pa.bool_(),
    }  # fmt: skip
    return [
        pa.field(f"{name}.{probe}", kind, nullable=False)
        for probe in range(probes)
        for name, kind in kinds.items()
    ]


class ReadingsWriter:
    """A file of readings that is being written; a block whose end completes it.

    Args:
        handle: where to. rows: how many there will be, of so many probes.
    """

    def __init__(self, handle: BinaryIO, rows: int, probes: int) -> None:
        pa, pq = arrow()
        self._schema = pa.schema(_columns(probes))
        self._writer = pq.ParquetWriter(
            handle, self._schema, compression="zstd", use_dictionary=False, write_statistics=False
        )
        self._group_rows = max(_GROUP_VALUES // probes, rows * probes // _CHUNKS + 1)
        self._waiting: list[RecordBatch] = []

    def add(self, rows: ReadingRows) -> None:
        """Write the next rows.

        Raises:
            OSError: the disk is full.
        """
        pa, _ = arrow()
        arrays = [pa.array(np.ascontiguousarray(column)) for column in rows.columns]
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= self._group_rows:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            pa, _ = arrow()
            table = pa.Table.from_batches(self._waiting)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
            self._waiting = []

    def __enter__(self) -> ReadingsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def size_of_readings(path: PathLike) -> tuple[int, int] | None:
    """How many rows and probes a file of readings has by its columns; None of another table.

    Raises:
        Unreadable, FileChanged, BadReadings, MissingExtra: as `open_readings`.
    """
    with open_parquet(path, BadReadings) as table:
        probes = len(table.names) // len(KINDS)
        if not probes or list(table.names) != [field.name for field in _columns(probes)]:
            return None
        return table.layout.rows, probes


@contextlib.contextmanager
def open_readings(path: PathLike, rows: int, probes: int) -> Iterator[Iterator[ReadingRows]]:
    """The rows of a file of readings, in parts, in memory that does not grow with them.

    Args:
        rows, probes: how many there must be.

    Raises:
        Unreadable, FileChanged: as `FileBytes`. TooLarge: as of any Parquet file.
        BadReadings: it is not Parquet, damaged, of other columns or another number of rows, or
            holds what is no reading.
        MissingExtra: pyarrow is not installed.
    """
    with open_parquet(FileBytes.of(path), BadReadings) as table:
        fields = _columns(probes)
        found = [(field.name, field.type) for field in table.schema]
        if found != [(field.name, field.type) for field in fields]:
            wanted = [f"{field.name} ({field.type})" for field in fields]
            there = [f"{name} ({kind})" for name, kind in found] + ["none more"]
            apart = next(i for i, name in enumerate([*wanted, ""]) if name != there[i])
            after = f"none after {len(wanted)}" if apart == len(wanted) else wanted[apart]
            raise BadReadings(
                f"{path}, column {apart}", expected=f"{after}, of {probes} probes",
                found=there[apart],
            )  # fmt: skip
        if table.layout.rows != rows:
            raise BadReadings(path, expected=f"{rows} rows", found=table.layout.rows)
        yield _parts(table, probes)


def _parts(table: ParquetTable, probes: int) -> Iterator[ReadingRows]:
    done = 0
    for batch in table.batches(table.names, max(1, _BATCH_VALUES // probes)):
        with refusing(f"{table.where}, after row {done}", "readings", BadReadings):
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            gaps = sum(column.null_count for column in batch.columns)
        if gaps:
            raise BadReadings(table.where, expected="readings without gaps", found=f"{gaps} nulls")
        done += batch.num_rows
        raw, probability, flagged, outside = (np.stack(columns[k::4], axis=1) for k in range(4))
        told = np.isfinite(raw) & ~(np.signbit(raw) & (raw == 0))
        told &= (probability >= 0) & (probability <= 1) & ~np.signbit(probability)
        if not told.all():
            row, probe = np.argwhere(~told)[0].tolist()
            raise BadReadings(
                f"{table.where}, row {done - len(raw) + row}",
                expected="finite raw readings and probabilities from 0 to 1, without a sign of 0",
                found=f"{raw[row, probe]!s} and {probability[row, probe]!s} of probe {probe}",
            )
        yield ReadingRows(raw, probability, flagged, outside)
