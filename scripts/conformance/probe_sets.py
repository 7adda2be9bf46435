"""Probe sets: docs/formats.md, member by member."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence

from conformance.binary import U2, floats
from conformance.documents import REMOVE, Path, Tree, changed, swapped
from conformance.numbers import Json, bits32, f32, gram, text
from conformance.vector import Vector, accepted, refused


def geometry_hash(phi: Sequence[Sequence[float]] | None, d: int, added: float = 0.0) -> bytes:
    """SHA-256 of d (u64), the amount added (f32) and Φ, row by row; the identity has no rows."""
    data = struct.pack("<Qf", d, added)
    for row in phi or ():
        data += struct.pack(f"<{d}f", *row)
    return hashlib.sha256(data).digest()


PHI = gram(U2)
GEOMETRY = geometry_hash(PHI, 2)


def figure(value: float) -> Tree:
    """A figure with its interval."""
    return {"value": f32(value), "low": f32(value - 0.0625), "high": f32(value + 0.0625)}


def table(filled: Mapping[int, tuple[int, int, float, float]]) -> Json:
    """Ten bins; of those filled: rows, groups, mean probability and share of positive rows."""
    return [
        {"rows": rows, "groups": groups, "mean_probability": mean, "positive_share": share,
         "low": share / 2 if rows else 0.0, "high": (share + 1) / 2 if rows else 1.0}
        for rows, groups, mean, share in (filled.get(k, (0, 0, 0.0, 0.0)) for k in range(10))
    ]  # fmt: skip


def card(dimension: str, verdict: str = "SUFFICIENT") -> Tree:
    """A card whose verdict follows from its figures: AUROC above or below the best control."""
    auroc = 0.875 if verdict == "SUFFICIENT" else 0.625
    quality: Tree = {
        name: figure(value)
        for name, value in (
            ("auroc", auroc), ("average_precision", 0.8125), ("accuracy", 0.75),
            ("recall_at_1_percent", 0.25), ("brier", 0.1875), ("log_loss", 0.5), ("ece", 0.125),
        )
    }  # fmt: skip
    return {
        "dimension": dimension, "positives": 3, "negatives": 9, "groups": 6, "grouped": True,
        "l2": f32(0.001), "l2_chosen": True, "folds": 3, "nested": True, "converged": True,
        "training_auroc": 1.0, "quality": quality, "ece_before_platt": figure(0.1875),
        "bins_before": table({4: (12, 6, 0.4375, 0.25)}),
        "bins": table({2: (8, 4, 0.25, 0.125), 6: (4, 2, 0.625, 0.5)}),
        "other_inner_product": "Euclidean", "other": quality,
        "controls": {"shuffled_labels": 0.5, "random_directions": 0.625,
                     "difference_in_means": 0.9375, "bag_of_tokens": 0.6875,
                     "position_and_length": None},
        "verdict": verdict, "reason": "as the figures say",
    }  # fmt: skip


def probe(name: str, weights: Sequence[float], bias: float) -> Tree:
    """A probe with the calibration of identity."""
    return {"dimension_name": name, "weights": list(weights), "bias": bias, "platt_scale": 1.0,
            "platt_shift": 0.0, "reliability_threshold": f32(0.7)}  # fmt: skip


def probe_set(
    probes: Sequence[Tree],
    layer: int,
    verdict: str = "SUFFICIENT",
    *,
    geometry: bytes = GEOMETRY,
    inner_product: str = "Causal",
    epsilon: float = 0.0,
) -> Tree:
    """A probe set with provenance; model `tiny`, Fp32."""
    return {
        "probes": list(probes), "version": "v0.1.0", "corpus_version": "unversioned",
        "layer": layer, "geometry_hash": list(geometry), "max_drift": None,
        "max_directional_drift": None,
        "training": {
            "precision": "Fp32", "model_id": "tiny", "layer": layer, "rows": 12,
            "activations_sha256": "0a" * 32, "unembedding_sha256": "1b" * 32,
            "labels_sha256": None, "rows_digest": "2c" * 32, "inner_product": inner_product,
            "epsilon": epsilon,
            "spectrum": {"condition": 123.5, "effective_rank": 1.5, "mean_share": None},
            "effective_dimension": 1.0,
            "cards": [card(str(p["dimension_name"]), verdict) for p in probes],
            "versions": {"python": "3.11", "numpy": "2", "scipy": "1", "scikit-learn": "1",
                         "geometry-of-trust": "0"},
        },
    }  # fmt: skip


WARM = probe_set([probe("warm", (0.25, -0.5), 0.5)], 1)
TALL: Tree = probe_set(
    [probe("tall", (-1.0, 0.125), 1.1875), probe("old", (0.5, 0.5), -0.25)], 4, "INSUFFICIENT"
) | {"version": "v0.2.0"}
REFERENCE: Tree = {k: v for k, v in WARM.items() if k != "training"}
PROBE: Path = ("probes", 0)
TRAINING: Path = ("training",)
CARD: Path = (*TRAINING, "cards", 0)
TOKENS: Tree = {"chosen": "all", "position": "last", "skip_special_tokens": False}
FITTED: Tree = {"norms": {"low": 0.5, "high": 2.0}, "scores": [{"low": -1.5, "high": 1.5}]}
OF_LAST = changed(changed(WARM, (*TRAINING, "tokens"), TOKENS), (*TRAINING, "fitted"), FITTED)
OF_TEXTS = changed(
    changed(changed(WARM, (*TRAINING, "rows"), 30), (*CARD, "token_quality"), card("")["quality"]),
    (*TRAINING, "tokens"),
    {"chosen": "assistant", "position": "all", "skip_special_tokens": True,
     "aggregate": "max-of-rolling-means:10"},
)  # fmt: skip
AUROC: Path = (*CARD, "quality", "auroc")


def weights_sha256(tree: Tree) -> str:
    """Digest of the weights of all probes as float32."""
    probes: list[Tree] = tree["probes"]  # type: ignore[assignment]
    weights: list[list[float]] = [one["weights"] for one in probes]  # type: ignore[misc]
    return hashlib.sha256(b"".join(map(floats, weights))).hexdigest()


def probe_sets() -> Iterator[Vector]:
    """Vectors of kind `probe-set`."""
    yield from _probe_sets_read()
    yield from _probe_sets_changed()
    yield from _probe_sets_text()


def _probe_set_read(name: str, data: bytes, tree: Tree, comment: str) -> Vector:
    probes: list[Tree] = tree["probes"]  # type: ignore[assignment]
    octets = tree.get("geometry_hash")
    training: Tree | None = tree.get("training")  # type: ignore[assignment]
    facts = {
        "dimensions": " ".join(str(p["dimension_name"]) for p in probes),
        "layer": str(tree["layer"]),
        "geometry_hash": bytes(octets).hex() if octets else "none",  # type: ignore[arg-type]
        "weights_sha256": weights_sha256(tree),
    }
    if training is not None:
        cards: list[Tree] = training["cards"]  # type: ignore[assignment]
        facts |= {"model_id": json.dumps(training["model_id"]),
                  "verdicts": " ".join(str(c["verdict"]) for c in cards)}  # fmt: skip
    return accepted("probe-set", name, data, comment, more=facts)


def _probe_sets_read() -> Iterator[Vector]:
    for name, tree, comment in (
        ("warm", WARM, "one probe of layer 1; its card says SUFFICIENT"),
        ("tall-and-old", TALL, "two probes of layer 4; their cards say INSUFFICIENT"),
        ("of-last-tokens", OF_LAST, "with the tokens trained on and the ranges fitted on"),
        ("of-texts", OF_TEXTS, "read by an aggregate; the card is of 12 texts, 30 rows in all"),
        ("reference", REFERENCE, "the reference's members alone, without training"),
        ("no-geometry-hash", changed(REFERENCE, ("geometry_hash",), None), "null: not known"),
        ("drift-limits", changed(changed(REFERENCE, ("max_drift",), 0.25),
                                 ("max_directional_drift",), 0.5), "the reference's two limits"),
        ("no-other-inner-product",
         changed(changed(WARM, (*CARD, "other"), None), (*CARD, "other_inner_product"), None),
         "figures under the other inner product were not measured"),
    ):  # fmt: skip
        yield _probe_set_read(name, text(tree).encode(), tree, comment)
    for name in ("geometry_hash", "max_drift", "max_directional_drift"):
        less = changed(REFERENCE, (name,), REMOVE)
        yield _probe_set_read(f"without-{name.replace('_', '-')}", text(less).encode(), less,
                              f"{name} may be absent")  # fmt: skip
    yield _probe_set_read("compact", json.dumps(WARM, separators=(",", ":")).encode(), WARM,
                          "another spelling is read: the file's digest counts")  # fmt: skip
    odd = [bits32(b) for b in (0x15AE43FD, 0x00000001, 0x7F7FFFFF, 0x358637BD, 0x33D6BF95)]
    numbers = probe_set([probe("odd", odd, bits32(0x551184E7))], 1)
    yield _probe_set_read("numbers", text(numbers).encode(), numbers,
                          "shortest decimals, plain and with an exponent")  # fmt: skip


CHANGES: list[tuple[str, str, Path, object, str]] = [
    ("unknown-member", "UnknownMember", ("more",), 1, "at the top"),
    ("unknown-in-probe", "UnknownMember", (*PROBE, "more"), 1, "in a probe"),
    ("unknown-in-training", "UnknownMember", (*TRAINING, "more"), 1, "in training"),
    ("unknown-in-card", "UnknownMember", (*CARD, "more"), 1, "in a card"),
    ("unknown-in-figure", "UnknownMember", (*AUROC, "more"), 1, "in a figure"),
    ("unknown-in-versions", "UnknownMember", (*TRAINING, "versions", "torch"), "2", "a library"),
    ("no-interval", "MissingMember", (*AUROC, "low"), REMOVE, "a figure without its low end"),
    ("no-layer", "MissingMember", ("layer",), REMOVE, "layer"),
    ("no-probes", "MissingMember", ("probes",), REMOVE, "probes"),
    ("no-bias", "MissingMember", (*PROBE, "bias"), REMOVE, "bias"),
    ("no-weights", "MissingMember", (*PROBE, "weights"), REMOVE, "weights"),
    ("no-l2", "MissingMember", (*CARD, "l2"), REMOVE, "a card without λ"),
    ("no-cards", "Inconsistent", (*TRAINING, "cards"), [], "a card a probe is needed"),
    ("card-of-another", "Inconsistent", (*CARD, "dimension"), "cold", "the probe is warm"),
    ("verdict-against-the-figures", "Inconsistent", (*CARD, "verdict"), "INSUFFICIENT",
     "the interval lies above every control"),
    ("figures-against-the-verdict", "Inconsistent", (*AUROC, "low"), 0.6875,
     "an interval that begins at the best control does not lie above it"),
    ("control-against-the-verdict", "Inconsistent", (*CARD, "controls", "position_and_length"),
     0.875, "position and length do as well"),
    ("auroc-99", "WrongType", AUROC, {"value": 99.0, "low": 98.0, "high": 99.5}, "beyond 1"),
    ("accuracy-negative", "WrongType", (*CARD, "quality", "accuracy", "low"), -0.125, "below 0"),
    ("log-loss-negative", "WrongType", (*CARD, "quality", "log_loss", "low"), -0.125, "below 0"),
    ("other-auroc-2", "WrongType", (*CARD, "other", "auroc", "high"), 2.0, "beyond 1"),
    ("control-negative", "WrongType", (*CARD, "controls", "bag_of_tokens"), -0.5, "below 0"),
    ("training-auroc-2", "WrongType", (*CARD, "training_auroc"), 2.0, "beyond 1"),
    ("l2-negative", "WrongType", (*CARD, "l2"), -1.0, "below 0"),
    ("ends-swapped", "WrongType", (*CARD, "quality", "brier"),
     {"value": 0.1875, "low": 0.25, "high": 0.125}, "the low end above the high one"),
    ("value-outside-its-interval", "WrongType", (*CARD, "quality", "ece", "low"), 0.1875,
     "the value lies below the low end"),
    ("nine-bins", "WrongType", (*CARD, "bins"), table({2: (12, 6, 0.25, 0.25)})[:9],  # type: ignore[index]
     "ten are needed"),
    ("bin-beyond-1", "WrongType", (*CARD, "bins", 2, "high"), 5.0, "the end of an interval"),
    ("bin-share-outside-its-interval", "WrongType", (*CARD, "bins", 2, "low"), 0.25, "0.125"),
    ("bin-mean-in-another-tenth", "WrongType", (*CARD, "bins", 2, "mean_probability"), 0.375,
     "the third bin is from 0.2 to 0.3"),
    ("bin-more-groups-than-rows", "WrongType", (*CARD, "bins", 2, "groups"), 9, "8 rows"),
    ("bin-rows-without-groups", "WrongType", (*CARD, "bins", 2, "groups"), 0, "8 rows"),
    ("bins-of-fewer-rows", "Inconsistent", (*CARD, "bins"), table({2: (8, 4, 0.25, 0.375)}),
     "8 rows of 12"),
    ("bins-of-other-positives", "Inconsistent", (*CARD, "bins"),
     table({2: (8, 4, 0.25, 0.375), 6: (4, 2, 0.625, 0.5)}), "5 rows, where 3 are positive"),
    ("bins-of-another-ece", "Inconsistent", (*CARD, "bins_before"),
     table({4: (12, 6, 0.40625, 0.25)}), "the figure says 0.1875"),
    ("other-without-its-name", "Inconsistent", (*CARD, "other_inner_product"), None, "of which"),
    ("trained-at-another-layer", "Inconsistent", (*TRAINING, "layer"), 2, "layer is 1"),
    ("verdict-unknown", "WrongType", (*CARD, "verdict"), "GOOD", "two words are defined"),
    ("layer-a-float", "WrongType", ("layer",), 1.0, "1.0 is no integer"),
    ("layer-a-boolean", "WrongType", ("layer",), True, "true is no integer"),
    ("layer-negative", "WrongType", ("layer",), -1, "below 0"),
    ("layer-2-to-the-32", "WrongType", ("layer",), 2**32, "beyond 32 bits"),
    ("version-a-number", "WrongType", ("version",), 1, "a string is needed"),
    ("geometry-hash-hex", "WrongType", ("geometry_hash",), "c4" * 32, "integers are needed"),
    ("geometry-hash-31", "WrongType", ("geometry_hash",), [0] * 31, "31 integers"),
    ("geometry-hash-256", "WrongType", ("geometry_hash",), [256] * 32, "beyond a byte"),
    ("probes-empty", "WrongType", ("probes",), [], "at least one probe"),
    ("weights-empty", "WrongType", (*PROBE, "weights"), [], "at least one weight"),
    ("weight-a-string", "WrongType", (*PROBE, "weights"), ["1", 2.0], "a number is needed"),
    ("weight-a-boolean", "WrongType", (*PROBE, "weights"), [True, 2.0], "a number is needed"),
    ("bias-null", "WrongType", (*PROBE, "bias"), None, "a number is needed"),
    ("precision-unknown", "WrongType", (*TRAINING, "precision"), "Fp8", "no such tag"),
    ("inner-product-unknown", "WrongType", (*TRAINING, "inner_product"), "Cosine", "no such"),
    ("digest-upper-case", "WrongType", (*TRAINING, "rows_digest"), "2C" * 32, "lower case"),
    ("training-a-list", "WrongType", ("training",), [], "an object is needed"),
    ("unequal-lengths", "DimensionMismatch", ("probes",),
     [probe("warm", (0.25, -0.5), 0.5), probe("warm", (1.0,), 0.0)],
     "a probe of two weights and one of one"),
]  # fmt: skip


TOKEN_CHANGES: list[tuple[str, str, Tree, Path, object, str]] = [
    ("tokens-chosen-unknown", "WrongType", OF_LAST, ("tokens", "chosen"), "some", "no choice"),
    ("tokens-position-07", "WrongType", OF_LAST, ("tokens", "position"), "07", "a leading zero"),
    ("aggregate-unknown", "WrongType", OF_TEXTS, ("tokens", "aggregate"), "median", "no such"),
    ("aggregate-of-0", "WrongType", OF_TEXTS, ("tokens", "aggregate"), "top-k-mean:0", "from 1"),
    ("aggregate-of-last", "Inconsistent", OF_TEXTS, ("tokens", "position"), "last", "all, or none"),
    ("texts-more-than-rows", "Inconsistent", OF_TEXTS, ("rows",), 11, "12 texts on the card"),
    ("range-swapped", "Inconsistent", OF_LAST, ("fitted", "scores", 0, "low"), 2.0, "high is 1.5"),
    ("range-of-no-probe", "Inconsistent", OF_LAST, ("fitted", "scores"), [], "one a probe"),
    ("norm-negative", "WrongType", OF_LAST, ("fitted", "norms", "low"), -0.5, "a length"),
]  # fmt: skip


def _probe_sets_changed() -> Iterator[Vector]:
    for name, error, path, value, comment in CHANGES:
        tree = changed(WARM, path, value)
        if name == "unequal-lengths":
            tree = changed(tree, ("training",), REMOVE)
        yield refused("probe-set", name, error, text(tree).encode(), comment)
    for name, error, of, path, value, comment in TOKEN_CHANGES:
        tree = changed(of, (*TRAINING, *path), value)
        yield refused("probe-set", name, error, text(tree).encode(), comment)


def _probe_sets_text() -> Iterator[Vector]:
    good = text(WARM).encode()
    for name, error, data, comment in (
        ("empty", "BadJson", b"", "no byte at all"),
        ("array", "WrongType", b"[]", "an object is needed"),
        ("nan", "BadJson", swapped(good, '"bias": 0.5', '"bias": NaN'), "NaN is no JSON"),
        ("infinity", "BadJson", swapped(good, '"bias": 0.5', '"bias": Infinity'), "no JSON"),
        ("weight-beyond-float32", "NonFinite", swapped(good, "0.25,", "1e39,"), "1e39"),
        ("weight-rounds-to-infinity", "NonFinite", swapped(good, "0.25,", "3.4028236e38,"),
         "just beyond the greatest float32"),
        ("bias-beyond-double", "NonFinite", swapped(good, '"bias": 0.5', '"bias": 1e400'), "1e400"),
        ("duplicate-member", "DuplicateMember",
         swapped(good, '"layer": 1,', '"layer": 1,\n  "layer": 1,'), "the same twice"),
        ("duplicate-in-training", "DuplicateMember",
         swapped(good, '"rows": 12,', '"rows": 12, "rows": 12,'), "the same twice, deeper"),
        ("not-utf-8", "BadText", good.replace(b"warm", b"w\xffrm"),
         "a byte that no UTF-8 has"),
        ("lone-surrogate", "BadText", swapped(good, "warm", "w\\ud800rm"), "no Unicode text"),
        ("byte-order-mark", "BadJson", b"\xef\xbb\xbf" + good, "no JSON"),
        ("cut", "BadJson", good[:-1], "the last brace is missing"),
        ("two-documents", "BadJson", good + good, "one after the other"),
    ):  # fmt: skip
        yield refused("probe-set", name, error, data, comment)
    yield refused("probe-set", "too-many-values", "TooLarge", b"[1,1]",
                  "2097153 numbers and the array, in 4 MiB", repeats=((1, 2, 2**21),))  # fmt: skip
    yield refused("probe-set", "too-large", "TooLarge", b" ", "a byte more than 16 MiB",
                  repeats=((0, 1, 2**24 + 1),))  # fmt: skip
