"""The native library of `arithmetic/`: compiled here by ziglang, for a wheel or in place.

hatchling runs the hook below; `python hatch_build.py` (`make kernels`) compiles in place.
docs/decisions/0014-native-kernels.md says why it is done so.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("geometry_of_trust", "arithmetic")
LIBRARY = "_kernels.so"
"""Its name on every system: it is no extension module, and found by its path alone."""

FLAGS = (
    "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror",
    "-O3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-g0",
)  # fmt: skip
Forms = dict[str, tuple[str, ...]]
"""Flags of the forms, by their names."""
PORTABLE: Forms = {"portable": ("-mcpu=baseline",)}
X86: Forms = PORTABLE | {
    "avx2": ("-mcpu=x86_64_v3",),
    # Without the second word clang splits vectors of 512 bits into halves.
    "avx512": ("-mcpu=x86_64_v4", "-mprefer-vector-width=512"),
}
ARM: Forms = PORTABLE | {"neon": ("-mcpu=baseline",)}
ONCE = "processor.c"
"""The source that belongs to no form."""
OF_LIBC = ("memcpy", "memmove", "memset")
"""All that a kernel may leave to the machine; clang makes calls of them from plain loops, too."""


class Target(NamedTuple):
    """A system and processor: as zig names it, as a wheel does, and the forms that it gets."""

    zig: str
    wheel: str
    forms: Forms


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64", X86),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64", ARM),
    "darwin-x86_64": Target("x86_64-macos.11.0", "macosx_11_0_x86_64", X86),
    "darwin-arm64": Target("aarch64-macos.11.0", "macosx_11_0_arm64", ARM),
}


def asked_for() -> Target | None:
    """The target that GOT_TARGET names, such as `linux-aarch64`; else this machine's, if it is one.

    Raises:
        KeyError: GOT_TARGET names none of `TARGETS`.
    """
    if named := os.environ.get("GOT_TARGET"):
        return TARGETS[named]
    target = TARGETS.get(f"{sys.platform}-{platform.machine()}")
    # `manylinux` promises the GNU C library to others. A wheel for this machine alone goes without.
    return target and target._replace(wheel=target.wheel.replace("manylinux_2_17", "linux"))


def zig(folder: Path, *arguments: str | Path) -> None:
    """Run zig; what it keeps goes into `folder`.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why.
    """
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    command = [sys.executable, "-m", "ziglang", *map(str, arguments)]
    subprocess.run(command, env=os.environ | caches, check=True)


def objects(sources: Path, target: Target, folder: Path, more: Sequence[str] = ()) -> list[Path]:
    """Every source, compiled once a form."""
    calls = [
        (folder / f"{form}-{path.stem}.o", [*cpu, f"-DGOT_FORM={form}"], path)
        for form, cpu in target.forms.items()
        for path in sorted(sources.glob("*.c"))
        if path.name != ONCE or form == "portable"
    ]

    def one(call: tuple[Path, list[str], Path]) -> Path:
        made, flags, path = call
        zig(folder, "cc", "-target", target.zig, *FLAGS, *flags, *more, "-c", path, "-o", made)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, calls))


def link(made: list[Path], target: Target, folder: Path, library: Path) -> None:
    """One shared library, which needs nothing but a C library's `OF_LIBC`, of whatever version."""
    if "macos" in target.zig:
        name = ("-install_name", f"@rpath/{LIBRARY}")  # else the path of the output stands in it
        zig(folder, "cc", "-target", target.zig, "-shared", "-s", *name, *made, "-o", library)
        return
    # With a stand-in for the machine's C library, `-z defs` refuses calls of anything else. zig's
    # own way, `cc -shared`, makes a whole C library for the target first, which takes 5 s.
    source, stub, libc = (folder / f"libc.{suffix}" for suffix in ("s", "o", "so.6"))
    source.write_text("".join(f".globl {n}\n.type {n},%function\n{n}:\n" for n in OF_LIBC))
    zig(folder, "cc", "-target", target.zig, "-c", source, "-o", stub)
    zig(folder, "ld.lld", "-shared", "-soname", libc.name, stub, "-o", libc)
    zig(folder, "ld.lld", "-shared", "-s", "-z", "defs", *made, libc, "-o", library)


def compile_kernels(root: Path, target: Target, library: Path) -> None:
    """Compile what lies under `root`; the same sources give the same bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = objects(root / "src" / PACKAGE / "kernels", target, folder)
        # Renamed into its place, as an earlier one may be in use.
        link(made, target, folder, fresh := library.with_name(f"{LIBRARY}.new"))
        fresh.replace(library)


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg] # hatchling's own examples have none
    """Adds the library to a wheel; an editable one gets it in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds a wheel."""
        target = asked_for()
        if target is None or importlib.util.find_spec("ziglang") is None:
            self.app.display_warning("no native kernels: all but `extract` will work")
            return
        root = Path(self.root)
        if version == "editable":
            compile_kernels(root, target, root / "src" / PACKAGE / LIBRARY)
            return
        self.made = tempfile.TemporaryDirectory()
        library = Path(self.made.name, LIBRARY)
        compile_kernels(root, target, library)
        build_data["force_include"][str(library)] = str(PACKAGE / LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{target.wheel}"


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    found = asked_for()
    if found is None:
        sys.exit(f"no native kernels for {sys.platform} on {platform.machine()}")
    compile_kernels(here, found, here / "src" / PACKAGE / LIBRARY)
