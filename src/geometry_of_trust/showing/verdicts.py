"""Attestations and verdicts as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

import datetime
from typing import Any

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import escaped
from geometry_of_trust.showing.text import as_json, table
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.verifying.verify import Refused, Step, Verdict


def moment(timestamp: int) -> str:
    """Unix seconds as UTC, or as they are where the calendar ends."""
    try:
        at = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{timestamp} s after 1970"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


# --- attestations -----------------------------------------------------------------------------


def readings(held: Attestation) -> list[dict[str, Any]]:
    """One entry a reading: set, layer, position, dimension (where bound), raw, p, reliable."""
    bound_sets = held.binding["probe_sets"] if held.binding else ()
    flat = zip(held.confidence, held.coverage_flags, strict=False)
    entries = []
    for i, row in enumerate(held.layer_readings):
        bound = bound_sets[i] if i < len(bound_sets) else None
        for j, raw in enumerate(row):
            confidence, flagged = next(flat, (None, None))
            entry: dict[str, Any] = {"probe_set": i}
            if bound is not None and j < min(len(bound["dimensions"]), len(bound["verdicts"])):
                entry |= {
                    "layer": bound["layer"],
                    "position": bound["position"],
                    "position_index": bound["position_index"],
                    "dimension": bound["dimensions"][j],
                    "verdict": bound["verdicts"][j],
                }
            entries.append(entry | {"raw": raw, "probability": confidence, "flagged": flagged})
    return entries


def _reading_line(entry: dict[str, Any]) -> str:
    name = "probe (unbound)"
    if "dimension" in entry:
        index = entry["position_index"]
        exact = "" if index is None or entry["position"] == str(index) else f" ({index})"
        name = (
            f"{entry['dimension']!r} at layer {entry['layer']}, position {entry['position']}{exact}"
        )
    if entry.get("verdict") == "INSUFFICIENT":
        name += ", by a probe that is INSUFFICIENT"
    flag = "unreliable: flagged" if entry["flagged"] else "reliable"
    p = "?" if entry["probability"] is None else shortest_float32(entry["probability"])
    return f"{name}: p = {p} ({flag}), raw = {shortest_float32(entry['raw'])}"


def attestation(held: Attestation) -> str:
    """What an attestation says, for a person."""
    tag = held.inner_product
    added = (
        "" if tag.epsilon is None else f" (added to the diagonal: {shortest_float32(tag.epsilon)})"
    )
    rows = [
        ("model", f"{held.model_id}  ({held.precision})"),
        ("inner product", f"{tag.name}{added}"),
        ("time stated", moment(held.timestamp)),
        ("corpus version", held.corpus_version),
        ("probe version", held.probe_version),
        ("geometry", held.geometry_hash or ""),
        ("activations", held.input_hash),
    ]
    if held.binding is not None:
        bound = held.binding
        rows += [
            ("unembedding", bound["unembedding"]["sha256"]),
            *(("probe set", entry["sha256"]) for entry in bound["probe_sets"]),
            ("extraction record", (bound["extraction_record"] or {}).get("sha256", "")),
            ("made with", bound["tool"]),
            ("key id", bound["key_id"]),
        ]
    rows += [("reading", _reading_line(entry)) for entry in readings(held)[:100]]
    more = len(held.confidence) - 100
    if more > 0:
        rows.append(("", f"and {more} more"))
    return table(rows)


def attestation_tree(held: Attestation) -> dict[str, Any]:
    """What an attestation says, for a program."""
    return {
        "model_id": held.model_id,
        "precision": held.precision,
        "inner_product": held.inner_product.name,
        "timestamp": held.timestamp,
        "corpus_version": held.corpus_version,
        "probe_version": held.probe_version,
        "input_hash": held.input_hash,
        "geometry_hash": held.geometry_hash,
        "probe_commitment": held.probe_commitment,
        "divergence_flag": held.divergence_flag,
        "readings": readings(held),
    }


def attestation_json(held: Attestation) -> str:
    """`attest --json`."""
    return as_json(attestation_tree(held))


# --- verdicts ---------------------------------------------------------------------------------


def _steps(steps: tuple[Step, ...]) -> str:
    return "\n".join(
        f"{step.number} {step.name:<10} {step.outcome:<8} {escaped(step.detail, 400)}"
        for step in steps
    )


def _step_trees(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    return [dict(step.__dict__) for step in steps]


def verdict(result: Verdict) -> str:
    """A verdict: what the document says, a line a step, the verdict line last."""
    return "\n".join(
        (attestation(result.attestation), "", _steps(result.steps), "", escaped(result.line, 4000))
    )


def verdict_json(result: Verdict) -> str:
    """`verify --json`, verified."""
    return as_json(
        {
            "verified": True,
            "complete": result.complete,
            "legacy": result.legacy,
            "verdict": result.line,
            "not_checked": list(result.not_checked),
            "unsigned_members": list(result.unsigned),
            "steps": _step_trees(result.steps),
            "attestation": attestation_tree(result.attestation),
        }
    )


def refusal(refused: Refused) -> str:
    """A refusal: a line a step that ran; nothing of what the document claims."""
    return f"{_steps(refused.steps)}\n\n{refused.line}"


def refusal_json(refused: Refused) -> str:
    """`verify --json`, refused."""
    return as_json(
        {
            "verified": False,
            "complete": False,
            "verdict": refused.line,
            "refused_at_step": refused.step,
            "error": type(refused.__cause__).__name__,
            "where": refused.where,
            "expected": refused.expected,
            "found": refused.found,
            "hint": refused.hint,
            "steps": _step_trees(refused.steps),
        }
    )
