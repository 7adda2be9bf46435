"""Attestations that are refused at step 3 (signature)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from conformance import attestation as a
from conformance import ed25519
from conformance.attestation import DOCUMENT, FULL, rebound, signed, signed_file
from conformance.attestations import GOOD, fails, verified
from conformance.binary import put
from conformance.documents import REMOVE, Path, changed
from conformance.ed25519 import KEY, NEUTRAL, OTHER, P
from conformance.numbers import Json, next32
from conformance.vector import Vector

HEX = "ab" * 32


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
    yield with_signature("signature-r-of-mixed-order",
                         KEY.sign_with(nonce, mixed, KEY.public, message),
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
