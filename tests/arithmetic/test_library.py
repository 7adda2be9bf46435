"""The native library: what it declares, which forms run here, and what is said without it."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust.arithmetic import library
from geometry_of_trust.cli import main
from geometry_of_trust.errors import BadOption, NoKernels

HEADER = library.PATH.with_name("kernels") / "kernels.h"
TYPES = {
    "void": None,
    "int": ctypes.c_int,
    "int64_t": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the library is looked for, in place of its own; nothing is there."""
    cached = (library._library, library.forms, library.form)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(library, "PATH", tmp_path / "_kernels.so")
    yield tmp_path / "_kernels.so"
    for function in cached:
        function.cache_clear()


def declared() -> dict[str, tuple[object, list[object]]]:
    """What the header says of each function, in the words of ctypes."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text("utf-8"), flags=re.DOTALL)
    (functions,) = re.findall(r"#define GOT_FUNCTIONS\(_\) \\\n(.*)\n", text)
    (parameters,) = re.findall(r"#define GOT_DECLARE\(name\) void FORM\(name\)\((.*)\);", text)
    found = [("void", name, parameters) for name in re.findall(r"_\((\w+)\)", functions)]
    found += re.findall(r"^(\w+) FORM\((\w+)\)\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    return {
        name: (
            TYPES[result],
            [ctypes.c_void_p if "*" in one else TYPES[one.split()[0]] for one in taken.split(",")],
        )
        for result, name, taken in found
    }


def test_functions_are_called_as_the_header_declares_them() -> None:
    assert declared() == library.SIGNATURES
    assert set(library.FUNCTIONS) < set(declared())


def flags() -> set[str]:
    """What Linux says that this processor can do, and the system with it."""
    lines = Path("/proc/cpuinfo").read_text("ascii").splitlines()
    return next(set(line.split()) for line in lines if line.startswith(("flags", "Features")))


AVX2 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux")
def test_forms_are_those_of_this_processor() -> None:
    wanted = {"avx512": AVX512, "avx2": AVX2, "neon": {"asimd"}, "portable": set()}
    assert library.forms() == tuple(name for name, needs in wanted.items() if needs <= flags())


def test_the_fastest_is_chosen_or_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOT_KERNELS", raising=False)
    assert library.chosen().name == library.forms()[0]
    for name in library.forms():
        monkeypatch.setenv("GOT_KERNELS", name)
        assert library.chosen() is library.form(name)
        assert library.chosen().name == name


@pytest.mark.parametrize("name", library.forms())
def test_a_form_computes(name: str) -> None:
    x, y = np.float32([1, 2, 4, 8]), np.zeros(2, np.float32)
    library.form(name).sum(x.ctypes.data, 2, 2, 2, 0, y.ctypes.data)
    assert y.tolist() == [3, 12]


OTHER = "avx2" if "neon" in library.forms() else "neon"
"""A form of another processor."""


@pytest.mark.parametrize("name", ["sse", "portable ", OTHER])
def test_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GOT_KERNELS", name)
    with pytest.raises(BadOption) as caught:
        library.chosen()
    assert (caught.value.where, caught.value.found) == ("GOT_KERNELS", name)


def test_no_library_is_refused(elsewhere: Path) -> None:
    for ask in (library.forms, library.chosen):
        with pytest.raises(NoKernels) as caught:
            ask()
        assert (caught.value.found, caught.value.exit_code) == ("none", 2)


def test_so_is_one_that_is_not_for_this_machine(elsewhere: Path) -> None:
    elsewhere.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(64))
    with pytest.raises(NoKernels) as caught:
        library.chosen()
    assert caught.value.found.startswith("OSError")


def extract(tmp_path: Path) -> int:
    to = [f"--output-activations={tmp_path / 'o' / 'a.gotact'}",
          f"--output-unembedding={tmp_path / 'o' / 'u.gotue'}"]  # fmt: skip
    (tmp_path / "o").mkdir()
    return main(
        ["extract", "--model", str(tmp_path / "none"), "--input", "t", "--layers", "1", *to]
    )


def test_extract_says_so_in_a_line_before_it_looks_for_the_model(
    elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert not os.listdir(tmp_path / "o")


def test_extract_refuses_an_unknown_form_as_early(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOT_KERNELS", "sse")
    assert extract(tmp_path) == 2
    assert "GOT_KERNELS" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux")
def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = (
        "from pathlib import Path\n"
        "import geometry_of_trust.cli\n"
        "from geometry_of_trust.arithmetic import library\n"
        "there = lambda: str(library.PATH) in Path('/proc/self/maps').read_text()\n"
        "before = there()\n"
        "library.forms()\n"
        "print(before, there())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
