"""Histories of attestations as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

from geometry_of_trust.showing.text import as_json
from geometry_of_trust.showing.verdicts import moment
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.terminal import bare_or_quoted, escaped, escaped_line
from geometry_of_trust.verifying.history import NOT_PROVED, History, HistoryLink, HistoryRefused


def _lines(links: tuple[HistoryLink, ...]) -> list[str]:
    return [
        f"{link.attestation.sequence_number}  {moment(link.attestation.timestamp)}  "
        f"{link.digest[:16]}…  by {escaped_line(link.signer)}  "
        f"model {_model(link.attestation)}  {escaped(link.path)}"
        for link in links
    ]


def _model(attestation: Attestation) -> str:
    """Its name, and its manifest root if that is signed: two models may have one name."""
    root = attestation.model_hash
    return bare_or_quoted(attestation.model_id) + (f" {root[:16]}…" if root else "")


def _trees(links: tuple[HistoryLink, ...]) -> list[dict[str, object]]:
    return [
        {
            "path": link.path,
            "sequence_number": link.attestation.sequence_number,
            "digest": link.digest,
            "parent_attestation_hash": link.attestation.parent_attestation_hash,
            "timestamp": link.attestation.timestamp,
            "model_id": link.attestation.model_id,
            "model_hash": link.attestation.model_hash,
            "signer": link.signer,
        }
        for link in links
    ]


def history(result: History) -> str:
    """A history: a line a document, the verdict last."""
    return "\n".join((*_lines(result.links), "", escaped_line(result.line)))


def history_json(result: History) -> str:
    """`verify --chain --json`, verified."""
    return as_json(
        {
            "verified": True,
            "verdict": result.line,
            "legacy": result.legacy,
            "not_proved": NOT_PROVED,
            "documents": _trees(result.links),
        }
    )


def refusal(refused: HistoryRefused) -> str:
    """A refusal: a line a document before the one at fault."""
    return "\n".join((*_lines(refused.links), "", escaped_line(refused.line)))


def refusal_json(refused: HistoryRefused) -> str:
    """`verify --chain --json`, refused."""
    return as_json(
        {
            "verified": False,
            "verdict": refused.line,
            "error": type(refused.cause).__name__,
            "where": refused.where,
            "expected": refused.expected,
            "found": refused.found,
            "hint": refused.hint,
            "documents": _trees(refused.links),
        }
    )
