"""The root of the package: the only promise of importable names."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest

import geometry_of_trust

NAME = geometry_of_trust.__name__
NAMES = sorted(set(geometry_of_trust.__all__) - {"__version__"})


def test_every_name_is_there_and_documented() -> None:
    for name in NAMES:
        value = getattr(geometry_of_trust, name)
        assert value.__name__ == name
        assert value.__module__.startswith(f"{NAME}.")
        assert value.__doc__, f"{name} has no docstring"
        assert not value.__doc__.startswith(f"{name}("), f"{name} has that of any dataclass"
    assert set(NAMES) <= set(dir(geometry_of_trust))
    with pytest.raises(AttributeError):
        geometry_of_trust.__getattr__("nothing")


def test_type_checkers_see_the_same_names() -> None:
    source = inspect.getsource(geometry_of_trust)
    (block,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "`as` itself, or checkers take it for private"
            seen[alias.name] = node.module
    assert seen == {name: getattr(geometry_of_trust, name).__module__ for name in NAMES}


# --- what the signatures mention ---------------------------------------------------------------


def named(module: ModuleType, name: str) -> object:
    """What a name stands for in the annotations of a module, imported for them alone or not."""
    if hasattr(module, name):
        return getattr(module, name)
    origin, original = imported(module).get(name, (None, ""))
    return origin and getattr(importlib.import_module(origin), original)


@cache
def imported(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Names that a module imports anywhere: of which module, and what they are called there."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def classes(value: object) -> Iterator[type]:
    """Our classes in a type: itself, or the parts of a `Mapping[str, Card]`."""
    if isinstance(value, type) and value.__module__.startswith(f"{NAME}."):
        yield value
    for part in typing.get_args(value):
        yield from classes(part)


def annotations_of(value: object) -> Iterator[object]:
    """Of a function; of a class those of its fields and of its methods that are not private."""
    yield from inspect.get_annotations(typing.cast(type, value)).values()
    if isinstance(value, type):
        for name, member in vars(value).items():
            if not name.startswith("_") or name == "__init__":
                inner: object = getattr(member, "fget", getattr(member, "func", member))
                inner = getattr(inner, "__func__", inner)
                if inspect.isfunction(inner):
                    yield from inspect.get_annotations(inner).values()


def mentioned(value: type) -> Iterator[type]:
    module = sys.modules[value.__module__]
    for annotation in annotations_of(value):
        if not isinstance(annotation, str):  # of what a dataclass makes
            yield from classes(annotation)
            continue
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Name):
                yield from classes(named(module, node.id))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_signature_mentions_is_importable_too(name: str) -> None:
    found = {other.__name__ for other in mentioned(getattr(geometry_of_trust, name))}
    assert found <= set(NAMES)


def test_the_walk_sees_what_it_is_for() -> None:
    """An aliased type, a field, a property, and an import that is for annotations alone."""
    for name, others in (
        ("Card", {"Bin", "Figure", "Quality"}),
        ("Extraction", {"Activations", "Record"}),
        ("extract_corpus", {"CorpusExtraction", "CorpusOptions"}),
        ("train", {"RowTable", "TrainingResult"}),
    ):
        assert others <= {other.__name__ for other in mentioned(getattr(geometry_of_trust, name))}
