"""`locked.txt`, from which CI installs: what constraints.txt names, and what builds the package."""

from __future__ import annotations

import re
import sys

import pytest

from places import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import lock


def names(file: str) -> dict[str, str]:
    """Version by normalised name, of the lines that are no comments."""
    lines = (ROOT / file).read_text("utf-8").splitlines()
    pairs = (line.split()[0].split("==") for line in lines if not line.startswith("#"))
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_locked_is_what_constraints_say() -> None:
    locked = names("locked.txt")
    constraints = names("constraints.txt")
    assert {name: locked.get(name) for name in constraints} == constraints
    assert set(lock.BUILD) <= set(locked)


def test_every_line_has_a_digest() -> None:
    lines = (ROOT / "locked.txt").read_text("utf-8").splitlines()[1:]
    assert all(
        re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines
    )


def package(**download: object) -> dict[str, object]:
    return {"metadata": {"name": "Torch", "version": "2.0+cpu"}, "download_info": download}


def test_a_line() -> None:
    found = lock.line(package(archive_info={"hashes": {"sha256": "ab"}}))
    assert found == "torch==2.0 --hash=sha256:ab"
    assert lock.line(package(dir_info={})) is None
    with pytest.raises(SystemExit):
        lock.line(package(archive_info={}))
