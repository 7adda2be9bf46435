"""Attestations with files supplied: steps 5 (files) and 6 (readings)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import DOCUMENT, FULL, rebound, signed_file
from conformance.attestations import GOOD, fails, verified
from conformance.binary import TINY, gotact, gotue, put
from conformance.documents import REMOVE, Path, Tree, changed
from conformance.numbers import Json, gram, next32, text
from conformance.probe_sets import REFERENCE, WARM, geometry_hash, probe, probe_set
from conformance.records import record_digest, record_text
from conformance.vector import Vector, accepted, refused

HEX = "ab" * 32


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
                       layers="1 4", positions="3", digest=record_digest(tree))  # fmt: skip
    yield accepted(
        "gotue", "rank-one", RANK_ONE, "its Φ has rank one", vocab_size="2", hidden_dim="2"
    )
    for name, tree in (("regularised", REGULARISED), ("euclidean", EUCLIDEAN)):
        yield accepted("probe-set", name, text(tree).encode(), f"trained {name}",
                       dimensions="warm", layer="1")  # fmt: skip


def _elsewhere(tree: Tree) -> Tree:
    return changed(tree, ("environment", "device"), "cuda:0")


TALL_ONLY = probe_set([probe("tall", (-1.0, 0.125), 0.0)], 4)
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
                       more={part: ALL_FILES[part] for part in parts})  # fmt: skip
    elsewhere = ALL_FILES | {"record": "record/tiny-elsewhere"}
    yield verified("with-the-record-of-elsewhere", DOCUMENT, "the environment is not signed",
                   expect="verified", more=elsewhere)  # fmt: skip
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
        yield fails(5, name, "DigestMismatch", GOOD, comment, more=ALL_FILES | files)
    fast = rebound(DOCUMENT, ("extraction_record",),
                   {"sha256": record_digest(a.FAST_RECORD), "mode": "fast"})  # fmt: skip
    yield verified("with-a-fast-record", fast, "its digest is of the whole file",
                   expect="verified", more=ALL_FILES | {"record": "record/tiny-fast"})  # fmt: skip
    yield fails(5, "fast-record-elsewhere", "DigestMismatch", signed_file(fast),
                "of a fast run the environment is in the digest",
                more=ALL_FILES | {"record": "record/tiny-fast-elsewhere"})  # fmt: skip
    yield fails(5, "record-respelled", "NotOurSpelling", GOOD, "a record has one spelling",
                more=ALL_FILES | {"record": "record/spelled-compact"})  # fmt: skip


def readings_step() -> Iterator[Vector]:
    """Step 6, and what passes it."""
    yield verified("everything", DOCUMENT, "all six steps", expect="verified", more=ALL_FILES)
    for position in ("first", "mean", "1"):
        yield verified(f"everything-{position}", a.document(position), f"read at {position}",
                       expect="verified", more=ALL_FILES)  # fmt: skip
    warm = {"probes": "probe-set/regularised", "unembedding": "gotue/rank-one"}
    regularised = a.document(
        sets=((REGULARISED, text(REGULARISED).encode()),), phi=RANK_ONE_PHI,
        geometry=geometry_hash(RANK_ONE_PHI, 2, ADDED), unembedding=RANK_ONE,
        inner_product={"CausalRegularised": {"epsilon": ADDED}},
    )  # fmt: skip
    yield verified("everything-regularised", regularised, "the amount added is what is signed",
                   expect="verified", more=ALL_FILES | warm)  # fmt: skip
    euclidean = a.document(
        sets=((EUCLIDEAN, text(EUCLIDEAN).encode()),), phi=((1.0, 0.0), (0.0, 1.0)),
        geometry=geometry_hash(None, 2), inner_product="Euclidean",
    )  # fmt: skip
    yield verified("everything-euclidean", euclidean, "Φ is the identity", expect="verified",
                   more=ALL_FILES | {"probes": "probe-set/euclidean"})  # fmt: skip
    yield verified("everything-and-more-members", FULL, "nobody can recompute these",
                   not_checked=_made_elsewhere(), more=ALL_FILES)  # fmt: skip
    yield from _versions()
    yield from _false_readings()
    yield from _false_descriptions()
    yield from _files_that_do_not_fit()


def _versions() -> Iterator[Vector]:
    """The versions of the probe sets stand in the attestation, each once."""
    same = a.document(sets=((WARM, a.WARM_FILE), (TALL_ONLY, text(TALL_ONLY).encode())))
    files = ALL_FILES | {"probes": "probe-set/warm probe-set/tiny-tall"}
    yield verified("everything-of-one-version", same, "two probe sets of one version",
                   expect="verified", more=files)  # fmt: skip
    yield verified("everything-with-a-version-each", same | {"probe_version": "v0.1.0+v0.1.0"},
                   "the version of each of two probe sets, as it was written before",
                   expect="verified", more=files)  # fmt: skip
    thrice = signed_file(same | {"probe_version": "v0.1.0+v0.1.0+v0.1.0"})
    yield fails(6, "version-thrice", "ReadingsMismatch", thrice, "more versions than sets",
                more=files)  # fmt: skip


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
            6, name, "ReadingsMismatch", signed_file(DOCUMENT | change), comment, more=ALL_FILES
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
            6, f"lie-{name}", "ReadingsMismatch", lie, "not what the files say", more=ALL_FILES
        )
    geometry = rebound(DOCUMENT | {"geometry_hash": HEX}, ("geometry", "sha256"), HEX)
    yield fails(6, "lie-geometry", "ReadingsMismatch", signed_file(geometry),
                "not the digest of Φ", more=ALL_FILES)  # fmt: skip
    precision = rebound(DOCUMENT | {"precision": "Fp16"}, ("activations", "precision"), "Fp16")
    yield fails(6, "lie-precision", "ReadingsMismatch", signed_file(precision),
                "the activations say Fp32", more=ALL_FILES)  # fmt: skip
    named = rebound(DOCUMENT | {"model_id": "other"}, ("activations", "model_id"), "other")
    yield fails(6, "lie-model", "ModelMismatch", signed_file(named), "the activations say tiny",
                more=ALL_FILES)  # fmt: skip
    wide = DOCUMENT | {"inner_product": {"CausalRegularised": {"epsilon": 0.5}}}
    wide = rebound(wide, ("geometry", "inner_product"), "CausalRegularised")
    wide = rebound(wide, ("geometry", "epsilon"), "0.5")
    yield fails(6, "lie-epsilon", "ReadingsMismatch", signed_file(wide),
                "Φ is definite: nothing was added", more=ALL_FILES)  # fmt: skip


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
    return fails(6, name, error, signed_file(a.committed(tree)), comment, more=given | files)


NAN_AT_THE_END = put(a.ACTIVATIONS, len(a.ACTIVATIONS) - 4, bytes.fromhex("0000c07f"))


def _files_that_do_not_fit() -> Iterator[Vector]:
    wide = probe_set([probe("warm", (0.25, -0.5, 1.0), 0.5)], 1)
    far = probe_set([probe("warm", (0.25, -0.5), 0.5)], 9)
    other_model = changed(WARM, ("training", "model_id"), "other")
    other_precision = changed(WARM, ("training", "precision"), "Int8")
    elsewhere = changed(WARM, ("geometry_hash",), [1] * 32)
    yield accepted_nan(NAN_AT_THE_END)
    for name, tree in (("tall", TALL_ONLY), ("three-weights", wide), ("layer-9", far),
                       ("other-model", other_model), ("other-precision", other_precision),
                       ("other-geometry", elsewhere)):  # fmt: skip
        yield accepted("probe-set", f"tiny-{name}", text(tree).encode(), "for step 6",
                       dimensions=str(tree["probes"][0]["dimension_name"]),  # type: ignore[index,call-overload]
                       layer=str(tree["layer"]))  # fmt: skip
    yield _one("activations-nan", "NonFinite", "NaN in the state that is read", probes=TALL_ONLY,
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
