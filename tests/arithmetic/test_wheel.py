"""The wheel: the same bytes twice, one for each processor, and an extraction with it installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from geometry_of_trust.arithmetic.library import PATH, forms
from geometry_of_trust.cli import main
from places import ROOT

LIBRARY = "geometry_of_trust/arithmetic/_kernels.so"
BEGINNINGS = {  # of the library, by the wheel's platform: ELF or Mach-O, and the processor
    "linux-x86_64": ("manylinux_2_17_x86_64", 18, b"\x3e\x00"),
    "linux-aarch64": ("manylinux_2_17_aarch64", 18, b"\xb7\x00"),
    "darwin-x86_64": ("macosx_11_0_x86_64", 0, b"\xcf\xfa\xed\xfe\x07\x00\x00\x01"),
    "darwin-arm64": ("macosx_11_0_arm64", 0, b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"),
}

pytestmark = pytest.mark.heavy


def wheel(folder: Path, target: str = "") -> Path:
    """What pip makes of this checkout with the packages that are here."""
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation"]
    environment = os.environ | {"GOT_TARGET": target}
    subprocess.run([*command, "-w", folder, ROOT], env=environment, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.parametrize("target", BEGINNINGS)
def test_a_wheel_of_each_processor(tmp_path: Path, target: str) -> None:
    platform, at, beginning = BEGINNINGS[target]
    made = wheel(tmp_path, target)
    assert made.stem.endswith(f"-py3-none-{platform}")
    with zipfile.ZipFile(made) as archive:
        library = archive.read(LIBRARY)
        assert not [name for name in archive.namelist() if name.endswith((".c", ".h"))]
    assert library[at:].startswith(beginning)


def test_the_same_bytes_twice_and_in_place(tmp_path: Path) -> None:
    one, other = wheel(tmp_path / "1"), wheel(tmp_path / "2")
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.read(LIBRARY) == PATH.read_bytes()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment of its own, with the wheel in it and all else from here."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-index"]
    subprocess.run([*pip, "--no-deps", wheel(folder)], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    theirs = [path for path in sys.path if path.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(theirs))
    where = [python, "-I", "-c", "import geometry_of_trust as g; print(g.__file__)"]
    assert subprocess.run(where, capture_output=True, text=True, check=True).stdout.startswith(
        str(packages)
    )
    return folder / "venv" / "bin" / "got-cli"


@pytest.mark.parametrize("form", forms())
def test_an_extraction(
    installed: Path, tiny_model: Callable[[str], Path], tmp_path: Path, form: str
) -> None:
    model = tiny_model("llama")

    def arguments(name: str) -> list[str]:
        (tmp_path / name).mkdir()
        return ["extract", "--model", str(model), "--input", "The river.", "--layers", "1",
                "--output-activations", str(tmp_path / name / "a.gotact"),
                "--output-unembedding", str(tmp_path / name / "u.gotue")]  # fmt: skip

    assert main(arguments("here")) == 0
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [installed, *arguments("there")], env=environment | {"GOT_KERNELS": form}, check=True
    )
    here, there = (tmp_path / name / "a.gotact" for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()
