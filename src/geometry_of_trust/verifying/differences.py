"""Where two runs differ, and by how much: arrays of float32, members signed, records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.attesting.assemble import recomputed
from geometry_of_trust.attesting.mismatches import first_apart
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.recorded_identity import RecordedIdentity
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import BadArray, GotError
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.mapped_arrays import settled
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.formats.row_writer import LABEL_PREFIX
from geometry_of_trust.probing.sources import Sources
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.terminal import escaped, quoted
from geometry_of_trust.verifying.model_files import files_apart


@dataclass(frozen=True)
class Distance:
    """How far two arrays of float32 are apart, in units in the last place (float32 steps).

    Attributes:
        differing: how many values differ. first: index of the first, or None.
        largest, median: of the distances of those that differ; 0 if none does.
    """

    differing: int
    first: tuple[int, ...] | None
    largest: int
    median: float

    def __str__(self) -> str:
        if not self.differing:
            return "no value differs"
        return (
            f"{self.differing} values differ, by up to {_units(self.largest)} "
            f"(median {self.median:g})"
        )


def _units(count: int) -> str:
    return f"{count} unit{'s'[: count != 1]} in the last place"


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> Distance:
    """Compare two arrays of equal shape; −0 and +0 are the same value.

    Raises:
        BadArray: their shapes differ.
    """
    if a.shape != b.shape:
        raise BadArray("distance", expected=f"an array of shape {a.shape}", found=f"{b.shape}")
    steps = np.abs(_ordinal(a) - _ordinal(b))
    apart = steps[steps > 0]
    if not apart.size:
        return Distance(0, None, 0, 0.0)
    first = tuple(int(i) for i in np.argwhere(steps)[0])
    return Distance(int(apart.size), first, int(apart.max()), float(np.median(apart)))


def _steps(a: float | np.float32, b: float | np.float32) -> int:
    """The distance of two float32 values."""
    return distance(np.array([a], np.float32), np.array([b], np.float32)).largest


def _ordinal(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in the order of the float32 values, one apart where these are neighbours."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def first_difference(name: str, ours: object, signed: object) -> str:
    """Where two trees first differ, and what stands there in both; as `first_apart`."""
    return _leaf(*first_apart(name, ours, signed))


def _leaf(name: str, ours: object, signed: object) -> str:
    if isinstance(ours, tuple | list) and isinstance(signed, tuple | list):
        return f"{name}: {len(signed)} entries signed, {len(ours)} found"
    if isinstance(ours, float) and isinstance(signed, float):
        return (
            f"{name}: signed {shortest_float32(signed)}, found {shortest_float32(ours)}, "
            f"{_units(_steps(ours, signed))} apart"
        )
    return f"{name}: signed {escaped(signed)}, found {escaped(ours)}"


def record_difference(record: Record, theirs: Record | None) -> str:
    """What differs in the extraction records of equal activations, as far as can be told.

    Args:
        record: of the run that was made again. theirs: the one signed, if it is there.
    """
    if theirs is not None:
        ours, signed = ({**one.measured(), "tokens": one.tokens} for one in (record, theirs))
        return first_difference("extraction record", ours, signed)
    options = "--position, --chars-column, --skip-special-tokens or --add-generation-prompt"
    cause = "the text's spelling"
    if record.corpus is not None:
        cause = f"labels, groups, names of their columns, {options}: give those of the signer"
    return (
        "extraction record: the activations are equal, so it is something that is not in them, "
        f"such as {cause}; with the signer's --record, or their --activations and the record "
        "beside them, it is named"
    )


def row_difference(ours: RowTable, signed: RowTable) -> str | None:
    """Where two row tables of as many rows first differ, in words: the row, and its column.

    Returns:
        None if no row differs, or there are not as many.
    """
    if len(ours) != len(signed):
        return None
    mine, theirs = _columns(ours), _columns(signed)
    for name in {**theirs, **mine}:
        if (name in mine) != (name in theirs):
            told = ("none", "one") if name in mine else ("one", "none")
            return f"row table, column {quoted(name)}: signed {told[0]}, found {told[1]}"
    apart = [
        (row, name) for name in theirs if (row := _first(mine[name], theirs[name])) is not None
    ]
    if not apart:
        return None
    row, name = min(apart, key=lambda place: place[0])
    told = _cell(theirs[name][row]), _cell(mine[name][row])
    return f"row table, row {row}, column {quoted(name)}: signed {told[0]}, found {told[1]}"


Column = NDArray[np.integer | np.bool_] | tuple[object, ...]


def _columns(table: RowTable) -> dict[str, Column]:
    """All columns by their names in the file, but the ids of texts, whose tokens are compared."""
    columns = {
        field.name: getattr(table, field.name)
        for field in fields(table)
        if field.name not in ("labels", "tokens")
    }
    columns |= {f"{LABEL_PREFIX}{name}": column for name, column in table.labels.items()}
    return {name: column for name, column in columns.items() if column is not None}


def _first(mine: Column, theirs: Column) -> int | None:
    if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
        rows = np.flatnonzero(mine != theirs)
        return int(rows[0]) if rows.size else None
    pairs = zip(mine, theirs, strict=True)
    return next((row for row, (a, b) in enumerate(pairs) if a != b), None)


def _cell(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value)


def files_named(theirs: Record | None, found: RecordedIdentity) -> str:
    """Which files of a model are not those signed, as far as can be told.

    Args:
        theirs: the signer's record, if it is there.
    """
    signed = None if theirs is None else theirs.identity
    if signed is not None:
        return ", ".join(files_apart(signed.files, found.files))
    return (
        "with the signer's --record, or their --activations and the record beside them, they "
        "are named"
    )


def activations_difference(
    attestation: Attestation, sources: Sources, original: PathLike | None, *, corpus: bool
) -> str:
    """Where the activations of two runs differ and by how much, as far as can be told.

    Raises:
        LegacyDocument: nothing is bound.
        MalformedInput and its kinds: the signer's activations cannot be read.
        BadArray: their shape is not the one that is bound.
    """
    ours, signed = sources.activations, attestation.bound().activations
    if len(ours.positions) != signed.positions:
        cause = (
            "another corpus, tokenizer, --position or --limit"
            if corpus
            else "another text or tokenizer"
        )
        return f"{len(ours.positions)} positions, {signed.positions} signed: {cause}"
    if ours.hidden_dim != signed.hidden_dim:
        return f"hidden dimension {ours.hidden_dim}, {signed.hidden_dim} signed: another model"
    if ours.precision != signed.precision:
        return f"precision {ours.precision}, {signed.precision} signed: other files of weights"
    if original is not None:
        return _located(ours, read_activations(original))
    try:
        again = recomputed(attestation, sources)
    except GotError as error:
        return f"readings cannot be compared: {error.what}"
    mine, theirs = flat(again.layer_readings), flat(attestation.layer_readings)
    if mine.shape != theirs.shape:
        return f"{mine.size} readings, {theirs.size} signed"
    return (
        f"of {len(attestation.confidence)} readings, {distance(mine, theirs)}; "
        "with the signer's --activations this names layer and position"
    )


def flat(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Readings one after the other: shape (n,), float32."""
    return np.array([value for row in rows for value in row], np.float32)


def _located(ours: Activations, theirs: Activations) -> str:
    mine, yours = settled(ours.values), settled(theirs.values)
    apart = distance(mine, yours)
    if apart.first is None:
        return f"all values equal those in {os.fspath(theirs.source)}: only zeros' signs differ"
    layer, position, index = apart.first
    first, other = mine[apart.first], yours[apart.first]
    return (
        f"layer {ours.layers[layer]}, position {position}, index {index}: {first!s} for {other!s} "
        f"signed, {_steps(first, other)} units in the last place; in all, {apart}"
    )
