"""Activations and unembeddings as Parquet: a row for each state, or for each token.

The columns: `layer`, `position`, `values` of activations, `token`, `values` of an unembedding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geometry_of_trust.converting.exchange import (
    Convertible,
    Names,
    check_version,
    copied,
    float32_pieces,
    metadata_of,
    names_said,
    rows_at_once,
    spooled,
)
from geometry_of_trust.errors import BadRowTable, BadTable, LimitExceeded
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import MAX_LAYERS, Activations, Unembedding
from geometry_of_trust.formats.parquet_table import ParquetTable, open_parquet, refusing
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.outputs.staged_files import StagedFiles

_MAX_INT32 = 2**31 - 1
_SCAN_ROWS = 2**16


# --- reading ----------------------------------------------------------------------------------


def read(file: FileBytes, given: Names, near: PathLike) -> Convertible:
    """What a Parquet file holds, spooled; columns other than those above are left out.

    The rows stand layer by layer, and in each by position from 0, or by token from 0.

    Raises:
        BadTable: it is not Parquet, or not of these columns, types and order, or has nulls.
        TooLarge: it unpacks to more than a file of its size may.
        NotNamed: it has no metadata, and the options do not say what that would.
    """
    with open_parquet(file, BadTable) as table:
        return _read(table, given, near)


def _read(table: ParquetTable, given: Names, near: PathLike) -> Convertible:
    where, rows, present = table.where, table.layout.rows, set(table.names)
    found = {
        k.decode(errors="replace"): v.decode(errors="replace")
        for k, v in (table.schema.metadata or {}).items()
    }
    if not {"token", "values"} <= present and not {"layer", "position", "values"} <= present:
        raise BadTable(
            where,
            expected="the columns layer, position, values or token, values",
            found=", ".join(table.names[:20]),
        )
    if rows == 0:
        raise BadTable(where, expected="rows", found="none")
    d = _width(table)
    blocks = _blocks(table, d)
    if "position" in present:
        layers, positions = _grid(table)
        values = spooled(near, (len(layers), positions, d), blocks)
        return names_said(where, found, given).activations(where, values, layers)
    check_version(where, found)
    _check_tokens(table)
    return Unembedding(spooled(near, (rows, d), blocks), where)


def _width(table: ParquetTable) -> int:
    """The dimension d: from the type, or from the first row where the type does not say it."""
    kind, where = table.schema.field("values").type, f"{table.where}, values"
    fixed = pa.types.is_fixed_size_list(kind)
    if not (fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or (
        kind.value_type != pa.float32()
    ):
        raise BadTable(where, expected="lists of float32 of one length", found=kind)
    if fixed:
        d = kind.list_size
    else:
        first = next(table.batches(["values"], 1)).column(0)
        d = len(first.flatten())
    if d < 1:
        raise BadTable(where, expected="lists of at least one number", found="none")
    return int(d)


def _blocks(table: ParquetTable, d: int) -> Iterator[NDArray[np.float32]]:
    fixed, where = pa.list_(pa.float32(), d), f"{table.where}, values"
    unpacked = table.unpacked()
    for batch in table.batches(["values"], rows_at_once(d)):
        lists = batch.column(0)
        with refusing(where, "lists of one length", BadTable):
            flat = (lists if lists.type.equals(fixed) else lists.cast(fixed)).flatten()
        if lists.null_count or flat.null_count or len(flat) != d * len(lists):
            raise BadTable(where, expected=f"{d} numbers a row", found="nulls")
        unpacked.add(flat.nbytes)
        yield flat.to_numpy()


def _columns(table: ParquetTable, *wanted: str) -> Iterator[list[NDArray[np.int64]]]:
    where = f"{table.where}, {', '.join(wanted)}"
    unpacked = table.unpacked()
    for batch in table.batches(wanted, _SCAN_ROWS):
        unpacked.add(batch.nbytes)
        if any(c.null_count or not pa.types.is_integer(c.type) for c in batch.columns):
            raise BadTable(where, expected="integers", found="nulls or other types")
        with refusing(where, "integers of at most 63 bits", BadTable):
            columns = [column.cast(pa.int64()).to_numpy() for column in batch.columns]
        yield columns


def _grid(table: ParquetTable) -> tuple[tuple[int, ...], int]:
    """The layers and the number of positions, once every row is seen to be in its place."""
    where = table.where
    layers: list[int] = []
    starts: list[int] = []
    last, row = (-1, -1), 0
    for layer, position in _columns(table, "layer", "position"):
        before = np.concatenate(([last[0]], layer[:-1])), np.concatenate(([last[1]], position[:-1]))
        first = (layer > before[0]) & (position == 0)
        wrong = ~first & ((layer != before[0]) | (position != before[1] + 1) | (layer < 0))
        if wrong.any():
            k = int(wrong.argmax())
            raise BadTable(
                f"{where}, row {row + k}",
                expected="ascending layers, and in each the positions 0, 1, 2 ...",
                found=f"layer {layer[k]}, position {position[k]}",
                hint="Sort the table by layer and position.",
            )
        layers += layer[first].tolist()
        starts += (row + np.flatnonzero(first)).tolist()
        if len(layers) > MAX_LAYERS:
            raise BadTable(where, expected=f"at most {MAX_LAYERS} layers", found="more")
        last, row = (int(layer[-1]), int(position[-1])), row + len(layer)
    counts = np.diff([*starts, row])
    if (counts != counts[0]).any():
        k = int((counts != counts[0]).argmax())
        raise BadTable(
            f"{where}, layer {layers[k]}", expected=f"{counts[0]} positions", found=counts[k]
        )
    return tuple(layers), int(counts[0])


def _check_tokens(table: ParquetTable) -> None:
    where, row = table.where, 0
    for (token,) in _columns(table, "token"):
        wrong = token != np.arange(row, row + len(token))
        if wrong.any():
            k = int(wrong.argmax())
            raise BadTable(f"{where}, row {row + k}", expected=f"token {row + k}", found=token[k])
        row += len(token)


# --- writing ----------------------------------------------------------------------------------


def stage(
    staged: StagedFiles, path: PathLike, content: Convertible, rows: PathLike | None = None
) -> None:
    """Write a Parquet file that appears together with the others of `staged`.

    Args:
        staged, path, content: what goes where.
        rows: a row table; its columns are joined to each state of activations.

    Raises:
        LimitExceeded: a layer or a row beyond 2³¹ − 1.
        BadRowTable: the row table has not one row a position.
    """
    joined = _row_table(rows, content) if rows is not None else pa.table({})
    keys = ("layer", "position") if isinstance(content, Activations) else ("token",)
    biggest = max(max(content.layers, default=0) if isinstance(content, Activations) else 0,
                  content.values.shape[-2] - 1)  # fmt: skip
    if biggest > _MAX_INT32:
        raise LimitExceeded(content.source, expected=f"at most {_MAX_INT32}", found=biggest)
    d = content.hidden_dim
    # Not nullable, and without a dictionary, in which −0.0 and the payloads of NaN would be lost.
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), d)
    schema = pa.schema(
        [pa.field(key, pa.int32(), nullable=False) for key in keys]
        + list(joined.schema)
        + [pa.field("values", kind, nullable=False)],
        metadata=metadata_of(content),
    )
    narrow = [name for name in schema.names if name != "values"]
    with pq.ParquetWriter(
        staged.open(path),
        schema,
        compression="zstd",
        use_dictionary=narrow,
        write_statistics=narrow,
        column_encoding={"values.list.element": "BYTE_STREAM_SPLIT"},
        write_page_checksum=True,
    ) as writer:
        for numbers, part in _keyed(content):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), type=kind)
            rows_beside = joined.take(numbers[-1]) if joined.num_columns else joined
            beside = rows_beside.combine_chunks().columns
            columns = [pa.array(n, pa.int32()) for n in numbers]
            writer.write_table(pa.table([*columns, *beside, lists], schema=schema))


def _keyed(content: Convertible) -> Iterator[tuple[list[NDArray[np.int64]], NDArray[np.float32]]]:
    """The key columns of a few MB of rows, that of positions last, and their values, shape (n, d).

    Small layers come together: 65536 row groups take half a minute to write, and to read.
    """
    if isinstance(content, Unembedding):
        first = 0
        for part in float32_pieces(content.values):
            yield [np.arange(first, first + len(part))], part
            first += len(part)
        return
    d, rows = content.hidden_dim, rows_at_once(content.hidden_dim)
    layers = max(1, rows // len(content.positions))
    for k in range(0, len(content.layers), layers):
        for first in range(0, len(content.positions), rows):
            states = copied(content.values[k : k + layers, first : first + rows])
            count, positions = states.shape[:2]
            keys = [
                np.repeat(content.layers[k : k + layers], positions),
                np.tile(np.arange(first, first + positions), count),
            ]
            yield keys, states.reshape(-1, d)


def _row_table(path: PathLike, content: Convertible) -> pa.Table:
    """A row table as it stands in its file, once it is seen to be one and to fit.

    Raises:
        Unreadable, FileChanged, TooLarge, BadRowTable: as `read_rows`, or not one row a position.
    """
    file = FileBytes.of(path)
    count, positions = len(read_rows(file)), content.values.shape[-2]
    if count != positions:
        raise BadRowTable(path, expected=f"{positions} rows, one a position", found=count)
    return pq.read_table(file.reader())
