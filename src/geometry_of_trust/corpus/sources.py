"""The rows of a corpus, one at a time, from wherever it is.

Text, JSON lines, CSV and Parquet are read here; a folder or a name is left to `datasets`. Memory
depends on the longest row, never on the number of rows.
"""

from __future__ import annotations

import contextlib
import csv
import gc
import json
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geometry_of_trust.documents import strictjson
from geometry_of_trust.errors import (
    BadCorpus,
    BadOption,
    BadText,
    TooLarge,
    UnknownCorpus,
    Unreadable,
    brief,
)
from geometry_of_trust.extraction.quiet import missing_extra
from geometry_of_trust.files import MAX_DOCUMENT_BYTES, PathLike, opened, reason

Row = tuple[str, Mapping[str, Any]]
"""Where the row is, for errors, and its values by column."""

Choose = Callable[[Collection[str], str], Sequence[str]]
"""Given all column names and where they stand: those that are needed, or MissingColumn."""

_PARQUET_ROWS = 64
_PARQUET_BUFFER = 2**20
_BOM = b"\xef\xbb\xbf"


def rows_of(source: PathLike, choose: Choose, split: str | None) -> Iterator[Row]:
    """The rows of `source`, in order; reading starts with the first one asked for.

    Raises:
        BadOption: a file of another kind, or a split that is not there or not to be chosen.
        Unreadable: the file cannot be opened. TooLarge: a line of more than 16 MiB.
        BadText: not UTF-8. BadJson: a line that is not JSON. BadCorpus: any other malformed row.
        MissingColumn: from `choose`, where the columns are known before the first row.
        UnknownCorpus: `datasets` finds no such folder or name. MissingExtra: no `datasets`.
    """
    kind = kind_of(source)
    if not kind:
        return _from_datasets(os.fspath(source), choose, split)
    if split is not None:
        raise BadOption("split", expected="none for a single file", found=split)
    return _READERS[kind](os.fspath(source), choose)


def kind_of(source: PathLike) -> str:
    """The ending that says how the file is read, or "" for a folder or a dataset's name.

    Raises:
        BadOption: a file with another ending.
    """
    ending = os.path.splitext(source)[1].lower()
    if os.path.isdir(source):
        return ""
    if ending in _READERS:
        return ending
    if os.path.exists(source):
        expected = f"a folder, or a file ending with {', '.join(_READERS)}"
        raise BadOption(source, expected=expected, found=ending or "no ending")
    return ""


# --- files of lines ---------------------------------------------------------------------------


def _lines(path: str) -> Iterator[tuple[str, bytes]]:
    """Where each line is, counted from 1, and its bytes with their end; no byte-order mark."""
    with opened(path) as handle:
        number = 0
        while True:
            number += 1
            where = f"{path}, line {number}"
            try:
                line = handle.readline(MAX_DOCUMENT_BYTES + 1)
            except OSError as error:
                raise Unreadable(path, expected="a readable file", found=reason(error)) from None
            if len(line) > MAX_DOCUMENT_BYTES:
                raise TooLarge(where, expected=f"at most {MAX_DOCUMENT_BYTES} bytes", found="more")
            if not line:
                return
            yield where, line.removeprefix(_BOM) if number == 1 else line


def _decoded(where: str, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line"
        raise BadText(where, expected="UTF-8", found=found) from None


def _from_text(path: str, _: Choose) -> Iterator[Row]:
    for where, line in _lines(path):
        text = _decoded(where, line).removesuffix("\n").removesuffix("\r")
        if text.strip():
            yield where, {"text": text}


def _from_json(path: str, _: Choose) -> Iterator[Row]:
    for where, line in _lines(path):
        if line.strip():
            row = strictjson.loads(line, where)
            if not isinstance(row, dict):
                raise BadCorpus(where, expected="an object", found=json.dumps(row))
            yield where, row


def _from_csv(path: str, choose: Choose, *, delimiter: str = ",") -> Iterator[Row]:
    lines = (_decoded(where, line) for where, line in _lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {reader.line_num + 1}"  # where the row begins
        try:
            with _long_cells():
                cells = next(reader, None)
        except csv.Error as error:
            raise BadCorpus(where, expected="CSV as of RFC 4180", found=error) from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = cells
            _check_distinct(header, where)
            choose(header, where)
        elif len(cells) != len(header):
            raise BadCorpus(where, expected=f"{len(header)} cells", found=len(cells))
        else:
            yield where, dict(zip(header, cells, strict=True))


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    # The limit is the csv module's own, for all readers; by itself it is 128 KiB.
    before = csv.field_size_limit(MAX_DOCUMENT_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_distinct(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadCorpus(where, expected="each column once", found=", ".join(map(repr, twice)))


# --- Parquet ----------------------------------------------------------------------------------


def _from_parquet(path: str, choose: Choose) -> Iterator[Row]:
    with opened(path) as handle:
        try:
            # A buffer for each column, so that a large row group is not read at once.
            file = pq.ParquetFile(handle, buffer_size=_PARQUET_BUFFER, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise BadCorpus(path, expected="a Parquet file", found=brief(error)) from None
        _check_distinct(file.schema_arrow.names, path)
        names = list(choose(file.schema_arrow.names, path))
        batches = file.iter_batches(_PARQUET_ROWS, columns=names, use_threads=False)
        number = 0
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                where = f"{path}, after row {number}"
                raise BadCorpus(where, expected="Parquet data", found=brief(error)) from None
            if batch is None:
                return
            columns = [batch.column(name) for name in names]
            for index in range(batch.num_rows):
                number += 1
                where = f"{path}, row {number}"
                yield where, dict(zip(names, _cells(columns, index, where), strict=True))


def _cells(columns: Sequence[Any], index: int, where: str) -> list[Any]:
    try:
        return [column[index].as_py() for column in columns]
    except UnicodeDecodeError:  # pyarrow believes a file that says it is UTF-8
        raise BadText(where, expected="UTF-8", found="other bytes") from None
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise BadCorpus(where, expected="values known to Python", found=brief(error)) from None


# --- folders and names ------------------------------------------------------------------------


def _from_datasets(source: str, choose: Choose, split: str | None) -> Iterator[Row]:
    dataset = _open_dataset(source, split)
    if dataset.column_names:  # unknown beforehand for folders of some kinds
        # Columns not asked for may hold images, which would be decoded.
        dataset = dataset.select_columns(list(choose(dataset.column_names, source)))
    rows = iter(dataset)
    number = 0
    try:
        while True:
            number += 1
            where = f"{source}, row {number}"
            try:
                with _silence():
                    row = next(rows, None)
            except Exception as error:  # whatever the files make the library raise
                raise BadCorpus(where, expected="a row", found=brief(error)) from None
            if row is None:
                return
            yield where, row
    finally:
        # The library leaves its files to the garbage collector; here that is now, and quiet.
        del rows, dataset
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def _open_dataset(source: str, split: str | None) -> Any:
    """One split, not yet read: a `Dataset` (mapped into memory) or an `IterableDataset`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import datasets  # noqa: PLC0415 - takes a second
        except ModuleNotFoundError as error:
            raise missing_extra(error) from None
        saved = ("dataset_dict.json", "state.json")  # of save_to_disk
        try:
            with _silence():
                if any(os.path.isfile(os.path.join(source, name)) for name in saved):
                    loaded: Any = datasets.load_from_disk(source)
                else:
                    loaded = datasets.load_dataset(source, streaming=True)
        except Exception as error:  # whatever the folder or the hub makes the library raise
            raise UnknownCorpus(
                source,
                expected="a folder of data files, or a dataset's name",
                found=brief(error),
                hint="Check the name, and the connection if it is a name on the hub.",
            ) from None
    if isinstance(loaded, dict):
        loaded = loaded[_chosen_split(list(map(str, loaded)), split)]
    elif split not in (None, str(loaded.split)):
        raise BadOption("split", expected="none: the dataset has one part", found=split)
    return loaded.with_format(None)


def _chosen_split(names: list[str], split: str | None) -> str:
    if split is None:
        split = names[0] if len(names) == 1 else "train"
    if split not in names:
        raise BadOption("split", expected=f"one of {', '.join(names)}", found=split)
    return split


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No logging and no bars of `datasets` and of the hub's client; both are for the process."""
    import datasets  # noqa: PLC0415
    import huggingface_hub.utils  # noqa: PLC0415

    libraries: list[Any] = [datasets, huggingface_hub.utils]
    bars = [library for library in libraries if not library.are_progress_bars_disabled()]
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.CRITICAL)
    for library in bars:
        library.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        for library in bars:
            library.enable_progress_bars()


_READERS: dict[str, Callable[[str, Choose], Iterator[Row]]] = {
    ".txt": _from_text,
    ".jsonl": _from_json,
    ".ndjson": _from_json,
    ".csv": _from_csv,
    ".tsv": partial(_from_csv, delimiter="\t"),
    ".parquet": _from_parquet,
}
