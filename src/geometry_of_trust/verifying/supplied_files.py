"""The files that an auditor has beside an attestation, and whether they are those bound (step 5).

The numbers beside the checks are those of docs/verification.md. Only a row table needs numpy.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
from dataclasses import dataclass

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import readings_path, record_path, rows_path
from geometry_of_trust.documents.row_proofs import RowProof, read_row_proof
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import (
    BadOption,
    ContentMismatch,
    DigestMismatch,
    RecordMismatch,
    Unreadable,
)
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import Binding, BoundCorpus, BoundModel, BoundRecord
from geometry_of_trust.verifying.model_files import NO_MODEL, SuppliedModel, check_model

RECORD = "extraction record"
REFERENCE = "geometry reference"
MODEL = "model"
ROWS = "row table"
LABELS = "labels"
BAR = "bar"
INTERVENTIONS = "interventions"
READINGS = "readings file"
MATRIX = "that the unembedding is the model's"

_IDENTITY = (
    ("manifest root", "manifest_root"),
    ("tensor root", "tensor_root"),
    ("the model's commit", "commit"),
    ("not covered of the model", "not_covered"),
)
"""What is bound of a model's identity, in words and by its attributes."""


@dataclass(frozen=True)
class SuppliedRow:
    """One row of readings that lie beside a document: its number, and the file of its proof."""

    number: int
    proof: PathLike


@dataclass(frozen=True)
class Supplied:
    """The files that an auditor has; None or empty for what is missing.

    Attributes:
        record: the extraction record; None: the one beside the activations, if there is one.
        rows: the row table, which is held against the record.
        geometry_reference: the checkpoint that drift was measured from.
        labels: those of every row, where they came from a file of their own.
        bar: what had to be reached. interventions: results of these.
        model: the model and what others signed of it.
        readings: those of every row, where they lie beside the document.
        row: what shows one row of them alone.
    """

    activations: PathLike | None = None
    unembedding: PathLike | None = None
    probes: tuple[PathLike, ...] = ()
    record: PathLike | None = None
    rows: PathLike | None = None
    geometry_reference: PathLike | None = None
    labels: PathLike | None = None
    bar: PathLike | None = None
    model: SuppliedModel = NO_MODEL
    readings: PathLike | None = None
    row: SuppliedRow | None = None
    interventions: tuple[PathLike, ...] = ()

    @property
    def nothing(self) -> bool:
        """There are none."""
        return self == Supplied()

    @property
    def row_alone(self) -> bool:
        """There is one row of readings, and nothing else."""
        return self.row is not None and dataclasses.replace(self, row=None).nothing

    def with_readings_beside(self, binding: Binding | None, document: PathLike) -> Supplied:
        """The same, with the file of readings that lies beside a document which binds some."""
        path = None if binding is None or binding.readings is None else readings_path(document)
        found = None if path is None else _beside(path)
        return self if found is None else dataclasses.replace(self, readings=found)

    @property
    def unbound(self) -> list[str]:
        """What a document without a binding says nothing of, and is here, in words."""
        each = (
            (RECORD, self.record),
            (ROWS, self.rows),
            (REFERENCE, self.geometry_reference),
            (LABELS, self.labels),
            (BAR, self.bar),
            (INTERVENTIONS, self.interventions or None),
            (READINGS, self.readings),
            ("row", self.row),
            ("model", self.model.model),
            ("signature of the model", self.model.signature),
        )
        return [name for name, path in each if path is not None]

    def opened(self, binding: Binding | None) -> Supplied:
        """The same files, each opened once: what is digested here is what is parsed later.

        A record beside the activations is one of them from then on, where one is bound; so is a
        broken link of its name.

        Raises:
            Unreadable, FileChanged: one cannot be opened.
        """
        activations, unembedding, record, rows, reference, bar, readings = (
            None if path is None else FileBytes.of(path)
            for path in (
                self.activations, self.unembedding, self.record, self.rows,
                self.geometry_reference, self.bar, self.readings,
            )
        )  # fmt: skip
        bound = None if binding is None else binding.extraction_record
        if record is None and activations is not None and bound is not None:
            record = _beside(record_path(activations))
        needed = binding is not None and needs_rows(binding)
        if rows is None and activations is not None and record is not None and needed:
            rows = _beside(rows_path(activations))
        probes = tuple(FileBytes.of(path) for path in self.probes)
        files = (activations, unembedding, probes, record, rows, reference)
        results = tuple(FileBytes.of(path) for path in self.interventions)
        return Supplied(*files, self.labels, bar, self.model, readings, self.row, results)

    def missing(self, binding: Binding) -> list[str]:
        """What is bound and not here, in words."""
        evaluated = binding.evaluation
        return [
            name
            for name, missing in (
                ("activations", self.activations is None),
                ("unembedding", self.unembedding is None),
                ("probes", not self.probes),
                (RECORD, binding.extraction_record is not None and self.record is None),
                (
                    REFERENCE,
                    binding.geometry_reference is not None and self.geometry_reference is None,
                ),
                (ROWS, needs_rows(binding) and self.rows is None),
                (READINGS, binding.readings is not None and self.readings is None),
                (LABELS, evaluated is not None and evaluated.from_file and self.labels is None),
                (BAR, evaluated is not None and evaluated.bar is not None and self.bar is None),
                (
                    INTERVENTIONS,
                    len({FileBytes.of(path).sha256 for path in self.interventions})
                    < len(binding.interventions),
                ),
                (MODEL, binding.model is not None and self.model.model is None),
            )
            if missing
        ]


def check_row(binding: Binding, row: SuppliedRow) -> RowProof:
    """One row of the readings beside a document is under the root that is bound.

    Raises:
        ContentMismatch: the readings are in the document, or the proof is of another row or of
            other probes. BadOption: there is no such row. DigestMismatch: it is another row, or
            not where the proof says. Unreadable: there is no proof. Others: as `read_row_proof`.
    """
    bound = binding.readings
    if bound is None:
        raise ContentMismatch(
            "--row", expected="none, as all readings are in the document", found=row.number
        )
    if not 0 <= row.number < bound.rows:
        raise BadOption("--row", expected=f"a row from 0 to {bound.rows - 1}", found=row.number)
    if not os.path.lexists(row.proof):
        raise Unreadable(row.proof, expected="the proof of the row", found="no such file",
                         hint="Who has the readings makes it: got-cli prove.")  # fmt: skip
    proof = read_row_proof(row.proof)
    # 5.23 A proof is of the row asked for and of the probes that are bound, and its path leads
    # from that row to the root that is bound.
    names = [reading.dimension for reading in proof.readings]
    for name, signed, found in (
        ("row", row.number, proof.row),
        ("dimensions", binding.dimensions, names),
    ):
        if signed != found:
            raise ContentMismatch(f"{row.proof}, {name}", expected=signed, found=found)
    if (root := proof.root(bound.rows)) != bound.root:
        raise DigestMismatch(
            row.proof, expected=f"a row under the signed root {bound.root}",
            found="none that can be" if root is None else root,
        )  # fmt: skip
    return proof


def needs_rows(binding: Binding) -> bool:
    """Whether what is bound follows from a row table: groups of an evaluation, or texts."""
    texts = any(bound.reads_texts for bound in binding.probe_sets)
    return binding.corpus is not None and (binding.evaluation is not None or texts)


def _beside(path: PathLike) -> FileBytes | None:
    return FileBytes.of(path) if os.path.lexists(path) else None


def check_files(binding: Binding, supplied: Supplied) -> list[str]:
    """All that is supplied is what is bound; returns what that was, in words.

    Raises:
        DigestMismatch: a file is another one, or there are other than as many probe sets.
        RecordMismatch: the extraction record is that of another run, or the row table not the one
            that it names.
        OtherModel: the model is another one, or not the one that others signed.
        MalformedInput and its kinds: a file cannot be read.
        NotOurSpelling, LimitExceeded: of the extraction record, as `read_record`.
        BadOption: a row table without the record that it is held against.
        MissingExtra: it cannot be read with the libraries that are installed.
    """
    # 5.1 There are as many probe sets as are bound.
    probes, sets = supplied.probes, binding.probe_sets
    if probes and len(probes) != len(sets):
        raise DigestMismatch("--probes", expected=f"{len(sets)} files", found=len(probes))
    # 5.2 Each file has the digest that is bound.
    checked = []
    for name, path, bound in (
        ("activations", supplied.activations, binding.activations.sha256),
        ("unembedding", supplied.unembedding, binding.unembedding.sha256),
        *(
            (f"probe set {i}", path, entry.sha256)
            for i, (path, entry) in enumerate(zip(probes, sets, strict=False))
        ),
    ):
        if path is not None:
            check_digest(name, path, bound)
            checked.append(name)
    record = None
    if supplied.record is not None:
        # 5.3 The record is of the mode and has the digest that are bound.
        record = _bound_record(binding.extraction_record, supplied.record)
        _check_run(binding, record, supplied.record)
        # What such a record says of where it ran no one signs, as it differs from place to place.
        unsigned = " (without its environment)" if record.mode == "reproducible" else ""
        checked.append(f"{RECORD}{unsigned}")
    if supplied.rows is not None:
        # 5.4 The row table is the one that this record names.
        _check_rows(supplied.rows, record)
        checked.append(ROWS)
    if supplied.geometry_reference is not None:
        # 5.12 The geometry reference is the one that is bound.
        if binding.geometry_reference is None:
            raise DigestMismatch(
                supplied.geometry_reference, expected=f"no {REFERENCE}, as none is bound",
                found="one",
            )  # fmt: skip
        check_digest(REFERENCE, supplied.geometry_reference, binding.geometry_reference)
        checked.append(REFERENCE)
    if supplied.model != NO_MODEL:
        checked.append(check_model(binding.model, supplied.model, record))
    return checked


def check_unbound_files(attestation: Attestation, supplied: Supplied) -> str:
    """The same of a document without a binding; returns what was digested, in words.

    Raises:
        DigestMismatch: the activations are others than those signed.
        RecordMismatch: the extraction record is of others, or of another model or precision; or the
            row table is not the one that it names.
        MalformedInput and its kinds, NotOurSpelling, LimitExceeded, BadOption, MissingExtra: as
            `check_files`.
    """
    # 5.10 Without a binding: the activations are those signed, and the record is theirs.
    if supplied.activations is not None:
        check_digest("activations", supplied.activations, attestation.input_hash)
    record = None
    if supplied.record is not None:
        record = read_record(supplied.record)
        for name, signed, found in (
            ("activations", attestation.input_hash, record.activations.sha256),
            ("model", attestation.named_model, attestation.named_model and record.model_id),
            ("precision", attestation.precision, record.precision),
        ):
            _hold_run(supplied.record, name, signed, found)
    if supplied.rows is not None:
        _check_rows(supplied.rows, record)
    return "" if supplied.activations is None else "sha256 of activations, "


def check_digest(name: str, path: PathLike, bound: str) -> None:
    """A file has this SHA-256.

    Raises:
        DigestMismatch: it has another one. Unreadable, FileChanged: it cannot be read.
    """
    found = FileBytes.of(path).sha256
    if not hmac.compare_digest(found, bound):
        raise DigestMismatch(path, expected=f"{name} with sha256 {bound}", found=found)


def _check_run(binding: Binding, record: Record, path: PathLike) -> None:
    """An extraction record is that of the run that gave the activations and the unembedding.

    Raises:
        RecordMismatch: it is that of another one.
    """
    activations, bound = binding.activations, binding.extraction_record
    recorded, corpus = BoundModel.of(record), record.corpus
    # 5.5 The record is of the files that are bound, and says of them what is bound.
    for name, signed, found in (
        ("activations", activations.sha256, record.activations.sha256),
        ("unembedding", binding.unembedding.sha256, record.unembedding.sha256),
        ("model", activations.model_id, record.model_id),
        ("precision", activations.precision, record.precision),
        ("layers", activations.layers, record.layers),
        ("positions", activations.positions, record.positions),
        ("arithmetic", bound and bound.arithmetic, record.arithmetic),
        ("bidirectional", bound and bound.bidirectional, record.bidirectional),
        ("stored", bound and bound.stored, record.stored),
        ("adapter", bound and bound.adapter, record.adapter and record.adapter.sha256),
        ("stream", bound and bound.stream, record.stream),
        ("tokens", bound and bound.tokens, ALL if corpus is None else corpus.tokens),
        ("date", bound and bound.date, corpus and corpus.date),
        # 5.17 The record is of the corpus that is bound, where every row was read.
        ("corpus", binding.corpus, BoundCorpus.of(record) if binding.reads_every_row else None),
        # 5.13 The record says of the model what is bound.
        *(
            (label, getattr(binding.model, name, None), getattr(recorded, name, None))
            for label, name in _IDENTITY
        ),
    ):
        _hold_run(path, name, signed, found)


def _hold_run(path: PathLike, name: str, signed: object, found: object) -> None:
    if signed != found:
        raise RecordMismatch(
            f"{path}, {name}",
            expected=f"the record of a run with {signed}, as signed",
            found=found,
        )


def _bound_record(bound: BoundRecord | None, path: PathLike) -> Record:
    """The extraction record, once it is seen to be the one that is bound.

    Raises:
        DigestMismatch: it is another one, or none is bound.
        MalformedInput and its kinds, NotOurSpelling, LimitExceeded: as `read_record`.
    """
    record = read_record(path)
    if bound is None:
        raise DigestMismatch(path, expected=f"no {RECORD}, as none is bound", found="one")
    if record.mode != bound.mode:
        raise DigestMismatch(path, expected=f"the record of a {bound.mode} run", found=record.mode)
    if not hmac.compare_digest(record.digest, bound.sha256):
        raise DigestMismatch(
            path, expected=f"{RECORD} with sha256 {bound.sha256}", found=record.digest
        )
    return record


def _check_rows(path: PathLike, record: Record | None) -> None:
    """A row table has the digest that a record, which is bound, says.

    Raises:
        BadOption: there is no such record. RecordMismatch: it has another one, or the record is
            of one text. Others: as `read_own_rows`.
    """
    if record is None:
        raise BadOption("--rows", expected=f"the {RECORD}, too, which has its digest",
                        found="none", hint="Give --record.")  # fmt: skip
    # Row tables need numpy and pyarrow, which a check without one must not import.
    from geometry_of_trust.formats.row_table import read_own_rows  # noqa: PLC0415

    if read_own_rows(path, record) is None:
        raise RecordMismatch(path, expected="no row table, as the run was of one text", found="one")
