"""Mutation testing: does some test fail for each small fault in the code that a verdict rests on?

    make mutants [MODULES="documents/strictjson …"]

The modules and their tests stand in pyproject.toml under `tool.mutants`; docs/mutation.md has the
rules, the figures and every mutant that lives, with the reason. A run ends with 1 if fewer than 95
percent are killed, or if one lives that is not in that page.
`--again` tries only those that lived the last time, or were not reached.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mutation.making import Mutant, mutants
from mutation.trying import PACKAGE, import_libraries, outcome, prepare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mutation.md"
RESULTS = ROOT / "build" / "mutants"
ENOUGH = 0.95


class Tried(NamedTuple):
    """A mutant's name and line, and what came of it."""

    name: str
    line: int
    outcome: str


class Module(NamedTuple):
    """A module as pyproject.toml names it (`documents/strictjson`), and arguments for pytest."""

    name: str
    tests: list[list[str]]

    @property
    def path(self) -> Path:
        """Its file."""
        return ROOT / "src" / PACKAGE / f"{self.name}.py"

    @property
    def results(self) -> Path:
        """What came of its mutants, last time."""
        return RESULTS / f"{self.name.replace('/', '-')}.json"

    def outcome(self, source: str, seconds: int) -> tuple[str, float]:
        """What the tests make of it with this source."""
        dotted = f"{PACKAGE}.{self.name.replace('/', '.')}"
        return outcome(dotted, self.path, source, self.tests, seconds)


def configured(names: Sequence[str], folder: str) -> list[Module]:
    """The modules with these names, or all, in the order of pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutants"]
    chosen = " and ".join(f"not {name}" for name in table["left_out"])
    always = ["-x", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={folder}/tests", "-k", chosen]
    groups: dict[str, list[list[str]]] = table["modules"]
    unknown = set(names) - set(groups)
    if unknown:
        sys.exit(f"not in pyproject.toml: {', '.join(sorted(unknown))}")
    return [
        Module(name, [[*always, *group] for group in groups[name]])
        for name in groups
        if not names or name in names
    ]


def tried(module: Module, *, again: bool) -> list[Tried]:
    """Each mutant of a module, tried.

    Args:
        again: only those that lived the last time, or were not reached; of the others that time's
            outcome stays.
    """
    text = module.path.read_text("utf-8")
    known: dict[str, str] = {}
    if again and module.results.exists():
        known = {name: result for name, _, result in json.loads(module.results.read_text())}
    started = time.monotonic()
    result, base = module.outcome(text, 600)
    if result != "survived":
        sys.exit(f"{module.name}: its tests do not pass without a fault")
    if module.outcome("raise ImportError", 600)[0] != "killed":
        sys.exit(f"{module.name}: its tests pass without the module")
    done = []
    found = mutants(text)
    module.results.parent.mkdir(parents=True, exist_ok=True)
    for mutant in found:
        name = _unique(mutant, found)
        result = known.get(name, "survived")
        if result == "survived":
            result, _ = module.outcome(mutant.source, int(3 + 3 * base))
        done.append(Tried(name, mutant.line, result))
        # Kept as it goes, so that a run that was broken off goes on with `--again`.
        module.results.write_text(json.dumps(done, ensure_ascii=False, indent=0), "utf-8")
        print(f"\r{module.name} {len(done)}/{len(found)}", end="", file=sys.stderr, flush=True)
    print(f"\r{time.monotonic() - started:.0f} s", file=sys.stderr)
    return done


def _unique(mutant: Mutant, found: list[Mutant]) -> str:
    """A mutant's name, numbered if others of its module have the same."""
    alike = [other for other in found if other.name == mutant.name]
    number = alike.index(mutant)
    return f"{mutant.name} #{number + 1}" if number else mutant.name


def main() -> int:
    """Try the mutants, and print a row a module and a line a survivor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="as in pyproject.toml; default all")
    parser.add_argument(
        "--again",
        action="store_true",
        help="only those that lived the last time",
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / "src")]
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    every: Counter[str] = Counter()
    unlisted = 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        chosen = configured(arguments.modules, folder)
        import_libraries([group for module in chosen for group in module.tests], Path(folder))
        for module in chosen:
            done = tried(module, again=arguments.again)
            count = Counter(one.outcome for one in done)
            every += count
            killed = len(done) - count["survived"]
            print(f"| `{module.name}` | {len(done)} | {killed} | {count['timeout']} | "
                  f"{100 * killed / len(done):.1f} % |", flush=True)  # fmt: skip
            for one in done:
                if one.outcome == "survived":
                    listed = f"`{one.name}`" in page
                    unlisted += not listed
                    print(f"  {'' if listed else 'NEW '}line {one.line}: {one.name}", flush=True)
    killed = every.total() - every["survived"]
    print(f"{killed} of {every.total()} killed; {unlisted} that live are not in {PAGE.name}")
    return int(killed < ENOUGH * every.total() or unlisted > 0)


if __name__ == "__main__":
    sys.exit(main())
