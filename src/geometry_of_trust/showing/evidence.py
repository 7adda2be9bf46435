"""Envelopes and bundles as text: what is stated in them. Untrusted text is escaped."""

from __future__ import annotations

from collections.abc import Iterator

from geometry_of_trust.errors import ForeignFile
from geometry_of_trust.evidence.attested import PREDICATE_TYPE, parse_evidence
from geometry_of_trust.evidence.envelopes import read_envelope
from geometry_of_trust.evidence.reading import brief
from geometry_of_trust.evidence.statements import read_statement
from geometry_of_trust.evidence.transfer_statements import TRANSFER_TYPE, read_transfer
from geometry_of_trust.evidence.verification_results import SVR_TYPE, read_result
from geometry_of_trust.files import PathLike
from geometry_of_trust.showing import verdicts
from geometry_of_trust.showing.text import table
from geometry_of_trust.terminal import bare_or_quoted, quoted

_NOT_VERIFIED = "NOT VERIFIED by show; this is only what it says"


def evidence(data: bytes, path: PathLike) -> Iterator[str]:
    """What an envelope or a bundle holds, for a person.

    Raises:
        ForeignFile: a statement of another kind. Others: as `parse_evidence`.
    """
    envelope = read_envelope(data, path)
    inside = f"{path}, payload"
    kind = read_statement(envelope.payload, inside).get("predicateType")
    if kind == PREDICATE_TYPE:
        held = parse_evidence(data, path, reformatted=True)
        yield f"evidence of an attestation, in {held.kind}: {_NOT_VERIFIED} (see got-cli verify)"
        rows = [("signed by", bare_or_quoted(envelope.key_id)), ("SHA-256 of it", held.sha256)]
        yield table(rows)
        yield ""
        yield verdicts.attestation(held.attestation)
    elif kind == SVR_TYPE:
        result = read_result(envelope.payload, inside)
        yield f"verification result (in-toto SVR): {_NOT_VERIFIED}"
        rows = [
            ("attestation", bare_or_quoted(result.document)),
            *(("passed", quoted(name)) for name in result.properties),
            ("time stated", bare_or_quoted(result.created)),
            ("verifier", bare_or_quoted(result.verifier)),
            ("signed by", bare_or_quoted(envelope.key_id)),
        ]
        yield table(rows)
    elif kind == TRANSFER_TYPE:
        said = read_transfer(envelope.payload, inside)
        yield f"what was found of probes under other weights: {_NOT_VERIFIED}"
        rows = [
            ("activations", bare_or_quoted(said.states)),
            *(
                (quoted(word), f"layer {layer}, {quoted(name)}")
                for word, layer, name in said.verdicts
            ),
            ("time stated", verdicts.moment(said.timestamp)),
            ("signed by", bare_or_quoted(envelope.key_id)),
        ]
        yield table(rows)
    else:
        raise ForeignFile(
            path, expected=f"a statement of type {PREDICATE_TYPE}, {TRANSFER_TYPE} or {SVR_TYPE}",
            found=f"one of type {brief(kind)}",
            hint="Of a signature of a model, got-cli model --model-signature checks it.",
        )  # fmt: skip
