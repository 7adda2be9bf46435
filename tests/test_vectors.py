"""The conformance vectors, run through the public functions and `got-cli verify`.

What a vector is stands in docs/vectors.md; `scripts/make_vectors.py` makes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import geometry_of_trust as got
from geometry_of_trust import errors
from geometry_of_trust.cli import main
from places import ROOT, VECTORS

PAGE = (ROOT / "docs" / "vectors.md").read_text("utf-8")
LINES = {
    "verified": "VERIFIED",
    "verified-document": "VERIFIED, SIGNATURE AND BINDING ONLY",
    "verified-files": "VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY",
    "verified-readings": "VERIFIED, SIGNATURE, BINDING, FILES AND READINGS",
    "verified-row": "VERIFIED, SIGNATURE, BINDING AND ROW {row} OF 3 ONLY",
    "legacy": "VERIFIED, LEGACY SIGNATURE ONLY",
}


@dataclass(frozen=True)
class Vector:
    """A file of `tests/vectors/`, parsed."""

    kind: str
    name: str
    header: dict[str, str]
    repeats: tuple[tuple[int, int, int], ...]
    payload: bytes

    @property
    def input(self) -> bytes:
        data = self.payload
        for offset, length, count in reversed(self.repeats):
            part = data[offset : offset + length]
            data = data[:offset] + part * count + data[offset + length :]
        return data


@cache
def vector(kind: str, name: str) -> Vector:
    head, _, payload = (VECTORS / kind / f"{name}.vector").read_bytes().partition(b"\n\n")
    pairs = [line.split(": ", 1) for line in head.decode().split("\n")]
    header = {key: value for key, value in pairs if key != "repeat"}
    assert len(header) == sum(key != "repeat" for key, _ in pairs), "a header line twice"
    repeats = [tuple(map(int, value.split())) for key, value in pairs if key == "repeat"]
    return Vector(kind, name, header, tuple((a, b, c) for a, b, c in repeats), payload)


NAMES = sorted((path.parent.name, path.stem) for path in VECTORS.glob("*/*.vector"))
ALL = [vector(*name) for name in NAMES]


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    chosen = [one for one in ALL if one.kind in kinds]
    return pytest.mark.parametrize("one", chosen, ids=lambda one: f"{one.kind}/{one.name}")


def read(one: Vector, expected: Callable[[], dict[str, str]]) -> None:
    """Read, and find what the header says; or be refused as it says."""
    if one.header["expect"] == "refused":
        with pytest.raises(errors.GotError) as caught:
            expected()
        check_error(one, caught.value)
        return
    found = expected()
    for name, value in found.items():
        assert one.header.get(name, value) == value, name


def check_error(one: Vector, error: errors.GotError) -> None:
    assert type(error).__name__ == one.header["error"]
    assert str(error.exit_code) == one.header["exit"]


def placed(folder: Path, one: Vector, name: str) -> Path:
    path = folder / name
    path.write_bytes(one.input)
    return path


def reference(text: str) -> Vector:
    kind, _, name = text.partition("/")
    return vector(kind, name)


@contextmanager
def little_memory() -> Iterator[None]:
    """Whatever a header promises, opening takes less than a megabyte."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# --- each kind --------------------------------------------------------------------------------


@of_kind("gotact")
def test_activations(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "a.gotact")

    def facts() -> dict[str, str]:
        with little_memory():
            opened = got.read_activations(path)
        if "use" in one.header:
            layer, position = map(int, one.header["use"].split())
            state = opened.row(layer, position).astype("<f4")
            return {"state-sha256": hashlib.sha256(state.tobytes()).hexdigest()}
        return {
            "model-id": json.dumps(opened.model_id, ensure_ascii=False),
            "precision": opened.precision,
            "layout": opened.layout,
            "layers": " ".join(map(str, opened.layers)),
            "positions": str(len(opened.positions)),
            "hidden-dim": str(opened.hidden_dim),
            "values-sha256": hashlib.sha256(opened.values.tobytes()).hexdigest(),
        }

    read(one, facts)


READ = [one for one in ALL if one.kind in ("gotact", "gotue") and one.header["expect"] == "read"]


@pytest.mark.parametrize("one", READ, ids=lambda one: f"{one.kind}/{one.name}")
def test_what_is_read_is_written_again(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "in")
    if one.kind == "gotact":
        got.write_activations(tmp_path / "out", got.read_activations(path))
    else:
        got.write_unembedding(tmp_path / "out", got.read_unembedding(path).values)
    assert (tmp_path / "out").read_bytes() == one.input


@of_kind("gotue")
def test_unembedding(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "u.gotue")

    def facts() -> dict[str, str]:
        with little_memory():
            opened = got.read_unembedding(path)
        if "use" in one.header:
            list(opened.blocks(1))
        return {
            "vocab-size": str(opened.vocab_size),
            "hidden-dim": str(opened.hidden_dim),
            "values-sha256": hashlib.sha256(opened.values.tobytes()).hexdigest(),
        }

    read(one, facts)


@of_kind("labels")
def test_labels(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "a.labels")
    read(one, lambda: {"labels": " ".join(map(str, got.read_labels(path).tolist())) or "none"})
    if "line" in one.header:
        with pytest.raises(errors.BadLabel) as caught:
            got.read_labels(path)
        assert caught.value.where == f"{path}, line {one.header['line']}"


@of_kind("key")
def test_key(one: Vector, tmp_path: Path) -> None:
    header = one.header
    if "beside" in header:
        name, other = header["beside"].split()
        placed(tmp_path, reference(other), name)
    path = placed(tmp_path, one, header.get("path", "key"))
    path.chmod(int(header.get("mode", "0600"), 8))
    if "mode" in header and os.name == "nt":
        pytest.skip("permissions of POSIX")

    def facts() -> dict[str, str]:
        if header["as-a"] == "public":
            key = got.load_public_key(path)
            return {"public": key.raw.hex(), "key-id": key.key_id}
        word = header.get("passphrase")
        secret = got.load_secret_key(path, None if word is None else word.encode)
        return {"public": secret.public.raw.hex(), "signs": secret.sign(b"message").hex()}

    read(one, facts)


@of_kind("probe-set")
def test_probe_set(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "probes.json")

    def facts() -> dict[str, str]:
        probe_set = got.read_probe_set(path)
        weights = b"".join(probe.weights.astype("<f4").tobytes() for probe in probe_set.probes)
        found = {
            "dimensions": " ".join(probe.name for probe in probe_set.probes),
            "layer": str(probe_set.layer),
            "geometry-hash": probe_set.geometry_hash or "none",
            "weights-sha256": hashlib.sha256(weights).hexdigest(),
        }
        if probe_set.training is not None:
            found["model-id"] = json.dumps(probe_set.training.model_id, ensure_ascii=False)
            found["verdicts"] = " ".join(card.verdict for card in probe_set.training.cards)
        return found

    read(one, facts)


@of_kind("record")
def test_record(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "a.record.json")

    def facts() -> dict[str, str]:
        record = got.read_record(path)
        return {
            "model-id": json.dumps(record.model_id, ensure_ascii=False),
            "mode": record.mode,
            "layers": " ".join(map(str, record.layers)),
            "positions": str(record.positions),
            "digest": record.digest,
        }

    read(one, facts)


@of_kind("row-proof")
def test_row_proof(one: Vector, tmp_path: Path) -> None:
    path = placed(tmp_path, one, "a.row-0.proof")

    def facts() -> dict[str, str]:
        proof = got.read_row_proof(path)
        return {
            "row": str(proof.row),
            "dimensions": " ".join(reading.dimension for reading in proof.readings),
            "path": " ".join(proof.path),
        }

    read(one, facts)


# --- attestations -----------------------------------------------------------------------------


def supplied(one: Vector, folder: Path) -> dict[str, Any]:
    """The files that the header names, as arguments of `verify`."""
    files: dict[str, Any] = {}
    for name, suffix in (("activations", "gotact"), ("unembedding", "gotue")):
        if name in one.header:
            files[name] = placed(folder, reference(one.header[name]), f"f.{suffix}")
    if "probes" in one.header:
        files["probes"] = [
            placed(folder, reference(text), f"p{i}.json")
            for i, text in enumerate(one.header["probes"].split())
        ]
    if "record" in one.header:
        placed(folder, reference(one.header["record"]), "f.record.json")
    if "proof" in one.header:
        files["row"] = int(one.header["row"])
        files["proof"] = placed(folder, reference(one.header["proof"]), "f.proof")
    return files


def last_line(one: Vector) -> str:
    """Its beginning, as the header expects it."""
    return LINES[one.header["expect"]].format(row=one.header.get("row"))


def switches(one: Vector) -> dict[str, bool]:
    names = ("allow-legacy", "allow-reformatted")
    return {name.replace("-", "_"): True for name in names if one.header.get(name) == "yes"}


@of_kind("attestation")
def test_attestation(one: Vector, tmp_path: Path) -> None:
    header = one.header
    now = float(header["now"]) if "now" in header else None
    arguments: dict[str, Any] = {**supplied(one, tmp_path), **switches(one), "now": now}
    key = got.PublicKey(bytes.fromhex(header["key"]))
    if header["expect"] == "refused":
        with pytest.raises(got.Refused) as caught:
            got.verify(one.input, key, **arguments)
        cause = caught.value.__cause__
        assert isinstance(cause, errors.GotError)
        assert (str(caught.value.step), type(cause).__name__) == (header["step"], header["error"])
        check_error(one, cause)
        assert caught.value.steps[-1].outcome == "failed"
        assert [step.number for step in caught.value.steps] == list(range(1, caught.value.step + 1))
        return
    verdict = got.verify(one.input, key, **arguments)
    assert verdict.line.partition(":")[0] == last_line(one)
    assert ", ".join(verdict.not_checked) == header.get("not-checked", "")
    assert ", ".join(verdict.unsigned) == header.get("unsigned", "")
    assert verdict.attestation.digest == header["digest"]
    if "signed-bytes" in header:
        assert verdict.attestation.signed_bytes().hex() == header["signed-bytes"]


@of_kind("attestation")
def test_attestation_on_the_command_line(
    one: Vector, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if "now" in one.header:  # the command takes no clock
        monkeypatch.setattr(time, "time", lambda: float(one.header["now"]))
    key = tmp_path / "key.pub"
    key.write_bytes(bytes.fromhex(one.header["key"]))
    line = ["verify", "--attestation", str(placed(tmp_path, one, "a.json")), "--pubkey", str(key)]
    for name, value in supplied(one, tmp_path).items():
        line += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    line += [f"--{name.replace('_', '-')}" for name in switches(one)]
    code = main(line)
    out, err = capsys.readouterr()
    refused = one.header["expect"] == "refused"
    assert code == (int(one.header["exit"]) if refused else 0)
    if one.header.get("error") == "TooLarge":
        return  # the file is not read, so that no step is reached
    assert err == ""
    last = out.rstrip("\n").rpartition("\n")[2]
    expected = f"REFUSED at step {one.header.get('step')}" if refused else last_line(one)
    assert last.partition(":")[0] == expected


# --- the vectors themselves -------------------------------------------------------------------

HEADERS = {
    "gotact": {"use", "model-id", "precision", "layout", "layers", "positions", "hidden-dim",
               "values-sha256", "state-sha256"},
    "gotue": {"use", "vocab-size", "hidden-dim", "values-sha256"},
    "labels": {"labels", "line"},
    "key": {"as-a", "path", "beside", "mode", "passphrase", "public", "key-id", "signs"},
    "probe-set": {"dimensions", "layer", "geometry-hash", "weights-sha256", "model-id", "verdicts"},
    "record": {"model-id", "mode", "layers", "positions", "digest"},
    "row-proof": {"row", "dimensions", "path"},
    "attestation": {"step", "key", "activations", "unembedding", "probes", "record", "row", "proof",
                    "now", "allow-legacy", "allow-reformatted", "digest", "not-checked", "unsigned",
                    "signed-bytes"},
}  # fmt: skip


def test_every_header_is_whole() -> None:
    for one in ALL:
        check_header(one)


def check_header(one: Vector) -> None:
    header = one.header
    assert header["kind"] == one.kind
    assert header["comment"]
    assert hashlib.sha256(one.input).hexdigest() == header["sha256"]
    rest = set(header) - {"kind", "comment", "expect", "sha256"}
    if header["expect"] == "refused":
        assert {"error", "exit"} <= rest
        assert ("step" in rest) == (one.kind == "attestation")
        rest -= {"error", "exit"}
    else:
        assert header["expect"] in (LINES if one.kind == "attestation" else {"read"})
        assert rest, "says nothing of what must be found"
    assert rest <= HEADERS[one.kind]
    for name in rest:
        assert f"`{name}`" in PAGE, f"docs/vectors.md does not say what {name} is"


def test_every_header_is_used() -> None:
    used = {(one.kind, name) for one in ALL for name in one.header}
    assert {(kind, name) for kind, names in HEADERS.items() for name in names} <= used


def rows_of_errors() -> dict[str, str]:
    """The page's table of errors: exit code by class."""
    return dict(re.findall(r"^\| `([A-Za-z]+)` \| ([123]) \|", PAGE, re.MULTILINE))


def test_the_page_lists_the_errors() -> None:
    table = rows_of_errors()
    used = {one.header["error"] for one in ALL if "error" in one.header}
    assert used == set(table)
    for name, code in table.items():
        assert str(getattr(errors, name).exit_code) == code


READERS: tuple[Callable[..., Any], ...] = (
    got.read_activations, got.read_unembedding, got.read_labels, got.load_public_key,
    got.load_secret_key, got.read_probe_set, got.ProbeSet.from_json, got.read_record,
    got.read_attestation, got.read_row_proof, got.verify, got.Activations.row,
    got.Unembedding.blocks,
)  # fmt: skip
ELSEWHERE = {
    "GotError": "the base of all",
    "MalformedInput": "a base",
    "Unreadable": "a missing file has no bytes",
    "FileChanged": "one file is not two",
    "NotOwned": "a vector has no owner",
    "UnsafeFolder": "a vector has no folder",
    "NotAFile": "a vector is a file",
}
"""Errors that readers name and no vector can show, with the reason."""


def named_in(text: str) -> set[str]:
    return {
        name for name in re.findall(r"\b[A-Z][A-Za-z]+\b", text)
        if isinstance(getattr(errors, name, None), type)
    }  # fmt: skip


def test_every_refusal_of_a_reader_has_a_vector() -> None:
    shown = {one.header["error"] for one in ALL if "error" in one.header}
    named = set().union(*(named_in(reader.__doc__ or "") for reader in READERS))
    assert len(named) > 15
    assert named - shown - set(ELSEWHERE) == set()


def test_there_is_a_vector_of_every_kind_and_outcome() -> None:
    assert {one.kind for one in ALL} == set(HEADERS)
    assert {one.header["expect"] for one in ALL} == {"read", "refused", *LINES}
    assert {one.header["step"] for one in ALL if "step" in one.header} == set("123456")
    for kind in HEADERS:
        outcomes = {one.header["expect"] == "refused" for one in ALL if one.kind == kind}
        assert outcomes == {True, False}


def test_the_generator_makes_the_same_bytes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_vectors.py"
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True, capture_output=True)
    made = sorted((path.parent.name, path.stem) for path in tmp_path.glob("*/*.vector"))
    assert made == NAMES
    for kind, name in made:
        file = f"{kind}/{name}.vector"
        assert (tmp_path / file).read_bytes() == (VECTORS / file).read_bytes(), file


def test_the_generator_uses_nothing_of_the_package() -> None:
    files = [ROOT / "scripts" / "make_vectors.py", *(ROOT / "scripts" / "conformance").glob("*.py")]
    assert len(files) > 5
    for path in files:
        assert "geometry_of_trust" not in path.read_text("utf-8").replace("`", "")
