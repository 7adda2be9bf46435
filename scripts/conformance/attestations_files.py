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
from conformance.records import ARITHMETIC, record_digest, record_text, with_arithmetic
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
                       ("tiny-arithmetic", with_arithmetic(a.RECORD)),
                       ("tiny-elsewhere", _elsewhere(a.RECORD)),
                       ("tiny-fast-elsewhere", _elsewhere(a.FAST_RECORD))):  # fmt: skip
        run: Tree = tree["run"]  # type: ignore[assignment]
        yield accepted("record", name, record_text(tree), "beside the tiny activations",
                       model_id='"tiny"', mode="reproducible" if run["reproducible"] else "fast",
                       layers="1 4", positions="3", digest=record_digest(tree))  # fmt: skip
    for name, tree, comment in _records_of_another_run():
        yield accepted("record", f"tiny-{name}", record_text(tree), comment,
                       digest=record_digest(tree))  # fmt: skip
    yield accepted(
        "gotue", "rank-one", RANK_ONE, "its Φ has rank one", vocab_size="2", hidden_dim="2"
    )
    for name, tree in (("regularised", REGULARISED), ("euclidean", EUCLIDEAN)):
        yield accepted("probe-set", name, text(tree).encode(), f"trained {name}",
                       dimensions="warm", layer="1")  # fmt: skip


def _elsewhere(tree: Tree) -> Tree:
    return changed(tree, ("environment", "device"), "cuda:0")


def _records_of_another_run() -> Iterator[tuple[str, Tree, str]]:
    """Records that say something else than is bound of the activations or the unembedding."""
    tokens: Json = a.RECORD["tokens"][:2]  # type: ignore[index]
    changes: list[tuple[str, Path, Json, str]] = [
        ("of-other-activations", ("files", "activations", "sha256"), HEX, "another digest"),
        ("of-another-unembedding", ("files", "unembedding", "sha256"), HEX, "another digest"),
        ("of-another-model", ("model", "id"), "other", "another model's name"),
        ("of-another-precision", ("run", "precision"), "Fp16", "another precision"),
        ("of-other-layers", ("run", "layers"), [1, 5], "another layer"),
        ("of-fewer-tokens", ("tokens",), tokens, "two tokens, three positions are bound"),
    ]
    for name, path, value, comment in changes:
        yield name, changed(a.RECORD, path, value), comment


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
                       expect="verified-files" if "readings" in missing else "verified-readings",
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
    for label, tree, comment in _records_of_another_run():
        bound: Tree = {"sha256": record_digest(tree), "mode": "reproducible"}
        lie = signed_file(rebound(DOCUMENT, ("extraction_record",), bound))
        files = {"record": f"record/tiny-{label}"}
        yield fails(5, f"record-{label}", "RecordMismatch", lie, comment, more=ALL_FILES | files)
        yield fails(5, f"record-{label}-alone", "RecordMismatch", lie, "with activations alone",
                    more={"activations": ALL_FILES["activations"]} | files)  # fmt: skip
    yield from _arithmetics()
    yield fails(5, "record-respelled", "NotOurSpelling", GOOD, "a record has one spelling",
                more=ALL_FILES | {"record": "record/spelled-compact"})  # fmt: skip


def _arithmetics() -> Iterator[Vector]:
    """What a run computed in stands in its record, and in a binding."""
    named = with_arithmetic(a.RECORD)
    for tree, files, bound, other in (
        (named, {"record": "record/tiny-arithmetic"}, ARITHMETIC, "another"),
        (a.RECORD, {"record": "record/tiny"}, None, ARITHMETIC),
        (named, {"record": "record/tiny-arithmetic"}, ARITHMETIC, None),
    ):
        documents = []
        for arithmetic in (bound, other):
            members: Tree = {"sha256": record_digest(tree), "mode": "reproducible"}
            members |= {} if arithmetic is None else {"arithmetic": arithmetic}
            documents.append(rebound(DOCUMENT, ("extraction_record",), members))
        if other == "another":
            yield verified("with-the-arithmetic", documents[0], "what it computed in is signed",
                           expect="verified", more=ALL_FILES | files)  # fmt: skip
        label = {"another": "another", None: "not-bound"}.get(other, "not-recorded")
        yield fails(5, f"record-arithmetic-{label}", "RecordMismatch", signed_file(documents[1]),
                    "the record says otherwise", more=ALL_FILES | files)  # fmt: skip


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
    regularised = a.committed(changed(regularised, ("binding", "extraction_record"), REMOVE))
    yield verified("everything-regularised", regularised, "the amount added is what is signed",
                   expect="verified", more=_without_record(warm))  # fmt: skip
    euclidean = a.document(
        sets=((EUCLIDEAN, text(EUCLIDEAN).encode()),), phi=((1.0, 0.0), (0.0, 1.0)),
        geometry=geometry_hash(None, 2), inner_product="Euclidean",
    )  # fmt: skip
    yield verified("everything-euclidean", euclidean, "Φ is the identity", expect="verified",
                   more=ALL_FILES | {"probes": "probe-set/euclidean"})  # fmt: skip
    yield verified("everything-and-more-members", FULL, "nobody can recompute these",
                   expect="verified-readings", not_checked=_made_elsewhere(),
                   more=ALL_FILES)  # fmt: skip
    yield from _versions()
    yield from _false_readings()
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
    yield fails(5, "version-thrice", "ContentMismatch", thrice, "more versions than sets",
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
    ]
    for name, change, comment in changes:
        yield fails(
            6, name, "ReadingsMismatch", signed_file(DOCUMENT | change), comment, more=ALL_FILES
        )


def descriptions() -> Iterator[Vector]:
    """Step 5: what is signed of a file is not what the file says, whatever else is supplied."""
    geometry = rebound(DOCUMENT | {"geometry_hash": HEX}, ("geometry", "sha256"), HEX)
    precision = rebound(DOCUMENT | {"precision": "Fp16"}, ("activations", "precision"), "Fp16")
    named = rebound(DOCUMENT | {"model_id": "other"}, ("activations", "model_id"), "other")
    wide = DOCUMENT | {"inner_product": {"CausalRegularised": {"epsilon": 0.5}}}
    wide = rebound(wide, ("geometry", "inner_product"), "CausalRegularised")
    wide = rebound(wide, ("geometry", "epsilon"), "0.5")
    deep = rebound(DOCUMENT, ("activations", "hidden_dim"), 3)
    deep = rebound(deep, ("unembedding", "hidden_dim"), 3)
    long = rebound(DOCUMENT, ("activations", "positions"), 4)
    for i in range(2):
        long = rebound(long, ("probe_sets", i, "position_index"), 3)

    def lying(*path: str | int, value: object) -> Tree:
        return rebound(DOCUMENT, path, value)

    cases: list[tuple[str, str, Tree]] = [
        ("model", "activations", named),
        ("precision", "activations", precision),
        ("hidden-dim", "activations", deep),
        ("layout", "activations", lying("activations", "layout", value="per-position")),
        ("more-layers", "activations", lying("activations", "layers", value=[1, 4, 9])),
        ("positions", "activations", long),
        ("vocab-size", "unembedding", lying("unembedding", "vocab_size", value=4)),
        ("width", "unembedding", deep),
        ("dimension", "probes", lying("probe_sets", 0, "dimensions", value=["cold"])),
        ("verdict", "probes", lying("probe_sets", 1, "verdicts", value=["SUFFICIENT"] * 2)),
        ("layer", "probes", lying("probe_sets", 0, "layer", value=4)),
        ("probes-model", "probes", named),
        ("probes-precision", "probes", precision),
        ("weights", "probes", deep),
        ("geometry", "probes", geometry),
        ("epsilon", "probes", wide),
        ("probe-version", "probes", DOCUMENT | {"probe_version": "v9"}),
    ]
    for name, part, tree in cases:
        lie, alone = signed_file(tree), {part: ALL_FILES[part]}
        yield verified(f"lie-{name}-unseen", tree, "no file is there to contradict it")
        yield fails(5, f"lie-{name}", "ContentMismatch", lie, f"not what the {part} say",
                    more=_without_record({}))  # fmt: skip
        yield fails(5, f"lie-{name}-alone", "ContentMismatch", lie, f"with the {part} alone",
                    more=alone)  # fmt: skip


def _without_record(files: dict[str, str]) -> dict[str, str]:
    return {part: name for part, name in ALL_FILES.items() if part != "record"} | files


def _one(name: str, error: str, comment: str, *, step: int = 5, probes: Tree = WARM,
         label: str = "warm", data: bytes = a.ACTIVATIONS, geometry: str = "",
         **files: str) -> Vector:  # fmt: skip
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
    if geometry:
        tree = rebound(tree | {"geometry_hash": geometry}, ("geometry", "sha256"), geometry)
    given = _without_record({"probes": f"probe-set/{label}"})
    return fails(step, name, error, signed_file(a.committed(tree)), comment, more=given | files)


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
    yield _one("activations-nan", "NonFinite", "NaN in the state that is read", step=6,
               probes=TALL_ONLY,
               label="tiny-tall", data=NAN_AT_THE_END, activations="gotact/tiny-nan")  # fmt: skip
    yield _one("no-training", "ProvenanceMissing", "a probe set of the reference",
               probes=REFERENCE, label="reference")  # fmt: skip
    yield _one("three-weights", "ContentMismatch", "the states have two numbers", probes=wide,
               label="tiny-three-weights")  # fmt: skip
    yield _one("layer-missing", "ContentMismatch", "the activations lack layer 9", probes=far,
               label="tiny-layer-9")  # fmt: skip
    yield _one("probes-of-another-model", "ContentMismatch", "trained on another model",
               probes=other_model, label="tiny-other-model")  # fmt: skip
    yield _one("probes-of-another-precision", "ContentMismatch", "trained on another precision",
               probes=other_precision, label="tiny-other-precision")  # fmt: skip
    yield _one("probes-of-another-geometry", "ContentMismatch", "trained under another Φ",
               probes=elsewhere, label="tiny-other-geometry")  # fmt: skip
    yield _one("geometry", "GeometryMismatch", "probes and document agree, wrongly",
               step=6, probes=elsewhere, label="tiny-other-geometry",
               geometry="01" * 32)  # fmt: skip
    cut = gotact(TINY, (1, 4), model_id=b"tiny")[:-1]
    yield refused("gotact", "tiny-cut", "Truncated", cut, "a byte is missing")
    yield _one("activations-truncated", "Truncated", "bound as it is, and no activations",
               data=cut, activations="gotact/tiny-cut")  # fmt: skip


def accepted_nan(data: bytes) -> Vector:
    """The tiny activations with a NaN in the last state of layer 4."""
    return accepted("gotact", "tiny-nan", data, "opened all the same", layers="1 4", positions="3",
                    hidden_dim="2")  # fmt: skip
