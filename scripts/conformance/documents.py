"""JSON documents with one thing changed."""

from __future__ import annotations

import copy

from conformance.numbers import Json

Tree = dict[str, Json]
Path = tuple[str | int, ...]
REMOVE = object()


def changed(tree: Tree, path: Path, value: object) -> Tree:
    """A copy with one member changed, added, or (REMOVE) taken away."""
    result = copy.deepcopy(tree)
    at: object = result
    for step in path[:-1]:
        at = at[step]  # type: ignore[index]
    if value is REMOVE:
        del at[path[-1]]  # type: ignore[attr-defined]
    else:
        at[path[-1]] = value  # type: ignore[index]
    return result


def swapped(data: bytes, old: str, new: str) -> bytes:
    """`data` with the first occurrence of a text exchanged; it must be there."""
    if old.encode() not in data:
        raise ValueError(old)
    return data.replace(old.encode(), new.encode("utf-8", "surrogatepass"), 1)


def moved_last(tree: Tree, name: str) -> Tree:
    """The same members, one of them moved to the end."""
    return {k: v for k, v in tree.items() if k != name} | {name: tree[name]}
