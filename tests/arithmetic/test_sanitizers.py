"""No kernel reads or writes beyond what it is given, or does what C leaves undefined, in any form.

clang (zig's) puts the checks in; zig brings no runtime for those of addresses, gcc does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust.arithmetic.library import PATH, forms
from places import ROOT

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))

import hatch_build
from kernel_calls import calls

CHECKS = (
    "-O1", "-g", "-fno-omit-frame-pointer", "-Wno-pass-failed",
    "-Xclang", "-fsanitize=address",  # zig itself drops the plain flag
    "-U_FORTIFY_SOURCE",  # else copies are calls that libasan does not see
    "-fsanitize=undefined", "-fno-sanitize-recover=all",
)  # fmt: skip

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="no libasan"),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """driver.c with the kernels of a form, by the form's name."""
    folder = tmp_path_factory.mktemp("checked")
    target = hatch_build.asked_for()
    assert target is not None
    kernels = PATH.with_name("kernels")
    made = hatch_build.objects(kernels, target, folder, CHECKS)
    found = {}
    for form, cpu in target.forms.items():
        driver = folder / f"{form}-driver.o"
        hatch_build.zig(
            folder, "cc", "-target", target.zig, *hatch_build.FLAGS, *cpu, *CHECKS,
            f"-DGOT_FORM={form}", "-I", kernels, "-c", calls.DRIVER, "-o", driver,
        )  # fmt: skip
        mine = [path for path in made if path.name.startswith(f"{form}-")]
        found[form] = folder / form
        subprocess.run(
            ["gcc", "-fsanitize=address,undefined", *mine, driver, "-o", found[form]], check=True
        )
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calls") / "calls"
    calls.write(calls.calls(), path)
    return path


@pytest.mark.parametrize("form", forms())
def test_every_call_stays_within_its_memory(
    programs: dict[str, Path], written: Path, tmp_path: Path, form: str
) -> None:
    done = subprocess.run(
        [programs[form], written, tmp_path / "results"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "results").stat().st_size > 10_000_000


@pytest.mark.parametrize("form", forms())
def test_a_number_too_few_is_noticed(programs: dict[str, Path], tmp_path: Path, form: str) -> None:
    short = calls.Call("sum", (np.zeros(7, np.float32), 8, 1, 8, 0, calls.Out.floats(1)))
    calls.write(iter([short]), tmp_path / "calls")
    done = subprocess.run(
        [programs[form], tmp_path / "calls", tmp_path / "results"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
