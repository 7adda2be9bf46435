"""The readers under the rule for all of them: what fuzzing found, and a few thousand inputs more.

`make fuzz` looks for longer, and is guided by what an input reaches: docs/security.md.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from fuzz.rule import Outcome, bounded_addresses, outcome
from fuzz.targets import CORPUS, FINDS, TARGETS, seeds_of
from geometry_of_trust import errors

FEW_SECONDS = 0.3
"""What new inputs may take, for each target; at least `FEWEST` are tried."""

FEWEST = 40
SMALL = 8192


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_read_or_refused_soon_and_in_little(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)  # noqa: S311 - no secret
    known = seeds_of(name)
    places = set()
    with bounded_addresses():
        for data in known:
            places.add(check(name, data))
        end = time.perf_counter() + FEW_SECONDS
        tried = 0
        while tried < FEWEST or time.perf_counter() < end:
            places.add(check(name, target.mutate(rng.choice(known), rng)[: target.largest]))
            tried += 1
    assert "read" in places, "no seed gets past parsing"
    assert len(places) > 1, "nothing is refused"


def check(name: str, data: bytes) -> str:
    found = outcome(TARGETS[name].read, data)
    assert not found.fault, f"{data[:2000]!r}\n{found.fault}"
    return found.place


def test_what_is_kept_is_small() -> None:
    for path in [*CORPUS.rglob("*"), *FINDS.rglob("*")]:
        if path.is_dir():
            assert path.name in TARGETS
            assert len(list(path.iterdir())) <= 100
        else:
            assert path.stat().st_size <= SMALL


def breaks(data: bytes) -> None:
    """A reader that does all that the rule forbids."""
    if data == b"late":
        time.sleep(0.2)
    if data == b"foreign":
        raise ZeroDivisionError
    if data == b"ours":
        raise errors.BadKey("x")
    if data == b"greedy":
        bytearray(4 * 10**9)


@pytest.mark.parametrize(
    ("data", "fault"), [(b"late", " s"), (b"foreign", "ZeroDivision"), (b"greedy", "MemoryError")]
)
def test_the_rule_sees_what_it_forbids(
    data: bytes, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.rule.SECONDS", 0.1)
    with bounded_addresses():
        assert fault in outcome(breaks, data).fault


def test_the_rule_allows_the_rest() -> None:
    assert outcome(breaks, b"") == Outcome("read", "")
    assert outcome(breaks, b"ours") == Outcome("BadKey ?", "")


def test_places_are_lines_of_the_package(tmp_path: Path) -> None:
    found = outcome(TARGETS["strictjson"].read, b"{")
    assert found.place.startswith("BadJson documents/strictjson.py:")
