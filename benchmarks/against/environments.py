"""Environments with other libraries, made with pip beside this one and kept in `.cache/peers`."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "peers"


@dataclass(frozen=True)
class Peer:
    """An interpreter with a library, or why there is none.

    Attributes:
        title: name and version. python: the interpreter. reason: empty if it is there.
    """

    title: str
    python: Path
    reason: str = ""


def environment(name: str, package: str, wanted: str) -> Peer:
    """An environment with one more package; what else it needs is taken from this one if it fits.

    torch stays as it is here: another one would be another measurement, and gigabytes.

    Args:
        name: what the table calls it. package: its name on PyPI. wanted: its versions.
    """
    folder = CACHE / package
    python = folder / "bin" / "python"
    version = folder / "complete"
    if not version.exists():
        print(f"making an environment with {package}{wanted}", file=sys.stderr)
        try:
            _make(folder, python, f"{package}{wanted}")
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", None) or str(error)
            return Peer(f"{name} {wanted}", python, output.strip().rpartition("\n")[2])
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        version.write_text(_run(python, "-c", code))
    return Peer(f"{name} {version.read_text().strip()}", python)


def _make(folder: Path, python: Path, requirement: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    own = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Searched after this environment's own; pip sees it too, and installs only what is missing.
    (own / "the-others.pth").write_text(sysconfig.get_path("purelib") + os.linesep)
    torch = folder / "torch.txt"
    version = importlib.metadata.version("torch").partition("+")[0]
    torch.write_text(f"torch=={version}\n")
    _run(python, "-m", "pip", "install", "-qq", "-c", str(torch), requirement)


def _run(python: Path, *arguments: str) -> str:
    done = subprocess.run([python, *arguments], check=True, capture_output=True, text=True)
    return done.stdout
