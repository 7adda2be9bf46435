"""Public docstrings: shapes of what is an array, and every error that a function itself raises."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import geometry_of_trust
from geometry_of_trust import errors

PACKAGE = Path(geometry_of_trust.__file__).parent
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent.name != "cli"]
"""Without the commands: their docstrings are their help."""

SHAPE = "[Ss]hape"
ARRAYS = {"NDArray", "ArrayLike", "Array", "Labels", "Indices", "Tensor"}


def of_arrays(annotation: ast.expr | None) -> bool:
    """Whether a type is that of an array, or of some."""
    parts = ast.walk(annotation) if annotation is not None else ()
    return any(
        isinstance(part, ast.Name | ast.Attribute)
        and (part.id if isinstance(part, ast.Name) else part.attr) in ARRAYS
        for part in parts
    )


@dataclass(frozen=True)
class Documented:
    """A public function, with the docstring of its class if it is a method."""

    node: ast.FunctionDef
    of_class: str

    @property
    def text(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def handles_arrays(self) -> bool:
        arguments = self.node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg]
        types = [argument.annotation for argument in given if argument is not None]
        return any(map(of_arrays, [*types, self.node.returns]))

    def raised(self) -> set[str]:
        """Names of the errors that its own body raises, functions inside of it apart."""
        names = set()
        waiting: list[ast.AST] = list(self.node.body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
                continue
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                called = node.exc.func
                if isinstance(called, ast.Name) and called.id[0].isupper():
                    names.add(called.id)
            waiting += ast.iter_child_nodes(node)
        return names


def overload(node: ast.FunctionDef) -> bool:
    """Whether it is a signature alone, whose docstring stands at the function itself."""
    return any(isinstance(by, ast.Name) and by.id == "overload" for by in node.decorator_list)


def public(path: Path) -> Iterator[Documented]:
    """Functions without a leading underscore, of the file and of its public classes."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not (node.name.startswith("_") or overload(node)):
            yield Documented(node, "")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield Documented(method, ast.get_docstring(node) or "")


def bare_fields(path: Path) -> list[str]:
    """Public classes with arrays among their fields whose docstring gives no shape."""
    return [
        node.name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if any(isinstance(f, ast.AnnAssign) and of_arrays(f.annotation) for f in node.body)
        if not re.search(SHAPE, ast.get_docstring(node) or "")
    ]


def ancestry(name: str) -> set[str]:
    """The names of a class of errors and of its bases below `Exception`."""
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if kind is None:
        return {name}
    return {base.__name__ for base in kind.__mro__} - {"Exception", "BaseException", "object"}


def faults(path: Path) -> list[str]:
    """What the docstrings of a file leave out."""
    found = [f"{name} gives no shape" for name in bare_fields(path)]
    for function in public(path):
        refers = re.search(r"[Aa]s (of |for )?`", function.text)
        shaped = re.search(SHAPE, function.text + function.of_class)
        if function.handles_arrays and not (shaped or refers):
            found.append(f"{function.node.name} gives no shape")
        for error in sorted(function.raised()):
            if not any(re.search(rf"\b{base}\b", function.text) for base in ancestry(error)):
                found.append(f"{function.node.name} does not say that it raises {error}")
    return found


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_shapes_and_errors_are_told(path: Path) -> None:
    assert faults(path) == []


def test_what_is_left_out_is_found(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text(
        "def f(x: NDArray[np.float64]) -> None:\n"
        "    '''Nothing.'''\n"
        "    raise LayerMissing('x')\n"
        "def g(x: Array | None) -> None:\n"
        "    '''Shape (n,). Raises: Refusal.'''\n"
        "    raise LayerMissing('x')\n"
        "def _h(x: Array) -> None: ...\n"
        "class K:\n"
        "    '''Of shape (n,).'''\n"
        "    def k(self) -> Array:\n"
        "        def inner() -> None:\n"
        "            raise ValueError(1)\n"
        "class Bare:\n"
        "    x: Array\n"
    )
    assert faults(source) == [
        "Bare gives no shape",
        "f gives no shape",
        "f does not say that it raises LayerMissing",
    ]
