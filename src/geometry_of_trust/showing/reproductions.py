"""Reproductions as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geometry_of_trust.showing import verdicts
from geometry_of_trust.showing.text import as_json
from geometry_of_trust.terminal import escaped_line

if TYPE_CHECKING:
    from geometry_of_trust.verifying.reproduction import Reproduction


def reproduction(result: Reproduction) -> str:
    """What `reproduce` prints: what the document says, a line a link, the outcome last."""
    lines = [
        f"{link.name:<18} {'equal' if link.equal else 'DIFFERS':<8} {escaped_line(link.detail)}"
        for link in result.links
    ]
    if result.not_checked:
        lines += ["", f"taken as signed: {escaped_line('; '.join(result.not_checked))}"]
    said = verdicts.attestation(result.attestation)
    return "\n".join((said, "", *lines, "", escaped_line(result.line)))


def reproduction_json(result: Reproduction) -> str:
    """What `reproduce --json` prints."""
    return as_json(
        {
            "outcome": result.outcome,
            "detail": result.detail,
            "not_checked": list(result.not_checked),
            "links": [dict(vars(link)) for link in result.links],
            "attestation": verdicts.attestation_tree(result.attestation),
        }
    )
