"""The tree over tensors: the bytes of a leaf, roots and paths of `hash_tree`."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest

from geometry_of_trust import errors
from geometry_of_trust.identity.tensor_tree import (
    TensorEntry,
    TensorProof,
    by_name,
    proof_of,
    root_of,
)
from places import ROOT


def entries(count: int) -> tuple[TensorEntry, ...]:
    return by_name(
        TensorEntry(f"t{k:03}", "F32", (k, 2), hashlib.sha256(bytes([k])).hexdigest())
        for k in range(count)
    )


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_a_leaf_byte_by_byte() -> None:
    entry = TensorEntry("é", "BF16", (49152, 576), "ab" * 32)
    assert entry.encoded == (
        b"\2\0\0\0" + "é".encode() + b"\4\0\0\0BF16"
        + b"\2\0\0\0" + struct.pack("<QQ", 49152, 576) + b"\xab" * 32
    )  # fmt: skip
    assert root_of([entry]) == sha256(b"\0", entry.encoded).hex()


def test_the_leaf_that_the_page_shows() -> None:
    page = (ROOT / "docs" / "identity.md").read_text("utf-8")
    digest = sha256(struct.pack("<f", 1.0)).hex()
    shown = next(line for line in page.splitlines() if line.endswith(digest))
    assert TensorEntry("scale", "F32", (), digest).encoded == bytes.fromhex(shown)


def test_no_tensor() -> None:
    assert root_of([]) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("count", [1, 5, 8])
def test_every_path_leads_to_the_root_and_no_other_does(count: int) -> None:
    tree = entries(count)
    root = root_of(tree)
    for index in range(count):
        proof = proof_of(tree, index)
        proof.check(root)
        other = replace(proof.entry, sha256="00" * 32)
        wrong = [
            replace(proof, entry=other),
            replace(proof, entry=replace(proof.entry, dtype="F16")),
            replace(proof, entry=replace(proof.entry, shape=(1,))),
            replace(proof, path=(*proof.path, "00" * 32)),
            replace(proof, index=count),
            replace(proof, index=-1),
        ]
        if count > 1:
            wrong += [
                replace(proof, path=proof.path[1:]),
                replace(proof, path=proof.path[:-1]),
                replace(proof, path=("00" * 32, *proof.path[1:])),
            ]
        for bad in wrong:
            with pytest.raises(errors.OtherModel):
                bad.check(root)


def test_a_path_that_is_longer_or_shorter_than_its_tree_leads_nowhere() -> None:
    """Not even to a root made for it."""
    proof = proof_of(entries(4), 1)
    inner = root_of(entries(2))
    longer = sha256(b"\1", bytes(32), bytes.fromhex(root_of(entries(4)))).hex()
    proof_of(entries(2), 1).check(inner)
    for bad, root in (
        (replace(proof, path=proof.path[:1]), inner),
        (replace(proof, path=(*proof.path, "00" * 32)), longer),
    ):
        with pytest.raises(errors.OtherModel) as caught:
            bad.check(root)
        assert caught.value.where == "tensor tree, t001"
    with pytest.raises(errors.OtherModel) as caught:
        proof.check(inner, "u.gotue")
    assert caught.value.where == "u.gotue, t001"


def test_each_tensor_has_its_own_place() -> None:
    tree = entries(8)
    for index in range(8):
        for place in set(range(8)) - {index}:
            with pytest.raises(errors.OtherModel):
                replace(proof_of(tree, index), index=place).check(root_of(tree))


def test_names_are_in_the_order_of_code_points() -> None:
    names = ["\U00010000", "a", "B", "￿", "a.b", "a10", "a2"]
    ordered = [e.name for e in by_name(TensorEntry(n, "F32", (), "00" * 32) for n in names)]
    assert ordered == ["B", "a", "a.b", "a10", "a2", "￿", "\U00010000"]
    assert ordered == sorted(names, key=str.encode)


def test_a_node_is_no_leaf() -> None:
    """A second preimage by taking a node for a leaf: the prefixes forbid it."""
    tree = entries(2)
    left, right = (sha256(b"\0", entry.encoded) for entry in tree)
    assert TensorProof(tree[0], 0, 1, ()).path == ()
    assert root_of(tree) != sha256(b"\0", left, right).hex()
    with pytest.raises(errors.OtherModel):
        TensorProof(tree[0], 0, 1, ()).check(root_of(tree))
