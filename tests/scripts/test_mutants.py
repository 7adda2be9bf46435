"""The runner of `make mutants`, on a made-up module, and what docs/mutation.md says of real ones.

What makes mutants needs mutmut, which is in an environment of its own: `make mutants` runs that
test first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from places import ROOT

SCRIPTS = ROOT / "scripts"
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
MODULES = TOOLS["mutants"]["modules"]
sys.path.insert(0, str(SCRIPTS))


def test_what_comes_of_a_fault(tmp_path: Path) -> None:
    """In a process of its own, as each fault is tried in a fork of it."""
    (tmp_path / "made_up.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "test_first.py").write_text(
        "import made_up\n\ndef test_zero():\n    assert made_up.double(0) == 0\n"
    )
    (tmp_path / "test_second.py").write_text(
        "import made_up\n\ndef test_three():\n    assert made_up.double(3) in (6, 9)\n"
    )
    sources = {
        "as it is": "def double(x):\n    return 2 * x\n",
        "seen by the second": "def double(x):\n    return x\n",
        "seen by none": "def double(x):\n    return 3 * x\n",
        "never ends": "def double(x):\n    while True: pass\n",
        "no module": "raise ImportError\n",
    }
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from mutation.trying import import_libraries, outcome, prepare\n"
        "folder = Path(sys.argv[1])\n"
        "prepare(folder)\n"
        "always = ['-x', '-p', 'no:cacheprovider', '--rootdir', str(folder)]\n"
        "tests = [[*always, str(folder / f'test_{name}.py')] for name in ('first', 'second')]\n"
        "import_libraries(tests, folder)\n"
        "path = folder / 'made_up.py'\n"
        "print(json.dumps({name: outcome('made_up', path, source, tests, 1)[0]\n"
        "                  for name, source in json.loads(sys.argv[2]).items()}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(sources)],
        env={"PYTHONPATH": f"{SCRIPTS}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "as it is": "survived",
        "seen by the second": "killed",
        "seen by none": "survived",
        "never ends": "timeout",
        "no module": "killed",
    }
    assert (tmp_path / "made_up.py").read_text() == sources["as it is"]


def test_the_modules_and_tests_that_are_named_are_there() -> None:
    for module, groups in MODULES.items():
        assert (ROOT / "src" / "geometry_of_trust" / f"{module}.py").is_file()
        for test in (test for group in groups for test in group):
            file, _, function = test.partition("::")
            text = (ROOT / file).read_text("utf-8")
            assert not function or f"\ndef {function}(" in text, test


def test_the_page_has_a_row_for_each_module_with_enough_killed() -> None:
    page = (ROOT / "docs" / "mutation.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` \| (\d+) \| (\d+) \| \d+ \| ([\d.]+) % \|$", page, re.M)
    assert {name for name, *_ in rows} == set(MODULES)
    for name, made, killed, percent in rows:
        assert float(percent) == round(100 * int(killed) / int(made), 1) >= 95, name
        listed = page.partition(f"\n**`{name}`**\n")[2].partition("\n**`")[0]
        assert listed.count(" → ") == int(made) - int(killed), name
    total = re.search(r"^\| all \| (\d+) \| (\d+) \|", page, re.M)
    assert total
    assert [int(number) for number in total.groups()] == [
        sum(int(row[column]) for row in rows) for column in (1, 2)
    ]
