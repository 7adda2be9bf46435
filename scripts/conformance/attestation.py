"""Attestations: the document, its binding and its signed bytes, written from the specification."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Sequence
from fractions import Fraction

from conformance.binary import TINY, U2, gotact, gotue
from conformance.documents import Path, Tree, changed
from conformance.ed25519 import KEY, Key
from conformance.numbers import Json, gram, reading, sigmoid, text
from conformance.probe_sets import GEOMETRY, TALL, WARM
from conformance.records import record, record_digest, record_text

TIMESTAMP = 1_700_000_000
ACTIVATIONS = gotact(TINY, (1, 4), model_id=b"tiny")
UNEMBEDDING = gotue(U2)
WARM_FILE, TALL_FILE = text(WARM).encode(), text(TALL).encode()


def sha256(data: bytes) -> str:
    """64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


RECORD = record(sha256(ACTIVATIONS), sha256(UNEMBEDDING))
RECORD_FILE = record_text(RECORD)
FAST_RECORD = record(sha256(ACTIVATIONS), sha256(UNEMBEDDING), reproducible=False)


# --- what a probe set reads -------------------------------------------------------------------


def states(layer: int, position: str) -> Sequence[Sequence[float]]:
    """The rows of the tiny activations that a position names."""
    rows = TINY[(1, 4).index(layer)]
    if position == "mean":
        return rows
    return [
        rows[{"last": -1, "first": 0}.get(position, int(position) if position.isdigit() else 0)]
    ]


def readings(probe_set: Tree, position: str, phi: Sequence[Sequence[float]]) -> list[float]:
    """The logit of each probe."""
    found = []
    for probe in probe_set["probes"]:  # type: ignore[union-attr]
        rows = states(int(str(probe_set["layer"])), position)
        found.append(reading(probe["weights"], phi, rows, probe["bias"]))  # type: ignore[index,call-overload,arg-type]
    return found


def bound_set(probe_set: Tree, data: bytes, position: str = "last") -> Tree:
    """What a binding says of a probe set."""
    index = {"last": 2, "first": 0, "mean": None}.get(position, 0)
    if position.isdigit():
        index = int(position)
    training: Tree = probe_set["training"]  # type: ignore[assignment]
    cards: list[Tree] = training["cards"]  # type: ignore[assignment]
    probes: list[Tree] = probe_set["probes"]  # type: ignore[assignment]
    bound: Tree = {"sha256": sha256(data), "layer": probe_set["layer"], "position": position}
    if index is not None:
        bound["position_index"] = index
    bound["dimensions"] = [probe["dimension_name"] for probe in probes]
    bound["verdicts"] = [card["verdict"] for card in cards]
    return bound


def document(
    position: str = "last",
    *,
    sets: Sequence[tuple[Tree, bytes]] = ((WARM, WARM_FILE), (TALL, TALL_FILE)),
    phi: Sequence[Sequence[float]] | None = None,
    geometry: bytes = GEOMETRY,
    inner_product: Json = "Causal",
    unembedding: bytes = UNEMBEDDING,
) -> Tree:
    """An attestation of the tiny pipeline, not signed yet; members in the order of the file."""
    rows = [readings(probe_set, position, phi or gram(U2)) for probe_set, _ in sets]
    confidence = [sigmoid(Fraction(raw)) for row in rows for raw in row]
    flags = [max(p, 1 - p) < 0.699999988079071 for p in confidence]  # the float32 nearest to 0.7
    name = inner_product if isinstance(inner_product, str) else "CausalRegularised"
    added = 0.0 if isinstance(inner_product, str) else inner_product[name]["epsilon"]  # type: ignore[index,call-overload]
    vocab_size = int.from_bytes(unembedding[6:10], "little")
    binding: Tree = {
        "version": 1,
        "tool": "geometry-of-trust 0.1.0",
        "activations": {
            "sha256": sha256(ACTIVATIONS), "model_id": "tiny", "precision": "Fp32",
            "hidden_dim": 2, "layout": "per-layer", "layers": [1, 4], "positions": 3,
        },
        "unembedding": {"sha256": sha256(unembedding), "vocab_size": vocab_size, "hidden_dim": 2},
        "geometry": {"inner_product": name, "epsilon": text(added), "sha256": geometry.hex()},
        "probe_sets": [bound_set(probe_set, data, position) for probe_set, data in sets],
        "extraction_record": {"sha256": record_digest(RECORD), "mode": "reproducible"},
        "key_id": KEY.key_id,
    }  # fmt: skip
    tree: Tree = {
        "schema_version": 1, "model_id": "tiny", "precision": "Fp32",
        "inner_product": inner_product, "input_hash": sha256(ACTIVATIONS),
        "timestamp": TIMESTAMP, "corpus_version": "unversioned",
        "probe_version": "+".join(dict.fromkeys(str(one["version"]) for one, _ in sets)),
        "layer_readings": rows, "confidence": confidence, "coverage_flags": flags,
        "divergence_flag": any(flags), "geometry_hash": geometry.hex(), "sequence_number": 0,
        "probe_commitment": "", "binding": binding,
    }  # fmt: skip
    return committed(tree)


# --- binding and signature --------------------------------------------------------------------


def committed(tree: Tree) -> Tree:
    """The same with the digest of its binding; RFC 8785 of strings and integers is this."""
    form = json.dumps(tree["binding"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {**tree, "probe_commitment": sha256(b"GOT-BINDING-V1\0" + form.encode())}


def rebound(tree: Tree, path: Path, value: object) -> Tree:
    """The same with one member of the binding changed, and the digest that fits."""
    return committed(changed(tree, ("binding", *path), value))


SET: Path = ("probe_sets", 0)
"""The first probe set of a binding."""


def of_a_text(**changes: Json) -> Tree:
    """It, as of rows of a text whose readings are aggregated, with other members."""
    sets: list[Tree] = DOCUMENT["binding"]["probe_sets"]  # type: ignore[index,call-overload,assignment]
    one = {name: value for name, value in sets[0].items() if name != "position_index"}
    text: Tree = {"position": "all", "aggregate": "max", "rows": [0, 3]}
    return one | text | changes


def of_model(model_hash: str, manifest_root: str) -> Tree:
    """The document of a run that says which model it was, and what it signs of it."""
    model: Tree = {"manifest_root": manifest_root, "tensor_root": "fb" * 32, "commit": "0c" * 20,
                   "not_covered": ["README.md"]}  # fmt: skip
    binding: Tree = {**document()["binding"], "model": model}  # type: ignore[dict-item]
    return committed(ordered(document() | {"binding": binding, "model_hash": model_hash}))


def signed(tree: Tree, key: Key = KEY, layout: str = "full") -> Tree:
    """The same with a signature, last."""
    body = {name: value for name, value in tree.items() if name != "signature"}
    return body | {"signature": key.sign(signed_bytes(body, layout)).hex()}


def file_of(tree: Tree) -> bytes:
    """The text of a document."""
    return text(tree).encode()


def signed_file(tree: Tree, key: Key = KEY, layout: str = "full") -> bytes:
    """The text of a document, signed."""
    return file_of(signed(tree, key, layout))


ORDER = (
    "schema_version", "model_id", "model_hash", "precision", "inner_product", "input_hash",
    "timestamp", "corpus_version", "probe_version", "layer_readings", "confidence",
    "coverage_flags", "divergence_flag", "parent_attestation_hash", "geometry_hash",
    "geometry_drift", "causal_scores", "intervention_delta", "causal_flag", "sequence_number",
    "directional_drifts", "probe_commitment", "density_reading", "curvature_reading",
    "domain_scope_declaration", "binding", "signature",
)  # fmt: skip
"""Members 1 to 25 of reference.md 4, then what follows in the file."""

SCORE = {"delta_plus": "f", "delta_minus": "f", "consistency": "f", "is_causal": "b"}
DENSITY = {
    "points": [{"log_density": "f", "intrinsic_dim": "f"}], "mean_intrinsic_dim": "f",
    "std_intrinsic_dim": "f", "mean_log_density": "f", "k": "I", "num_degenerate": "I",
}  # fmt: skip
CURVATURE = {
    "points": [{"sectional_curvature": "f", "num_triangles": "I"}], "mean_curvature": "f",
    "std_curvature": "f", "curvature_uncertainty_correlation": ("f",), "k": "I",
    "num_degenerate": "I",
}  # fmt: skip
SCOPE = {"primary": "s", "permitted": [{"pattern": "s", "mode": "m"}], "exclusions": ["s"]}
SHAPES: dict[str, object] = {
    "schema_version": "H", "model_id": "s", "model_hash": ("h",), "precision": "p",
    "inner_product": "i", "input_hash": "h", "timestamp": "Q", "corpus_version": "s",
    "probe_version": "s", "layer_readings": [["f"]], "confidence": ["f"],
    "coverage_flags": ["b"], "divergence_flag": "b", "parent_attestation_hash": ("h",),
    "geometry_hash": ("h",), "geometry_drift": ("f",), "causal_scores": [SCORE],
    "intervention_delta": ("f",), "causal_flag": ("b",), "sequence_number": "Q",
    "directional_drifts": [{"probe_name": "s", "drift": "f"}], "probe_commitment": ("h",),
    "density_reading": (DENSITY,), "curvature_reading": (CURVATURE,),
    "domain_scope_declaration": (SCOPE,),
}  # fmt: skip
"""A letter is a value, a list a vector, a tuple an option, a dict its members in order."""
PRECISIONS = {"Fp32": 0, "Fp16": 1, "Bfloat16": 2, "Int8": 3}
MODES = {"read-only": 1, "advisory": 2, "cooperative": 3, "supervised": 4}


def signed_bytes(tree: Tree, layout: str = "full") -> bytes:
    """What the signature is over: reference.md 4; `short` is members 1 to 13."""
    names = ORDER[:25] if layout == "full" else ORDER[:13]
    absent: dict[str, object] = {"causal_scores": [], "directional_drifts": []}
    return b"".join(_encoded(tree.get(name, absent.get(name)), SHAPES[name]) for name in names)


def _encoded(value: object, shape: object) -> bytes:
    if isinstance(shape, tuple):
        return b"\0" if value is None else b"\1" + _encoded(value, shape[0])
    if isinstance(shape, list):
        assert isinstance(value, list | tuple)
        return struct.pack("<I", len(value)) + b"".join(_encoded(v, shape[0]) for v in value)
    if isinstance(shape, dict):
        assert isinstance(value, dict)
        return b"".join(_encoded(value.get(name), inner) for name, inner in shape.items())
    if shape == "s":
        return struct.pack("<I", len(str(value).encode())) + str(value).encode()
    if shape == "h":
        return bytes.fromhex(str(value))
    if shape == "b":
        return bytes([bool(value)])
    if shape == "p":
        return bytes([PRECISIONS[str(value)]])
    if shape == "m":
        return bytes([MODES[str(value)]])
    if shape == "i":
        return _inner_product(value)
    number = value + 0.0 if isinstance(value, float) else value
    return struct.pack(f"<{shape}", number)


def _inner_product(value: object) -> bytes:
    if isinstance(value, dict):
        return b"\2" + struct.pack("<f", value["CausalRegularised"]["epsilon"])
    return bytes([("Causal", "Euclidean").index(str(value))])


def ordered(tree: Tree) -> Tree:
    """The same members in the order of the file."""
    return {name: copy.deepcopy(tree[name]) for name in ORDER if name in tree}


DOCUMENT = document()
"""Of both probe sets, at the last position."""
BARE: Tree = {
    name: value for name, value in DOCUMENT.items() if name not in ("binding", "probe_commitment")
}
"""The same without a binding, as the reference would make it."""

FULL = ordered(
    DOCUMENT
    | {
        "model_hash": "11" * 32,
        "parent_attestation_hash": "33" * 32,
        "geometry_drift": 0.125,
        "causal_scores": [
            {"delta_plus": 2.0, "delta_minus": 1.0, "consistency": 0.5, "is_causal": False}
        ],
        "intervention_delta": 0.1015625,
        "causal_flag": False,
        "sequence_number": 7,
        "directional_drifts": [{"probe_name": "honesty", "drift": 0.0625}],
        "density_reading": {
            "points": [{"log_density": -1.5, "intrinsic_dim": 2.0}], "mean_intrinsic_dim": 2.0,
            "std_intrinsic_dim": 0.0, "mean_log_density": -1.5, "k": 3, "num_degenerate": 0,
        },
        "curvature_reading": {
            "points": [{"sectional_curvature": 0.5, "num_triangles": 3}], "mean_curvature": 0.5,
            "std_curvature": 0.0, "curvature_uncertainty_correlation": None, "k": 3,
            "num_degenerate": 0,
        },
        "domain_scope_declaration": {
            "primary": "agri.crop", "permitted": [{"pattern": "agri.*", "mode": "advisory"}],
            "exclusions": ["arms.*"],
        },
    }
)  # fmt: skip
"""With all 25 signed members."""
