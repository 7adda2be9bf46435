"""Attestations by step: docs/verification.md. Here what is verified, and steps 1 and 2."""

from __future__ import annotations

import json
from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import BARE, DOCUMENT, FULL, ORDER, signed, signed_file
from conformance.documents import REMOVE, Path, Tree, changed, moved_last, swapped
from conformance.ed25519 import KEY
from conformance.numbers import Json, bits32, spelled, text
from conformance.vector import Repeat, Vector, accepted, refused

ALL_MISSING = "activations, unembedding, probes, extraction record, readings"
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
    **options: str,
) -> Vector:
    """A document that is verified; its text unless `data` is given."""
    facts = {"digest": a.sha256(a.signed_bytes(tree))}
    if expect != "verified":
        facts["not_checked"] = not_checked
    return accepted(
        "attestation", name, data or signed_file(tree, layout=layout), comment, expect=expect,
        **({"key": KEY.public.hex()} | options | facts),
    )  # fmt: skip


def fails(
    step: int,
    name: str,
    error: str,
    data: bytes,
    comment: str,
    *,
    repeats: tuple[Repeat, ...] = (),
    **options: str,
) -> Vector:
    """A document that is refused at a step."""
    headers = {"key": KEY.public.hex()} | options
    return refused("attestation", f"step-{step}-{name}", error, data, comment, repeats=repeats,
                   step=str(step), **headers)  # fmt: skip


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


# --- step 1 -----------------------------------------------------------------------------------


def spellings() -> dict[str, bytes]:
    """Other texts of the same content."""
    tree = signed(DOCUMENT)
    good = GOOD
    binding: Tree = tree["binding"]  # type: ignore[assignment]
    first: float = DOCUMENT["confidence"][0]  # type: ignore[index,call-overload,assignment]
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


def format_step() -> Iterator[Vector]:
    """Step 1."""
    for name, data in spellings().items():
        yield fails(1, f"spelled-{name}", "NotOurSpelling", data, "another text of this content")
    for name in ("line-feed-at-the-end", "compact"):
        yield fails(1, f"spelled-{name}-legacy", "NotOurSpelling", spellings()[name],
                    "allow-legacy relaxes nothing of the spelling", allow_legacy="yes")  # fmt: skip
    yield from _no_json()
    yield from _members()


def _no_json() -> Iterator[Vector]:
    good = GOOD
    for name, error, data, comment in (
        ("empty", "BadJson", b"", "no byte at all"),
        ("array", "WrongType", b"[]", "an object is needed"),
        ("null", "WrongType", b"null", "an object is needed"),
        ("no-members", "MissingMember", b"{}", "none of the members"),
        ("zero-bytes", "BadJson", bytes(10), "no JSON"),
        ("cut", "BadJson", good[:-1], "the last brace is missing"),
        ("text-behind", "BadJson", good + b"x", "something behind the document"),
        ("two-documents", "BadJson", good + good, "one after the other"),
        ("byte-order-mark", "BadJson", b"\xef\xbb\xbf" + good, "no JSON"),
        ("not-utf-8", "BadText", good.replace(b"tiny", b"t\xffny"), "a byte that no UTF-8 has"),
        ("utf-16", "BadText", good.decode().encode("utf-16"), "begins with ff fe"),
        ("lone-surrogate", "BadText", swapped(good, "tiny", "t\\ud800"), "no Unicode text"),
        ("control-character", "BadJson", swapped(good, "tiny", "t\x01"), "must be escaped"),
        ("nan", "BadJson", swapped(good, "-1.75", "NaN"), "no JSON"),
        ("infinity", "BadJson", swapped(good, "-1.75", "-Infinity"), "no JSON"),
        ("leading-zero", "BadJson", swapped(good, "-1.75", "-01.75"), "no JSON"),
        ("comment", "BadJson", swapped(good, "{", "{ /* */"), "no JSON"),
        ("comma-behind", "BadJson", good[:-2] + b",\n}", "no JSON"),
        ("depth-17", "BadJson", swapped(good, "-1.75", "[" * 14 + "]" * 14),
         "nesting of 17; 16 are allowed"),
        ("depth-16", "WrongType", swapped(good, "-1.75", "[" * 13 + "]" * 13),
         "nesting of 16 is JSON, and no number"),
        ("duplicate-member", "DuplicateMember",
         swapped(good, '"precision"', '"model_id": "tiny",\n  "precision"'), "the same twice"),
        ("duplicate-escaped", "DuplicateMember",
         swapped(good, '"precision"', '"model\\u005fid": "tiny",\n  "precision"'),
         "the same name, once with an escape"),
        ("duplicate-in-binding", "DuplicateMember",
         swapped(good, '"hidden_dim"', '"positions": 3,\n      "hidden_dim"'), "deeper"),
        ("float-beyond-float32", "NonFinite", swapped(good, "-1.75", "1e39"), "beyond float32"),
        ("float-rounds-to-infinity", "NonFinite", swapped(good, "-1.75", "3.4028236e38"),
         "just beyond the greatest float32"),
        ("float-beyond-double", "NonFinite", swapped(good, "-1.75", "-1e400"), "beyond double"),
    ):  # fmt: skip
        yield fails(1, name, error, data, comment)
    for name in ("duplicate-member", "float-beyond-float32"):
        yield fails(1, f"{name}-reformatted", "DuplicateMember" if "dup" in name else "NonFinite",
                    swapped(good, '"precision"', '"model_id": "tiny",\n  "precision"')
                    if "dup" in name else swapped(good, "-1.75", "1e39"),
                    "allow-reformatted allows another spelling, and nothing else",
                    allow_reformatted="yes")  # fmt: skip
    yield fails(1, "too-large", "TooLarge", b" ", "a byte more than 16 MiB",
                repeats=((0, 1, 2**24 + 1),))  # fmt: skip
    yield fails(1, "deep", "BadJson", b"[", "nesting of 100000, never closed",
                repeats=((0, 1, 100_000),))  # fmt: skip


REQUIRED = (
    "schema_version", "model_id", "precision", "inner_product", "input_hash", "timestamp",
    "corpus_version", "probe_version", "layer_readings", "confidence", "coverage_flags",
    "divergence_flag", "signature",
)  # fmt: skip


def _members() -> Iterator[Vector]:
    tree = signed(DOCUMENT)
    for name in REQUIRED:
        less = text(changed(tree, (name,), REMOVE)).encode()
        yield fails(1, f"without-{name.replace('_', '-')}", "MissingMember", less, "is required")
    cases: list[tuple[str, str, Path, object, str]] = [
        ("unknown-member", "UnknownMember", ("note",), "x", "at the top"),
        ("unknown-in-binding", "UnknownMember", ("binding", "note"), "x", "in the binding"),
        ("unknown-in-bound-activations", "UnknownMember", ("binding", "activations", "note"), 1, "deeper"),
        ("unknown-in-bound-probe-set", "UnknownMember", ("binding", "probe_sets", 0, "note"), 1, "deeper"),
        ("binding-without-tool", "MissingMember", ("binding", "tool"), REMOVE, "is required"),
        ("binding-without-key-id", "MissingMember", ("binding", "key_id"), REMOVE, "is required"),
        ("binding-without-positions", "MissingMember", ("binding", "activations", "positions"), REMOVE,
         "is required"),
        ("binding-without-verdicts", "MissingMember", ("binding", "probe_sets", 1, "verdicts"), REMOVE,
         "is required"),
        ("binding-a-list", "WrongType", ("binding",), [], "an object is needed"),
        ("binding-epsilon-a-number", "WrongType", ("binding", "geometry", "epsilon"), 0.0, "a string"),
        ("binding-layout-unknown", "WrongType", ("binding", "activations", "layout"), "per-token", "two"),
        ("binding-verdict-unknown", "WrongType", ("binding", "probe_sets", 0, "verdicts"), ["GOOD"], "two"),
        ("binding-mode-unknown", "WrongType", ("binding", "extraction_record", "mode"), "slow", "two"),
        ("binding-layer-negative", "WrongType", ("binding", "activations", "layers"), [-1, 4], "below 0"),
        ("schema-version-2", "WrongType", ("schema_version",), 2, "only version 1 is defined"),
        ("schema-version-a-boolean", "WrongType", ("schema_version",), True, "true is no integer"),
        ("timestamp-a-float", "WrongType", ("timestamp",), 1700000000.0, "an integer is needed"),
        ("timestamp-negative", "WrongType", ("timestamp",), -1, "below 0"),
        ("timestamp-2-to-the-64", "WrongType", ("timestamp",), 2**64, "beyond 64 bits"),
        ("timestamp-a-string", "WrongType", ("timestamp",), "1700000000", "an integer is needed"),
        ("model-id-null", "WrongType", ("model_id",), None, "a string is needed"),
        ("precision-lower-case", "WrongType", ("precision",), "fp32", "no such tag"),
        ("inner-product-unknown", "WrongType", ("inner_product",), "Cosine", "no such"),
        ("inner-product-regularised-bare", "WrongType", ("inner_product",), "CausalRegularised",
         "the amount is missing"),
        ("inner-product-no-epsilon", "MissingMember", ("inner_product",), {"CausalRegularised": {}},
         "the amount is missing"),
        ("input-hash-upper-case", "WrongType", ("input_hash",), "AB" * 32, "lower case"),
        ("input-hash-62-digits", "WrongType", ("input_hash",), "ab" * 31, "64 digits"),
        ("input-hash-prefix", "WrongType", ("input_hash",), "0x" + "ab" * 31, "hex digits alone"),
        ("signature-126-digits", "WrongType", ("signature",), "ab" * 63, "128 digits"),
        ("signature-130-digits", "WrongType", ("signature",), "ab" * 65, "128 digits"),
        ("readings-flat", "WrongType", ("layer_readings",), [1.0, 2.0], "rows are needed"),
        ("confidence-a-string", "WrongType", ("confidence", 0), "0.5", "a number is needed"),
        ("coverage-flag-a-number", "WrongType", ("coverage_flags", 0), 0, "true or false"),
        ("divergence-flag-null", "WrongType", ("divergence_flag",), None, "true or false"),
    ]  # fmt: skip
    for name, error, path, value, comment in cases:
        yield fails(1, name, error, text(changed(tree, path, value)).encode(), comment)
    full = signed(FULL)
    for name, error, path, value, comment in (
        ("causal-scores-null", "WrongType", ("causal_scores",), None, "absent, or an array"),
        ("unknown-in-density", "UnknownMember", ("density_reading", "note"), 1, "deeper"),
        (
            "scope-mode-unknown",
            "WrongType",
            ("domain_scope_declaration", "permitted", 0, "mode"),
            "free",
            "four words are defined",
        ),
    ):
        where: Path = path  # type: ignore[assignment]
        yield fails(1, name, error, text(changed(full, where, value)).encode(), comment)
    upper = swapped(GOOD, str(tree["signature"]), str(tree["signature"]).upper())
    yield fails(1, "signature-upper-case", "WrongType", upper, "lower case, reformatted or not",
                allow_reformatted="yes")  # fmt: skip


# --- step 2 -----------------------------------------------------------------------------------


def structure_step() -> Iterator[Vector]:
    """Step 2: signed all the same, so that only the structure is at fault."""
    score: Tree = {"delta_plus": 1.0, "delta_minus": 1.0, "consistency": 1.0, "is_causal": True}
    causal: Tree = {"causal_scores": [score], "intervention_delta": 0.5, "causal_flag": True}
    cases: list[tuple[str, str, Tree, str]] = [
        ("model-id-258-bytes", "LimitExceeded", {"model_id": "é" * 129}, "bytes, not characters"),
        ("corpus-version-257-bytes", "LimitExceeded", {"corpus_version": "x" * 257}, "one too many"),
        ("probe-version-257-bytes", "LimitExceeded", {"probe_version": "x" * 257}, "one too many"),
        ("rows-1025", "LimitExceeded", {"layer_readings": [[] for _ in range(1025)], "confidence": [],
                                        "coverage_flags": [], "divergence_flag": False},
         "one row too many"),
        ("confidence-short", "Inconsistent", {"confidence": [0.5, 0.5]}, "one a reading"),
        ("confidence-long", "Inconsistent", {"confidence": [0.5] * 4}, "one a reading"),
        ("flags-short", "Inconsistent", {"coverage_flags": [True, False]}, "one a reading"),
        ("flags-long", "Inconsistent", {"coverage_flags": [True] * 4}, "one a reading"),
        ("confidence-above-1", "Inconsistent", {"confidence": [0.5, 0.5, 1.0000001192092896]},
         "the next float32 after 1"),
        ("confidence-negative", "Inconsistent", {"confidence": [-1.401298464324817e-45, 0.5, 0.5]},
         "the least float32 below 0"),
        ("divergence-flag", "Inconsistent", {"divergence_flag": not DOCUMENT["divergence_flag"]},
         "the disjunction of the coverage flags"),
        ("causal-flag-alone", "Inconsistent", {"causal_flag": True}, "without scores"),
        ("delta-alone", "Inconsistent", {"intervention_delta": 0.5}, "without scores"),
        ("causal-flag-wrong", "Inconsistent", causal | {"causal_flag": False}, "all are causal"),
        ("causal-flag-missing", "Inconsistent",
         {k: v for k, v in causal.items() if k != "causal_flag"}, "scores, and no flag"),
        ("delta-missing", "Inconsistent",
         {k: v for k, v in causal.items() if k != "intervention_delta"}, "scores, and no delta"),
    ]  # fmt: skip
    for name, error, change, comment in cases:
        data = signed_file(a.ordered(DOCUMENT | change))
        yield fails(2, name, error, data, comment)
    yield fails(2, "timestamp-in-the-future", "TimestampInFuture", GOOD,
                "301 s ahead of the clock", now=str(a.TIMESTAMP - 301))  # fmt: skip
    late = signed_file(DOCUMENT | {"timestamp": 2**64 - 1})
    yield fails(2, "timestamp-greatest", "TimestampInFuture", late, "the year 584 554 051 223")
    yield _too_many_readings()


def _too_many_readings() -> Vector:
    """65537 readings, with as many confidences and flags, folded."""
    count = 65537
    tree = DOCUMENT | {"layer_readings": [[0.0, 1.0]], "confidence": [0.0, 1.0],
                       "coverage_flags": [False, True], "divergence_flag": True}  # fmt: skip
    data = a.file_of(tree | {"signature": "00" * 64})
    repeats = []
    for part in (b"      0.0,\n", b"    0.0,\n", b"    false,\n"):
        at = data.index(b"\n" + part) + 1
        repeats.append((at, len(part), count - 1))
    return fails(2, "readings-65537", "LimitExceeded", data, "one reading too many",
                 repeats=tuple(repeats))  # fmt: skip


# --- documents of the reference ---------------------------------------------------------------


def legacy() -> Iterator[Vector]:
    """Without a binding, in the short layout, or in the outer object."""
    missing = "binding, activations, unembedding, probes, readings"

    def kept(name: str, tree: Tree, comment: str, **more: str) -> Vector:
        return verified(f"legacy-{name}", tree, comment, expect="legacy", allow_legacy="yes",
                        not_checked=missing, **more)  # fmt: skip

    yield fails(4, "no-binding", "LegacyDocument", signed_file(BARE), "nothing says what was read")
    yield fails(4, "no-binding-reformatted", "LegacyDocument", signed_file(BARE),
                "allow-reformatted is another option", allow_reformatted="yes")  # fmt: skip
    yield kept("no-binding", BARE, "full layout")
    short = signed(BARE, layout="short")
    yield fails(3, "short-layout", "LegacyDocument", a.file_of(short),
                "signed are members 1 to 13 alone")  # fmt: skip
    yield kept("short-layout", BARE, "members 1 to 13 are signed", layout="short",
               unsigned="geometry_hash, sequence_number")  # fmt: skip
    hidden = a.file_of(signed(DOCUMENT, layout="short"))
    yield fails(3, "binding-in-the-short-layout", "BadSignature", hidden,
                "the short layout leaves the binding's digest out", allow_legacy="yes")  # fmt: skip
    yield fails(1, "no-binding-line-feed", "NotOurSpelling", signed_file(BARE) + b"\n",
                "allow-legacy relaxes nothing of the spelling", allow_legacy="yes")  # fmt: skip
    with_file = verified(
        "legacy-with-activations", BARE, "its digest is signed", expect="legacy",
        allow_legacy="yes", activations="gotact/tiny",
        not_checked="binding, unembedding, probes, readings",
    )  # fmt: skip
    yield with_file
    yield fails(5, "legacy-other-activations", "DigestMismatch", signed_file(BARE),
                "not the file whose digest is signed", allow_legacy="yes",
                activations="gotact/reference-v1")  # fmt: skip
    yield from _outer_objects(missing)
    yield from _references(missing)


def _outer_objects(missing: str) -> Iterator[Vector]:
    inner = signed(BARE)
    outer: Tree = {"attestation": inner, "verifying_key_hex": KEY.public.hex()}
    plain = text(outer).encode()
    yield fails(1, "outer-object", "LegacyDocument", plain, "read with allow-legacy alone")
    for name, data in (("outer-object", plain), ("outer-object-respelled",
                       json.dumps(outer, indent=2, sort_keys=True).encode())):  # fmt: skip
        yield verified(f"legacy-{name}", BARE, "as the reference's demo is wrapped", data=data,
                       expect="legacy", allow_legacy="yes", not_checked=missing,
                       unsigned="verifying_key_hex")  # fmt: skip
    other = text(outer | {"verifying_key_hex": a.sha256(b"")}).encode()
    yield fails(3, "outer-object-another-key", "WrongKeyKind", other,
                "the key in it is not the one supplied", allow_legacy="yes")  # fmt: skip
    for name, error, tree in (
        ("unknown-member", "UnknownMember", outer | {"note": "x"}),
        ("without-key", "MissingMember", {"attestation": inner}),
        ("key-upper-case", "WrongType", outer | {"verifying_key_hex": KEY.public.hex().upper()}),
        ("attestation-a-number", "WrongType", outer | {"attestation": 1}),
    ):
        yield fails(1, f"outer-object-{name}", error, text(tree).encode(), "in the outer object",
                    allow_legacy="yes")  # fmt: skip
    changed_inside = text(changed(outer, ("attestation", "model_id"), "other")).encode()
    yield fails(3, "outer-object-changed", "BadSignature", changed_inside, "the model's name",
                allow_legacy="yes")  # fmt: skip


V4: Tree = {
    "schema_version": 1, "model_id": "m", "precision": "Fp32", "inner_product": "Causal",
    "input_hash": "22" * 32, "timestamp": 1700000000, "corpus_version": "c", "probe_version": "p",
    "layer_readings": [[1.0, -2.5]], "confidence": [0.75, 0.25], "coverage_flags": [False, True],
    "divergence_flag": True, "sequence_number": 0,
}  # fmt: skip
V5 = {name: value for name, value in FULL.items() if name != "binding"} | V4 | {
    "model_id": "modèle", "precision": "Bfloat16",
    "inner_product": {"CausalRegularised": {"epsilon": bits32(0x358637BD)}},
    "geometry_hash": "44" * 32, "intervention_delta": bits32(0x3DCCCCCD), "sequence_number": 7,
    "probe_commitment": "9d34149fbd1fe777eb238799054c8cbfbce372255f219f8740838def9bfd02db",
}  # fmt: skip


def _references(missing: str) -> Iterator[Vector]:
    """reference.md 14, V4 and V5, against the numbers printed there."""
    absent = [name for name in ORDER[:25] if name in V5 and name not in V4]
    kept = [name for name in absent if name not in ("geometry_hash", "probe_commitment")]
    made = ", ".join(n for n in ORDER if n in kept or n == "sequence_number")
    for name, tree, digest, signature, more in (
        ("v4", V4, "aac18401e58a2defe0e4e7d4c1749ffb12ea2523ac929f6542e472eec71390eb", "cef4dbe0", ""),
        ("v5", a.ordered(V5), "b92a98a012feb52d0ab4289953eadb17e9441be70ab51662c87c1b281c61eadd",
         "d34e1041", f", {made}"),
    ):  # fmt: skip
        found = a.sha256(a.signed_bytes(tree)), str(signed(tree)["signature"])[:8]
        if found != (digest, signature):
            raise ValueError(f"{name}: {found}")
        yield verified(f"reference-{name}", tree, f"reference.md 14, {name.upper()}",
                       expect="legacy", allow_legacy="yes", not_checked=missing + more,
                       signed_bytes=a.signed_bytes(tree).hex())  # fmt: skip
