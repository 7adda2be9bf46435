"""Attestations whose readings lie beside them, and proofs of one row: docs/evaluations.md.

The tree is RFC 9162's, written as its section 2.1 defines it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction

from conformance import attestation as a
from conformance.attestation import rebound, signed_file
from conformance.attestations import ALL_MISSING, fails, verified
from conformance.attestations_files import ALL_FILES
from conformance.binary import U2
from conformance.documents import REMOVE, Path, Tree, changed
from conformance.numbers import Json, gram, next32, sigmoid, text
from conformance.probe_sets import TALL, WARM
from conformance.vector import Vector, accepted, refused

HEX = "ab" * 32
NOT_THERE = ALL_MISSING.replace("extraction record,", "extraction record, readings file,")
ROWS = 3


def sha256(*parts: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(b"".join(parts)).digest()


def _half(count: int) -> int:
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def root(leaves: Sequence[bytes]) -> bytes:
    """Section 2.1.1."""
    if len(leaves) == 1:
        return sha256(b"\0", leaves[0])
    k = _half(len(leaves))
    return sha256(b"\1", root(leaves[:k]), root(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = _half(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), root(leaves[k:])]
    return [*path(m - k, leaves[k:]), root(leaves[:k])]


# --- the readings of the tiny pipeline, row by row ---------------------------------------------

SETS = ((WARM, a.WARM_FILE), (TALL, a.TALL_FILE))
NAMES = [probe["dimension_name"] for one, _ in SETS for probe in one["probes"]]  # type: ignore[union-attr,index,call-overload]


def row_of(number: int) -> list[tuple[float, float, bool]]:
    """Raw reading, probability and flag of each probe."""
    raws = [raw for one, _ in SETS for raw in a.readings(one, str(number), gram(U2))]
    pairs = [(raw, sigmoid(Fraction(raw))) for raw in raws]
    return [(raw, p, max(p, 1 - p) < 0.699999988079071) for raw, p in pairs]


def leaf(number: int, row: Sequence[tuple[float, float, bool]]) -> bytes:
    """Its bytes; nothing of it is outside of what a probe was fitted on."""
    n = len(row)
    raws, probabilities, flags = zip(*row, strict=True)
    return struct.pack(f"<Q{n}f{n}f{n}B{n}B", number, *raws, *probabilities, *flags, *([False] * n))


TABLE = [row_of(number) for number in range(ROWS)]
LEAVES = [leaf(number, row) for number, row in enumerate(TABLE)]
FLAGGED = sum(flag for row in TABLE for _, _, flag in row)


def beside(leaves: Sequence[bytes] = LEAVES, **changes: Json) -> Tree:
    """The document of them, which holds none itself."""
    tree = a.document("1")
    sets: Json = [
        {k: v for k, v in one.items() if k != "position_index"} | {"position": "every"}  # type: ignore[union-attr]
        for one in tree["binding"]["probe_sets"]  # type: ignore[index,call-overload,union-attr]
    ]
    bound: Tree = {"rows": ROWS, "flagged": FLAGGED, "outside": 0, "root": root(leaves).hex()}
    tree |= {"layer_readings": [[], []], "confidence": [], "coverage_flags": [],
             "divergence_flag": False}  # fmt: skip
    return rebound(rebound(tree, ("probe_sets",), sets), ("readings",), bound | changes)


def proof(number: int) -> Tree:
    """What proves one row."""
    return {
        "format": "geometry-of-trust row proof", "version": 1, "row": number,
        "readings": [
            {"dimension": name, "raw": raw, "probability": p, "flagged": flag, "outside": False}
            for name, (raw, p, flag) in zip(NAMES, TABLE[number], strict=True)
        ],
        "path": [digest.hex() for digest in path(number, LEAVES)],
    }  # fmt: skip


def row_proofs() -> Iterator[Vector]:
    """Vectors of kind `row-proof`: files by themselves."""
    for number in range(ROWS):
        yield accepted("row-proof", f"row-{number}", text(proof(number)).encode(),
                       "of the tiny activations", row=str(number),
                       dimensions=" ".join(map(str, NAMES)),
                       path=" ".join(map(str, proof(number)["path"])))  # type: ignore[arg-type] # fmt: skip
    good = proof(0)
    cases: list[tuple[str, str, Path, object, str]] = [
        ("another-format", "WrongType", ("format",), "geometry-of-trust bar", "of something else"),
        ("version-2", "WrongType", ("version",), 2, "a version to come"),
        ("negative-row", "WrongType", ("row",), -1, "rows count from 0"),
        ("probability-above-1", "WrongType", ("readings", 0, "probability"), 1.5, "no probability"),
        ("flag-a-number", "WrongType", ("readings", 0, "flagged"), 1, "true or false"),
        ("raw-beyond-float32", "NonFinite", ("readings", 0, "raw"), 10**39, "beyond float32"),
        ("digest-short", "WrongType", ("path", 0), HEX[2:], "62 digits"),
        ("digest-upper-case", "WrongType", ("path", 0), HEX.upper(), "not lower case"),
        ("no-path", "MissingMember", ("path",), REMOVE, "a row alone proves nothing"),
        ("more", "UnknownMember", ("root",), HEX, "the document has the root"),
    ]
    for name, error, where, value, comment in cases:
        yield refused("row-proof", name, error, text(changed(good, where, value)).encode(), comment)


def readings_beside() -> Iterator[Vector]:
    """Documents of them, alone, with files, and with one row."""
    tree = beside()
    yield verified("beside", tree, "three rows of readings lie beside it", not_checked=NOT_THERE)
    yield verified(
        "beside-recomputed", tree, "the root follows from the files", expect="verified-readings",
        more=ALL_FILES, not_checked="readings file",
    )  # fmt: skip
    for number in range(ROWS):
        yield verified(f"beside-row-{number}", tree, "one row, by its path alone",
                       expect="verified-row", not_checked=NOT_THERE,
                       more={"row": str(number), "proof": f"row-proof/row-{number}"})  # fmt: skip
    yield from _not_of_every_row(tree)
    data = signed_file(tree)
    for name, number, other in (("another-row", 1, "row-0"), ("row-of-the-last", 0, "row-2")):
        yield fails(5, f"beside-{name}", "ContentMismatch", data, "the proof is of another row",
                    more={"row": str(number), "proof": f"row-proof/{other}"})  # fmt: skip
    for name, bound, comment in (
        ("another-root", beside(root=HEX), "the path leads to another root"),
        ("other-readings", beside([LEAVES[0], LEAVES[1], LEAVES[0]]), "another third row"),
        ("rows-exchanged", beside([LEAVES[1], LEAVES[0], LEAVES[2]]), "the first two exchanged"),
    ):
        yield fails(5, f"beside-{name}", "DigestMismatch", signed_file(bound), comment,
                    more={"row": "0", "proof": "row-proof/row-0"})  # fmt: skip
    yield fails(5, "beside-no-readings", "ContentMismatch", signed_file(a.DOCUMENT),
                "all readings are in the document",
                more={"row": "0", "proof": "row-proof/row-0"})  # fmt: skip
    yield fails(5, "beside-row-3", "BadOption", data, "rows 0 to 2",
                more={"row": "3", "proof": "row-proof/row-0"})  # fmt: skip
    raw, p, flag = TABLE[1][0]
    moved = [LEAVES[0], leaf(1, [(next32(raw), p, flag), *TABLE[1][1:]]), LEAVES[2]]
    for name, lie, comment in (
        ("reading", beside(moved), "a reading one unit in the last place greater"),
        ("order", beside([LEAVES[1], LEAVES[0], LEAVES[2]]), "the first two rows exchanged"),
        ("flagged", beside(flagged=FLAGGED + 1), "one flagged reading more"),
        ("outside", beside(outside=1), "one reading outside, and none is"),
    ):
        yield fails(6, f"beside-{name}", "ReadingsMismatch", signed_file(lie), comment,
                    more=ALL_FILES)  # fmt: skip


def _not_of_every_row(tree: Tree) -> Iterator[Vector]:
    """What step 4 refuses."""
    rows: Json = {"layer_readings": [[0.5], []], "confidence": [0.5], "coverage_flags": [True],
                  "divergence_flag": True}  # fmt: skip
    cases: list[tuple[str, Tree, str]] = [
        ("fewer-rows", beside(rows=2), "the activations have three"),
        ("more-rows", beside(rows=4), "the activations have three"),
        ("more-flagged", beside(flagged=10), "more than there are readings"),
        ("more-outside", beside(outside=10), "more than there are readings"),
        ("one-position", rebound(tree, (*a.SET, "position"), "mean"), "one set is read elsewhere"),
        ("rows-and-texts", rebound(tree, (*a.SET, "aggregate"), "max"), "in one file"),
        ("readings-inside", a.committed(tree | rows), "a reading in the document, too"),  # type: ignore[operator]
        ("outside-inside", rebound(tree, (*a.SET, "outside"), [True]), "one entry a reading"),
        ("not-bound", rebound(tree, ("readings",), REMOVE), "every row, and no readings"),
    ]
    for name, lie, comment in cases:
        yield fails(4, f"beside-{name}", "BindingMismatch", signed_file(lie), comment)
