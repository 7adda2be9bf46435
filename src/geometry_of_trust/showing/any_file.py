"""`got-cli show`: what is inside a file, as a person would want it.

What needs numpy is imported for the kinds that do: an attestation is shown without.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.documents.strictjson import loads, shortest_float32
from geometry_of_trust.errors import BadJson, LabelCount, MissingExtra, escaped
from geometry_of_trust.files import opened, read_bounded
from geometry_of_trust.showing import extractions, probes, verdicts
from geometry_of_trust.showing.text import table as columns
from geometry_of_trust.signing.attestation import parse_document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geometry_of_trust.formats.row_table import RowTable
    from geometry_of_trust.probing.probes import ProbeSet

TOKENS_SHOWN = 12
ROWS_SHOWN = 12
LAYERS_SHOWN = 64


def describe(path: Path) -> Iterator[str]:
    """The lines that `show` prints for a file of any kind that this package writes or reads.

    Raises:
        BadJson: none of the kinds. Other GotErrors: of that kind, but malformed.
    """
    with opened(path) as handle:
        start = handle.read(4)
    if start == b"GOTA":
        yield from _activations(path)
    elif start == b"GOTU":
        yield from _unembedding(path)
    elif start == b"PAR1":
        from geometry_of_trust.formats.row_table import read_rows

        yield from _row_table(read_rows(path))
    elif path.suffix in (".labels", ".txt"):
        yield from _labels(path)
    else:
        yield from _document(path)


def _activations(path: Path) -> Iterator[str]:
    import numpy as np

    from geometry_of_trust.formats.binary import read_activations

    held = read_activations(path)
    yield f"activations (.gotact), {path.stat().st_size} bytes"
    yield columns(
        [
            ("model", held.model_id),
            ("precision", held.precision),
            ("layers", ", ".join(map(str, held.layers))),
            ("positions", f"{len(held.positions)}"),
            ("hidden dimension", f"{held.hidden_dim}"),
            ("layout", held.layout),
        ]
    )
    for layer in held.layers[:LAYERS_SHOWN]:
        norms = np.linalg.norm(held.layer(layer), axis=1)
        yield (
            f"layer {layer}: norm of a state {np.median(norms):.4g} (median), "
            f"{norms.min():.4g} to {norms.max():.4g}"
        )
    yield from _record_lines(record_path(path))
    table, lacking = _table_beside(path)
    if table is not None:
        yield from _row_table(table)
    elif lacking:
        yield f"row table: not shown, {lacking}"


def _unembedding(path: Path) -> Iterator[str]:
    import numpy as np

    from geometry_of_trust.formats.binary import read_unembedding

    held = read_unembedding(path)
    yield f"unembedding (.gotue), {path.stat().st_size} bytes"
    squares = np.zeros(held.vocab_size)
    start = 0
    for block in held.blocks(4096):
        squares[start : start + len(block)] = np.einsum("ij,ij->i", block, block)
        start += len(block)
    norms = np.sqrt(squares)
    yield columns(
        [
            ("vocabulary", f"{held.vocab_size} tokens"),
            ("hidden dimension", f"{held.hidden_dim}"),
            (
                "norm of a row",
                f"{np.median(norms):.4g} (median), {norms.min():.4g} to {norms.max():.4g}",
            ),
            ("rows of zeros", f"{np.count_nonzero(norms == 0)}"),
        ]
    )


def _labels(path: Path) -> Iterator[str]:
    from geometry_of_trust.formats.labels import read_labels

    labels = read_labels(path)
    positive = int(labels.sum())
    yield f"labels: {len(labels)} positions, {positive} positive, {len(labels) - positive} negative"
    place = record_path(path)
    if not place.exists():
        yield f"no tokens to show: no {escaped(place.name)} beside the labels"
        return
    record = read_record(place)
    if record.corpus is not None:
        yield from _labelled_rows(path, record, labels)
        return
    tokens = record.tokens
    if len(tokens) != len(labels):
        raise LabelCount(path, expected=f"{len(tokens)} labels, one a token", found=len(labels))
    width = len(str(len(tokens)))
    for position, (label, token) in enumerate(zip(labels, tokens, strict=True)):
        mark = "  (special token)" if token.special else ""
        yield f"{position:>{width}}  {label}  {escaped(repr(token.text))}{mark}"


def _labelled_rows(path: Path, record: Record, labels: NDArray[np.int8]) -> Iterator[str]:
    """Each row of a corpus with its label, text, group and token."""
    table, lacking = _table_beside(path.with_suffix(".gotact"), record)
    if table is None:
        none = f"no {escaped(rows_path(path).name)} beside the labels"
        yield f"no rows to show: {lacking or none}"
        return
    if len(table) != len(labels):
        raise LabelCount(path, expected=f"{len(table)} labels, one a row", found=len(labels))
    for line, label in zip(_rows(table), labels, strict=True):
        yield line.replace("  ", f"  {label}  ", 1)


def _table_beside(activations: Path, record: Record | None = None) -> tuple[RowTable | None, str]:
    """The row table beside activations, or None; and what to install to see it, if anything."""
    from geometry_of_trust.formats.row_table import row_table

    try:
        return row_table(activations, record), ""
    except MissingExtra as missing:
        return None, f"{missing}"


def _rows(table: RowTable) -> Iterator[str]:
    width = len(str(len(table)))
    for row in range(len(table)):
        group = "" if table.group[row] is None else f", group {escaped(table.group[row])}"
        token = table.token[row]
        what = "mean" if token is None else f"token {table.token_index[row]} {token!r}"
        mark = "  (special token)" if table.special[row] else ""
        yield f"{row:>{width}}  text {table.text[row] + 1}{group}, {escaped(what)}{mark}"


def _row_table(table: RowTable) -> Iterator[str]:
    texts = len(table.text_rows())
    groups = len({group for group in table.group if group is not None})
    yield f"row table: {len(table)} rows of {texts} texts in {groups or 'no'} groups"
    for name, column in table.labels.items():
        yield f"labels {escaped(repr(name))}: {int(column.sum())} positive"
    yield from itertools.islice(_rows(table), ROWS_SHOWN)
    if len(table) > ROWS_SHOWN:
        yield f"and {len(table) - ROWS_SHOWN} more rows"


def _document(path: Path) -> Iterator[str]:
    data = read_bounded(path)
    tree = loads(data, path)
    if isinstance(tree, dict) and ({"signature", "verifying_key_hex"} & set(tree)):
        yield from _attestation(data, path)
    elif isinstance(tree, dict) and "probes" in tree:
        from geometry_of_trust.probing.probes import ProbeSet

        yield from _probe_set(ProbeSet.from_json(data, path))
    elif isinstance(tree, dict) and "tokens" in tree:
        yield from _record(read_record(path))
    else:
        raise BadJson(
            path,
            expected="activations, an unembedding, labels, a probe set, an attestation or a record",
            found="another JSON document",
        )


def _attestation(data: bytes, path: Path) -> Iterator[str]:
    document = parse_document(data, path, reformatted=True, wrapped=True)
    held = document.attestation
    yield "attestation: NOT VERIFIED by show; this is only what it says (see got-cli verify)"
    yield verdicts.attestation(held)
    if held.binding is None:
        yield "binding        none: nothing signed says what the readings were read from"
    if document.wrapped_key is not None:
        yield f"key beside it  {document.wrapped_key}"


def _probe_set(held: ProbeSet) -> Iterator[str]:
    import numpy as np

    yield f"probe set for layer {held.layer}, version {escaped(held.version)}"
    for probe in held.probes:
        norm = float(np.linalg.norm(probe.weights.astype(np.float64)))
        yield (
            f"probe {escaped(repr(probe.name))}: {probe.weights.size} weights of norm {norm:.4g}, "
            f"bias {shortest_float32(probe.bias)}, "
            f"Platt scale {shortest_float32(probe.platt_scale)}, "
            f"Platt shift {shortest_float32(probe.platt_shift)}, "
            f"reliable from p = {shortest_float32(probe.reliability_threshold)}"
        )
    rows = [
        ("corpus version", held.corpus_version),
        ("geometry", held.geometry_hash or "none: any inner product would be accepted"),
    ]
    if held.training is None:
        rows.append(("training", "not said: attest refuses this set"))
    else:
        rows += probes.training_rows(held.training)
    yield columns(rows)
    if held.training is not None:
        yield ""
        yield probes.cards(held.training)


def _record_lines(path: Path) -> Iterator[str]:
    if path.exists():
        yield from _record(read_record(path))


def _record(held: Record) -> Iterator[str]:
    yield "extraction record"
    yield columns(extractions.record_rows(held))
    if held.reproducible:
        yield (
            "An attestation of a reproducible run signs none of: place and revision of the model, "
            "blocks loaded, device, attention, libraries, what may differ, self-checks."
        )
    if held.corpus is not None:
        return
    shown = held.tokens[:TOKENS_SHOWN]
    more = len(held.tokens) - len(shown)
    text: list[Any] = [token.text for token in shown]
    yield f"tokens: {escaped(json.dumps(text, ensure_ascii=False), 2000)}" + (
        f" and {more} more" if more else ""
    )
