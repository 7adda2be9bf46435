"""Run tests on a changed module: in a child process that imports the package anew, with the fault.

Nothing is written into the tree. What does not change, numpy and pytest for two, is imported once,
before the fork, so that a mutant costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import Phase, settings

PACKAGE = "geometry_of_trust"
MEMORY = 6 * 2**30


def prepare(folder: Path) -> None:
    """Settle how tests run, here and in every child; what is compiled once is kept in a folder."""
    sys.pycache_prefix = str(folder / "compiled")
    sys.dont_write_bytecode = False
    # A failure counts as it is: nobody needs the shortest input that shows it, nor another run's.
    found = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", phases=found, database=None, derandomize=True)
    settings.load_profile("mutants")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"


def import_libraries(tests: Sequence[Sequence[str]], folder: Path) -> None:
    """Import what these tests import from elsewhere, so that no child has to."""
    names = folder / "modules"
    child = os.fork()
    if child == 0:
        try:
            _be_quiet()
            for group in tests:
                pytest.main([*group, "--collect-only"])
            names.write_text("\n".join(_libraries()), "utf-8")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for name in names.read_text("utf-8").split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # else each child's collector looks at all of it, and so copies it


def _libraries() -> Iterator[str]:
    """The modules of the standard library and of other packages that are loaded."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if "/lib/python3" in file and not name.startswith("_"):
            yield name


class _EndAtOnce:
    """Ends the process where a test fails: nobody reads how."""

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Iterator[None]:
        try:
            return (yield)
        except Exception:
            os._exit(1)

    def pytest_exception_interact(self) -> None:
        os._exit(1)


def _be_quiet() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a text in place of the one in its file."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, changed."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name = name
        self.path = path
        self.source = source

    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module's spec, if it is the one asked for."""
        if fullname != self.name:
            return None
        loader = _Changed(fullname, str(self.path), self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


def outcome(
    name: str, path: Path, source: str, tests: Sequence[Sequence[str]], seconds: int
) -> tuple[str, float]:
    """What the tests make of a module with this source, and the processor time that they took.

    Args:
        name, path: the module's.
        tests: arguments of pytest, in groups; the first group that fails is the last that runs.
        seconds: of processor time, beyond which the child ends.

    Returns:
        `survived` if all pass, `killed` if one fails, `timeout` if the time was up.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        _child(_Finder(name, path, source), tests, seconds)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if status < 0:
        return "timeout", used
    return "killed" if status else "survived", used


def _child(finder: _Finder, tests: Sequence[Sequence[str]], seconds: int) -> None:
    """Run the tests, and end the process without the parent's cleaning up."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        _be_quiet()
        sys.meta_path.insert(0, finder)
        importlib.import_module(finder.name)
        status = int(any(pytest.main(list(group), [_EndAtOnce()]) for group in tests))
    finally:
        os._exit(status)
