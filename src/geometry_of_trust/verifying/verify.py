"""Numbered checks of an attestation: bytes in, a verdict out that says what was not checked.

1 format · 2 structure · 3 signature · 4 binding · 5 files supplied · 6 readings recomputed.
The numbers are those of docs/verification.md and of the printed lines; those of single checks
stand beside them, here and in the functions that the steps call. Checking a document alone imports
no numpy; only step 6 needs it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geometry_of_trust.attesting.interventions import check_interventions
from geometry_of_trust.documents.names_beside import row_proof_path
from geometry_of_trust.documents.row_proofs import RowProof
from geometry_of_trust.documents.schema import write_members
from geometry_of_trust.errors import (
    BadOption,
    BadSignature,
    LegacyDocument,
    MissingExtra,
    WrongKeyKind,
)
from geometry_of_trust.evidence.attested import Evidence, parse_evidence
from geometry_of_trust.evidence.envelopes import is_envelope
from geometry_of_trust.files import PathLike, read_bounded
from geometry_of_trust.signing.attestation import (
    LEGACY_HINT,
    MEMBERS,
    Attestation,
    Document,
    parse_document,
)
from geometry_of_trust.signing.binding import Binding
from geometry_of_trust.signing.checks import check_binding, check_no_binding, check_structure
from geometry_of_trust.signing.keys import PublicKey
from geometry_of_trust.signing.signed_bytes import LAYOUT_MEMBERS, ByteLayout
from geometry_of_trust.verifying.model_files import SuppliedModel
from geometry_of_trust.verifying.remarks import (
    both_ways,
    counted,
    evaluated,
    intervened,
    off_range,
    unknown_training,
)
from geometry_of_trust.verifying.supplied_files import (
    LABELS,
    MATRIX,
    READINGS,
    RECORD,
    ROWS,
    Supplied,
    SuppliedRow,
    check_files,
    check_row,
    check_unbound_files,
)
from geometry_of_trust.verifying.trusted_keys import Trust, TrustedKeys
from geometry_of_trust.verifying.verdict import MADE_AGAIN, NEEDED, Run, Verdict

if TYPE_CHECKING:
    from geometry_of_trust.verifying.file_contents import Contents


def verify(
    attestation: PathLike | bytes,
    public_key: Trust,
    *,
    evidence: PathLike | None = None,
    activations: PathLike | None = None,
    unembedding: PathLike | None = None,
    probes: Sequence[PathLike] = (),
    record: PathLike | None = None,
    rows: PathLike | None = None,
    geometry_reference: PathLike | None = None,
    labels: PathLike | None = None,
    bar: PathLike | None = None,
    interventions: Sequence[PathLike] = (),
    model: PathLike | None = None,
    adapter: PathLike | None = None,
    model_signature: PathLike | None = None,
    model_key: PathLike | None = None,
    readings: PathLike | None = None,
    row: int | None = None,
    proof: PathLike | None = None,
    allow_legacy: bool = False,
    allow_reformatted: bool = False,
    now: float | None = None,
    alone: bool = False,
) -> Verdict:
    """Check an attestation as far as what is supplied allows.

    Args:
        attestation: the file, or its bytes; or evidence of it (an envelope or a bundle), which is
            checked as well.
        public_key: the file, or a key already loaded; several, of which one must have signed;
            or a keyring (`load_keyring`).
        evidence: an envelope or a bundle, which must be evidence of this very attestation.
        activations, unembedding, probes: the files that the binding digests; with all of them
            the readings are recomputed.
        record: the extraction record; None: the one beside the activations, if there is one.
        rows: the row table of a corpus, which is held against the record; where an evaluation is
            bound None stands for the one beside the activations.
        geometry_reference: the checkpoint that drift was measured from; with the other files the
            drift is measured again.
        labels: those of every row that an evaluation was made with, if they came from a file of
            their own; else they are in the row table. It is then made again.
        bar: the file of what had to be reached.
        interventions: results of `intervene`, which must be those that are bound.
        model: the model that was signed, as of `locate`; all of it is digested.
        adapter: the folder of the adapter that was in it.
        model_signature, model_key: what others signed of the model, as of `SuppliedModel`.
        readings: those of every row, where they lie beside the document; None: the file of that
            name beside it (`readings_path`), if there is one and no row is asked for.
        row: check this row of them with the path to the root alone, without the others.
        proof: the file of that; None: the one of that name beside the document (`row_proof_path`).
        allow_legacy: accept what lacks a binding or is signed in the short layout, as the
            reference makes it. Nothing else is relaxed.
        allow_reformatted: accept other spellings of the same content.
        now: the clock, in Unix seconds; default the real one.
        alone: look at nothing that lies beside the document.

    Returns:
        A verdict, which exists only when every step that ran has passed.

    Raises:
        Refused: a step failed; its `cause` says how.
        Unreadable, TooLarge: the attestation, the evidence or the key cannot be read.
        BadKey, WrongKeyKind, LowOrderKey: the key is no public key, or one to distrust.
        BadOption: a proof without the number of its row, or a row of a document without a file.
    """
    trusted = TrustedKeys.of(public_key)
    where = "attestation" if isinstance(attestation, bytes) else os.fspath(attestation)
    data = attestation if isinstance(attestation, bytes) else read_bounded(attestation)
    files = (activations, unembedding, tuple(probes), record, rows, geometry_reference)
    one = _supplied_row(attestation, row, proof)
    supplied = Supplied(
        *files, labels, bar, SuppliedModel(model, adapter, model_signature, model_key), readings,
        one, tuple(interventions),
    )  # fmt: skip
    beside = None if evidence is None else (read_bounded(evidence), evidence)
    run = Run()
    with run.step(1) as passed:
        document, data, held = _opened(
            (data, where), beside, reformatted=allow_reformatted, wrapped=allow_legacy
        )
        passed(f"{len(data)} bytes, schema version 1{_of_each(held, 'says the same')}")
    claimed = document.attestation
    with run.step(2) as passed:
        check_structure(claimed, where, now)
        passed(counted(claimed))
    with run.step(3) as passed:
        layout, key = _check_signature(document, trusted, where, allow_legacy=allow_legacy)
        for envelope in held:
            envelope.check_signed_by(key)
        # 3.4 By the keyring, if that is given, the key was valid at the time that is stated.
        by = trusted.described(key, claimed.timestamp, where)
        passed(f"Ed25519 by {by}, {layout} layout{_of_each(held, 'is signed by it, too')}")
    with run.step(4) as passed:
        if claimed.binding is None:
            check_no_binding(claimed, layout, where)
        if claimed.binding is not None or not allow_legacy:
            check_binding(claimed, key, where)
            passed(
                "its digest is signed; model, geometry, probes, positions and key agree"
                f"{both_ways(claimed)}{unknown_training(claimed)}{off_range(claimed)}{evaluated(claimed)}"
                f"{intervened(claimed)}"
            )
    sha256 = hashlib.sha256(data).hexdigest()
    if claimed.binding is None:
        return _legacy_verdict(run, document, layout, key, supplied, sha256=sha256)
    if readings is None and row is None and not alone and not isinstance(attestation, bytes):
        supplied = supplied.with_readings_beside(claimed.binding, attestation)
    missing, contents, shown = _files_step(run, claimed, supplied)
    missing += _readings_step(run, claimed, contents, missing)
    return Verdict(
        claimed, tuple(run.steps), (*missing, *claimed.not_made_here), key, sha256, row=shown
    )


def _supplied_row(
    attestation: PathLike | bytes, row: int | None, proof: PathLike | None
) -> SuppliedRow | None:
    """The row that is asked for, with what proves it.

    Raises:
        BadOption: one of the two is missing, and does not follow from the other.
    """
    if row is None and proof is None:
        return None
    if row is None or (proof is None and isinstance(attestation, bytes)):
        name = "--row" if row is None else "--proof"
        raise BadOption(name, expected="--row with what proves it", found="none")
    if proof is None and not isinstance(attestation, bytes):
        proof = row_proof_path(attestation, row)
    return None if proof is None else SuppliedRow(row, proof)


def _opened(
    given: tuple[bytes, PathLike],
    beside: tuple[bytes, PathLike] | None,
    *,
    reformatted: bool,
    wrapped: bool,
) -> tuple[Document, bytes, list[Evidence]]:
    """Step 1; the document, its text, and what is evidence of it: what was given, or beside it."""
    data, where = given
    held = []
    if is_envelope(data):
        held.append(parse_evidence(data, where, reformatted=reformatted))
        document = Document(held[0].attestation)
        data = document.to_json()
    else:
        document = parse_document(data, where, reformatted=reformatted, wrapped=wrapped)
    if beside is not None:
        held.append(parse_evidence(*beside, reformatted=reformatted))
        held[-1].check_holds(document.attestation, where)
    return document, data, held


def _of_each(held: Sequence[Evidence], seen: str) -> str:
    """What was seen of evidence, in words."""
    return "".join(f"; {evidence.kind} {seen}" for evidence in held)


def _check_signature(
    document: Document, trusted: TrustedKeys, where: str, *, allow_legacy: bool
) -> tuple[ByteLayout, PublicKey]:
    """Step 3; the layout that was signed, and the key that signed it."""
    claimed = document.attestation
    # 3.1 The key in an outer object is one of those supplied.
    supplied = [key.raw.hex() for key in trusted.keys]
    if document.wrapped_key not in (None, *supplied):
        raise WrongKeyKind(
            f"{where}.verifying_key_hex", expected=" or ".join(supplied), found=document.wrapped_key
        )
    # 3.2 The signature is a key's over one of the layouts; with a binding only over all members.
    layouts: tuple[ByteLayout, ...] = ("full", "short") if claimed.binding is None else ("full",)
    candidates = trusted.candidates(claimed, where)
    for layout, key in itertools.product(layouts, candidates):
        try:
            key.verify(bytes.fromhex(claimed.signature), claimed.signed_bytes(layout))
        except BadSignature:
            continue
        # 3.3 The short layout, which leaves members unsigned, is allowed.
        if layout == "short" and not allow_legacy:
            raise LegacyDocument(
                where,
                expected="a signature over all members",
                found="one over members 1 to 13 only",
                hint=LEGACY_HINT,
            )
        return layout, key
    ids = " or ".join(f"{key.key_id[:16]}…" for key in candidates)
    raise BadSignature(
        f"{where}.signature",
        expected=f"one by key {ids}",
        found="one that does not verify",
    )


# --- steps 5 and 6 ----------------------------------------------------------------------------


def _files_step(
    run: Run, claimed: Attestation, supplied: Supplied
) -> tuple[list[str], Contents | None, RowProof | None]:
    """Step 5; the names of what was not supplied, and what was, parsed; and one row alone."""
    binding = claimed.bound()
    if supplied.nothing:
        missing = supplied.missing(binding)
        run.skip(5, f"not supplied: {', '.join(missing)}")
        return missing + _unevaluated(binding, missing), None, None
    with run.step(5) as passed:
        row = None if supplied.row is None else check_row(binding, supplied.row)
        if row is not None and supplied.row_alone:
            missing = supplied.missing(binding)
            passed(f"{_row_told(binding, row)}; not supplied: {', '.join(missing)}")
            return missing + _unevaluated(binding, missing), None, row
        supplied = supplied.opened(binding)
        missing = supplied.missing(binding)
        absent = f"; not supplied: {', '.join(missing)}" if missing else ""
        missing += _unevaluated(binding, missing)
        checked = check_files(binding, supplied)
        contents, more = _contents(claimed, supplied)
        # No one signs that a record names no tensor: then 5.14 has nothing to check, and says so.
        whole = supplied.unembedding is not None and supplied.record is not None
        if binding.model is not None and whole and not more:
            missing.append(MATRIX)
        more += _readings_file_checked(claimed, contents, missing)
        more += _evaluation_checked(claimed, contents, missing)
        more += _interventions_checked(claimed, supplied)
        more += "" if row is None else f"; {_row_told(binding, row)}"
        if named := contents.by_name(binding):
            more += f"; of the model by its NAME alone, as no weights are named: {named}"
        digests = f"sha256 of {', '.join(checked)}" if checked else ""
        passed(f"{digests}{more}{absent}".removeprefix("; "))
    return missing, contents, row


def _row_told(binding: Binding, row: RowProof) -> str:
    """What was seen of one row alone, in words."""
    rows = 0 if binding.readings is None else binding.readings.rows
    return (
        f"row {row.row} of {rows} is under the signed root, by a path of {len(row.path)}; "
        f"the other {rows - 1} were not looked at"
    )


def _unevaluated(binding: Binding, missing: Sequence[str]) -> list[str]:
    """The evaluation that is bound, where what it follows from is not supplied."""
    lacks = any(name in missing for name in (ROWS, LABELS, READINGS))
    return [MADE_AGAIN] if binding.evaluation is not None and lacks else []


def _contents(claimed: Attestation, supplied: Supplied) -> tuple[Contents, str]:
    """What the files hold, once it is seen to be as signed; and what else was seen, in words."""
    # What reads files needs numpy, which a document-only check must not import.
    from geometry_of_trust.verifying.file_contents import (  # noqa: PLC0415
        Contents,
        check_contents,
    )

    contents = Contents.of(supplied)
    return contents, check_contents(claimed, contents)


def _readings_file_checked(claimed: Attestation, contents: Contents, missing: list[str]) -> str:
    """What was seen of readings beside the document; missing where a library for that is."""
    if contents.readings is None:
        return ""
    # What reads them needs numpy, which a document-only check must not import.
    from geometry_of_trust.attesting.row_files import check_readings_file  # noqa: PLC0415

    try:
        check_readings_file(claimed, contents.readings)
    except MissingExtra as error:
        missing.append(READINGS)
        return f"; the {READINGS} needs {error.where}"
    return "; all rows of readings are those under the signed root"


def _evaluation_checked(claimed: Attestation, contents: Contents, missing: list[str]) -> str:
    """What was seen of an evaluation; it is missing where libraries for that are."""
    from geometry_of_trust.verifying.file_contents import check_evaluated  # noqa: PLC0415

    try:
        return check_evaluated(claimed, contents)
    except MissingExtra as error:
        missing += [name for name in (MADE_AGAIN,) if name not in missing]
        return f"; the evaluation needs {error.where}"


def _interventions_checked(claimed: Attestation, supplied: Supplied) -> str:
    """What was seen of the results of interventions, in words."""
    if not supplied.interventions:
        return ""
    count = check_interventions(supplied.interventions, claimed.bound())
    total = len(claimed.bound().interventions)
    return f"; interventions: what is signed is what {count} of {total} results say"


def _readings_step(
    run: Run, claimed: Attestation, contents: Contents | None, missing: Sequence[str]
) -> list[str]:
    """Step 6; what was not checked of it."""
    sources = None if contents is None else contents.sources
    needed = [name for name in missing if name in NEEDED]
    texts = any(bound.reads_texts for bound in claimed.bound().probe_sets)
    needed += [name for name in missing if name in (ROWS, RECORD) and texts and _of_corpus(claimed)]
    if texts and contents is not None and contents.origins is not None and not needed:
        try:
            _ = contents.origins.texts
        except MissingExtra as error:
            needed.append(str(error.where))
    if contents is None or sources is None or needed:
        run.skip(6, f"needs {', '.join(needed)}")
        return ["readings"]
    # What step 6 calls needs numpy, which a document-only check must not import.
    from geometry_of_trust.attesting.attest import check_readings  # noqa: PLC0415

    with run.step(6) as passed:
        untold = check_readings(
            claimed, sources, contents.reference, contents.origins, contents.readings
        )
        passed("recomputed from the files: equal, bit for bit")
    return [name for name in untold if name not in missing]


def _of_corpus(claimed: Attestation) -> bool:
    return claimed.bound().corpus is not None


def _legacy_verdict(
    run: Run,
    document: Document,
    layout: ByteLayout,
    key: PublicKey,
    supplied: Supplied,
    *,
    sha256: str,
) -> Verdict:
    """Steps 4 to 6 of a document without binding, which has the digest of the activations alone.

    All else that is supplied is held against what is signed, and still counts as not checked.
    """
    claimed = document.attestation
    run.skip(4, "the document has none")
    missing = ["binding"]
    if supplied.activations is None:
        missing.append("activations")
    if supplied.nothing:
        run.skip(5, "not supplied: activations")
    else:
        with run.step(5) as passed:
            supplied = supplied.opened(None)
            digested = check_unbound_files(claimed, supplied)
            _contents(claimed, supplied)
            passed(f"{digested}model and precision; nothing else is bound")
    run.skip(6, "without a binding nothing says what they were read from")
    signed = {"signature", *(member.name for member in LAYOUT_MEMBERS[layout])}
    unsigned = [name for name in write_members(claimed, MEMBERS) if name not in signed]
    if document.wrapped_key is not None:
        unsigned.append("verifying_key_hex")
    return Verdict(
        claimed,
        tuple(run.steps),
        (*missing, "unembedding", "probes", *supplied.unbound, "readings", *claimed.not_made_here),
        key,
        sha256,
        tuple(unsigned),
        legacy=True,
    )
