"""Attestations: steps 3 (signature), 4 (binding), 5 (files) and 6 (readings)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from conformance import attestation as a
from conformance import ed25519
from conformance.attestation import DOCUMENT, FULL, rebound, signed, signed_file
from conformance.attestations import GOOD, fails, verified
from conformance.binary import TINY, gotact, gotue, put
from conformance.documents import REMOVE, Path, Tree, changed
from conformance.ed25519 import KEY, NEUTRAL, OTHER, P
from conformance.numbers import Json, gram, next32, text
from conformance.probe_sets import (
    REFERENCE,
    TALL,
    WARM,
    geometry_hash,
    probe,
    probe_set,
)
from conformance.records import record_text
from conformance.vector import Vector, accepted, refused

HEX = "ab" * 32


# --- step 3 -----------------------------------------------------------------------------------


def signature_step() -> Iterator[Vector]:
    """Step 3."""
    yield fails(3, "another-key", "BadSignature", GOOD, "not the key that signed",
                key=OTHER.public.hex())  # fmt: skip
    other = signed_file(DOCUMENT, OTHER)
    yield fails(3, "signed-by-another", "BadSignature", other, "another key signed")
    yield from _changed_members()
    yield from _signatures()


def _changed_members() -> Iterator[Vector]:
    """Each signed member changed after signing; all else stays in order."""
    changes: list[tuple[str, Json]] = [
        ("model_id", "tinz"), ("model_hash", HEX), ("precision", "Fp16"),
        ("inner_product", "Euclidean"), ("input_hash", HEX), ("timestamp", a.TIMESTAMP + 1),
        ("corpus_version", ""), ("probe_version", "v0.1.0"),
        ("layer_readings", [[-1.75], [-1.0, -1.5]]), ("confidence", [0.5, 0.5, 0.5]),
        ("parent_attestation_hash", HEX), ("geometry_hash", HEX), ("geometry_drift", 0.25),
        ("sequence_number", 8), ("directional_drifts", [{"probe_name": "honesty", "drift": 0.5}]),
        ("probe_commitment", HEX),
    ]  # fmt: skip
    full = signed(FULL)
    for name, value in changes:
        label = name.replace("_", "-")
        forged = a.file_of(a.ordered(full | {name: value}))
        yield fails(3, f"changed-{label}", "BadSignature", forged, f"{name} is signed")
        if name in ("model_hash", "parent_attestation_hash", "geometry_hash", "geometry_drift"):
            less = a.file_of(changed(full, (name,), REMOVE))
            yield fails(
                3, f"removed-{label}", "BadSignature", less, f"that {name} is there is signed"
            )
    inside: list[tuple[str, Path, Json]] = [
        ("causal-score", ("causal_scores", 0, "consistency"), 0.25),
        ("intervention-delta", ("intervention_delta",), 0.5),
        ("density-point", ("density_reading", "points", 0, "intrinsic_dim"), 3.0),
        ("density-k", ("density_reading", "k"), 4),
        ("curvature-correlation", ("curvature_reading", "curvature_uncertainty_correlation"), 0.0),
        ("curvature-triangles", ("curvature_reading", "points", 0, "num_triangles"), 4),
        ("scope-mode", ("domain_scope_declaration", "permitted", 0, "mode"), "supervised"),
        ("scope-exclusions", ("domain_scope_declaration", "exclusions"), []),
        ("last-unit-of-a-reading", ("layer_readings", 0, 0), next32(-1.75)),
    ]  # fmt: skip
    for name, path, value in inside:
        forged = a.file_of(changed(full, path, value))
        yield fails(3, f"changed-{name}", "BadSignature", forged, "is signed")
    flags = signed(DOCUMENT) | {"coverage_flags": [True] * 3, "divergence_flag": True}
    yield fails(3, "changed-coverage-flags", "BadSignature", a.file_of(flags), "are signed")


def _signatures() -> Iterator[Vector]:
    """Signatures that other verifiers take, or take for others."""
    body = DOCUMENT
    message = a.signed_bytes(body)
    good = KEY.sign(message)

    def with_signature(name: str, signature: bytes, comment: str) -> Vector:
        data = a.file_of(body | {"signature": signature.hex()})
        return fails(3, name, "BadSignature", data, comment)

    for name, offset in (("r", 0), ("s", 32), ("last-bit", 63)):
        flipped = put(good, offset, bytes([good[offset] ^ (0x80 if offset == 63 else 1)]))
        yield with_signature(f"signature-{name}", flipped, "one bit changed")
    yield with_signature("signature-zero", bytes(64), "64 zero bytes")
    yield with_signature("signature-over-nothing", KEY.sign(b""), "of another message")
    yield with_signature("signature-over-the-text", KEY.sign(a.file_of(body)), "of the JSON")
    yield with_signature("signature-over-the-digest", KEY.sign(bytes.fromhex(a.sha256(message))),
                         "of the SHA-256 of the signed bytes")  # fmt: skip
    scalar = int.from_bytes(good[32:], "little")
    for multiple in (1, 15):
        larger = (scalar + multiple * ed25519.ORDER).to_bytes(32, "little")
        yield with_signature(f"signature-s-plus-{multiple}-orders", good[:32] + larger,
                             "S is not below the group order; the equation holds")  # fmt: skip
    torsion = ed25519.low_order()
    for number, point in enumerate(torsion):
        r = ed25519.encoded(point)
        holds = "the equation holds" if point == NEUTRAL else "the equation holds times 8"
        yield with_signature(f"signature-low-order-r-{number}",
                             KEY.sign_with(0, r, KEY.public, message), holds)  # fmt: skip
    for name, y in (("y-1", P + 1), ("y-0", P)):
        yield with_signature(f"signature-not-canonical-r-{name}",
                             KEY.sign_with(0, y.to_bytes(32, "little"), KEY.public, message),
                             "R is written with y not below 2^255 - 19")  # fmt: skip
    negative = (1 | 1 << 255).to_bytes(32, "little")
    yield with_signature("signature-r-minus-zero", KEY.sign_with(0, negative, KEY.public, message),
                         "R is the neutral element with the sign of x set")  # fmt: skip
    nonce = 12345
    mixed = ed25519.encoded(ed25519.add(ed25519.times(nonce, ed25519.BASE), torsion[1]))
    yield with_signature("signature-r-of-mixed-order", KEY.sign_with(nonce, mixed, KEY.public, message),
                         "R has a part of low order: the equation holds times 8 only")  # fmt: skip
    yield from _mixed_key(torsion[1])


def _mixed_key(low: ed25519.Point) -> Iterator[Vector]:
    """A key with a part of low order: whether the equation holds hangs on k modulo 8.

    Of k as it is, or of k modulo the group's order first, as most libraries take it; here both
    say the same.
    """
    point = ed25519.add(ed25519.times(KEY.scalar, ed25519.BASE), low)
    public = ed25519.encoded(point)
    body = rebound(DOCUMENT, ("key_id",), a.sha256(public))
    message = a.signed_bytes(body)
    seen: set[bool] = set()
    for nonce in itertools.takewhile(lambda _: len(seen) < 2, itertools.count(1)):
        r = ed25519.encoded(ed25519.times(nonce, ed25519.BASE))
        k = ed25519.challenge(r, public, message)
        holds = k % 8 == 0
        if holds in seen or holds != (k % ed25519.ORDER % 8 == 0):
            continue
        seen.add(holds)
        tree = body | {"signature": KEY.sign_with(nonce, r, public, message).hex()}
        if holds:
            yield verified("key-of-mixed-order", body, "the key is not of low order, and the "
                           "equation holds", data=a.file_of(tree), key=public.hex())  # fmt: skip
        else:
            yield fails(3, "key-of-mixed-order", "BadSignature", a.file_of(tree),
                        "the equation holds times 8 only", key=public.hex())  # fmt: skip


# --- step 4 -----------------------------------------------------------------------------------


def binding_step() -> Iterator[Vector]:
    """Step 4: bindings that are signed and lie, and bindings that are not the signed one."""
    zero: Path = ("probe_sets", 0)
    one: Path = ("probe_sets", 1)
    lies: list[tuple[str, Path, object]] = [
        ("version", ("version",), 2),
        ("activations-sha256", ("activations", "sha256"), HEX),
        ("model-id", ("activations", "model_id"), "other"),
        ("precision", ("activations", "precision"), "Fp16"),
        ("hidden-dim", ("activations", "hidden_dim"), 3),
        ("layers-repeated", ("activations", "layers"), [1, 4, 4]),
        ("layers-descending", ("activations", "layers"), [4, 1]),
        ("layer-not-there", ("activations", "layers"), [1, 5]),
        ("positions", ("activations", "positions"), 4),
        ("unembedding-hidden-dim", ("unembedding", "hidden_dim"), 3),
        ("inner-product", ("geometry", "inner_product"), "Euclidean"),
        ("epsilon", ("geometry", "epsilon"), "0.5"),
        ("epsilon-spelled", ("geometry", "epsilon"), "0"),
        ("geometry-sha256", ("geometry", "sha256"), HEX),
        ("no-probe-sets", ("probe_sets",), []),
        ("one-probe-set", ("probe_sets",), DOCUMENT["binding"]["probe_sets"][:1]),  # type: ignore[index,call-overload]
        ("layer", (*zero, "layer"), 2),
        ("position-first", (*zero, "position"), "first"),
        ("position-mean", (*zero, "position"), "mean"),
        ("position-beyond", (*zero, "position"), "3"),
        ("position-leading-zero", (*zero, "position"), "02"),
        ("position-negative", (*zero, "position"), "-1"),
        ("position-word", (*zero, "position"), "end"),
        ("position-other-digits", (*zero, "position"), "\u0662"),
        ("position-index", (*one, "position_index"), 1),
        ("no-position-index", (*one, "position_index"), REMOVE),
        ("dimensions-fewer", (*one, "dimensions"), ["tall"]),
        ("dimensions-more", (*zero, "dimensions"), ["warm", "cold"]),
        ("verdicts-fewer", (*one, "verdicts"), ["INSUFFICIENT"]),
        ("verdicts-none", (*zero, "verdicts"), []),
        ("key-id", ("key_id",), OTHER.key_id),
    ]  # fmt: skip
    for name, path, value in lies:
        lie = signed_file(rebound(DOCUMENT, path, value))
        yield fails(4, f"lie-{name}", "BindingMismatch", lie, "signed, and it contradicts itself")
    outside: list[tuple[str, Tree]] = [
        ("input-hash", {"input_hash": HEX}), ("model-id", {"model_id": "other"}),
        ("precision", {"precision": "Int8"}), ("geometry-hash", {"geometry_hash": HEX}),
        ("inner-product", {"inner_product": "Euclidean"}),
        ("epsilon", {"inner_product": {"CausalRegularised": {"epsilon": 0.5}}}),
        ("probe-commitment", {"probe_commitment": HEX}),
    ]  # fmt: skip
    for name, change in outside:
        data = signed_file(DOCUMENT | change)
        yield fails(4, f"member-{name}", "BindingMismatch", data, "signed, and the binding differs")
    for name in ("geometry_hash", "probe_commitment"):
        data = signed_file(changed(DOCUMENT, (name,), REMOVE))
        yield fails(4, f"member-no-{name.replace('_', '-')}", "BindingMismatch", data,
                    "absent, and there is a binding")  # fmt: skip
    negative = DOCUMENT | {"inner_product": {"CausalRegularised": {"epsilon": -0.5}}}
    negative = rebound(negative, ("geometry", "inner_product"), "CausalRegularised")
    negative = rebound(negative, ("geometry", "epsilon"), "-0.5")
    yield fails(4, "epsilon-negative", "BindingMismatch", signed_file(negative), "0 or more")
    yield from _not_the_signed_binding()


def _not_the_signed_binding() -> Iterator[Vector]:
    good = signed(DOCUMENT)
    zero: Path = ("binding", "probe_sets", 0)
    changes: list[tuple[str, Path, object]] = [
        ("tool", ("binding", "tool"), "another 1.0"),
        ("layout", ("binding", "activations", "layout"), "per-position"),
        ("unembedding-sha256", ("binding", "unembedding", "sha256"), HEX),
        ("vocab-size", ("binding", "unembedding", "vocab_size"), 4),
        ("probe-set-sha256", (*zero, "sha256"), HEX),
        ("dimension", (*zero, "dimensions"), ["cold"]),
        ("verdict", (*zero, "verdicts"), ["INSUFFICIENT"]),
        ("record-sha256", ("binding", "extraction_record", "sha256"), HEX),
        ("record-mode", ("binding", "extraction_record", "mode"), "fast"),
        ("no-record", ("binding", "extraction_record"), REMOVE),
    ]
    for name, path, value in changes:
        forged = a.file_of(changed(good, path, value))
        yield fails(4, f"changed-{name}", "BindingMismatch", forged,
                    "the digest of the binding is signed")  # fmt: skip


# --- steps 5 and 6 ----------------------------------------------------------------------------

ALL_FILES = {
    "activations": "gotact/tiny",
    "unembedding": "gotue/reference-v2",
    "probes": "probe-set/warm probe-set/tall-and-old",
    "record": "record/tiny",
}


def supplied() -> Iterator[Vector]:
    """Files that the attestations are of; vectors of other kinds."""
    yield accepted("gotact", "tiny", a.ACTIVATIONS, "what the attestations were read from",
                   model_id='"tiny"', precision="Fp32", layout="per-layer", layers="1 4",
                   positions="3", hidden_dim="2")  # fmt: skip
    for name, tree in (("tiny", a.RECORD), ("tiny-fast", a.FAST_RECORD),
                       ("tiny-elsewhere", _elsewhere(a.RECORD)),
                       ("tiny-fast-elsewhere", _elsewhere(a.FAST_RECORD))):  # fmt: skip
        run: Tree = tree["run"]  # type: ignore[assignment]
        yield accepted("record", name, record_text(tree), "beside the tiny activations",
                       model_id='"tiny"', mode="reproducible" if run["reproducible"] else "fast",
                       layers="1 4", positions="3", digest=a.record_digest(tree))  # fmt: skip
    yield accepted(
        "gotue", "rank-one", RANK_ONE, "its Φ has rank one", vocab_size="2", hidden_dim="2"
    )
    for name, tree in (("regularised", REGULARISED), ("euclidean", EUCLIDEAN)):
        yield accepted("probe-set", name, text(tree).encode(), f"trained {name}",
                       dimensions="warm", layer="1")  # fmt: skip


def _elsewhere(tree: Tree) -> Tree:
    return changed(tree, ("environment", "device"), "cuda:0")


RANK_ONE = gotue(((1.0, 1.0), (2.0, 2.0)))
ADDED = 0.5
RANK_ONE_PHI = gram(((1.0, 1.0), (2.0, 2.0)), ADDED)
REGULARISED = probe_set([probe("warm", (0.25, -0.5), 0.5)], 1,
                        geometry=geometry_hash(RANK_ONE_PHI, 2, ADDED),
                        inner_product="CausalRegularised", epsilon=ADDED)  # fmt: skip
EUCLIDEAN = probe_set([probe("warm", (0.25, -0.5), 0.5)], 1, geometry=geometry_hash(None, 2),
                      inner_product="Euclidean")  # fmt: skip


def files_step() -> Iterator[Vector]:
    """Step 5, and what passes it."""
    for name, parts, missing in (
        ("activations", ("activations",), "unembedding, probes, extraction record, readings"),
        ("unembedding", ("unembedding",), "activations, probes, extraction record, readings"),
        ("probes", ("probes",), "activations, unembedding, extraction record, readings"),
        ("activations-and-record", ("activations", "record"), "unembedding, probes, readings"),
        ("all-but-the-record", ("activations", "unembedding", "probes"), "extraction record"),
    ):
        yield verified(f"with-{name}", DOCUMENT, "as far as the files go", not_checked=missing,
                       **{part: ALL_FILES[part] for part in parts})  # fmt: skip
    yield verified("with-the-record-of-elsewhere", DOCUMENT, "the environment is not signed",
                   expect="verified", **ALL_FILES | {"record": "record/tiny-elsewhere"})  # fmt: skip
    cases: list[tuple[str, dict[str, str], str]] = [
        ("activations", {"activations": "gotact/reference-v1"}, "another file"),
        ("unembedding", {"unembedding": "gotue/one-value"}, "another file"),
        ("probe-sets-exchanged", {"probes": "probe-set/tall-and-old probe-set/warm"}, "the order"),
        ("probe-set-missing", {"probes": "probe-set/warm"}, "one file, two are bound"),
        ("probe-set-more", {"probes": f"{ALL_FILES['probes']} probe-set/warm"}, "one too many"),
        (
            "probe-set-respelled",
            {"probes": "probe-set/compact probe-set/tall-and-old"},
            "the same probes in another spelling are another file",
        ),
        ("record", {"record": "record/reproducible"}, "of another run"),
        ("record-mode", {"record": "record/tiny-fast"}, "of a fast run"),
    ]
    for name, files, comment in cases:
        yield fails(5, name, "DigestMismatch", GOOD, comment, **ALL_FILES | files)
    fast = rebound(DOCUMENT, ("extraction_record",),
                   {"sha256": a.record_digest(a.FAST_RECORD), "mode": "fast"})  # fmt: skip
    yield verified("with-a-fast-record", fast, "its digest is of the whole file",
                   expect="verified", **ALL_FILES | {"record": "record/tiny-fast"})  # fmt: skip
    yield fails(5, "fast-record-elsewhere", "DigestMismatch", signed_file(fast),
                "of a fast run the environment is in the digest",
                **ALL_FILES | {"record": "record/tiny-fast-elsewhere"})  # fmt: skip
    yield fails(5, "record-respelled", "NotOurSpelling", GOOD, "a record has one spelling",
                **ALL_FILES | {"record": "record/spelled-compact"})  # fmt: skip


def readings_step() -> Iterator[Vector]:
    """Step 6, and what passes it."""
    yield verified("everything", DOCUMENT, "all six steps", expect="verified", **ALL_FILES)
    for position in ("first", "mean", "1"):
        yield verified(f"everything-{position}", a.document(position), f"read at {position}",
                       expect="verified", **ALL_FILES)  # fmt: skip
    warm = {"probes": "probe-set/regularised", "unembedding": "gotue/rank-one"}
    regularised = a.document(
        sets=((REGULARISED, text(REGULARISED).encode()),), phi=RANK_ONE_PHI,
        geometry=geometry_hash(RANK_ONE_PHI, 2, ADDED), unembedding=RANK_ONE,
        inner_product={"CausalRegularised": {"epsilon": ADDED}},
    )  # fmt: skip
    yield verified("everything-regularised", regularised, "the amount added is what is signed",
                   expect="verified", **ALL_FILES | warm)  # fmt: skip
    euclidean = a.document(
        sets=((EUCLIDEAN, text(EUCLIDEAN).encode()),), phi=((1.0, 0.0), (0.0, 1.0)),
        geometry=geometry_hash(None, 2), inner_product="Euclidean",
    )  # fmt: skip
    yield verified("everything-euclidean", euclidean, "Φ is the identity", expect="verified",
                   **ALL_FILES | {"probes": "probe-set/euclidean"})  # fmt: skip
    yield verified("everything-and-more-members", FULL, "nobody can recompute these",
                   not_checked=_made_elsewhere(), **ALL_FILES)  # fmt: skip
    yield from _false_readings()
    yield from _false_descriptions()
    yield from _files_that_do_not_fit()


def _made_elsewhere() -> str:
    plain = set(DOCUMENT)
    return ", ".join(n for n in FULL if n not in plain or n == "sequence_number")


def _false_readings() -> Iterator[Vector]:
    rows: list[list[float]] = DOCUMENT["layer_readings"]  # type: ignore[assignment]
    confidence: list[float] = DOCUMENT["confidence"]  # type: ignore[assignment]
    flags: list[bool] = DOCUMENT["coverage_flags"]  # type: ignore[assignment]
    changes: list[tuple[str, Tree, str]] = [
        ("reading", {"layer_readings": [[0.5], rows[1]]}, "another reading"),
        ("reading-one-unit", {"layer_readings": [[next32(rows[0][0])], rows[1]]}, "a unit off"),
        ("readings-exchanged", {"layer_readings": [rows[0], rows[1][::-1]]}, "two exchanged"),
        ("confidence", {"confidence": [0.75, *confidence[1:]]}, "another confidence"),
        (
            "confidence-one-unit",
            {"confidence": [next32(confidence[0]), *confidence[1:]]},
            "a unit off",
        ),
        (
            "flag",
            {"coverage_flags": [not flags[0], *flags[1:]], "divergence_flag": True},
            "another flag",
        ),
        ("probe-version", {"probe_version": "v9+v9"}, "not what the files say"),
    ]
    for name, change, comment in changes:
        yield fails(
            6, name, "ReadingsMismatch", signed_file(DOCUMENT | change), comment, **ALL_FILES
        )


def _false_descriptions() -> Iterator[Vector]:
    cases: list[tuple[str, Path, object]] = [
        ("layout", ("activations", "layout"), "per-position"),
        ("more-layers", ("activations", "layers"), [1, 4, 9]),
        ("vocab-size", ("unembedding", "vocab_size"), 4),
        ("dimension", ("probe_sets", 0, "dimensions"), ["cold"]),
        ("verdict", ("probe_sets", 1, "verdicts"), ["SUFFICIENT", "SUFFICIENT"]),
        ("layer", ("probe_sets", 0, "layer"), 4),
    ]
    for name, path, value in cases:
        lie = signed_file(rebound(DOCUMENT, path, value))
        yield fails(
            6, f"lie-{name}", "ReadingsMismatch", lie, "not what the files say", **ALL_FILES
        )
    geometry = rebound(DOCUMENT | {"geometry_hash": HEX}, ("geometry", "sha256"), HEX)
    yield fails(6, "lie-geometry", "ReadingsMismatch", signed_file(geometry),
                "not the digest of Φ", **ALL_FILES)  # fmt: skip
    precision = rebound(DOCUMENT | {"precision": "Fp16"}, ("activations", "precision"), "Fp16")
    yield fails(6, "lie-precision", "ReadingsMismatch", signed_file(precision),
                "the activations say Fp32", **ALL_FILES)  # fmt: skip
    name = rebound(DOCUMENT | {"model_id": "other"}, ("activations", "model_id"), "other")
    yield fails(6, "lie-model", "ModelMismatch", signed_file(name), "the activations say tiny",
                **ALL_FILES)  # fmt: skip
    wide = DOCUMENT | {"inner_product": {"CausalRegularised": {"epsilon": 0.5}}}
    wide = rebound(wide, ("geometry", "inner_product"), "CausalRegularised")
    wide = rebound(wide, ("geometry", "epsilon"), "0.5")
    yield fails(6, "lie-epsilon", "ReadingsMismatch", signed_file(wide),
                "Φ is definite: nothing was added", **ALL_FILES)  # fmt: skip


def _one(name: str, error: str, comment: str, *, probes: Tree = WARM, label: str = "warm",
         data: bytes = a.ACTIVATIONS, **files: str) -> Vector:  # fmt: skip
    """A document of one probe set that binds the digests of these files, whatever they hold."""
    with_training = probes if "training" in probes else probes | {"training": WARM["training"]}
    bound = a.bound_set(with_training, text(probes).encode())
    rows: Json = [[0.5 for _ in bound["dimensions"]]]  # type: ignore[union-attr]
    count = len(rows[0])  # type: ignore[index,arg-type]
    tree = DOCUMENT | {
        "layer_readings": rows, "confidence": [0.75] * count, "coverage_flags": [False] * count,
        "divergence_flag": False, "input_hash": a.sha256(data), "probe_version": "v0.1.0",
    }  # fmt: skip
    layers: Json = sorted({1, 4, int(str(bound["layer"]))})
    for path, value in (
        (("activations", "sha256"), a.sha256(data)), (("activations", "layers"), layers),
        (("probe_sets",), [bound]),
    ):  # fmt: skip
        tree = rebound(tree, path, value)
    tree = changed(tree, ("binding", "extraction_record"), REMOVE)
    given = {k: v for k, v in ALL_FILES.items() if k != "record"} | {"probes": f"probe-set/{label}"}
    return fails(6, name, error, signed_file(a.committed(tree)), comment, **given | files)


NAN_AT_THE_END = put(a.ACTIVATIONS, len(a.ACTIVATIONS) - 4, bytes.fromhex("0000c07f"))


def _files_that_do_not_fit() -> Iterator[Vector]:
    tall_only = probe_set([probe("tall", (-1.0, 0.125), 0.0)], 4)
    wide = probe_set([probe("warm", (0.25, -0.5, 1.0), 0.5)], 1)
    far = probe_set([probe("warm", (0.25, -0.5), 0.5)], 9)
    other_model = changed(WARM, ("training", "model_id"), "other")
    other_precision = changed(WARM, ("training", "precision"), "Int8")
    elsewhere = changed(WARM, ("geometry_hash",), [1] * 32)
    yield accepted_nan(NAN_AT_THE_END)
    for name, tree in (("tall", tall_only), ("three-weights", wide), ("layer-9", far),
                       ("other-model", other_model), ("other-precision", other_precision),
                       ("other-geometry", elsewhere)):  # fmt: skip
        yield accepted("probe-set", f"tiny-{name}", text(tree).encode(), "for a step 6 that fails",
                       dimensions=str(tree["probes"][0]["dimension_name"]),  # type: ignore[index,call-overload]
                       layer=str(tree["layer"]))  # fmt: skip
    yield _one("activations-nan", "NonFinite", "NaN in the state that is read", probes=tall_only,
               label="tiny-tall", data=NAN_AT_THE_END, activations="gotact/tiny-nan")  # fmt: skip
    yield _one("no-training", "ProvenanceMissing", "a probe set of the reference",
               probes=REFERENCE, label="reference")  # fmt: skip
    yield _one("three-weights", "DimensionMismatch", "the states have two numbers", probes=wide,
               label="tiny-three-weights")  # fmt: skip
    yield _one("layer-missing", "LayerMissing", "the activations lack layer 9", probes=far,
               label="tiny-layer-9")  # fmt: skip
    yield _one("probes-of-another-model", "ModelMismatch", "trained on another model",
               probes=other_model, label="tiny-other-model")  # fmt: skip
    yield _one("probes-of-another-precision", "PrecisionMismatch", "trained on another precision",
               probes=other_precision, label="tiny-other-precision")  # fmt: skip
    yield _one("probes-of-another-geometry", "GeometryMismatch", "trained under another Φ",
               probes=elsewhere, label="tiny-other-geometry")  # fmt: skip
    cut = gotact(TINY, (1, 4), model_id=b"tiny")[:-1]
    yield refused("gotact", "tiny-cut", "Truncated", cut, "a byte is missing")
    yield _one("activations-truncated", "Truncated", "bound as it is, and no activations",
               data=cut, activations="gotact/tiny-cut")  # fmt: skip


def accepted_nan(data: bytes) -> Vector:
    """The tiny activations with a NaN in the last state of layer 4."""
    return accepted("gotact", "tiny-nan", data, "opened all the same", layers="1 4", positions="3",
                    hidden_dim="2")  # fmt: skip
