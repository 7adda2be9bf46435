"""`got-cli show`: what is inside a file, as a person would want it.

What needs numpy is imported for the kinds that do: an attestation is shown without.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.documents.evaluations import labels_digest
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.interventions import FORMAT, read_intervention
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.documents.row_proofs import PROOF_FORMAT, read_row_proof
from geometry_of_trust.documents.strictjson import loads, shortest_float32
from geometry_of_trust.errors import BadJson, ForeignFile, LabelCount, MissingExtra
from geometry_of_trust.evidence.envelopes import is_envelope
from geometry_of_trust.files import FileBytes, PathLike, read_bounded
from geometry_of_trust.showing import (
    evidence,
    extractions,
    interventions,
    keyrings,
    probes,
    verdicts,
)
from geometry_of_trust.showing.text import table as columns
from geometry_of_trust.signing.attestation import parse_document
from geometry_of_trust.signing.keyrings import parse_keyring
from geometry_of_trust.terminal import bare_or_quoted, escaped, quoted, quoted_prose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geometry_of_trust.formats.row_table import RowTable
    from geometry_of_trust.probing.probes import ProbeSet

TOKENS_SHOWN = 12
ROWS_SHOWN = 12
PROBES_SHOWN = 8
LAYERS_SHOWN = 64


_CONVERT = "got-cli convert makes a .gotact or a .gotue of it."
_FOREIGN = (
    (re.compile(rb"\x93NUMPY"), "a NumPy array (.npy)", _CONVERT),
    (re.compile(rb".{7}\0\{", re.DOTALL), "a safetensors file", _CONVERT),
    (re.compile(rb"GGUF"), "a model (.gguf)", "got-cli extract --model takes it."),
    (re.compile(rb"PK\x03\x04"), "a zip archive, as of PyTorch (.pt) or NumPy (.npz)", ""),
    (re.compile(rb"\x80[\x02-\x05]"), "a Python pickle, as of PyTorch (.pt)", ""),
)  # fmt: skip
"""Files that people have beside ours: how they begin, what they are, and what to do with them."""


def describe(path: PathLike) -> Iterator[str]:
    """The lines that `show` prints for a file of any kind that this package writes or reads.

    Raises:
        Unreadable: the file cannot be opened.
        ForeignFile: one of the kinds that others write.
        BadJson: none of the kinds. Other GotErrors: of that kind, but malformed.
    """
    file = FileBytes.of(path)
    start = file.read(0, 16)
    for pattern, kind, hint in _FOREIGN:
        if pattern.match(start):
            raise ForeignFile(file, expected="a file of this program", found=kind, hint=hint)
    if start.startswith(b"GOTA"):
        yield from _activations(file)
    elif start.startswith(b"GOTU"):
        yield from _unembedding(file)
    elif start.startswith(b"GOTG"):
        yield from _checkpoint(file)
    elif start.startswith(b"PAR1"):
        yield from _parquet(file)
    elif Path(file).suffix in (".labels", ".txt"):
        yield from _labels(file)
    else:
        yield from _document(file)


def _activations(file: FileBytes) -> Iterator[str]:
    import numpy as np

    from geometry_of_trust.formats.activations_file import open_activations

    opened = open_activations(file)
    activations = opened.activations
    yield f"activations (.gotact), {len(file)} bytes"
    yield columns(
        [
            ("model", bare_or_quoted(activations.model_id)),
            ("precision", activations.precision),
            ("layers", ", ".join(map(str, activations.layers))),
            ("positions", f"{len(activations.positions)}"),
            ("hidden dimension", f"{activations.hidden_dim}"),
            ("layout", activations.layout),
        ]
    )
    for layer in activations.layers[:LAYERS_SHOWN]:
        norms = np.linalg.norm(activations.layer(layer), axis=1)
        yield (
            f"layer {layer}: norm of a state {np.median(norms):.4g} (median), "
            f"{norms.min():.4g} to {norms.max():.4g}"
        )
    if len(activations.layers) > LAYERS_SHOWN:
        yield f"and {len(activations.layers) - LAYERS_SHOWN} more layers"
    if opened.record is not None:
        yield from _record(opened.record)
    try:
        table = opened.rows
    except MissingExtra as missing:
        yield f"row table: not shown, {missing}"
        return
    if table is not None:
        yield from _row_table(table)


def _unembedding(file: FileBytes) -> Iterator[str]:
    import numpy as np

    from geometry_of_trust.formats.gotue import read_unembedding

    unembedding = read_unembedding(file)
    yield f"unembedding (.gotue), {len(file)} bytes"
    squares = np.zeros(unembedding.vocab_size)
    start = 0
    for block in unembedding.blocks(4096):
        squares[start : start + len(block)] = np.einsum("ij,ij->i", block, block)
        start += len(block)
    norms = np.sqrt(squares)
    yield columns(
        [
            ("vocabulary", f"{unembedding.vocab_size} tokens"),
            ("hidden dimension", f"{unembedding.hidden_dim}"),
            (
                "norm of a row",
                f"{np.median(norms):.4g} (median), {norms.min():.4g} to {norms.max():.4g}",
            ),
            ("rows of zeros", f"{np.count_nonzero(norms == 0)}"),
        ]
    )


def _checkpoint(file: FileBytes) -> Iterator[str]:
    from geometry_of_trust.geometry.checkpoints import open_checkpoint
    from geometry_of_trust.showing import drifts

    geometry = open_checkpoint(file).geometry
    yield f"geometry checkpoint (.gotgeo), {len(file)} bytes"
    yield drifts.geometry(geometry)
    yield "What was added to the diagonal, if anything, the file does not say."


def _labels(file: FileBytes) -> Iterator[str]:
    from geometry_of_trust.formats.labels import read_labels

    path, labels = Path(file), read_labels(file)
    positive = int(labels.sum())
    yield f"labels: {len(labels)} positions, {positive} positive, {len(labels) - positive} negative"
    yield f"sha256 in a bar or an evaluation: {labels_digest(labels.tobytes())}"
    place = record_path(path)
    if not os.path.lexists(place):
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
        mark = "(special token) " if token.special else ""
        yield f"{position:>{width}}  {label}  {mark}{quoted_prose(token.text)}"


def _labelled_rows(path: Path, record: Record, labels: NDArray[np.int8]) -> Iterator[str]:
    """Each row of a corpus with its label, text, group and token."""
    from geometry_of_trust.formats.row_table import read_own_rows

    place = rows_path(path)
    try:
        table = read_own_rows(place, record) if os.path.lexists(place) else None
    except MissingExtra as missing:
        yield f"rows: not shown, {missing}"
        return
    if table is None:
        yield f"no rows to show: no {escaped(place.name)} beside the labels"
        return
    if len(table) != len(labels):
        raise LabelCount(path, expected=f"{len(table)} labels, one a row", found=len(labels))
    for line, label in zip(_rows(table), labels, strict=True):
        yield line.replace("  ", f"  {label}  ", 1)


def _rows(table: RowTable) -> Iterator[str]:
    width = len(str(len(table)))
    for row in range(len(table)):
        name, token = table.group[row], table.token[row]
        group = "" if name is None else f", group {bare_or_quoted(name)}"
        mark = " (special)" if table.special[row] else ""
        what = (
            "mean" if token is None
            else f"token {table.token_index[row]}{mark} {quoted_prose(token)}"
        )  # fmt: skip
        turn = ""
        if table.turn is not None and table.turn[row] >= 0:
            said_by = "" if table.role is None else bare_or_quoted(table.role[row] or "")
            turn = f", message {table.turn[row] + 1} {said_by}"
        yield f"{row:>{width}}  text {table.text[row] + 1}, {what}{turn}{group}"


def _parquet(file: FileBytes) -> Iterator[str]:
    """Readings beside an attestation, or a row table."""
    from geometry_of_trust.formats.readings_file import open_readings, size_of_readings
    from geometry_of_trust.formats.row_table import read_rows

    size = size_of_readings(file)
    if size is None:
        yield from _row_table(read_rows(file))
        return
    rows, probes = size
    yield (
        f"readings: {rows} rows of {probes} probe{'s'[: probes != 1]}, whose names and signed root "
        "an attestation has"
    )
    done = 0
    with open_readings(file, rows, probes) as parts:
        for part in parts:
            for row in part.part(0, ROWS_SHOWN - done).arrays[0]:
                told = ", ".join(shortest_float32(float(raw)) for raw in row[:PROBES_SHOWN])
                yield f"row {done}: raw = {told}{', ...' if probes > PROBES_SHOWN else ''}"
                done += 1
            if done >= ROWS_SHOWN:
                break
    if rows > done:
        yield f"and {rows - done} more rows"


def _row_proof(file: FileBytes) -> Iterator[str]:
    proof = read_row_proof(file)
    yield f"proof of row {proof.row}, NOT VERIFIED by show (see got-cli verify --row)"
    for reading in proof.readings:
        flag = "unreliable: flagged" if reading.flagged else "reliable"
        flag = "OUTSIDE of what the probe was fitted on" if reading.outside else flag
        yield (
            f"p = {shortest_float32(reading.probability)} ({flag}), "
            f"raw = {shortest_float32(reading.raw)}: {quoted(reading.dimension)}"
        )
    yield f"path of {len(proof.path)} digests"


def _row_table(table: RowTable) -> Iterator[str]:
    texts = len(table.text_rows())
    groups = len({group for group in table.group if group is not None})
    yield f"row table: {len(table)} rows of {texts} texts in {groups or 'no'} groups"
    for name, column in table.labels.items():
        digest = labels_digest(column.tobytes())
        yield f"{int(column.sum())} positive, sha256 {digest}: labels {quoted(name)}"
    yield from itertools.islice(_rows(table), ROWS_SHOWN)
    if len(table) > ROWS_SHOWN:
        yield f"and {len(table) - ROWS_SHOWN} more rows"


def _document(path: FileBytes) -> Iterator[str]:
    data = read_bounded(path)
    tree = loads(data, path)
    if is_envelope(data):
        yield from evidence.evidence(data, path)
    elif isinstance(tree, dict) and "issued" in tree:
        yield keyrings.keyring(parse_keyring(data, path), verified=False)
    elif isinstance(tree, dict) and ({"signature", "verifying_key_hex"} & set(tree)):
        yield from _attestation(data, path)
    elif isinstance(tree, dict) and tree.get("format") == PROOF_FORMAT:
        yield from _row_proof(path)
    elif isinstance(tree, dict) and "probes" in tree:
        from geometry_of_trust.probing.probes import ProbeSet

        yield from _probe_set(ProbeSet.from_json(data, path))
    elif isinstance(tree, dict) and tree.get("format") == FORMAT:
        yield interventions.intervention(read_intervention(path)[0])
    elif isinstance(tree, dict) and "tokens" in tree:
        yield from _record(read_record(path))
    else:
        raise BadJson(
            path,
            expected="activations, an unembedding, labels, a probe set, an attestation, a keyring, "
            "a record, an intervention, the proof of a row, an envelope or a bundle",
            found="another JSON document",
        )


def _attestation(data: bytes, path: PathLike) -> Iterator[str]:
    document = parse_document(data, path, reformatted=True, wrapped=True)
    attestation = document.attestation
    yield "attestation: NOT VERIFIED by show; this is only what it says (see got-cli verify)"
    yield verdicts.attestation(attestation)
    if attestation.binding is None:
        yield "binding        none: nothing signed says what the readings were read from"
    if document.wrapped_key is not None:
        yield f"key beside it  {document.wrapped_key}"


def _probe_set(probe_set: ProbeSet) -> Iterator[str]:
    import numpy as np

    yield f"probe set for layer {probe_set.layer}, version {bare_or_quoted(probe_set.version)}"
    for probe in probe_set.probes:
        norm = float(np.linalg.norm(probe.weights.astype(np.float64)))
        yield (
            f"{probe.weights.size} weights of norm {norm:.4g}, "
            f"bias {shortest_float32(probe.bias)}, "
            f"Platt scale {shortest_float32(probe.platt_scale)}, "
            f"Platt shift {shortest_float32(probe.platt_shift)}, "
            f"reliable from p = {shortest_float32(probe.reliability_threshold)}: "
            f"probe {quoted(probe.name)}"
        )
    rows = [
        ("corpus version", bare_or_quoted(probe_set.corpus_version)),
        ("geometry", probe_set.geometry_hash or "none: any inner product would be accepted"),
    ]
    if probe_set.training is None:
        rows.append(("training", "not said: usable with --unknown-training alone"))
    else:
        rows += probes.training_rows(probe_set.training)
    yield columns(rows)
    if probe_set.training is not None:
        yield ""
        yield probes.cards(probe_set.training)


def _record(record: Record) -> Iterator[str]:
    yield "extraction record"
    yield columns(extractions.record_rows(record))
    if record.reproducible:
        yield (
            "An attestation of a reproducible run signs none of: place and revision of the model, "
            "blocks loaded, device, attention, libraries, what may differ, self-checks."
        )
    if record.corpus is not None:
        return
    shown = record.tokens[:TOKENS_SHOWN]
    more = len(record.tokens) - len(shown)
    text = ", ".join(quoted_prose(token.text) for token in shown)
    yield f"{len(record.tokens)} tokens: {text}{', ...' if more else ''}"
