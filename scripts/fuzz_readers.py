"""Fuzz the readers with atheris: `make fuzz`. What each target is: tests/fuzz/targets.py.

A find does not stop a run: its input is kept, once for each place, and the run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
WORK = ROOT / ".cache" / "fuzz"


def main() -> int:
    """Run one target, or each in a process of its own, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="which; without, all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of corpora and finds")
    parser.add_argument("--keep", action="store_true", help="bring tests/fuzz/corpus up to date")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        fuzz(given.targets[0], given.seconds, given.work)
    names = given.targets or names_of_targets()
    if given.keep:
        for name in names:
            print(f"{name}: {keep(name, given.work)} inputs kept")
        return 0
    print(f"{'target':<16}{'executions':>12}{'places':>8}{'finds':>7}  worst", flush=True)
    return max(run(name, given.seconds, given.work) for name in names)


def names_of_targets() -> list[str]:
    """All of them."""
    from fuzz.targets import TARGETS

    return list(TARGETS)


def run(name: str, seconds: int, work: Path) -> int:
    """One target in a process of its own, which an input may end; 1 if anything was found."""
    place = work / name
    place.mkdir(parents=True, exist_ok=True)
    summary = place / "summary.json"
    summary.unlink(missing_ok=True)
    command = [sys.executable, __file__, name, "--here", f"--seconds={seconds}", f"--work={work}"]
    in_memory = Path("/dev/shm")  # noqa: S108 - inputs are written as files, a thousand a second
    near = in_memory if in_memory.is_dir() else None
    with (place / "log").open("w+b") as log, tempfile.TemporaryDirectory(dir=near) as scratch:
        ended = subprocess.run(
            command, stdout=log, stderr=log, check=False, env=os.environ | {"TMPDIR": scratch}
        )
        log.seek(0)
        counted = re.search(rb"number_of_executed_units: ([0-9]+)", log.read())
    finds = list((place / "finds").glob("*.input"))
    seen = json.loads(summary.read_text()) if summary.exists() else {}
    executions = int(counted[1]) if counted else 0
    died = "" if ended.returncode == 0 else f"  ended with {ended.returncode}: see {place / 'log'}"
    print(
        f"{name:<16}{executions:>12}{seen.get('places', 0):>8}{len(finds):>7}"
        f"  {seen.get('slowest', 0):.2f} s{died}",
        flush=True,
    )
    return int(bool(finds) or ended.returncode != 0)


def fuzz(name: str, seconds: int, work: Path) -> None:
    """Fuzz in this process, until its end."""
    import atheris

    with atheris.instrument_imports(include=["geometry_of_trust"], enable_loader_override=False):
        import fuzz.targets as all_targets
        from fuzz.rule import SECONDS, bounded_addresses, outcome

    target = all_targets.TARGETS[name]
    place = work / name
    grown, finds = place / "corpus", place / "finds"
    for folder in (grown, finds):
        folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted(finds.glob("*.input"))
    for data in [*all_targets.seeds_of(name), *(path.read_bytes() for path in earlier)]:
        (grown / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    for path in [*earlier, *finds.glob("*.txt")]:
        path.unlink()  # what is not mended is found again
    slowest, told = 0.0, 0.0
    places: set[str] = set()

    def tell() -> None:
        state = {"places": len(places), "slowest": slowest}
        (place / "summary.json").write_text(json.dumps(state))

    def one(data: bytes) -> None:
        nonlocal slowest, told
        start = time.perf_counter()
        with bounded_addresses():
            found = outcome(target.read, data)
        now = time.perf_counter()
        slowest = max(slowest, now - start)
        places.add(found.place)
        if found.fault:
            name_of = hashlib.sha256(found.place.encode()).hexdigest()[:12]
            if not (finds / f"{name_of}.input").exists():
                (finds / f"{name_of}.input").write_bytes(data)
                (finds / f"{name_of}.txt").write_text(f"{found.place}\n{found.fault}\n")
        if now - told > 1:
            told = now
            tell()

    def mutated(data: bytes, limit: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311 - no secret
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, limit))
        return target.mutate(data, rng)[:limit]

    options = [
        f"-max_total_time={seconds}", f"-max_len={target.largest}", f"-timeout={int(6 * SECONDS)}",
        "-rss_limit_mb=4000", f"-artifact_prefix={finds}/", "-print_final_stats=1", str(grown),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutated)
    atheris.Fuzz()


def keep(name: str, work: Path) -> int:
    """Keep the smallest input for each place where the package refuses; how many there are."""
    from fuzz.rule import bounded_addresses, outcome
    from fuzz.targets import CORPUS, TARGETS, seeds_of
    from fuzz.test_fuzz import SMALL

    target, folder = TARGETS[name], CORPUS / name
    candidates = {path.read_bytes() for path in (work / name / "corpus").glob("*")}
    known = set(target.made())
    best: dict[str, bytes] = {}
    with bounded_addresses():
        made = {outcome(target.read, data).place for data in known}
        for data in sorted(candidates | set(seeds_of(name)), key=lambda data: (len(data), data)):
            found = outcome(target.read, data)
            if len(data) <= SMALL and not found.fault and found.place not in made:
                best.setdefault(found.place, data)
    for path in folder.glob("*"):
        path.unlink()
    for data in best.values():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(best)


if __name__ == "__main__":
    sys.exit(main())
