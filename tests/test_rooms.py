"""The house: which room may import which, and who alone uses a heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geometry_of_trust

PACKAGE = Path(geometry_of_trust.__file__).parent

# Each room imports only rooms above it.
ORDER = [
    "errors",
    "files",
    "strictjson",
    "canonical",
    "card",
    "depth",
    "curve",
    "keys",
    "binding",
    "attestation",
    "labels",
    "mapped",
    "arrays",
    "gotact",
    "formats",
    "rows",
    "bridges",
    "converting",
    "extraction",
    "corpus",
    "exact",
    "gram",
    "geometry",
    "probes",
    "spectrum",
    "metrics",
    "logistic",
    "whitening",
    "splits",
    "crossfit",
    "classifier",
    "chance",
    "figures",
    "histogram",
    "controls",
    "assessing",
    "training",
    "label_tables",
    "training_files",
    "sweeping",
    "attesting",
    "calibration",
    "reading",
    "verification",
    "comparing",
    "reproduction",
    "cardview",
    "printing",
    "sweepview",
    "readingview",
    "reports",
    "plotting",
    "show",
    "cli",
    "__main__",
]

ONLY_USERS = {
    "cryptography": {"keys"},
    "bcrypt": set(),
    "rfc8785": {"binding"},
    "sklearn": {"classifier"},
    "torch": {"bridges", "extraction"},
    "transformers": {"extraction"},
    "bitsandbytes": {"extraction"},
    "safetensors": {"extraction"},
    "cyclopts": {"cli"},
    "datasets": {"corpus"},
    "matplotlib": {"plotting"},
    "pandas": {"bridges"},
    "pyarrow": {"converting", "corpus", "label_tables", "rows"},
    "ray": {"corpus"},
    "rich": {"cli"},
}

NO_NUMPY = {
    "errors", "files", "strictjson", "canonical", "card", "cardview", "curve", "depth", "keys",
    "binding", "attestation", "verification", "printing", "readingview", "cli", "__main__",
}  # fmt: skip


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
            if node.module == "geometry_of_trust":
                found |= {f"geometry_of_trust.{alias.name}" for alias in node.names}
    return found


FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" or path.parent != PACKAGE
]


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    above = set(ORDER[: ORDER.index(room)]) | {room if path.parent != PACKAGE else ""}
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "geometry_of_trust" and rest and rest != "__version__":
            assert rest.split(".")[0] in above, f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_have_one_user(path: Path) -> None:
    for name in imports(path):
        library = name.partition(".")[0]
        if library in ONLY_USERS:
            assert room_of(path) in ONLY_USERS[library], f"{path.name} imports {library}"
        if library in ("numpy", "scipy"):
            assert room_of(path) not in NO_NUMPY, f"{path.name} imports {library}"


def test_extraction_is_importable_without_torch() -> None:
    code = (
        "import sys, geometry_of_trust.extraction\n"
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_there_and_typed() -> None:
    for name in geometry_of_trust.__all__:
        value = getattr(geometry_of_trust, name)
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.startswith("geometry_of_trust.")
    assert set(geometry_of_trust.__all__) <= set(dir(geometry_of_trust))
    with pytest.raises(AttributeError):
        geometry_of_trust.__getattr__("nothing")
