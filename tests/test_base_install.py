"""The base installation alone, an auditor's: its size, what works in it, what asks for an extra."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import geometry_of_trust
from geometry_of_trust.arithmetic.library import PATH
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import MissingExtra
from geometry_of_trust.extras import EXTRA_OF, optional
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.identity.model_identity import identity_of
from model_folders import single
from pipeline import KEY, Files, P, build
from places import ROOT

LARGEST = 130_000_000
"""Bytes on disk of all that `pip install geometry-of-trust` brings."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def normalised(name: str) -> str:
    """As registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def distributions_of() -> dict[str, set[str]]:
    """Which distributions a module is of, by its name."""
    found = metadata.packages_distributions()
    return {module: set(map(normalised, names)) for module, names in found.items()}


def brought_by(requirements: list[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that these requirements bring, by their normalised names."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        if name in found or name == PROJECT["name"]:
            continue
        found[name] = metadata.distribution(requirement.name)
        for text in found[name].requires or ():
            inner = Requirement(text)
            chosen = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
            if inner.marker is None or any(map(inner.marker.evaluate, chosen)):
                waiting.append(inner)
    return found


BASE = brought_by(PROJECT["dependencies"])

# --- its size, and the table of extras --------------------------------------------------------


def test_it_is_small() -> None:
    paths = [Path(str(path.locate())) for dist in BASE.values() for path in dist.files or ()]
    assert sum(path.stat().st_blocks * 512 for path in paths if path.is_file()) < LARGEST


def test_every_library_is_of_the_base_or_of_a_named_extra() -> None:
    package = Path(geometry_of_trust.__file__).parent
    imported = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    base = {module for module, names in distributions_of().items() if names & set(BASE)}
    others = imported - set(sys.stdlib_module_names) - {geometry_of_trust.__name__, "__future__"}
    optional_ones = others - base
    assert optional_ones <= set(EXTRA_OF)
    # which transformers imports when it needs them
    assert set(EXTRA_OF) - optional_ones == {"accelerate", "gguf"}


@pytest.mark.parametrize("library", EXTRA_OF)
def test_an_extra_brings_its_libraries(library: str) -> None:
    if library == "inspect_ai" and library not in distributions_of():
        pytest.skip("it is not in the extra dev: make inspect")
    extra = PROJECT["optional-dependencies"][EXTRA_OF[library]]
    brought = brought_by([text for text in extra if PROJECT["name"] not in text])
    assert distributions_of()[library] <= set(brought)


def test_other_missing_modules_are_errors_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError), optional():
        import geometry_of_trust.nothing  # type: ignore[import-not-found] # noqa: F401
    with pytest.raises(MissingExtra) as caught, optional():
        raise ModuleNotFoundError(name="scipy.special")
    assert caught.value.where == "geometry-of-trust[probes]"
    assert caught.value.exit_code == 2


# --- what works in it -------------------------------------------------------------------------

Python = Callable[..., subprocess.CompletedProcess[str]]


def linked(folder: Path) -> list[str]:
    """An interpreter that finds the base and the package, linked from here, without its kernels."""
    for dist in BASE.values():
        for name in {path.parts[0] for path in dist.files or ()} - {"..", "__pycache__"}:
            (folder / name).symlink_to(Path(str(dist.locate_file(name))))
    package = Path(geometry_of_trust.__file__).parent
    shutil.copytree(
        package,
        folder / package.name,
        ignore=shutil.ignore_patterns("__pycache__", PATH.name),
        copy_function=os.symlink,
    )
    return ["env", f"PYTHONPATH={folder}", sys.executable, "-S"]


def installed(folder: Path) -> list[str]:
    """An interpreter of a new environment, into which pip installed the package from its wheel."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", ROOT], check=True)
    du = subprocess.run(
        ["du", "-s", "-B1", folder / "venv" / "lib"], capture_output=True, text=True, check=True
    )
    assert int(du.stdout.split()[0]) < LARGEST
    return ["env", "-u", "PYTHONPATH", str(python), "-I"]


@pytest.fixture(
    scope="module",
    params=[linked, pytest.param(installed, marks=pytest.mark.heavy)],  # the latter by a network
    ids=["linked", "installed"],
)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Python:
    made: Callable[[Path], list[str]] = request.param
    prefix = made(tmp_path_factory.mktemp("base"))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *map(str, arguments)], capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files of a run, signed, with a row table beside the activations."""
    made = build(tmp_path_factory.mktemp("audited"))
    folder = made.labels.parent
    (folder / "key").write_bytes(bytes(range(1, 33)))
    (folder / "key").chmod(0o600)
    (folder / "key.pub").write_bytes(KEY.public.raw)
    (folder / "signed.json").write_bytes(made.attest().to_json())
    with rows_path(made.activations).open("wb") as handle, RowWriter(handle) as writer:
        for text in range(P):
            writer.add(TextRows(text, None, [0], [7], ["x"], [(0, 1)], [False]))
    return made


def sources(files: Files) -> list[object]:
    return ["--activations", files.activations, "--unembedding", files.unembedding,
            "--probes", *files.probes]  # fmt: skip


def test_nothing_else_is_there(python: Python) -> None:
    code = f"import importlib.util as u; print([n for n in {list(EXTRA_OF)} if u.find_spec(n)])"
    assert python("-c", code).stdout.strip() == "[]"


def test_keygen(python: Python, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_bytes(b"correct horse\n")
    (tmp_path / "phrase").chmod(0o600)
    done = python("-m", "geometry_of_trust", "keygen", "--output", tmp_path / "k",
                  "--passphrase-file", tmp_path / "phrase")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert b"OPENSSH" in (tmp_path / "k").read_bytes()


def test_verify(python: Python, files: Files) -> None:
    folder = files.labels.parent
    command = ["-m", "geometry_of_trust", "verify", "--attestation", folder / "signed.json",
               "--pubkey", folder / "key.pub"]  # fmt: skip
    done = python(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("VERIFIED, SIGNATURE AND BINDING ONLY")
    done = python(*command, *sources(files))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "VERIFIED"


def test_attest(python: Python, files: Files, tmp_path: Path) -> None:
    done = python("-m", "geometry_of_trust", "attest", *sources(files), "--key",
                  files.labels.parent / "key", "--timestamp", 1_700_000_000, "--output",
                  tmp_path / "t.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t.json").read_bytes() == files.attest().to_json()


def test_convert_but_for_parquet(python: Python, files: Files, tmp_path: Path) -> None:
    for suffix in (".safetensors", ".npy"):
        done = python("-m", "geometry_of_trust", "convert", files.activations,
                      tmp_path / f"a{suffix}")  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_show(python: Python, files: Files) -> None:
    folder = files.labels.parent
    for path in (files.activations, files.unembedding, files.labels, files.probes[0],
                 folder / "signed.json"):  # fmt: skip
        done = python("-m", "geometry_of_trust", "show", path)
        assert (done.returncode, done.stderr) == (0, ""), path
    shown = python("-m", "geometry_of_trust", "show", files.activations).stdout
    assert shown.splitlines()[-1].startswith("row table: not shown")
    assert "geometry-of-trust[probes]" in shown


def test_model(python: Python, tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    done = python("-m", "geometry_of_trust", "model", folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["manifest_root"] == identity_of(folder).manifest_root


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("probes", ["train", "--activations", "{}/a.gotact", "--unembedding", "{}/u.gotue",
                    "--labels", "{}/a.labels", "--layer", "1", "--output", "{}/o/p.json"]),
        ("probes", ["calibration-report", "--activations", "{}/a.gotact", "--unembedding",
                    "{}/u.gotue", "--labels", "{}/a.labels", "--probes", "{}/p1.json"]),
        ("probes", ["sweep", "--activations", "{}/a.gotact", "--unembedding", "{}/u.gotue",
                    "--labels", "{}/a.labels"]),
        ("probes", ["show", "{}/a.rows.parquet"]),
        ("probes", ["convert", "{}/a.gotact", "{}/o/a.parquet"]),
        ("extract", ["extract", "--model", "m", "--input", "t", "--layers", "1",
                     "--output-activations", "{}/o/a.gotact"]),
        ("extract", ["extract", "--model", "m", "--input-file", "{}/texts.txt", "--layers", "1",
                     "--output-activations", "{}/o/a.gotact"]),
        ("extract", ["extract", "--model", "m", "--input", "t", "--layers", "1", "--dry-run"]),
        ("extract", ["model", "owner/name"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)  # fmt: skip
def test_a_command_names_the_extra_that_it_lacks(
    python: Python, files: Files, extra: str, command: list[str]
) -> None:
    folder = files.labels.parent
    (folder / "texts.txt").write_text("a\n")
    arguments = [part.format(folder) for part in command]
    done = python("-m", "geometry_of_trust", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert f"pip install 'geometry-of-trust[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "o").exists() or not os.listdir(folder / "o")


CALLS = {
    "train": "probes",
    "CausalProbe": "probes",
    "sweep_files": "probes",
    "extract('m', 't', [0], output_activations='a', output_unembedding='u')": "extract",
    "to_torch(a)": "extract",
    "to_pandas(a, 1)": "pandas",
}


@pytest.mark.parametrize("call", CALLS)
def test_so_does_a_python_caller(python: Python, files: Files, call: str) -> None:
    code = (
        "import sys, geometry_of_trust as g\n"
        f"a = g.read_activations({str(files.activations)!r})\n"
        "try:\n"
        f"    g.{call}\n"
        "except g.errors.MissingExtra as error:\n"
        "    print(error.where)\n"
    )
    done = python("-c", f"import geometry_of_trust.errors\n{code}")
    assert done.stdout == f"geometry-of-trust[{CALLS[call]}]\n", done.stderr
