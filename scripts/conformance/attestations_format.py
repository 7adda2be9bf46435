"""Attestations that are refused at step 1 (format) and 2 (structure)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import DOCUMENT, FULL, rebound, signed, signed_file
from conformance.attestations import GOOD, fails, spellings
from conformance.documents import REMOVE, Path, Tree, changed, swapped
from conformance.numbers import text
from conformance.vector import Vector


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
    yield fails(1, "too-many-values", "TooLarge", b"[1,1]", "400001 numbers and the array",
                repeats=((1, 2, 400_000),))  # fmt: skip
    yield fails(1, "deep", "BadJson", b"[", "nesting of 100000, never closed",
                repeats=((0, 1, 100_000),))  # fmt: skip


REQUIRED = (
    "schema_version", "model_id", "precision", "inner_product", "input_hash", "timestamp",
    "corpus_version", "probe_version", "layer_readings", "confidence", "coverage_flags",
    "divergence_flag", "signature",
)  # fmt: skip


ACTIVATIONS: Path = ("binding", "activations")
PROBE_SET: Path = ("binding", "probe_sets", 0)
MEMBERS: list[tuple[str, str, Path, object, str]] = [
    ("unknown-member", "UnknownMember", ("note",), "x", "at the top"),
    ("unknown-in-binding", "UnknownMember", ("binding", "note"), "x", "in the binding"),
    ("unknown-in-bound-activations", "UnknownMember", (*ACTIVATIONS, "note"), 1, "deeper"),
    ("unknown-in-bound-probe-set", "UnknownMember", (*PROBE_SET, "note"), 1, "deeper"),
    ("binding-without-tool", "MissingMember", ("binding", "tool"), REMOVE, "is required"),
    ("binding-without-key-id", "MissingMember", ("binding", "key_id"), REMOVE, "is required"),
    ("binding-without-positions", "MissingMember", ("binding", "activations", "positions"), REMOVE,
     "is required"),
    ("binding-without-verdicts", "MissingMember", ("binding", "probe_sets", 1, "verdicts"), REMOVE,
     "is required"),
    ("binding-a-list", "WrongType", ("binding",), [], "an object is needed"),
    ("binding-epsilon-a-number", "WrongType", ("binding", "geometry", "epsilon"), 0.0, "a string"),
    ("binding-layout-unknown", "WrongType", (*ACTIVATIONS, "layout"), "per-token", "two"),
    ("binding-verdict-unknown", "WrongType", (*PROBE_SET, "verdicts"), ["GOOD"], "two"),
    ("binding-mode-unknown", "WrongType", ("binding", "extraction_record", "mode"), "slow", "two"),
    ("binding-arithmetic-null", "WrongType", ("binding", "extraction_record", "arithmetic"), None,
     "absent, or a string"),
    ("binding-layer-negative", "WrongType", (*ACTIVATIONS, "layers"), [-1, 4], "below 0"),
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


def _members() -> Iterator[Vector]:
    tree = signed(DOCUMENT)
    for name in REQUIRED:
        less = text(changed(tree, (name,), REMOVE)).encode()
        yield fails(1, f"without-{name.replace('_', '-')}", "MissingMember", less, "is required")
    for name, error, path, value, comment in MEMBERS:
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
        where: Path = path
        yield fails(1, name, error, text(changed(full, where, value)).encode(), comment)
    upper = swapped(GOOD, str(tree["signature"]), str(tree["signature"]).upper())
    yield fails(1, "signature-upper-case", "WrongType", upper, "lower case, reformatted or not",
                allow_reformatted="yes")  # fmt: skip


# --- step 2 -----------------------------------------------------------------------------------


SCORE: Tree = {"delta_plus": 1.0, "delta_minus": 1.0, "consistency": 1.0, "is_causal": True}
CAUSAL: Tree = {"causal_scores": [SCORE], "intervention_delta": 0.5, "causal_flag": True}
STRUCTURE: list[tuple[str, str, Tree, str]] = [
    ("model-id-258-bytes", "LimitExceeded", {"model_id": "é" * 129}, "bytes, not characters"),
    ("corpus-version-257-bytes", "LimitExceeded", {"corpus_version": "x" * 257}, "one more"),
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
    ("causal-flag-wrong", "Inconsistent", CAUSAL | {"causal_flag": False}, "all are causal"),
    ("causal-flag-missing", "Inconsistent",
     {k: v for k, v in CAUSAL.items() if k != "causal_flag"}, "scores, and no flag"),
    ("delta-missing", "Inconsistent",
     {k: v for k, v in CAUSAL.items() if k != "intervention_delta"}, "scores, and no delta"),
]  # fmt: skip


def structure_step() -> Iterator[Vector]:
    """Step 2: signed all the same, so that only the structure is at fault."""
    for name, error, change, comment in STRUCTURE:
        data = signed_file(a.ordered(DOCUMENT | change))
        yield fails(2, name, error, data, comment)
    names: list[tuple[str, Path, str, str]] = [
        ("tool-257-bytes", ("tool",), "x" * 257, "a name that is bound, one byte too long"),
        ("dimension-258-bytes", ("probe_sets", 1, "dimensions", 1), "é" * 129, "and another"),
    ]
    for name, path, long, comment in names:
        yield fails(2, name, "LimitExceeded", signed_file(rebound(DOCUMENT, path, long)), comment)
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
