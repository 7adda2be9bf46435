"""The house: which room may import which, and who alone uses a heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geometry_of_trust

PACKAGE = Path(geometry_of_trust.__file__).parent

# The rooms, from the ground up: who may import whom. A room may always import itself.
GROUND = {"version", "errors", "files", "progress"}
PLAIN = GROUND | {"documents", "signing"}
ROOMS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "files": {"errors"},
    "progress": set(),
    "documents": GROUND,
    "signing": GROUND | {"documents"},
    "formats": GROUND | {"documents"},
    "geometry": GROUND | {"documents", "formats"},
    "extraction": GROUND | {"documents", "formats"},
    "corpus": GROUND | {"documents", "formats", "extraction"},
    "converting": GROUND | {"documents", "formats"},
    "probing": GROUND | {"documents", "formats", "geometry"},
    "attesting": PLAIN | {"formats", "geometry", "probing"},
    "verifying": PLAIN
    | {"formats", "geometry", "probing", "attesting", "extraction", "corpus"},
    "showing": PLAIN | {"formats", "probing", "verifying", "extraction", "corpus"},
    "plotting": GROUND | {"documents", "geometry", "probing", "showing"},
    "cli": PLAIN
    | {
        "formats", "geometry", "extraction", "corpus", "converting", "probing", "attesting",
        "verifying", "showing", "plotting",
    },
    "__main__": {"cli"},
}  # fmt: skip

# Inside a room, from its ground up: each file imports only files before it.
FLOORS: dict[str, list[str]] = {}

ONLY_USERS = {
    "cryptography": {"signing"},
    "bcrypt": set(),
    "rfc8785": {"signing"},
    "sklearn": {"probing"},
    "torch": {"converting", "extraction"},
    "transformers": {"extraction"},
    "bitsandbytes": {"extraction"},
    "safetensors": {"extraction"},
    "cyclopts": {"cli"},
    "datasets": {"corpus"},
    "matplotlib": {"plotting"},
    "pandas": {"converting"},
    "pyarrow": {"converting", "corpus", "formats"},
    "ray": {"corpus"},
    "rich": {"cli"},
}

NO_NUMPY = {"version", "errors", "files", "documents", "signing", "verifying", "showing", "cli"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module and (PACKAGE / node.module.partition(".")[2].replace(".", "/")).is_dir():
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" or path.parent != PACKAGE
]


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS[room] | ({room} if path.parent != PACKAGE else set())
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "geometry_of_trust" and rest:
            assert rest.split(".")[0] in allowed, f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_have_one_user(path: Path) -> None:
    for name in imports(path):
        library = name.partition(".")[0]
        if library in ONLY_USERS:
            assert room_of(path) in ONLY_USERS[library], f"{path.name} imports {library}"


def test_extraction_is_importable_without_torch() -> None:
    code = (
        "import sys, geometry_of_trust.extraction.one_text\n"
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_there() -> None:
    for name in set(geometry_of_trust.__all__) - {"__version__"}:
        value = getattr(geometry_of_trust, name)
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.startswith("geometry_of_trust.")
    assert set(geometry_of_trust.__all__) <= set(dir(geometry_of_trust))
    with pytest.raises(AttributeError):
        geometry_of_trust.__getattr__("nothing")
