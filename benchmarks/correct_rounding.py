"""Rule 4 for every float32 argument: how many values of each function are not correctly rounded.

All 2³² arguments go through two forms of each kernel, the portable one and the widest, whose fused
operations all others have, and are compared with the C library's function in float64
(`correct_rounding.c`). That decides wherever no boundary between two float32 values lies within
2⁻⁴⁰ of it; the others, one in 2¹⁵, are settled here with 400 bits
(`tests/arithmetic/rounding_oracle.py`). What is assumed: that the C library's float64 values are
right within a relative 2⁻⁴¹, some thousand times the error that it states.

`--write` puts the arguments that come out wrong, with their values, into the kernels' table of hard
arguments, where those of before stay.

Minutes a function. With `--stride 1021` or the like, a sample in seconds.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import hatch_build  # noqa: E402

from arithmetic.rounding_oracle import FUNCTIONS, correctly_rounded  # noqa: E402

KERNELS = ROOT / "src" / "geometry_of_trust" / "arithmetic" / "kernels"
TABLE = KERNELS / "hard_arguments.h"
HEAD = """\
/* Made by benchmarks/correct_rounding.py: float32 arguments (their bits) for which the value in
   float64 misleads, and the correctly rounded values. Each list ends with a zero. */
#ifndef GOT_HARD_ARGUMENTS_H
#define GOT_HARD_ARGUMENTS_H
#include <stdint.h>

struct hard_argument {
    uint32_t argument, value;
};
"""


def program(folder: Path) -> Path:
    """The comparison, compiled with the kernels as the package has them.

    Raises:
        subprocess.CalledProcessError: a compiler failed, and has said why.
        SystemExit: this machine is none that has kernels.
    """
    target = hatch_build.asked_for()
    if target is None:
        sys.exit("no native kernels for this machine")
    made, widest = hatch_build.objects(KERNELS, target, folder), list(target.forms)[-1]
    source, built = Path(__file__).with_suffix(".c"), folder / "correct_rounding"
    flags = ["-O2", "-ffp-contract=off", f"-DFUSED(name)={widest}_##name"]
    hatch_build.zig(folder, "cc", *flags, source, *made, "-lm", "-o", built)
    return built


def wrong(name: str, compare: Path, stride: int, offset: int) -> tuple[dict[int, int], str]:
    """Arguments whose value is not the right one, with the right one; and a line for people.

    Raises:
        SystemExit: values differ that no exact arithmetic is needed for: a fault, and not a hard
            argument.
    """
    with tempfile.TemporaryFile() as left:
        command = [str(compare), name, str(stride), str(offset)]
        ran = subprocess.run(command, stdout=left, stderr=subprocess.PIPE, text=True)  # noqa: PLW1510
        if ran.returncode:
            sys.exit(ran.stderr)
        left.seek(0)
        pairs = np.frombuffer(left.read(), np.uint32).reshape(-1, 2).tolist()
    settled = ((word, value, correctly_rounded(name, word)) for word, value in pairs)
    faults = {word: right for word, value, right in settled if value != right}
    return faults, f"{ran.stderr.strip()}; of {len(pairs)} near a boundary {len(faults)} wrong"


def table() -> dict[str, dict[int, int]]:
    """The hard arguments that the kernels know."""
    lists: dict[str, dict[int, int]] = {name: {} for name in FUNCTIONS}
    for name, body in re.findall(r"(\w+)_hard\[\] = \{(.*?)\n\};", TABLE.read_text(), re.DOTALL):
        pairs = re.findall(r"\{0x([0-9a-f]+), 0x([0-9a-f]+)\}", body)
        lists[name] = {int(word, 16): int(value, 16) for word, value in pairs}
    return lists


def write(lists: dict[str, dict[int, int]]) -> None:
    """Make the table anew."""
    parts = [HEAD]
    for name, hard in lists.items():
        rows = [f"{{0x{word:08x}, 0x{value:08x}}}," for word, value in sorted(hard.items())]
        lines = [" ".join(rows[i : i + 4]) for i in range(0, len(rows), 4)] + ["{0, 0},"]
        body = "".join(f"    {line}\n" for line in lines)
        parts.append(f"static const struct hard_argument {name}_hard[] = {{\n{body}}};\n")
    TABLE.write_text("".join(parts) + "#endif\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("functions", nargs="*", metavar="function", help="all, unless named")
    parser.add_argument("--stride", type=int, default=1, help="every so many-th argument")
    parser.add_argument("--offset", type=int, default=0, help="the first argument's bits")
    parser.add_argument("--write", action="store_true", help="add what is found to the table")
    given = parser.parse_args()
    lists, found = table(), 0
    with tempfile.TemporaryDirectory() as folder:
        compare = program(Path(folder))
        for name in given.functions or FUNCTIONS:
            faults, line = wrong(name, compare, given.stride, given.offset)
            print(line, flush=True)
            found += len(faults)
            if given.write and faults:
                lists[name] |= faults
                write(lists)
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
