"""The hash tree of RFC 9162 (section 2.1): a root over leaves in order, and audit paths.

What the bytes of a leaf are is for its user to say. Roots and paths are made in one pass over the
leaves, in memory that does not grow with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class RunningRoot:
    """The root over leaves that are given one after another."""

    def __init__(self) -> None:
        self._count = 0
        self._roots: list[bytes] = []  # of full trees, the largest first: a bit of the count each

    def add(self, leaf: bytes) -> None:
        """Take the hash of the next leaf."""
        left = self._count
        while left & 1:
            leaf = _node(self._roots.pop(), leaf)
            left >>= 1
        self._roots.append(leaf)
        self._count += 1

    def digest(self) -> bytes:
        """The root over those so far; of none the hash of nothing."""
        if not self._roots:
            return hashlib.sha256(b"").digest()
        *others, root = self._roots
        for left in reversed(others):
            root = _node(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over the hashes of leaves."""
    running = RunningRoot()
    for leaf in leaves:
        running.add(leaf)
    return running.digest()


def path_of(leaves: Iterable[bytes], count: int, index: int) -> list[bytes]:
    """The audit path of a leaf (section 2.1.3.1), from it towards the root.

    Args:
        leaves: the hashes of all of them. count: how many there are. index: of the leaf, below it.
    """
    start, stop = 0, count
    spans: list[tuple[int, int]] = []
    while stop - start > 1:
        middle = start + (1 << (stop - start - 1).bit_length() - 1)
        if index < middle:
            spans.append((middle, stop))
            stop = middle
        else:
            spans.append((start, middle))
            start = middle
    given = iter(leaves)
    roots = {
        (first, end): root_of(islice(given, end - first))
        for first, end in sorted([*spans, (index, index + 1)])
    }
    return [roots[span] for span in reversed(spans)]


def root_by_path(leaf: bytes, count: int, index: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to (section 2.1.3.2); None if no leaf can have such a path.

    Args:
        leaf: its hash. count: how many leaves there are. index: of this one.
    """
    if not 0 <= index < count:
        return None
    here, last, digest = index, count - 1, leaf
    for beside in path:
        if last == 0:
            return None
        if here % 2 or here == last:
            digest = _node(beside, digest)
            while here % 2 == 0 and here:  # a subtree that has no right half
                here, last = here >> 1, last >> 1
        else:
            digest = _node(digest, beside)
        here, last = here >> 1, last >> 1
    return digest if last == 0 else None
