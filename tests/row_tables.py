"""Row tables in memory and on disk: of every token of some texts, or of the last of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.row_writer import RowWriter, TextRows


def table_of(texts: list[list[int]], groups: list[str] | None = None) -> RowTable:
    """A row for each token of each text."""
    text = np.repeat(np.arange(len(texts)), [len(t) for t in texts])
    index = np.concatenate([np.arange(len(t)) for t in texts])
    ids = np.concatenate(texts)
    return RowTable(
        text=text,
        group=tuple(None if groups is None else groups[i] for i in text),
        token_index=index,
        token_id=ids,
        token=tuple(map(str, ids)),
        start=index * 4,
        end=index * 4 + 3,
        special=np.zeros(len(ids), bool),
        tokens=(None,) * len(ids),
        labels={},
    )


def last_rows(whole: RowTable) -> tuple[RowTable, NDArray[np.bool_]]:
    """The table of the last token of each text, as `--position last` leaves it."""
    last = np.append(whole.text[1:] != whole.text[:-1], True)
    group = tuple(g for g, keep in zip(whole.group, last, strict=True) if keep)
    token = tuple(t for t, keep in zip(whole.token, last, strict=True) if keep)
    names = ("text", "token_index", "token_id", "start", "end", "special")
    parts = {name: getattr(whole, name)[last] for name in names}
    tokens = (None,) * int(last.sum())
    return replace(whole, group=group, token=token, tokens=tokens, **parts), last


def write_table(path: Path, rows: RowTable) -> None:
    """Write a table as an extraction does; labels are of texts."""
    with path.open("wb") as handle, RowWriter(handle, tuple(rows.labels)) as writer:
        for span in rows.text_rows():
            first = span.start
            writer.add(
                TextRows(
                    text=int(rows.text[first]),
                    group=rows.group[first],
                    token_index=rows.token_index[span].tolist(),
                    token_id=rows.token_id[span].tolist(),
                    token=list(rows.token[span]),
                    span=list(zip(rows.start[span].tolist(), rows.end[span].tolist(), strict=True)),
                    special=rows.special[span].tolist(),
                    labels={name: int(column[first]) for name, column in rows.labels.items()},
                    tokens=rows.tokens[first],
                )
            )
