"""Attestations by step: docs/verification.md. Here what is verified, and steps 1 and 2."""

from __future__ import annotations

import json
from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import DOCUMENT, FULL, signed, signed_file
from conformance.documents import REMOVE, Tree, changed, moved_last, swapped
from conformance.ed25519 import KEY
from conformance.numbers import Json, bits32, spelled, text
from conformance.vector import Headers, Repeat, Vector, accepted, refused

ALL_MISSING = "activations, unembedding, probes, extraction record, readings"
WITH_MODEL = ALL_MISSING.replace(", readings", ", model, readings")
GOOD = signed_file(DOCUMENT)


def verified(
    name: str,
    tree: Tree,
    comment: str,
    *,
    data: bytes | None = None,
    expect: str = "verified-document",
    layout: str = "full",
    not_checked: str = ALL_MISSING,
    more: Headers | None = None,
    **options: str,
) -> Vector:
    """A document that is verified; its text unless `data` is given."""
    facts = {"digest": a.sha256(a.signed_bytes(tree))}
    if expect != "verified":
        facts["not_checked"] = not_checked
    return accepted(
        "attestation", name, data or signed_file(tree, layout=layout), comment, expect=expect,
        more={"key": KEY.public.hex()} | dict(more or {}) | options | facts,
    )  # fmt: skip


def fails(
    step: int,
    name: str,
    error: str,
    data: bytes,
    comment: str,
    *,
    repeats: tuple[Repeat, ...] = (),
    more: Headers | None = None,
    **options: str,
) -> Vector:
    """A document that is refused at a step."""
    headers = {"key": KEY.public.hex()} | dict(more or {}) | options
    return refused("attestation", f"step-{step}-{name}", error, data, comment, repeats=repeats,
                   step=str(step), more=headers)  # fmt: skip


def spellings() -> dict[str, bytes]:
    """Other texts of the same content."""
    tree = signed(DOCUMENT)
    good = GOOD
    binding: Tree = tree["binding"]  # type: ignore[assignment]
    first: float = DOCUMENT["confidence"][0]  # type: ignore[index,assignment]
    return {
        "line-feed-at-the-end": good + b"\n",
        "space-before": b" " + good,
        "carriage-returns": good.replace(b"\n", b"\r\n"),
        "compact": json.dumps(tree, separators=(",", ":")).encode(),
        "four-spaces": json.dumps(tree, indent=4).encode(),
        "sorted": json.dumps(tree, indent=2, sort_keys=True).encode(),
        "one-member-moved": text(moved_last(tree, "precision")).encode(),
        "binding-member-moved": text(tree | {"binding": moved_last(binding, "tool")}).encode(),
        "escaped": swapped(good, '"tiny"', '"\\u0074iny"'),
        "member-name-escaped": swapped(good, '"model_id"', '"model\\u005fid"'),
        "zero-at-the-end": swapped(good, "-1.75", "-1.750"),
        "exponent": swapped(good, "-1.75", "-175e-2"),
        "integer-for-a-float": swapped(good, "      1.0,", "      1,"),
        "more-digits": swapped(good, spelled(first), repr(first)),
        "null-for-absent": swapped(good, '"precision"', '"model_hash": null,\n  "precision"'),
        "empty-for-absent": swapped(good, '"sequence_number"',
                                    '"causal_scores": [],\n  "sequence_number"'),
    }  # fmt: skip


# --- verified ---------------------------------------------------------------------------------


def positives() -> Iterator[Vector]:
    """Documents alone that are verified."""
    yield verified("document", DOCUMENT, "two probe sets, three readings, bound and signed")
    alone = a.committed(changed(DOCUMENT, ("binding", "extraction_record"), REMOVE))
    yield verified("no-record-bound", alone, "no record lay beside the activations",
                   not_checked=ALL_MISSING.replace("extraction record, ", ""))  # fmt: skip
    made = (
        "model_hash, parent_attestation_hash, geometry_drift, causal_scores, intervention_delta, "
        "causal_flag, sequence_number, directional_drifts, density_reading, curvature_reading, "
        "domain_scope_declaration"
    )
    yield verified("every-member", FULL, "all 25 signed members",
                   not_checked=f"{ALL_MISSING}, {made}")  # fmt: skip
    for precision in ("Fp16", "Bfloat16", "Int8"):
        tree = changed(DOCUMENT, ("precision",), precision)
        tree = a.rebound(tree, ("activations", "precision"), precision)
        yield verified(f"precision-{precision.lower()}", tree, "another precision tag")
    for position in ("first", "mean", "1"):
        yield verified(f"position-{position}", a.document(position), f"read at {position}")
    yield verified("other-tokens", a.rebound(DOCUMENT, (*a.SET, "other_tokens"), True),
                   "read at other tokens than trained on, which was allowed")  # fmt: skip
    yield verified("outside", a.rebound(DOCUMENT, (*a.SET, "outside"), [True]),
                   "a reading far outside of what its probe was fitted on")  # fmt: skip
    yield verified("of-a-text", a.rebound(DOCUMENT, a.SET, a.of_a_text(rows=[1, 3])),
                   "the greatest reading of the rows of a text")  # fmt: skip
    odd = (0x15AE43FD, 0x00000001, 0x7F7FFFFF, 0x358637BD, 0x33D6BF95, 0x5368D4A5, 0x551184E7,
           0x00800000, 0x3EBFC8F4, 0x95AE43FD)  # fmt: skip
    rows: Json = [[bits32(bits) for bits in odd]]
    names: Json = [f"d{i}" for i in range(len(odd))]
    tree = changed(DOCUMENT, ("layer_readings",), rows)
    tree |= {"confidence": [0.5] * len(odd), "coverage_flags": [False] * len(odd)}
    only: Tree = {**DOCUMENT["binding"]["probe_sets"][0], "dimensions": names,  # type: ignore[index,call-overload,dict-item]
                  "verdicts": ["SUFFICIENT"] * len(odd)}  # fmt: skip
    tree = a.rebound(tree | {"divergence_flag": False}, ("probe_sets",), [only])
    yield verified("numbers", tree, "shortest decimals through a double, plain and with exponents")
    strange = 'm\u00f6del "\\"\n\u001f\u007f\U0001f600'
    tree = a.rebound(DOCUMENT | {"model_id": strange}, ("activations", "model_id"), strange)
    yield verified("strings", tree, "what JSON escapes, and what it leaves as it is")
    yield verified("longest-name", DOCUMENT | {"corpus_version": "é" * 128}, "256 bytes, the most")
    most: Json = [[] for _ in range(1024)]
    sets: Json = [{**only, "dimensions": [], "verdicts": []}] * 1024
    empty = DOCUMENT | {"layer_readings": most, "confidence": [], "coverage_flags": [],
                        "divergence_flag": False}  # fmt: skip
    full = signed_file(a.rebound(empty, ("probe_sets",), sets))
    yield from _with_1024_rows(full, a.rebound(empty, ("probe_sets",), sets))
    yield verified("model", a.of_model("fa" * 32, "fa" * 32), "which model it was is bound",
                   not_checked=WITH_MODEL)  # fmt: skip
    pickled = a.rebound(a.of_model("fa" * 32, "fa" * 32), ("model", "tensor_root"), None)
    yield verified("model-pickled", pickled, "its tensors were not read", not_checked=WITH_MODEL)
    score: Tree = {"delta_plus": 1.0, "delta_minus": 1.0, "consistency": 1.0, "is_causal": True}
    causal = a.ordered(DOCUMENT | {"causal_scores": [score], "intervention_delta": 0.5,
                                   "causal_flag": True})  # fmt: skip
    yield verified("causal", causal, "causal members that agree", not_checked=f"{ALL_MISSING}, "
                   "causal_scores, intervention_delta, causal_flag")  # fmt: skip
    yield verified("timestamp-at-the-limit", DOCUMENT, "300 s ahead of the clock",
                   now=str(a.TIMESTAMP - 300))  # fmt: skip
    yield verified("timestamp-zero", DOCUMENT | {"timestamp": 0}, "no lower limit")
    for name, data in spellings().items():
        yield verified(f"reformatted-{name}", DOCUMENT, "another spelling, and it is allowed",
                       data=data, allow_reformatted="yes")  # fmt: skip


def _with_1024_rows(data: bytes, tree: Tree) -> Iterator[Vector]:
    """1024 rows, their repetitions folded: the limit itself."""
    vector = verified("most-rows", tree, "1024 rows, the most", data=data)
    row, bound = b"    [],\n", None
    repeats: list[Repeat] = []
    start = data.index(row)
    repeats.append((start, len(row), 1023))
    folded = data[:start] + row + data[start + len(row) * 1023 :]
    first = folded.index(b'      {\n        "sha256"')
    second = folded.index(b'      {\n        "sha256"', first + 1)
    bound = folded[first:second]
    repeats.append((first, len(bound), 1023))
    folded = folded[:first] + bound + folded[first + len(bound) * 1023 :]
    made = Vector(vector.kind, vector.name, vector.headers, folded, tuple(repeats))
    if made.input != data:
        raise ValueError("the folded rows are not the rows")
    yield made
