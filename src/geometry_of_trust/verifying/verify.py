"""Numbered checks of an attestation: bytes in, a verdict out that says what was not checked.

1 format · 2 structure · 3 signature · 4 binding · 5 files supplied · 6 readings recomputed.
The numbers are those of docs/verification.md and of the printed lines. Checking a document alone
imports no numpy; only step 6 needs it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.documents.schema import LAYOUT_MEMBERS, ByteLayout, write_members
from geometry_of_trust.errors import (
    BadSignature,
    DigestMismatch,
    GotError,
    LegacyDocument,
    WrongKeyKind,
)
from geometry_of_trust.files import FileBytes, PathLike, read_bounded
from geometry_of_trust.signing.attestation import (
    MEMBERS,
    Attestation,
    Document,
    check_binding,
    check_structure,
    parse_document,
)
from geometry_of_trust.signing.keys import PublicKey, load_public_key

RECORD = "extraction record"
LEGACY_HINT = "--allow-legacy accepts it, and says what no signature covers."
STEPS = ("format", "structure", "signature", "binding", "files", "readings")
Outcome = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Step:
    """One numbered check and how it ended."""

    number: int
    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What was checked, and passed. Only `verify` makes one; a refusal raises `Refused`.

    Attributes:
        attestation: what the document holds.
        steps: the six steps, in order.
        not_checked: what nobody looked at, in words; empty only for `VERIFIED` without more.
        unsigned: members that no signature covers (legacy documents only).
    """

    attestation: Attestation
    steps: tuple[Step, ...]
    not_checked: tuple[str, ...]
    unsigned: tuple[str, ...] = ()
    legacy: bool = False

    @property
    def complete(self) -> bool:
        """Every step ran, over everything the binding names."""
        return not self.not_checked and not self.legacy

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        if self.complete:
            return "VERIFIED"
        missing = f"not checked: {', '.join(self.not_checked)}"
        if not self.legacy:
            return f"VERIFIED, SIGNATURE AND BINDING ONLY: {missing}"
        covers = f"no signature covers {', '.join(self.unsigned)}; " if self.unsigned else ""
        return f"VERIFIED, LEGACY SIGNATURE ONLY: {covers}{missing}"


class Refused(GotError):
    """A verification that failed; `step` is the number, `__cause__` the error of that step."""

    def __init__(self, steps: tuple[Step, ...], cause: GotError) -> None:
        super().__init__(cause.where, expected=cause.expected, found=cause.found, hint=cause.hint)
        self.steps = steps
        self.step = steps[-1].number
        self.exit_code = cause.exit_code
        self.__cause__ = cause

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        return f"REFUSED at step {self.step}: {self}"


@dataclass
class _Run:
    """The steps so far; `step` runs one and turns its error into a refusal."""

    steps: list[Step] = field(default_factory=list)

    def step(self, check: Any, *arguments: Any) -> Any:
        number = len(self.steps) + 1
        try:
            detail, value = check(*arguments)
        except GotError as error:
            self.steps.append(Step(number, STEPS[number - 1], "failed", str(error)))
            raise Refused(tuple(self.steps), error) from error
        if detail is not None:
            self.steps.append(Step(number, STEPS[number - 1], "passed", detail))
        return value

    def skip(self, detail: str) -> None:
        number = len(self.steps) + 1
        self.steps.append(Step(number, STEPS[number - 1], "not run", detail))


def verify(
    attestation: PathLike | bytes,
    public_key: PathLike | PublicKey,
    *,
    activations: PathLike | None = None,
    unembedding: PathLike | None = None,
    probes: Sequence[PathLike] = (),
    allow_legacy: bool = False,
    allow_reformatted: bool = False,
    now: float | None = None,
) -> Verdict:
    """Check an attestation as far as what is supplied allows.

    Args:
        attestation: the file, or its bytes.
        public_key: the file, or a key already loaded.
        activations, unembedding, probes: the files that the binding digests; with all of them
            the readings are recomputed, bit for bit.
        allow_legacy: accept a document without binding, in the short byte layout, or in the
            reference's outer object.
        allow_reformatted: accept another spelling of the same JSON content.
        now: the clock in Unix seconds, for documents from the future.

    Returns:
        A verdict; it exists only when every step that ran has passed.

    Raises:
        Refused: a step failed. GotError: a file could not be read, or is no public key.
    """
    key = public_key if isinstance(public_key, PublicKey) else load_public_key(public_key)
    where = "attestation" if isinstance(attestation, bytes) else os.fspath(attestation)
    data = attestation if isinstance(attestation, bytes) else read_bounded(attestation)
    run = _Run()
    document = run.step(_step_format, data, where, allow_legacy, allow_reformatted)
    held: Attestation = document.attestation
    run.step(_step_structure, held, where, now)
    layout = run.step(_step_signature, document, key, where, allow_legacy)
    run.step(_step_binding, held, key, where, allow_legacy)
    if held.binding is None:
        return _legacy_verdict(run, document, layout, activations, where)
    missing, supplied = _supplied_files(run, held, activations, unembedding, tuple(probes))
    recomputable = activations is not None and unembedding is not None and bool(probes)
    if recomputable:
        run.step(_step_readings, held, supplied)
    else:
        run.skip(f"needs {', '.join(name for name in missing if name != RECORD)}")
        missing.append("readings")
    return Verdict(held, tuple(run.steps), (*missing, *held.not_made_here))


def _step_format(data: bytes, where: str, allow_legacy: bool, allow_reformatted: bool) -> Any:
    reformatted = allow_legacy or allow_reformatted  # the reference has spellings of its own
    document = parse_document(data, where, reformatted=reformatted, wrapped=allow_legacy)
    return f"{len(data)} bytes, schema version 1", document


def _step_structure(held: Attestation, where: str, now: float | None) -> Any:
    check_structure(held, where, now)
    count = sum(map(len, held.layer_readings))
    rows = len(held.layer_readings)
    readings = "1 reading" if count == 1 else f"{count} readings"
    return f"{readings} from {rows} probe set{'s'[: rows != 1]}; lengths and flags agree", None


def _step_signature(document: Document, key: PublicKey, where: str, allow_legacy: bool) -> Any:
    held: Attestation = document.attestation
    if document.wrapped_key not in (None, key.raw.hex()):
        raise WrongKeyKind(
            f"{where}.verifying_key_hex", expected=key.raw.hex(), found=document.wrapped_key
        )
    layouts: tuple[ByteLayout, ...] = ("full", "short") if held.binding is None else ("full",)
    for layout in layouts:
        try:
            key.verify(bytes.fromhex(held.signature), held.signed_bytes(layout))
        except BadSignature:
            continue
        if layout == "short" and not allow_legacy:
            raise LegacyDocument(
                where,
                expected="a signature over all members",
                found="one over members 1 to 13 only",
                hint=LEGACY_HINT,
            )
        return f"Ed25519 by key {key.key_id[:16]}…, {layout} layout", layout
    raise BadSignature(
        f"{where}.signature",
        expected=f"one by key {key.key_id[:16]}…",
        found="one that does not verify",
    )


def _step_binding(held: Attestation, key: PublicKey, where: str, allow_legacy: bool) -> Any:
    if held.binding is None:
        if allow_legacy:
            return None, None
        raise LegacyDocument(
            f"{where}.binding", expected="a binding", found="none", hint=LEGACY_HINT
        )
    check_binding(held, key, where)
    return "its digest is signed; model, geometry, probes, positions and key agree", None


def _supplied_files(
    run: _Run,
    held: Attestation,
    activations: PathLike | None,
    unembedding: PathLike | None,
    probes: tuple[PathLike, ...],
) -> tuple[list[str], dict[str, FileBytes]]:
    """Step 5; returns the names of what was not supplied, and by name what was, opened."""
    binding: Any = held.binding
    pairs: list[tuple[str, PathLike, str]] = []
    missing: list[str] = []
    for name, path in (("activations", activations), ("unembedding", unembedding)):
        if path is None:
            missing.append(name)
        else:
            pairs.append((name, path, binding[name]["sha256"]))
    if probes:
        pairs += [
            (f"probe set {i}", path, bound["sha256"])
            for i, (path, bound) in enumerate(zip(probes, binding["probe_sets"], strict=False))
        ]
    else:
        missing.append("probes")
    record = binding["extraction_record"]
    if record is not None:
        place = record_path(activations) if activations is not None else None
        if place is not None and place.exists():
            pairs.append((RECORD, place, record["sha256"]))
        else:
            missing.append(RECORD)
    absent = f"; not supplied: {', '.join(missing)}" if missing else ""
    if not pairs:
        run.skip(absent.removeprefix("; "))
        return missing, {}
    return missing, run.step(_step_files, pairs, probes, binding, absent)


def _step_files(
    pairs: list[tuple[str, PathLike, str]], probes: tuple[PathLike, ...], binding: Any, absent: str
) -> Any:
    if probes and len(probes) != len(binding["probe_sets"]):
        raise DigestMismatch(
            "--probes", expected=f"{len(binding['probe_sets'])} files", found=len(probes)
        )
    supplied: dict[str, FileBytes] = {}
    for name, path, expected in pairs:
        if name == RECORD:
            found = _record_digest(path, binding)
        else:
            supplied[name] = FileBytes.of(path)
            found = supplied[name].sha256
        if not hmac.compare_digest(found, expected):
            raise DigestMismatch(path, expected=f"{name} with sha256 {expected}", found=found)
    # What such a record says of where it ran no one signs, as it differs from place to place.
    record = binding.get("extraction_record")
    part = " (without its environment)" if record and record["mode"] == "reproducible" else ""
    names = [f"{name}{part if name == RECORD else ''}" for name, _, _ in pairs]
    return f"sha256 of {', '.join(names)}{absent}", supplied


def _record_digest(path: PathLike, binding: Any) -> str:
    """The digest of what a record says; of a reproducible run, all but where it ran."""
    # The room of extraction needs numpy, which a document-only check must not import.
    from geometry_of_trust.documents.extraction_record_reading import read_record  # noqa: PLC0415

    record = read_record(path)
    mode = binding["extraction_record"]["mode"]
    if record.mode != mode:
        raise DigestMismatch(path, expected=f"the record of a {mode} run", found=record.mode)
    return record.digest


def _step_readings(held: Attestation, supplied: dict[str, FileBytes]) -> Any:
    """Step 6, from the very bytes that step 5 digested."""
    # The rooms of step 6 need numpy, which a document-only check must not import.
    from geometry_of_trust.attesting.attest import check_readings  # noqa: PLC0415

    activations, unembedding, *probes = supplied.values()
    check_readings(held, activations=activations, unembedding=unembedding, probes=probes)
    return "recomputed from the files: equal, bit for bit", None


def _legacy_verdict(
    run: _Run, document: Document, layout: ByteLayout, activations: PathLike | None, where: str
) -> Verdict:
    """Steps 4 to 6 of a document without binding: only the activations can be compared."""
    held: Attestation = document.attestation
    run.skip("the document has none")
    missing = ["binding"]
    if activations is None:
        run.skip("not supplied: activations")
        missing.append("activations")
    else:
        pairs = [("activations", activations, held.input_hash)]
        run.step(_step_files, pairs, (), {}, "; nothing else is bound")
    run.skip("without a binding nothing says what they were read from")
    signed = {"signature", *(member.name for member in LAYOUT_MEMBERS[layout])}
    unsigned = [name for name in write_members(held.__dict__, MEMBERS) if name not in signed]
    if document.wrapped_key is not None:
        unsigned.append("verifying_key_hex")
    return Verdict(
        held,
        tuple(run.steps),
        (*missing, "unembedding", "probes", "readings", *held.not_made_here),
        tuple(unsigned),
        legacy=True,
    )
