"""Mutants of a module: its text with one small fault in it, by mutmut's operators and one of ours.

The whole module is changed, tables and constants too, not only what stands in its functions.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

MESSAGE = frozenset({"expected", "found", "hint"})
"""Keyword arguments of our errors that are text for people; tests look at class and place."""
TYPES_ONLY = frozenset({"TypeVar", "cast", "Literal", "Callable", "Iterator", "Annotated"})


@dataclass(frozen=True)
class Mutant:
    """A module with a fault.

    Attributes:
        line: where. inside: the function, method or class, dotted; empty in the module itself.
        before, after: the expression or statement that differs, on one line.
        source: of the whole module.
    """

    line: int
    inside: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What it is called in docs/mutation.md: without a line number, which changes often."""
        before, after = _differing(self.before, self.after)
        return f"{self.inside or 'module'}: {before} → {after}"


def mutants(text: str) -> list[Mutant]:
    """All mutants of a module, no two of one text, in the order of their lines."""
    wrapper = MetadataWrapper(cst.parse_module(text))
    module, places = wrapper.module, wrapper.resolve(PositionProvider)
    made: dict[str, Mutant] = {}
    for statement in module.body:  # one at a time: to replace in a whole module takes long
        start, _, end = text.partition(module.code_for_node(statement))
        for inside, node, raised in _nodes(statement, "", raised=False):
            for changed in _changes(node, raised=raised):
                other = changed if node is statement else statement.deep_replace(node, changed)
                source = start + module.code_for_node(other) + end
                if source == text or not _compiles(source):
                    continue
                before, after = (_one_line(module, one) for one in (node, changed))
                line = places[node].start.line
                made.setdefault(source, Mutant(line, inside, before, after, source))
    return sorted(made.values(), key=lambda one: one.line)


def _one_line(module: cst.Module, node: cst.CSTNode) -> str:
    return " ".join(module.code_for_node(node).split())


def _nodes(
    node: cst.CSTNode, inside: str, *, raised: bool
) -> Iterator[tuple[str, cst.CSTNode, bool]]:
    """What may be changed, with where it stands and whether it is the error of a `raise`."""
    if isinstance(node, (cst.Annotation, cst.Decorator)) or _is_docstring(node) or _is_type(node):
        return
    if isinstance(node, cst.Assign) and _is_hint(node.targets[0].target):
        return
    if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
        inside = f"{inside}.{node.name.value}".lstrip(".")
    yield inside, node, raised
    if isinstance(node, cst.Call):
        yield from _nodes(node.func, inside, raised=False)
        for argument in _counted(node, raised=raised):
            yield from _nodes(argument, inside, raised=False)
        return
    for child in node.children:
        yield from _nodes(child, inside, raised=isinstance(node, cst.Raise))


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Expr) and isinstance(
        node.value, (cst.SimpleString, cst.ConcatenatedString)
    )


def _is_hint(target: cst.CSTNode) -> bool:
    return isinstance(target, cst.Name) and target.value == "hint"


def _is_type(node: cst.CSTNode) -> bool:
    """Whether it is a type, or gives one a name: nothing of it runs."""
    if isinstance(node, cst.Assign):
        return _is_type(node.value)
    if isinstance(node, cst.If):
        return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
    called = node.func if isinstance(node, cst.Call) else None
    called = node.value if isinstance(node, cst.Subscript) else called
    return isinstance(called, cst.Name) and called.value in TYPES_ONLY


def _counted(call: cst.Call, *, raised: bool) -> list[cst.Arg]:
    """The arguments that are no message text; of a `raise` the first alone, which is the place.

    Python's own errors have no place.
    """
    if raised and isinstance(call.func, cst.Name) and hasattr(builtins, call.func.value):
        return []
    kept = [
        argument
        for argument in call.args
        if argument.keyword is None or argument.keyword.value not in MESSAGE
    ]
    return kept[:1] if raised else kept


def _changes(node: cst.CSTNode, *, raised: bool) -> Iterator[cst.CSTNode]:
    """The node with each fault that an operator makes of it."""
    if isinstance(node, cst.If):
        for word in ("True", "False"):
            yield node.with_changes(test=cst.Name(word))
    for kind, operator in mutation_operators:
        if not isinstance(node, kind):
            continue
        for changed in operator(node):
            if isinstance(node, cst.Call) and isinstance(changed, cst.Call):
                before, after = (_counted(one, raised=raised) for one in (node, changed))
                if changed.func is node.func and _same(before, after):
                    continue  # it differs in message text
                if len(after) < len(before) and _positional(after) < _positional(before):
                    continue  # Python refuses the call: whatever test gets there fails
            if _none_for_false(node, changed):
                continue  # they are alike wherever one is asked whether it is true
            if isinstance(changed, cst.SimpleString) and '"XX' not in changed.value:
                continue  # a string in other letters says no more than one with other letters
            yield changed


def _none_for_false(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    if isinstance(node, cst.AnnAssign) and isinstance(changed, cst.AnnAssign):
        return isinstance(node.value, cst.Name) and node.value.value == "False"
    if not isinstance(node, cst.Call) or not isinstance(changed, cst.Call):
        return False
    pairs = zip(node.args, changed.args, strict=False)
    different = [one.value for one, other in pairs if one is not other]
    alike = len(node.args) == len(changed.args) and len(different) == 1
    return alike and isinstance(different[0], cst.Name) and different[0].value == "False"


def _same(before: list[cst.Arg], after: list[cst.Arg]) -> bool:
    return len(before) == len(after) and all(
        one.deep_equals(other) for one, other in zip(before, after, strict=True)
    )


def _positional(arguments: list[cst.Arg]) -> int:
    return sum(argument.keyword is None for argument in arguments)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _differing(before: str, after: str, around: int = 24) -> tuple[str, str]:
    """Two texts without what is far from where they differ."""
    first = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    most = min(len(before), len(after)) - first
    rest = zip(reversed(before[first:]), reversed(after[first:]), strict=False)
    last = next((i for i, (a, b) in enumerate(rest) if a != b), most)
    start, cut = max(0, first - around), max(0, last - around)

    def short(text: str) -> str:
        end = len(text) - cut
        return f"{'…' * (start > 0)}{text[start:end]}{'…' * (cut > 0)}"

    return short(before), short(after)
