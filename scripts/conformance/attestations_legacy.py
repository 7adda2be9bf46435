"""Attestations as the reference makes them: no binding, the short layout, the outer object."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from conformance import attestation as a
from conformance.attestation import BARE, DOCUMENT, FULL, ORDER, signed, signed_file
from conformance.attestations import fails, verified
from conformance.documents import REMOVE, Tree, changed
from conformance.ed25519 import KEY
from conformance.numbers import bits32, text
from conformance.vector import Headers, Vector


def legacy() -> Iterator[Vector]:
    """Without a binding, in the short layout, or in the outer object."""
    missing = "binding, activations, unembedding, probes, readings"

    def kept(
        name: str, tree: Tree, comment: str, layout: str = "full", more: Headers | None = None
    ) -> Vector:
        return verified(f"legacy-{name}", tree, comment, expect="legacy", allow_legacy="yes",
                        not_checked=missing, layout=layout, more=more)  # fmt: skip

    cut = changed(DOCUMENT, ("binding",), REMOVE)
    yield fails(4, "binding-cut-off", "BindingMismatch", signed_file(cut), "its digest is signed")
    yield fails(4, "binding-cut-off-legacy", "BindingMismatch", signed_file(cut),
                "allow-legacy does not hide that", allow_legacy="yes")  # fmt: skip
    for count in (3, 2):
        numbers = a.sha256(b"".join(struct.pack("<Q", i) for i in range(count)))
        tree = a.ordered(BARE | {"probe_commitment": numbers})
        if count == 3:
            yield kept("commitment-of-the-reference", tree, "SHA-256 of 0, 1 and 2, as u64")
        else:
            yield fails(4, "commitment-of-two-readings", "BindingMismatch", signed_file(tree),
                        "SHA-256 of 0 and 1, of three readings", allow_legacy="yes")  # fmt: skip
    yield fails(4, "no-binding", "LegacyDocument", signed_file(BARE), "nothing says what was read")
    yield fails(4, "no-binding-reformatted", "LegacyDocument", signed_file(BARE),
                "allow-reformatted is another option", allow_reformatted="yes")  # fmt: skip
    yield kept("no-binding", BARE, "full layout")
    short = signed(BARE, layout="short")
    yield fails(3, "short-layout", "LegacyDocument", a.file_of(short),
                "signed are members 1 to 13 alone")  # fmt: skip
    yield kept("short-layout", BARE, "members 1 to 13 are signed", layout="short",
               more={"unsigned": "geometry_hash, sequence_number"})  # fmt: skip
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
    for name, value in (("model_id", "other"), ("precision", "Fp16")):
        yield fails(5, f"legacy-lie-{name.replace('_', '-')}", "ContentMismatch",
                    signed_file(BARE | {name: value}), "not what the header says",
                    allow_legacy="yes", activations="gotact/tiny")  # fmt: skip
    yield verified(
        "legacy-unknown-model", BARE | {"model_id": "unknown-model"},
        "what the reference signs where no name was given", expect="legacy", allow_legacy="yes",
        activations="gotact/tiny", not_checked="binding, unembedding, probes, readings",
    )  # fmt: skip
    yield from _outer_objects(missing)
    yield from _references(missing)


def wrapped(outer: Tree) -> bytes:
    """An outer object in its spelling: members sorted, floats spelled as doubles."""
    return json.dumps(outer, indent=2, sort_keys=True, ensure_ascii=False).encode()


def _outer_objects(missing: str) -> Iterator[Vector]:
    inner = signed(BARE)
    outer: Tree = {"attestation": inner, "verifying_key_hex": KEY.public.hex()}
    plain = wrapped(outer)
    yield fails(1, "outer-object", "LegacyDocument", plain, "read with allow-legacy alone")
    wrapper = {"allow_legacy": "yes", "unsigned": "verifying_key_hex"}
    yield verified("legacy-outer-object", BARE, "as the reference's demo is wrapped", data=plain,
                   expect="legacy", not_checked=missing, more=wrapper)  # fmt: skip
    unsorted = text(outer).encode()
    yield fails(1, "outer-object-not-sorted", "NotOurSpelling", unsorted,
                "members in our order, floats as float32", allow_legacy="yes")  # fmt: skip
    yield verified("legacy-outer-object-reformatted", BARE, "another spelling, and it is allowed",
                   data=unsorted, expect="legacy", not_checked=missing,
                   more=wrapper | {"allow_reformatted": "yes"})  # fmt: skip
    other = wrapped(outer | {"verifying_key_hex": a.sha256(b"")})
    yield fails(3, "outer-object-another-key", "WrongKeyKind", other,
                "the key in it is not the one supplied", allow_legacy="yes")  # fmt: skip
    cases: list[tuple[str, str, Tree]] = [
        ("unknown-member", "UnknownMember", outer | {"note": "x"}),
        ("without-key", "MissingMember", {"attestation": inner}),
        ("key-upper-case", "WrongType", outer | {"verifying_key_hex": KEY.public.hex().upper()}),
        ("attestation-a-number", "WrongType", outer | {"attestation": 1}),
    ]
    for name, error, tree in cases:
        yield fails(1, f"outer-object-{name}", error, wrapped(tree), "in the outer object",
                    allow_legacy="yes")  # fmt: skip
    changed_inside = wrapped(changed(outer, ("attestation", "model_id"), "other"))
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
        ("v4", V4, "aac18401e58a2defe0e4e7d4c1749ffb12ea2523ac929f6542e472eec71390eb",
         "cef4dbe0", ""),
        ("v5", a.ordered(V5), "b92a98a012feb52d0ab4289953eadb17e9441be70ab51662c87c1b281c61eadd",
         "d34e1041", f", {made}"),
    ):  # fmt: skip
        found = a.sha256(a.signed_bytes(tree)), str(signed(tree)["signature"])[:8]
        if found != (digest, signature):
            raise ValueError(f"{name}: {found}")
        yield verified(f"reference-{name}", tree, f"reference.md 14, {name.upper()}",
                       expect="legacy", allow_legacy="yes", not_checked=missing + more,
                       signed_bytes=a.signed_bytes(tree).hex())  # fmt: skip
