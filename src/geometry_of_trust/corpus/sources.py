"""The rows of a corpus, one at a time, from wherever it is.

Text and JSON lines are read here, CSV and Parquet as all tables are; a folder or a name is left to
`datasets`. Memory depends on the longest row, never on the number of rows.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from geometry_of_trust.corpus import inspect_logs
from geometry_of_trust.documents import strictjson
from geometry_of_trust.errors import BadCorpus, BadOption, UnknownCorpus, brief
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.table_rows import (
    Choose,
    Row,
    csv_rows,
    decoded,
    lines,
    parquet_rows,
)


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


def _from_text(path: str, _: Choose) -> Iterator[Row]:
    for where, line in lines(path):
        text = decoded(where, line).removesuffix("\n").removesuffix("\r")
        if text.strip():
            yield where, {"text": text}


def _from_json(path: str, _: Choose) -> Iterator[Row]:
    for where, line in lines(path):
        if line.strip():
            row = strictjson.loads(line, where)
            if not isinstance(row, dict):
                raise BadCorpus(where, expected="an object", found=json.dumps(row))
            yield where, row


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
        with optional():
            import datasets  # noqa: PLC0415 - takes a second
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
    ".csv": partial(csv_rows, refused=BadCorpus),
    ".tsv": partial(csv_rows, refused=BadCorpus, delimiter="\t"),
    ".parquet": partial(parquet_rows, refused=BadCorpus),
    inspect_logs.ENDING: lambda path, _: inspect_logs.rows(path),
}
