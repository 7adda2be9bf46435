"""Two activations files whose rows are the same tokens of the same texts, one for one."""

from __future__ import annotations

import numpy as np

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.errors import DimensionMismatch, NotPaired
from geometry_of_trust.formats.activations_file import ActivationsFile
from geometry_of_trust.formats.row_table import RowTable


def check_paired(old: ActivationsFile, new: ActivationsFile) -> None:
    """The rows of both are the same tokens of the same texts, as far as is told of both.

    Row tables tell token ids and places, extraction records the digest of the texts. Labels and
    groups may differ.

    Raises:
        NotPaired: they are not, or nothing tells of one of them.
        DimensionMismatch: the states are of different dimensions.
        RecordMismatch and others: as `ActivationsFile.own_record` and `rows`.
    """
    where, count = new.activations.source, len(old.activations.positions)
    if new.activations.hidden_dim != old.activations.hidden_dim:
        raise DimensionMismatch(
            where, expected=f"hidden dimension {old.activations.hidden_dim}, as the old states",
            found=new.activations.hidden_dim,
        )  # fmt: skip
    found = len(new.activations.positions)
    if found != count:
        raise NotPaired(where, expected=f"{count} rows, as of the old states", found=found)
    for file in (old, new):
        if file.record is not None:
            file.own_record(file.record.unembedding.sha256)
    if old.rows is not None and new.rows is not None:
        _check_tables(where, old.rows, new.rows)
    elif not (_one_text(old) and _one_text(new)):
        raise NotPaired(
            where, expected="a row table beside both files, or records of one text, which tell "
            "that their rows are of the same tokens", found="none beside one of them",
        )  # fmt: skip
    if old.record is not None and new.record is not None:
        _check_records(where, old.record, new.record)


def _one_text(file: ActivationsFile) -> bool:
    return file.record is not None and file.record.corpus is None


def _check_tables(where: str, ours: RowTable, theirs: RowTable) -> None:
    if len(ours) != len(theirs):
        raise NotPaired(where, expected=f"{len(ours)} rows in the table", found=len(theirs))
    for name in ("text", "token_id", "token_index"):
        column, other = getattr(ours, name), getattr(theirs, name)
        differ = np.flatnonzero(column != other)
        if len(differ):
            i = int(differ[0])
            raise NotPaired(
                f"{where}, row {i}", expected=f"{name} {column[i]}, as of the old states",
                found=other[i],
            )  # fmt: skip
    for i, (tokens, other_tokens) in enumerate(zip(ours.tokens, theirs.tokens, strict=True)):
        if None not in (tokens, other_tokens) and tokens != other_tokens:
            raise NotPaired(f"{where}, row {i}", expected="a text of the same tokens as of the old "
                            "states", found="others")  # fmt: skip


def _check_records(where: str, ours: Record, theirs: Record) -> None:
    if ours.prompt_sha256 != theirs.prompt_sha256:
        raise NotPaired(
            where, expected=f"texts of sha256 {ours.prompt_sha256}, as of the old states",
            found=theirs.prompt_sha256,
        )  # fmt: skip
    if [token.id for token in ours.tokens] != [token.id for token in theirs.tokens]:
        raise NotPaired(where, expected="the same tokens as of the old states", found="others")
