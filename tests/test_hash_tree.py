"""The tree of RFC 9162 against the RFC's own definitions, written plainly, and known roots."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from geometry_of_trust.hash_tree import leaf_hash, path_of, root_by_path, root_of

CT = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
      "606162636465666768696a6b6c6d6e6f")  # fmt: skip
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Leaves and roots of Certificate Transparency's own tests, the roots by the number of leaves."""


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def mth(d: Sequence[bytes]) -> bytes:
    """Section 2.1.1."""
    if len(d) < 2:
        return sha256(b"\0", d[0]) if d else sha256()
    k = 1
    while 2 * k < len(d):
        k *= 2
    return sha256(b"\1", mth(d[:k]), mth(d[k:]))


def path(m: int, d: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.3.1."""
    if len(d) == 1:
        return []
    k = 1
    while 2 * k < len(d):
        k *= 2
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def test_roots_of_certificate_transparency() -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in CT]
    assert [root_of(leaves[:n]).hex() for n in range(9)] == list(CT_ROOTS)


def test_roots_and_paths_are_those_of_the_rfc() -> None:
    for count in (*range(1, 20), 31, 32, 33, 100):
        d = [count.to_bytes(2, "big") + bytes([i]) for i in range(count)]
        root = mth(d)
        assert root_of(map(leaf_hash, d)) == root
        for m in range(count):
            found = path_of(map(leaf_hash, d), count, m)
            assert found == path(m, d)
            assert root_by_path(leaf_hash(d[m]), count, m, found) == root


def test_a_path_of_another_place_or_tree_leads_elsewhere() -> None:
    for count in range(1, 18):
        d = [bytes([i]) for i in range(count)]
        root = mth(d)
        for m in range(count):
            leaf, beside = leaf_hash(d[m]), path(m, d)
            for other in (-1, count, *(set(range(count)) - {m})):
                assert root_by_path(leaf, count, other, beside) != root
            assert root_by_path(leaf, count, m, [*beside, bytes(32)]) is None
            assert count == 1 or root_by_path(leaf, count, m, beside[:-1]) is None
            for i in range(len(beside)):
                wrong = [*beside[:i], bytes(32), *beside[i + 1 :]]
                assert root_by_path(leaf, count, m, wrong) != root
