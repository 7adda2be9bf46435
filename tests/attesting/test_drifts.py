"""Drift that is signed, and measured again by a verifier."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.geometry.checkpoints import make_checkpoint
from geometry_of_trust.geometry.drift import gram_moved, probe_moved
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.showing import verdicts
from geometry_of_trust.signing.attestation import Attestation, parse_document
from geometry_of_trust.signing.reference_members import DirectionalDrift
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, Files, build, replaced, signed_anew, train_one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("now"))


@pytest.fixture(scope="module")
def reference(files: Files) -> Path:
    """A checkpoint of a model of before, a little different."""
    before = read_unembedding(files.unembedding).values * np.float32(0.75)
    write_unembedding(files.unembedding.with_name("before.gotue"), before)
    path = files.unembedding.with_name("before.gotgeo")
    make_checkpoint(files.unembedding.with_name("before.gotue"), path)
    return path


@pytest.fixture(scope="module")
def signed(files: Files, reference: Path) -> Attestation:
    return files.attest(geometry_reference=reference)


def supplied(files: Files, **options: Any) -> dict[str, Any]:
    return {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
        **options,
    }  # fmt: skip


def refused(step: int, cause: type[errors.GotError], *args: Any, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        verify(*args, **options)
    assert (caught.value.step, type(caught.value.cause)) == (step, cause)
    return caught.value


def test_what_is_signed(files: Files, reference: Path, signed: Attestation) -> None:
    before, after = (
        Geometry.from_unembedding(read_unembedding(path)).matrix()
        for path in (reference.with_suffix(".gotue"), files.unembedding)
    )
    assert signed.bound().geometry_reference == sha256_file(reference)
    assert signed.geometry_drift == gram_moved(before, after).drift
    weights = [read_probe_set(path).probes[0].weights for path in files.probes]
    assert signed.directional_drifts == tuple(
        DirectionalDrift(name, probe_moved(w, before, after).drift)
        for name, w in zip(("warm", "tall"), weights, strict=True)
    )
    # 1/0.75² − 1, of every entry
    assert signed.geometry_drift == pytest.approx(7 / 9, rel=1e-6)
    text = verdicts.attestation(signed)
    for word in ("geometry drift", "directional drift", "geometry reference", "'tall'"):
        assert word in text
    tree = json.loads(verdicts.attestation_json(signed))
    assert tree["geometry_drift"] == signed.geometry_drift
    assert tree["directional_drifts"][0]["probe_name"] == "warm"


def test_nothing_else_changes(files: Files, signed: Attestation) -> None:
    """Without a reference a document has the bytes that it had."""
    plain = files.attest()
    assert plain.bound().geometry_reference is None
    same = dataclasses.replace(signed.bound(), geometry_reference=None)
    assert same == plain.bound()
    assert b"geometry_reference" not in plain.to_json()
    assert parse_document(signed.to_json(), "d").attestation == signed


def test_it_is_measured_again(files: Files, reference: Path, signed: Attestation) -> None:
    text = signed.to_json()
    verdict = verify(text, KEY.public, **supplied(files, geometry_reference=reference))
    assert verdict.line == "VERIFIED"
    assert verdict.steps[4].detail.endswith("geometry reference")
    without = verify(text, KEY.public, **supplied(files))
    assert without.not_checked == ("geometry reference",)
    assert without.steps[5].outcome == "passed"
    alone = verify(text, KEY.public, geometry_reference=reference)
    assert alone.not_checked == ("activations", "unembedding", "probes", "readings")
    assert alone.steps[4].detail.startswith("sha256 of geometry reference;")
    assert alone.steps[5].detail == "needs activations, unembedding, probes"


@pytest.mark.parametrize(
    "change",
    [
        {"geometry_drift": 0.0},
        {"directional_drifts": (DirectionalDrift("warm", 0.0), DirectionalDrift("tall", 0.0))},
    ],
)
def test_a_drift_that_is_not_that_of_the_files(
    files: Files, reference: Path, signed: Attestation, change: dict[str, Any]
) -> None:
    lie = signed_anew(signed, **change)
    found = refused(
        6, errors.ReadingsMismatch, lie, KEY.public,
        **supplied(files, geometry_reference=reference),
    )  # fmt: skip
    assert found.where.split("[")[0] == next(iter(change))


@pytest.mark.parametrize(
    "change",
    [
        {"geometry_drift": None},
        {"directional_drifts": ()},
        {"directional_drifts": (DirectionalDrift("tall", 0.5), DirectionalDrift("warm", 0.5))},
    ],
)
def test_a_bound_reference_comes_with_drifts(signed: Attestation, change: dict[str, Any]) -> None:
    found = refused(4, errors.BindingMismatch, signed_anew(signed, **change), KEY.public)
    assert found.where == "attestation.binding.geometry_reference"


def test_a_drift_without_a_bound_reference_is_not_checked(files: Files) -> None:
    """As the reference writes it; nobody can say from what it was measured."""
    lie = signed_anew(files.attest(), geometry_drift=0.25)
    assert verify(lie, KEY.public, **supplied(files)).not_checked == ("geometry_drift",)


def test_another_file(files: Files, reference: Path, signed: Attestation, tmp_path: Path) -> None:
    other = tmp_path / "o.gotgeo"
    make_checkpoint(files.unembedding, other)
    text = signed.to_json()
    refused(5, errors.DigestMismatch, text, KEY.public, geometry_reference=other)
    plain = files.attest().to_json()
    refused(5, errors.DigestMismatch, plain, KEY.public, geometry_reference=reference)
    bare = signed_anew(files.attest(), binding=None, probe_commitment=None)
    legacy = verify(bare, KEY.public, geometry_reference=reference, allow_legacy=True)
    assert "geometry reference" in legacy.not_checked


def test_what_is_no_reference(files: Files, tmp_path: Path) -> None:
    with pytest.raises(errors.BadMagic) as caught:
        files.attest(geometry_reference=files.unembedding)
    assert "got-cli checkpoint" in caught.value.hint
    write_unembedding(tmp_path / "small.gotue", np.eye(3, dtype=np.float32))
    make_checkpoint(tmp_path / "small.gotue", tmp_path / "small.gotgeo")
    with pytest.raises(errors.DimensionMismatch):
        files.attest(geometry_reference=tmp_path / "small.gotgeo")


def test_the_euclidean_inner_product_does_not_drift(
    files: Files, reference: Path, tmp_path: Path
) -> None:
    probes = train_one(files, tmp_path / "e.json", inner_product="euclidean")
    with pytest.raises(errors.GeometryMismatch):
        files.attest(probes=[probes], geometry_reference=reference)


@pytest.mark.parametrize("limit", ["max_drift", "max_directional_drift"])
def test_the_limits_of_a_probe_set(
    files: Files, reference: Path, tmp_path: Path, limit: str
) -> None:
    """reference.md 7.6: refused beyond them, and read up to them."""
    signed = files.attest(probes=files.probes[:1], geometry_reference=reference)
    drift = signed.geometry_drift
    if limit == "max_directional_drift":
        drift = signed.directional_drifts[0].drift
    assert drift is not None
    for most, taken in ((0.5, False), (drift, True)):
        changed = replaced(read_probe_set(files.probes[0]), (limit,), most)
        path = tmp_path / "p.json"
        path.write_bytes(changed.to_json())
        if taken:
            files.attest(probes=[path], geometry_reference=reference)
            continue
        files.attest(probes=[path])
        with pytest.raises(errors.GeometryMismatch):
            files.attest(probes=[path], geometry_reference=reference)
