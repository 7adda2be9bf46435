"""Attestations that are refused at step 4 (binding)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import DOCUMENT, rebound, signed, signed_file
from conformance.attestations import fails
from conformance.documents import REMOVE, Path, Tree, changed
from conformance.ed25519 import OTHER
from conformance.vector import Vector

HEX = "ab" * 32


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
        ("outside-more", (*zero, "outside"), [True, False]),
        ("outside-of-none", (*zero, "outside"), [False]),
        ("rows-alone", (*zero, "rows"), [0, 2]),
        ("aggregate-alone", (*zero, "aggregate"), "max"),
        ("aggregate-unknown", zero, a.of_a_text(aggregate="median")),
        ("text-at-last", zero, a.of_a_text(position="last")),
        ("text-of-no-row", zero, a.of_a_text(rows=[1, 1])),
        ("text-beyond", zero, a.of_a_text(rows=[1, 4])),
        ("text-of-one-number", zero, a.of_a_text(rows=[1])),
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
    yield fails(4, "lie-model-root", "BindingMismatch", signed_file(a.of_model(HEX, "fa" * 32)),
                "the signed model_hash is another root")  # fmt: skip
    nothing = changed(a.of_model(HEX, HEX), ("model_hash",), REMOVE)
    yield fails(4, "lie-model-no-hash", "BindingMismatch", signed_file(nothing),
                "a model is bound, and no model_hash signed")  # fmt: skip
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
        ("record-arithmetic", ("binding", "extraction_record", "arithmetic"), "other"),
        ("no-record", ("binding", "extraction_record"), REMOVE),
    ]
    for name, path, value in changes:
        forged = a.file_of(changed(good, path, value))
        yield fails(4, f"changed-{name}", "BindingMismatch", forged,
                    "the digest of the binding is signed")  # fmt: skip
