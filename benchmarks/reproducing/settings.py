"""The settings that are compared, and the environments of Python that some of them need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from geometry_of_trust.arithmetic import library

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "reproducibility"
OLDER_NUMPY, OLDER_SCIPY = "2.2.6", "1.15.3"


@dataclass(frozen=True)
class Setting:
    """One way to compute the same.

    Attributes:
        environment: variables of the process.
        expected: what the libraries then say of themselves, as regular expressions; if they say
            something else, this machine cannot be set so.
        python: the interpreter.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    python: Path = Path(sys.executable)

    def missing(self, facts: dict[str, str]) -> str:
        """What the libraries say instead of what is expected; empty if all is so."""
        return "; ".join(
            f"{name}: {facts.get(name, 'none')}"
            for name, pattern in self.expected.items()
            if not re.search(pattern, facts.get(name, ""))
        )


def threads(count: int) -> dict[str, str]:
    """Variables for a number of threads, everywhere."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(count))


def _blas(kernel: str, called: str = "") -> Setting:
    expected = {f"{name}'s OpenBLAS": called or kernel for name in ("numpy", "scipy")}
    return Setting(f"OpenBLAS {kernel}", {"OPENBLAS_CORETYPE": kernel}, expected)


def _kernels(form: str) -> dict[str, str]:
    """The variable for a form of our own kernels; none where this processor cannot run it."""
    return {library.VARIABLE: form} if form in library.forms() else {}


BASE = Setting("base", threads(2), {"threads of torch": "^2$", "threads of numpy": "^2$"})
MATRIX = (
    Setting("1 thread", threads(1), {"threads of torch": "^1$", "threads of numpy": "^1$"}),
    # The oldest kernels go by the name of the first processor that has what they need.
    _blas("Prescott", "Prescott|Katmai"),
    _blas("Haswell"),
    _blas("SkylakeX"),
    Setting("MKL compatible", {"MKL_CBWR": "COMPATIBLE"}, {"MKL": "COMPATIBLE"}),
    Setting("MKL AVX2", {"MKL_CBWR": "AVX2"}, {"MKL": "^AVX2"}),
    Setting("ATen default", {"ATEN_CPU_CAPABILITY": "default"}, {"ATen": "DEFAULT"}),
    Setting("ATen AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, {"ATen": "AVX2"}),
    Setting("oneDNN SSE 4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}, {"oneDNN": "SSE4.1"}),
    *(
        Setting(f"our kernels, {form}", _kernels(form), {"our kernels": f"^{form}$"})
        for form in library.forms()
    ),
)
OLDEST = Setting(
    "all of the oldest, 1 thread",
    {
        "OPENBLAS_CORETYPE": "Prescott", "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", **threads(1),
        **_kernels("portable"),
    },
    {"our kernels": "portable", "MKL": "COMPATIBLE", "ATen": "DEFAULT",
     "numpy's OpenBLAS": "Prescott|Katmai"},
)  # fmt: skip
AVX2 = Setting(
    "AVX2, 2 threads",
    {"OPENBLAS_CORETYPE": "Haswell", "MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
     **threads(2), **_kernels("avx2")},
    {"our kernels": "avx2", "ATen": "AVX2", "numpy's OpenBLAS": "Haswell"},
)  # fmt: skip


def environments(other_python: Path | None) -> tuple[Setting, ...]:
    """Settings with other versions; makes their environments with pip if they are not there."""
    made = [
        Setting(f"{name} {version}", {}, {name: re.escape(version)}, _beside(name, version))
        for name, version in (("numpy", OLDER_NUMPY), ("scipy", OLDER_SCIPY))
    ]
    if other_python is not None:
        version = _output(other_python, "import platform; print(platform.python_version())")
        expected = {"python": re.escape(version)}
        made.append(Setting(f"Python {version}", {}, expected, _whole(other_python, version)))
    return tuple(made)


def find_python() -> Path | None:
    """Another interpreter of this machine, the newest from 3.12 on; None if there is none."""
    for minor in range(19, 11, -1):
        if minor == sys.version_info.minor:
            continue
        for folder in sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin")):
            return folder / "python"
        found = shutil.which(f"python3.{minor}")
        if found:
            return Path(found)
    return None


def _output(python: Path, code: str) -> str:
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def _beside(name: str, version: str) -> Path:
    """An environment with one package in another version; all others are those of this one."""
    folder = CACHE / f"{name}-{version}"
    python = folder / "bin" / "python"
    stamp = folder / "complete"
    if not stamp.exists():
        print(f"making {folder.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _pip(python, "--no-deps", f"{name}=={version}")
        own = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
        ours = sysconfig.get_path("purelib")  # searched after this environment's own
        (own / "the-others.pth").write_text(f"{ours}\n{ROOT / 'src'}\n")
        stamp.touch()
    return python


def _whole(other: Path, version: str) -> Path:
    """An environment of another interpreter with everything that the benchmark needs."""
    folder = CACHE / f"python-{version}"
    python = folder / "bin" / "python"
    stamp = folder / "complete"
    if not stamp.exists():
        print(f"making {folder.relative_to(ROOT)}: gigabytes, minutes", file=sys.stderr)
        subprocess.run([other, "-m", "venv", "--clear", folder], check=True)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        needed = [*project["dependencies"], *extras["extract"], *extras["probes"]]
        _pip(python, "-c", str(ROOT / "constraints.txt"), *needed)
        stamp.touch()
    return python


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "-qq", *arguments], check=True)


def process_environment(setting: Setting) -> dict[str, str]:
    """The environment of a worker: this process's, without settings of its own."""
    own = {"MKL_CBWR", "OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    # Threads that wait by turning steal the time of others; results do not depend on it.
    return kept | quiet | {"OMP_WAIT_POLICY": "passive"} | threads(2) | setting.environment | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))
    }  # fmt: skip
