"""Where what is recomputed is not as signed: the first place, as a whole may be long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import ReadingsMismatch


def first_apart(name: str, ours: object, signed: object) -> tuple[str, object, object]:
    """Where two trees first differ, and what stands there in each.

    Args:
        name: what the trees are called.
        ours, signed: numbers, strings, None, and frozen dataclasses, mappings and sequences of
            them; not equal.

    Returns:
        The name of the place, and two leaves, or sequences of other lengths.
    """
    while True:
        mine, theirs = _parts(ours), _parts(signed)
        if not mine or mine.keys() != theirs.keys():
            return name, ours, signed
        place = next(place for place in mine if mine[place] != theirs[place])
        name, ours, signed = f"{name}{place}", mine[place], theirs[place]


def _parts(tree: object) -> dict[str, object]:
    """What a tree consists of, by how it is written after its name."""
    if isinstance(tree, Mapping):
        return {f".{name}": value for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return {f"[{i}]": value for i, value in enumerate(tree)}
    if is_dataclass(tree):
        return {f".{field.name}": getattr(tree, field.name) for field in fields(tree)}
    return {}


def mismatch(name: str, ours: object, signed: object) -> ReadingsMismatch:
    """The error for what is recomputed and is not as signed: where the two first differ."""
    name, ours, signed = first_apart(name, ours, signed)
    if isinstance(ours, tuple | list) and isinstance(signed, tuple | list):
        ours, signed = f"{len(ours)} entries", f"{len(signed)} entries"
    told = [shortest_float32(x) if isinstance(x, float) else x for x in (ours, signed)]
    return ReadingsMismatch(name, expected=f"{told[0]}, as recomputed", found=told[1])
