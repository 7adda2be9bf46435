"""ARM64's kernels beside x86-64's on one x86-64 machine: the same calls, the same bits?

Compiles the kernels with `scripts/kernel_calls/driver.c` for both processors, by ziglang, and runs
every call of `calls.py` in each form that runs here, those of ARM64 under `qemu-aarch64`, which is
taken from Debian (no installation, no root) where it is not there.

    .venv/bin/python scripts/arm64.py [folder to keep the files in]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hatch_build
from kernel_calls import calls

from geometry_of_trust.arithmetic.library import forms

KERNELS = Path(hatch_build.__file__).parent / "src" / hatch_build.PACKAGE / "kernels"


def driver(form: str, target: str, cpu: Sequence[str], folder: Path) -> Path:
    """The program that carries the calls out, with one form in it; it needs no library."""
    sources = [path for path in sorted(KERNELS.glob("*.c")) if path.name != hatch_build.ONCE]
    made = folder / f"{target}-{form}"
    hatch_build.zig(
        folder / "zig", "cc", "-target", target, "-static", *hatch_build.FLAGS, *cpu,
        f"-DGOT_FORM={form}", "-I", KERNELS, *sources, calls.DRIVER, "-o", made,
    )  # fmt: skip
    return made


def qemu(folder: Path) -> str:
    """The emulator: installed, or from Debian's package, unpacked into `folder`."""
    if found := shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static"):
        return found
    unpacked = folder / "qemu" / "usr" / "bin" / "qemu-aarch64-static"
    if not unpacked.exists():
        subprocess.run(["apt-get", "download", "-qq", "qemu-user-static"], cwd=folder, check=True)
        (package,) = folder.glob("qemu-user-static_*.deb")
        subprocess.run(["dpkg", "-x", package, folder / "qemu"], check=True)
    return str(unpacked)


def results(path: Path) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The bits of all numbers that came out, every NaN as one: which NaN it is, no rule says."""
    values = np.fromfile(path, np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


def main(folder: Path) -> int:
    """Print a line for each form; 1 if one differs from the portable one on x86-64."""
    calls.write(calls.calls(), folder / "calls")
    x86 = [("x86_64-linux-musl", form, ()) for form in reversed(forms())]
    emulator = (qemu(folder),)
    arm = [("aarch64-linux-musl", form, emulator) for form in hatch_build.ARM]
    reference = None
    different = False
    for target, form, before in [*x86, *arm]:
        cpus = hatch_build.ARM if before else hatch_build.X86
        program = driver(form, target, cpus[form], folder)
        start = time.monotonic()
        out = program.with_suffix(".results")
        subprocess.run([*before, program, folder / "calls", out], check=True)
        bits = results(out)
        reference = bits if reference is None else reference
        wrong = int((bits != reference).sum()) if len(bits) == len(reference) else len(reference)
        different |= wrong > 0
        seconds = time.monotonic() - start
        print(f"{target:20} {form:9} {len(bits):9} numbers, {wrong} differ   {seconds:6.1f} s")
    return int(different)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch).resolve()))
